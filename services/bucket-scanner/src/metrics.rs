//! Every metric of the bucket-scanner.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use stoker_shared::health::Metrics;

use crate::ledger::{Registered, UnitCounts};

/// How a scan ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// Why an object was registered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabel {
    change: &'static str,
}

/// Where units stand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

/// Handles of the metrics; cloning shares them.
#[derive(Debug, Clone)]
pub struct ScannerMetrics {
    objects: Family<ChangeLabel, Counter>,
    scans: Family<ResultLabel, Counter>,
    scan_seconds: Histogram,
    units: Family<StateLabel, Gauge>,
    claimable_units: Gauge,
    /// Commits taken.
    pub(crate) commits: Counter,
    /// Writes refused since their lease was lost.
    pub(crate) leases_lost: Counter,
}

impl Default for ScannerMetrics {
    fn default() -> Self {
        let metrics = Self {
            objects: Family::default(),
            scans: Family::default(),
            scan_seconds: Histogram::new(exponential_buckets(0.01, 4.0, 10)),
            units: Family::default(),
            claimable_units: Gauge::default(),
            commits: Counter::default(),
            leases_lost: Counter::default(),
        };
        // A counter that appears with its first sample hides that sample from `increase()`.
        metrics.registered(&Registered::default());
        for result in ["listed", "failed"] {
            drop(metrics.scans.get_or_create(&ResultLabel { result }));
        }
        metrics
    }
}

impl ScannerMetrics {
    /// Makes them part of what `/metrics` shows.
    pub fn register(&self, metrics: &Metrics) {
        let name = |noun| format!("stoker_bucket_scanner_{noun}");
        let help = "Objects registered, new and changed";
        metrics.register(&name("objects"), help, self.objects.clone());
        let help = "Scans of a source, by how they ended";
        metrics.register(&name("scans"), help, self.scans.clone());
        let help = "Duration of a scan";
        metrics.register(&name("scan_seconds"), help, self.scan_seconds.clone());
        let help = "Units of work by state, counted every 15 s (of millions more seldom)";
        metrics.register(&name("units"), help, self.units.clone());
        let help = "Units that a worker would be given now, counted as often";
        let claimable = self.claimable_units.clone();
        metrics.register(&name("claimable_units"), help, claimable);
        let help = "Commits of outcomes";
        metrics.register(&name("commits"), help, self.commits.clone());
        let help = "Writes of workers refused since their lease was lost";
        metrics.register(&name("leases_lost"), help, self.leases_lost.clone());
    }

    pub(crate) fn registered(&self, registered: &Registered) {
        let changes = [("new", registered.new), ("changed", registered.changed)];
        for (change, count) in changes {
            self.objects
                .get_or_create(&ChangeLabel { change })
                .inc_by(count);
        }
    }

    pub(crate) fn scanned(&self, elapsed: Duration, listed: bool) {
        let result = if listed { "listed" } else { "failed" };
        self.scans.get_or_create(&ResultLabel { result }).inc();
        self.scan_seconds.observe(elapsed.as_secs_f64());
    }

    /// Shows how many units there are.
    pub fn units(&self, counts: UnitCounts) {
        let states = [
            ("open", counts.open),
            ("leased", counts.leased),
            ("parked", counts.parked),
        ];
        for (state, count) in states {
            self.units
                .get_or_create(&StateLabel { state })
                .set(whole(count));
        }
        self.claimable_units.set(whole(counts.claimable));
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
