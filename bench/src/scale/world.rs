//! What is scaled: workers that take units from a ledger, and indexers that read a topic, second by second.

use bucket_scanner::ledger::UnitCounts;
use bucket_scanner::metrics::ScannerMetrics;
use stoker_shared::health::Metrics;

use super::autoscaler::{as_f64, whole};

/// A scanner counts units so often; Prometheus looks as often.
const COUNT_S: u64 = 15;

/// From its start a pod works after so many seconds.
const START_S: u64 = 5;

/// Something that pods work at.
pub trait World {
    /// Goes on for a second with so many pods.
    fn second(&mut self, now: u64, pods: u64);
    /// What Prometheus has of the signal.
    fn signal(&self) -> Option<f64>;
    /// CPU that pods use, in per cent of what they request.
    fn cpu(&self) -> f64;
    /// For how long what has waited longest has waited, in seconds.
    fn waits_s(&self) -> u64;
}

/// Pods that came are ready later; those that go hand back what they hold at once.
#[derive(Debug, Default)]
struct Pods {
    there: u64,
    starting: Vec<u64>,
}

impl Pods {
    fn ready(&mut self, now: u64, pods: u64) -> f64 {
        for _ in self.there..pods {
            self.starting.push(now + START_S);
        }
        self.there = pods;
        self.starting.retain(|ready| *ready > now);
        as_f64(pods) - as_f64(self.starting.len().try_into().unwrap_or(0)).min(as_f64(pods))
    }
}

/// What came, taken in its order.
#[derive(Debug, Default)]
struct Queue {
    /// How much had come by the end of each second.
    came: Vec<f64>,
    taken: f64,
    /// The first second of which something waits.
    oldest: usize,
}

impl Queue {
    fn come(&mut self, more: f64) {
        let before = self.came.last().copied().unwrap_or(0.0);
        self.came.push(before + more);
    }

    fn waiting(&self) -> f64 {
        self.came.last().copied().unwrap_or(0.0) - self.taken
    }

    /// Takes so much; less than nothing hands it back.
    fn take(&mut self, amount: f64) {
        self.taken += amount;
        let all_taken = |second: usize| {
            self.came
                .get(second)
                .is_some_and(|came| *came <= self.taken + 0.5)
        };
        while self.oldest > 0 && !all_taken(self.oldest - 1) {
            self.oldest -= 1;
        }
        while all_taken(self.oldest) {
            self.oldest += 1;
        }
    }

    fn waits_s(&self) -> u64 {
        u64::try_from(self.came.len().saturating_sub(self.oldest)).unwrap_or(u64::MAX)
    }
}

/// Loader-workers before a ledger and a FHIR server.
#[derive(Debug)]
pub struct Loading<F> {
    arrives: F,
    /// `load.units`
    units_held: f64,
    unit_s: f64,
    server_units_per_s: f64,
    pods: Pods,
    queue: Queue,
    held: f64,
    busy: f64,
    shown: Metrics,
    metrics: ScannerMetrics,
    scraped: Option<f64>,
}

impl<F: Fn(u64) -> f64> Loading<F> {
    /// Units arrive as `arrives` says of a second; each takes a worker `unit_s`, and the server takes so many a second.
    pub fn new(arrives: F, unit_s: f64, server_units_per_s: f64) -> Self {
        let (shown, metrics) = (Metrics::default(), ScannerMetrics::default());
        metrics.register(&shown);
        Self {
            arrives,
            units_held: 16.0,
            unit_s,
            server_units_per_s,
            pods: Pods::default(),
            queue: Queue::default(),
            held: 0.0,
            busy: 0.0,
            shown,
            metrics,
            scraped: None,
        }
    }

    /// As `monitoring/adapter/rules.yaml` adds them up.
    fn scrape(&self) -> Option<f64> {
        let text = self.shown.to_text().ok()?;
        let sample = |series: &str| -> Option<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(series));
            line?.trim().parse().ok()
        };
        let leased = sample("stoker_bucket_scanner_units{state=\"leased\"}")?;
        Some(sample("stoker_bucket_scanner_claimable_units")? + leased)
    }
}

impl<F: Fn(u64) -> f64> World for Loading<F> {
    fn second(&mut self, now: u64, pods: u64) {
        let ready = self.pods.ready(now, pods);
        self.queue.come((self.arrives)(now));
        let room = ready * self.units_held;
        // Fewer workers hold less: the rest is handed back.
        let taken = (room - self.held).min(self.queue.waiting());
        self.queue.take(taken);
        self.held += taken;
        let wanted = self.held / self.unit_s;
        let done = wanted.min(self.server_units_per_s).min(self.held);
        self.held -= done;
        // Two cores of four at most; a worker that waits for the server uses little.
        self.busy = if ready > 0.0 {
            2.0 * done * self.unit_s / room
        } else {
            0.0
        };
        if now.is_multiple_of(COUNT_S) {
            // What was counted last is scraped before it is counted anew.
            self.scraped = self.scrape();
            let claimable = whole(self.queue.waiting().ceil());
            self.metrics.units(UnitCounts {
                open: claimable,
                claimable,
                leased: whole(self.held.ceil()),
                parked: 0,
            });
        }
    }

    fn signal(&self) -> Option<f64> {
        self.scraped
    }

    fn cpu(&self) -> f64 {
        // resources.requests.cpu
        self.busy / 0.5 * 100.0
    }

    fn waits_s(&self) -> u64 {
        self.queue.waits_s()
    }
}

/// Remote-indexers before a topic; messages are indexed in the order in which they came.
#[derive(Debug)]
pub struct Indexing<F> {
    arrives: F,
    pod_per_s: f64,
    pods: Pods,
    queue: Queue,
    scraped: Option<f64>,
}

impl<F: Fn(u64) -> f64> Indexing<F> {
    /// Messages arrive as `arrives` says of a second; each pod indexes so many a second.
    pub fn new(arrives: F, pod_per_s: f64) -> Self {
        Self {
            arrives,
            pod_per_s,
            pods: Pods::default(),
            queue: Queue::default(),
            scraped: None,
        }
    }
}

impl<F: Fn(u64) -> f64> World for Indexing<F> {
    fn second(&mut self, now: u64, pods: u64) {
        let ready = self.pods.ready(now, pods);
        self.queue.come((self.arrives)(now));
        let done = (ready * self.pod_per_s).min(self.queue.waiting());
        self.queue.take(done);
        if now.is_multiple_of(COUNT_S) {
            self.scraped = Some(as_f64(self.queue.waits_s()));
        }
    }

    fn signal(&self) -> Option<f64> {
        self.scraped
    }

    fn cpu(&self) -> f64 {
        // The database is what limits it.
        100.0
    }

    fn waits_s(&self) -> u64 {
        self.queue.waits_s()
    }
}
