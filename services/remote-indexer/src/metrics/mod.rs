//! Every metric of the remote-indexer.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use stoker_shared::health::Metrics;

use crate::Reason;

mod names;

pub use names::{Discard, LOOKUP_TABLES, ROW_KINDS, RetryCause};

/// How far a partition is from its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lag {
    /// Which partition of the topic.
    pub partition: i32,
    /// Messages that are not committed yet; none while the end is not known.
    pub messages: Option<u64>,
    /// Age of the oldest of them in seconds; none while that is not known.
    pub seconds: Option<f64>,
}

/// What has been done since the process started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Messages taken from the topic.
    pub taken: u64,
    /// Messages whose parameters are in the database.
    pub applied: u64,
    /// By [`Discard::code`].
    pub discarded: Vec<(&'static str, u64)>,
    /// By [`Reason::code`].
    pub dead_letters: Vec<(&'static str, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTable {
    table: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCause {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPartition {
    partition: i32,
}

type Seconds = Gauge<f64, AtomicU64>;

/// Handles of the metrics; cloning shares them.
#[derive(Debug, Clone)]
pub struct IndexMetrics {
    taken: Counter,
    applied: Counter,
    discarded: Family<ByReason, Counter>,
    dead_letters: Family<ByReason, Counter>,
    waiting_messages: Gauge,
    waiting_bytes: Gauge,
    batch_messages: Histogram,
    batch_seconds: Histogram,
    rows: Family<ByKind, Counter>,
    lookups_added: Family<ByTable, Counter>,
    retries: Family<ByCause, Counter>,
    rebalances: Counter,
    lag_messages: Family<ByPartition, Gauge>,
    lag_seconds: Family<ByPartition, Seconds>,
    lag_messages_max: Gauge,
    lag_seconds_max: Seconds,
    paused: Gauge,
    kafka_up: Gauge,
    database_up: Gauge,
}

impl Default for IndexMetrics {
    fn default() -> Self {
        let metrics = Self {
            taken: Counter::default(),
            applied: Counter::default(),
            discarded: Family::default(),
            dead_letters: Family::default(),
            waiting_messages: Gauge::default(),
            waiting_bytes: Gauge::default(),
            batch_messages: Histogram::new(exponential_buckets(1.0, 2.0, 15)),
            batch_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            rows: Family::default(),
            lookups_added: Family::default(),
            retries: Family::default(),
            rebalances: Counter::default(),
            lag_messages: Family::default(),
            lag_seconds: Family::default(),
            lag_messages_max: Gauge::default(),
            lag_seconds_max: Seconds::default(),
            paused: Gauge::default(),
            kafka_up: Gauge::default(),
            database_up: Gauge::default(),
        };
        metrics.begin_at_zero();
        metrics
    }
}

impl IndexMetrics {
    /// Makes them part of what `/metrics` shows.
    pub fn register(&self, metrics: &Metrics) {
        self.register_messages(metrics);
        self.register_writes(metrics);
        self.register_lags(metrics);
        for (name, help, gauge) in [
            ("paused", "1 while no new messages are taken", &self.paused),
            ("kafka_up", "1 while Kafka can be used", &self.kafka_up),
            (
                "database_up",
                "1 while the database can be used",
                &self.database_up,
            ),
        ] {
            metrics.register(&name_of(name), help, gauge.clone());
        }
    }

    fn register_messages(&self, metrics: &Metrics) {
        let taken = "Messages taken from the topic";
        metrics.register(&name_of("messages_taken"), taken, self.taken.clone());
        let applied = "Messages whose parameters are in the database";
        metrics.register(&name_of("messages_applied"), applied, self.applied.clone());
        let discarded = "Messages discarded by reason";
        let name = name_of("messages_discarded");
        metrics.register(&name, discarded, self.discarded.clone());
        let letters = "Messages that can never be indexed, by reason";
        metrics.register(&name_of("dead_letters"), letters, self.dead_letters.clone());
        let waiting = "Messages taken that wait for the server's commit or for those before them";
        let name = name_of("waiting_messages");
        metrics.register(&name, waiting, self.waiting_messages.clone());
        let bytes = "Bytes of those messages";
        metrics.register(&name_of("waiting_bytes"), bytes, self.waiting_bytes.clone());
    }

    fn register_writes(&self, metrics: &Metrics) {
        let messages = "Messages to a transaction";
        let name = name_of("batch_messages");
        metrics.register(&name, messages, self.batch_messages.clone());
        let seconds = "Duration of transactions, lookups before them included";
        metrics.register(
            &name_of("batch_seconds"),
            seconds,
            self.batch_seconds.clone(),
        );
        let rows = "Rows of parameters written by kind of table";
        metrics.register(&name_of("rows"), rows, self.rows.clone());
        let added = "Texts added to lookup tables";
        metrics.register(&name_of("lookups_added"), added, self.lookups_added.clone());
        let retries = "Transactions tried again by cause";
        metrics.register(&name_of("retries"), retries, self.retries.clone());
        let rebalances = "Times that partitions were given or taken";
        metrics.register(&name_of("rebalances"), rebalances, self.rebalances.clone());
    }

    fn register_lags(&self, metrics: &Metrics) {
        let messages = "Messages of a partition that are not committed yet";
        metrics.register(
            &name_of("lag_messages"),
            messages,
            self.lag_messages.clone(),
        );
        let seconds = "Age of the oldest message of a partition that is not committed yet";
        metrics.register(&name_of("lag_seconds"), seconds, self.lag_seconds.clone());
        let messages = "The largest of lag_messages over the partitions held";
        let name = name_of("lag_messages_max");
        metrics.register(&name, messages, self.lag_messages_max.clone());
        let seconds = "The largest of lag_seconds over the partitions held";
        let name = name_of("lag_seconds_max");
        metrics.register(&name, seconds, self.lag_seconds_max.clone());
    }

    /// Messages were taken from the topic.
    pub fn taken(&self, messages: u64) {
        self.taken.inc_by(messages);
    }

    /// The parameters of messages are in the database.
    pub fn applied(&self, messages: u64) {
        self.applied.inc_by(messages);
    }

    /// Messages were discarded.
    pub fn discarded(&self, why: Discard, messages: u64) {
        let reason = why.code();
        let counter = self.discarded.get_or_create_owned(&ByReason { reason });
        counter.inc_by(messages);
    }

    /// Messages are dead letters: the brokers have them.
    pub fn dead_letters(&self, why: Reason, messages: u64) {
        let reason = why.code();
        let counter = self.dead_letters.get_or_create_owned(&ByReason { reason });
        counter.inc_by(messages);
    }

    /// A transaction of so many messages was committed, this long after their lookups began.
    pub fn batch(&self, messages: usize, elapsed: Duration) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.batch_messages.observe(messages.into());
        self.batch_seconds.observe(elapsed.as_secs_f64());
    }

    /// Rows were committed to tables of a kind, one of [`ROW_KINDS`].
    pub fn rows(&self, kind: &'static str, rows: u64) {
        let counter = self.rows.get_or_create_owned(&ByKind { kind });
        counter.inc_by(rows);
    }

    /// Texts were added to a table, one of [`LOOKUP_TABLES`].
    pub fn lookups_added(&self, table: &'static str, rows: u64) {
        let counter = self.lookups_added.get_or_create_owned(&ByTable { table });
        counter.inc_by(rows);
    }

    /// A transaction is tried again.
    pub fn retried(&self, why: RetryCause) {
        let cause = why.code();
        self.retries.get_or_create_owned(&ByCause { cause }).inc();
    }

    /// Partitions were given to a consumer or taken from it.
    pub fn rebalanced(&self) {
        self.rebalances.inc();
    }

    /// Whether Kafka can be used.
    pub fn set_kafka_up(&self, is_up: bool) {
        self.kafka_up.set(is_up.into());
    }

    /// Whether the database can be used.
    pub fn set_database_up(&self, is_up: bool) {
        self.database_up.set(is_up.into());
    }

    pub(crate) fn set_paused(&self, is_paused: bool) {
        self.paused.set(is_paused.into());
    }

    pub(crate) fn set_waiting(&self, messages: usize, bytes: usize) {
        self.waiting_messages.set(whole(messages));
        self.waiting_bytes.set(whole(bytes));
    }

    /// Shows these partitions, and none of `gone`.
    pub(crate) fn set_lags(&self, lags: &[Lag], gone: impl Iterator<Item = i32>) {
        for partition in gone {
            self.lag_messages.remove(&ByPartition { partition });
            self.lag_seconds.remove(&ByPartition { partition });
        }
        for lag in lags {
            let label = ByPartition {
                partition: lag.partition,
            };
            if let Some(messages) = lag.messages {
                let gauge = self.lag_messages.get_or_create_owned(&label);
                gauge.set(whole(messages));
            }
            if let Some(seconds) = lag.seconds {
                self.lag_seconds.get_or_create_owned(&label).set(seconds);
            }
        }
        let messages = lags.iter().filter_map(|lag| lag.messages).max();
        self.lag_messages_max.set(whole(messages.unwrap_or(0)));
        let seconds = lags.iter().filter_map(|lag| lag.seconds);
        self.lag_seconds_max.set(seconds.fold(0.0, f64::max));
    }

    /// What has been counted so far.
    pub(crate) fn counts(&self) -> Counts {
        let of = |family: &Family<ByReason, Counter>, reason| {
            (
                reason,
                family.get_or_create_owned(&ByReason { reason }).get(),
            )
        };
        let discarded = Discard::ALL.map(|why| of(&self.discarded, why.code()));
        let letters = Reason::ALL.map(|why| of(&self.dead_letters, why.code()));
        Counts {
            taken: self.taken.get(),
            applied: self.applied.get(),
            discarded: discarded.to_vec(),
            dead_letters: letters.to_vec(),
        }
    }

    /// A counter that appears with its first sample hides that sample from `rate()`.
    fn begin_at_zero(&self) {
        for why in Discard::ALL {
            self.discarded(why, 0);
        }
        for why in Reason::ALL {
            self.dead_letters(why, 0);
        }
        for why in RetryCause::ALL {
            let cause = why.code();
            self.retries.get_or_create_owned(&ByCause { cause });
        }
        for kind in ROW_KINDS {
            self.rows(kind, 0);
        }
        for table in LOOKUP_TABLES {
            self.lookups_added(table, 0);
        }
    }
}

fn name_of(name: &str) -> String {
    format!("stoker_remote_indexer_{name}")
}

fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
