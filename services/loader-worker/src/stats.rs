//! What a worker measures of its requests: for metrics, and for the summary of a load.

use std::sync::Mutex;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::metrics::WorkerMetrics;

/// Shared by everything that sends.
#[derive(Debug)]
pub struct Stats {
    latency: Mutex<Histogram<u64>>,
    metrics: WorkerMetrics,
}

/// Percentiles of how long requests took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Latency {
    /// Requests measured.
    pub requests: u64,
    /// Half were faster.
    pub p50_ms: f64,
    /// 95 % were faster.
    pub p95_ms: f64,
    /// 99 % were faster.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// Three digits, from a microsecond to an hour.
fn histogram() -> Histogram<u64> {
    const HOUR_US: u64 = 3_600_000_000;
    Histogram::new_with_bounds(1, HOUR_US, 3)
        .unwrap_or_else(|_| unreachable!("constant bounds that hdrhistogram accepts"))
}

impl Stats {
    /// Nothing measured yet.
    pub fn new(metrics: WorkerMetrics) -> Self {
        Self {
            latency: Mutex::new(histogram()),
            metrics,
        }
    }

    /// The numbers that are exported.
    pub fn metrics(&self) -> &WorkerMetrics {
        &self.metrics
    }

    /// Records one attempt; `status` is 0 when there was no answer.
    pub(crate) fn request(&self, elapsed: Duration, status: u16) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.with(|latency| latency.saturating_record(micros.max(1)));
        self.metrics.request(elapsed, status);
    }

    /// Percentiles so far.
    pub fn latency(&self) -> Latency {
        self.with(|latency| {
            #[expect(clippy::cast_precision_loss, reason = "an hour in µs is exact in f64")]
            let ms = |micros: u64| micros as f64 / 1000.0;
            let at = |quantile| ms(latency.value_at_quantile(quantile));
            Latency {
                requests: latency.len(),
                p50_ms: at(0.50),
                p95_ms: at(0.95),
                p99_ms: at(0.99),
                max_ms: ms(latency.max()),
            }
        })
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Histogram<u64>) -> T) -> T {
        use_it(
            &mut self
                .latency
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}
