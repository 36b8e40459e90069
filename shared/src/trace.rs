//! W3C trace context in the headers of HTTP requests, gRPC calls and Kafka's records.

use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Writes `traceparent` and `tracestate` of the current span; nothing when it is not traced.
pub(crate) fn inject(headers: &mut HeaderMap) {
    let context = Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut Headers(headers));
}

/// The trace a request belongs to, to be a span's parent.
pub(crate) fn extract(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract(&HeadersRead(headers))
}

/// The current span's trace context as texts, by name; empty when it is not traced.
pub(crate) fn current() -> HashMap<String, String> {
    let mut texts = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut texts);
    texts.retain(|_, text| !text.is_empty());
    texts
}

/// The trace that such texts name.
pub(crate) fn of(texts: &HashMap<String, String>) -> Context {
    TraceContextPropagator::new().extract(texts)
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = HeaderName::from_bytes(key.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value))
            && !value.is_empty()
        {
            self.0.insert(name, value);
        }
    }
}

struct HeadersRead<'a>(&'a HeaderMap);

impl Extractor for HeadersRead<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{TraceContextExt, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_span_continues_on_the_other_side() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("work");
            let mut headers = HeaderMap::new();
            span.in_scope(|| inject(&mut headers));
            let received = extract(&headers);
            let sent = span.context().span().span_context().trace_id();
            assert_eq!(received.span().span_context().trace_id(), sent);
            assert!(headers.contains_key("traceparent"), "{headers:?}");
        });
    }

    #[test]
    fn nothing_is_written_outside_a_trace() {
        let mut headers = HeaderMap::new();
        inject(&mut headers);
        assert!(headers.is_empty(), "{headers:?}");
    }
}
