//! A collector of a test's own that takes spans as OpenTelemetry's exporters send them (OTLP over gRPC).

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// See the [module](self); ends when dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    taken: Taken,
    _serving: AbortOnDropHandle<()>,
}

/// A span, and who sent it.
#[derive(Debug, Clone)]
pub struct Received {
    /// `service.name` of the process.
    pub service: String,
    /// As sent.
    pub span: Span,
}

impl Received {
    /// The span's trace in hexadecimal, as `traceparent` has it.
    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// The span itself in hexadecimal.
    pub fn span_id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// The span above it in hexadecimal; empty when there is none.
    pub fn parent_id(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// The traces and spans that it is linked to, in hexadecimal.
    pub fn links(&self) -> Vec<(String, String)> {
        let links = self.span.links.iter();
        links
            .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
            .collect()
    }

    /// One of its attributes, when it is a text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::StringValue(text) => Some(text),
            _ => None,
        }
    }

    /// One of its attributes, when it is a number.
    pub fn number(&self, key: &str) -> Option<i64> {
        match self.value(key)? {
            Value::IntValue(number) => Some(*number),
            _ => None,
        }
    }

    fn value(&self, key: &str) -> Option<&Value> {
        value(&self.span.attributes, key)
    }
}

#[derive(Debug, Clone, Default)]
struct Taken(Arc<Mutex<Vec<Received>>>);

impl Collector {
    /// Starts one on a free port.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let taken = Taken::default();
        let serving = Server::builder()
            .add_service(TraceServiceServer::new(taken.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        let serving = tokio::spawn(async move {
            // Only ever ends with the test, which sees that spans are missing.
            let _ = serving.await;
        });
        Ok(Self {
            address,
            taken,
            _serving: AbortOnDropHandle::new(serving),
        })
    }

    /// Its address, for `otlp_endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far. Those that a service still holds come when it stops, or within seconds.
    pub fn spans(&self) -> Vec<Received> {
        let taken = self.taken.0.lock();
        taken.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[tonic::async_trait]
impl TraceService for Taken {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for spans in request.into_inner().resource_spans {
            let service = service_name(&spans);
            let spans = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
            taken.extend(spans.map(|span| Received {
                service: service.clone(),
                span,
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn service_name(spans: &ResourceSpans) -> String {
    let attributes = spans.resource.iter().flat_map(|r| &r.attributes);
    match value(attributes, "service.name") {
        Some(Value::StringValue(name)) => name.clone(),
        _ => String::new(),
    }
}

fn value<'a>(attributes: impl IntoIterator<Item = &'a KeyValue>, key: &str) -> Option<&'a Value> {
    let attribute = attributes.into_iter().find(|a| a.key == key)?;
    attribute.value.as_ref()?.value.as_ref()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
