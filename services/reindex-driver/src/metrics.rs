//! Every metric of the reindex-driver.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use stoker_shared::health::Metrics;

use crate::runs::Seen;

/// HTTP status; 0 where no answer came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: u16,
}

/// Handles of the metrics; cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct ReindexMetrics {
    requests: Family<StatusLabel, Counter>,
    reindexed: Counter,
    failed: Counter,
    concurrency: Gauge,
    batch: Gauge,
    /// Runs being driven.
    pub(crate) runs: Gauge,
    /// Runs that another driver took over, since this one gave no sign in time.
    pub(crate) leases_lost: Counter,
}

impl ReindexMetrics {
    /// Makes them part of what `/metrics` shows.
    pub fn register(&self, metrics: &Metrics) {
        let name = |noun| format!("stoker_reindex_driver_{noun}");
        let help = "Requests to reindex, by HTTP status; 0 where no answer came";
        metrics.register(&name("requests"), help, self.requests.clone());
        let help = "Resources whose reindexing the server has confirmed";
        metrics.register(&name("resources"), help, self.reindexed.clone());
        let help = "Resources given up";
        metrics.register(&name("failures"), help, self.failed.clone());
        let help = "Requests at a time, of the run that was looked at last";
        metrics.register(&name("concurrency"), help, self.concurrency.clone());
        let help = "Resources to a request, of the run that was looked at last";
        metrics.register(&name("batch_resources"), help, self.batch.clone());
        let help = "Runs being driven";
        metrics.register(&name("runs"), help, self.runs.clone());
        let help = "Runs that another driver took over";
        metrics.register(&name("leases_lost"), help, self.leases_lost.clone());
    }

    pub(crate) fn answered(&self, failed: Option<u16>) {
        let status = failed.unwrap_or(200);
        self.requests.get_or_create(&StatusLabel { status }).inc();
    }

    pub(crate) fn reindexed(&self, count: usize) {
        self.reindexed.inc_by(count as u64);
    }

    pub(crate) fn failed(&self) {
        self.failed.inc();
    }

    pub(crate) fn seen(&self, seen: &Seen) {
        self.concurrency.set(seen.concurrency.into());
        self.batch.set(seen.batch.into());
    }
}
