//! Every metric of the loader-worker.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use stoker_shared::health::Metrics;

/// HTTP status of an answer; 0 when there was none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: u32,
}

/// What became of an input.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Handles of the metrics; cloning shares them.
#[derive(Debug, Clone)]
pub struct WorkerMetrics {
    requests: Family<Status, Counter>,
    request_seconds: Histogram,
    resources: Family<OutcomeLabel, Counter>,
    /// Units held now.
    pub(crate) units: Gauge,
    /// Stored bytes read.
    pub(crate) read_bytes: Counter,
    /// Leases that were lost while held.
    pub(crate) leases_lost: Counter,
}

impl Default for WorkerMetrics {
    fn default() -> Self {
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
            resources: Family::default(),
            units: Gauge::default(),
            read_bytes: Counter::default(),
            leases_lost: Counter::default(),
        };
        // A counter that appears with its first sample hides that sample from `increase()`.
        for outcome in ["created", "updated", "rejected", "in_doubt"] {
            metrics.resources(outcome, 0);
        }
        metrics
    }
}

impl WorkerMetrics {
    /// Makes them part of what `/metrics` shows.
    pub fn register(&self, metrics: &Metrics) {
        let requests = "HTTP requests to FHIR servers by status, 0 when no answer came";
        metrics.register(
            "stoker_loader_worker_requests",
            requests,
            self.requests.clone(),
        );
        let seconds = "Duration of HTTP requests";
        metrics.register(
            "stoker_loader_worker_request_seconds",
            seconds,
            self.request_seconds.clone(),
        );
        let resources = "Inputs by outcome";
        metrics.register(
            "stoker_loader_worker_resources",
            resources,
            self.resources.clone(),
        );
        let units = "Units of work held";
        metrics.register("stoker_loader_worker_units", units, self.units.clone());
        let read = "Stored bytes read from sources";
        metrics.register(
            "stoker_loader_worker_read_bytes",
            read,
            self.read_bytes.clone(),
        );
        let lost = "Leases lost while held";
        metrics.register(
            "stoker_loader_worker_leases_lost",
            lost,
            self.leases_lost.clone(),
        );
    }

    pub(crate) fn request(&self, elapsed: Duration, status: u16) {
        let status = Status {
            status: status.into(),
        };
        self.requests.get_or_create(&status).inc();
        self.request_seconds.observe(elapsed.as_secs_f64());
    }

    pub(crate) fn resources(&self, outcome: &'static str, count: u64) {
        let label = OutcomeLabel { outcome };
        self.resources.get_or_create(&label).inc_by(count);
    }
}
