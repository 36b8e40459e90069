use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use rdkafka::message::Headers;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::trace;

/// OpenTelemetry keeps no more of a span: <https://opentelemetry.io/docs/specs/otel/trace/sdk/#span-limits>.
const LINKS: usize = 128;

/// Links a span to the traces that records came from, by their headers. The headers are looked at only where the span
/// is traced.
pub fn link<'h, H: Headers + 'h>(span: &Span, records: impl IntoIterator<Item = &'h H>) {
    if !span.context().span().span_context().is_sampled() {
        return;
    }
    let traces = records.into_iter().map(trace_of);
    for trace in traces.filter(Context::has_active_span).take(LINKS) {
        span.add_link(trace.span().span_context().clone());
    }
}

/// The trace that a record's headers name.
pub(super) fn trace_of(headers: &impl Headers) -> Context {
    let pairs = headers.iter().filter_map(|header| {
        let value = std::str::from_utf8(header.value?).ok()?;
        Some((header.key.to_owned(), value.to_owned()))
    });
    trace::of(&pairs.collect())
}
