//! gRPC: servers with health and reflection, and channels to them, also within one process.
//!
//! [`serve`] is the same code over TCP ([`listen`]) and within a process ([`in_process`]).
//!
//! Files of certificates, keys and tokens may change while the process runs ([`crate::mounted`]): connections that are
//! made, and calls, go by what they hold then. One token that takes the place of another is in force at once, as is
//! wanted where the old one has become known. Machines see the change at different times: for no call to be refused, the
//! file has both for a while, a line each, first the old one above, then the new. A server takes both, a client shows the
//! upper one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures::Stream;
use futures::future::Either;
use prost::Message;
use prost_types::FileDescriptorSet;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::ServiceExt;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::secret::{Secret, SecretError};
use crate::tls::{ServerTls, TlsError};
use crate::trace;

mod calls;
mod channel;
mod secured;

pub use calls::{CallHeaders, is_gone};
pub use channel::{Channel, GrpcClientConfig, connect, connect_all, in_process};

/// How long open calls may go on once a server is told to stop. Streams that only watch, such as
/// those of the health service, never end by themselves.
const GRACE: Duration = Duration::from_secs(5);

/// Bytes that a client may send ahead in one call.
const STREAM_WINDOW: u32 = 1 << 20;
// Of all calls together: far above one's, so that a call nobody reads does not hold up the others.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// Where a server listens, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// Address and port. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Certificate of the server; without it calls are not encrypted.
    pub tls: Option<ServerTls>,
    /// Bearer token that every call must carry; of several lines, any.
    pub token: Option<Secret>,
    /// File that holds the token.
    pub token_file: Option<PathBuf>,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self::on_port(0)
    }
}

impl GrpcConfig {
    /// The loopback interface only, unencrypted, without a token.
    pub fn on_port(port: u16) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            tls: None,
            token: None,
            token_file: None,
        }
    }
}

/// Why a gRPC server or channel cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// The port cannot be listened on.
    #[error(
        "{address}: cannot listen for gRPC: {source}; choose another port or stop what uses it"
    )]
    Listen {
        /// The address in the configuration.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The server's address is not usable.
    #[error(
        "{url}: not an address of a gRPC server: {reason}; give one like http://127.0.0.1:7701"
    )]
    Address {
        /// The address in the configuration.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificates or keys are not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A token is blank, or holds characters that HTTP does not allow.
    #[error("the gRPC token is not allowed in HTTP; use plain ASCII, a line for each")]
    Token,
    /// The library gives up.
    #[error("gRPC failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors of our contracts are damaged.
    #[error("the gRPC contracts cannot be read: {0}")]
    Contracts(#[from] prost::DecodeError),
    /// The descriptors that reflection shows are damaged.
    #[error("gRPC reflection failed: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Listens on the configured port; the stream goes to [`serve`].
pub async fn listen(config: &GrpcConfig) -> Result<TcpIncoming, GrpcError> {
    let address = config.listen;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| GrpcError::Listen { address, source })?;
    Ok(TcpIncoming::from(listener).with_nodelay(Some(true)))
}

/// Serves `routes`, health and reflection on `incoming` connections until `shutdown`; open calls
/// may then go on for 5 s.
///
/// Every call, those of health and reflection too, needs the token when one is configured.
pub async fn serve<I, IO, IE>(
    config: &GrpcConfig,
    routes: Routes,
    incoming: I,
    shutdown: CancellationToken,
) -> Result<(), GrpcError>
where
    I: Stream<Item = Result<IO, IE>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    IE: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let tokens = calls::TokenCheck::new(config.token.clone(), config.token_file.clone())?;
    let server = Server::builder()
        .trace_fn(call_span)
        .initial_stream_window_size(Some(STREAM_WINDOW))
        .initial_connection_window_size(Some(CONNECTION_WINDOW))
        .http2_keepalive_interval(Some(Duration::from_secs(20)));
    let names = mounted(&routes).await?;
    let (health, routes) = with_health_and_reflection(routes, &names).await?;
    let server = server
        .layer(InterceptorLayer::new(tokens))
        .add_routes(routes);
    let stop = shutdown.clone().cancelled_owned();
    let serving = match &config.tls {
        None => Either::Left(server.serve_with_incoming_shutdown(incoming, stop)),
        Some(files) => {
            let incoming = secured::accept(incoming, secured::server(files)?);
            Either::Right(server.serve_with_incoming_shutdown(incoming, stop))
        }
    };
    tokio::select! {
        ended = serving => Ok(ended?),
        () = overdue(&health, &names, &shutdown) => {
            tracing::debug!("calls still open after the grace period are dropped");
            Ok(())
        }
    }
}

/// Ends when open calls have had their time since `shutdown`, of which health tells at once.
async fn overdue(health: &HealthReporter, names: &[String], shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    for name in names.iter().map(String::as_str).chain([""]) {
        health
            .set_service_status(name, ServingStatus::NotServing)
            .await;
    }
    tokio::time::sleep(GRACE).await;
}

async fn with_health_and_reflection(
    routes: Routes,
    names: &[String],
) -> Result<(HealthReporter, Routes), GrpcError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let mut reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(stoker_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health")
        .with_service_name("grpc.reflection.v1.ServerReflection");
    for name in names {
        reporter
            .set_service_status(name, ServingStatus::Serving)
            .await;
        reflection = reflection.with_service_name(name);
    }
    Ok((
        reporter,
        routes
            .add_service(health)
            .add_service(reflection.build_v1()?),
    ))
}

/// Which of our services are among the routes. [`Routes`] cannot list them, so each is called by a
/// method that none has: only a service that is not there leaves that to the fallback.
async fn mounted(routes: &Routes) -> Result<Vec<String>, GrpcError> {
    let asked = routes
        .clone()
        .into_axum_router()
        .fallback(|| async { StatusCode::NOT_FOUND });
    let mut names = Vec::new();
    for name in declared()? {
        let Ok(request) = Request::post(format!("/{name}/-")).body(Body::empty()) else {
            continue;
        };
        let answer: Result<_, Infallible> = asked.clone().oneshot(request).await;
        if answer.is_ok_and(|answer| answer.status() != StatusCode::NOT_FOUND) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The full names of all services of our contracts.
fn declared() -> Result<Vec<String>, GrpcError> {
    let set = FileDescriptorSet::decode(stoker_proto::FILE_DESCRIPTOR_SET)?;
    let full_name = |package: &str, service: &str| format!("{package}.{service}");
    let names = set.file.iter().flat_map(|file| {
        file.service
            .iter()
            .map(move |service| full_name(file.package(), service.name()))
    });
    Ok(names.collect())
}

fn call_span(request: &Request<()>) -> Span {
    let method = request.uri().path();
    let span = tracing::info_span!("grpc", otel.kind = "server", method);
    // Fails only where spans are not exported at all.
    let _ = span.set_parent(trace::extract(request.headers()));
    span
}
