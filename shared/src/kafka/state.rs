//! What is known of Kafka's health, told once at each change.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::topic_partition_list::TopicPartitionListElem;

use crate::health::Metrics;

/// Shared by the two clients of one process.
#[derive(Debug)]
pub(super) struct State {
    brokers: String,
    away: AtomicBool,
    hears: AtomicBool,
    /// Partitions that came and whose end is being looked for: what is announced there may be missed.
    sought: Mutex<HashSet<i32>>,
    last: Mutex<String>,
    announced: Counter,
    dropped: Counter,
    heard: Counter,
    up: Gauge,
}

impl State {
    pub(super) fn new(brokers: String) -> Self {
        Self {
            brokers,
            away: AtomicBool::new(false),
            hears: AtomicBool::new(false),
            sought: Mutex::default(),
            last: Mutex::default(),
            announced: Counter::default(),
            dropped: Counter::default(),
            heard: Counter::default(),
            up: Gauge::default(),
        }
    }

    pub(super) fn register(&self, metrics: &Metrics) {
        let counters = [
            ("announced", "Events that Kafka took", &self.announced),
            (
                "dropped",
                "Events that Kafka did not take in time",
                &self.dropped,
            ),
            ("heard", "Events of all services heard", &self.heard),
        ];
        for (name, help, counter) in counters {
            metrics.register(&format!("stoker_events_{name}"), help, counter.clone());
        }
        let help = "1 while events are being heard";
        metrics.register("stoker_events_hearing", help, self.up.clone());
    }

    pub(super) fn hears(&self) -> bool {
        self.hears.load(Ordering::Relaxed)
    }

    fn set_hears(&self, hears: bool) {
        self.hears.store(hears, Ordering::Relaxed);
        self.up.set(hears.into());
    }

    pub(super) fn heard(&self) {
        self.heard.inc();
    }

    /// These partitions, and no others, are to be heard from their ends on.
    fn seek(&self, partitions: HashSet<i32>) {
        self.set_hears(false);
        *self.sought() = partitions;
    }

    /// The end of `partition` is known. With the last one of them everything is heard.
    pub(super) fn found(&self, partition: i32) {
        let mut sought = self.sought();
        sought.remove(&partition);
        if sought.is_empty() {
            self.set_hears(true);
        }
    }

    fn sought(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.sought.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dropped(&self) {
        self.dropped.inc();
    }

    fn taken(&self) {
        self.announced.inc();
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(brokers = self.brokers, "Kafka is back");
        }
    }

    /// Tells of trouble, but not of the same again and again.
    pub(super) fn trouble(&self, reason: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.away.swap(true, Ordering::Relaxed);
        if known && *last == reason {
            return;
        }
        reason.clone_into(&mut last);
        tracing::warn!(
            brokers = self.brokers,
            reason,
            "Kafka cannot be used; loading goes on without events"
        );
    }

    fn told(&self, error: &KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                self.set_hears(false);
                self.trouble("no broker can be reached; check brokers and that Kafka runs");
            }
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                self.set_hears(false);
                self.trouble("the user or password is refused; check user, password and sasl");
            }
            Some(RDKafkaErrorCode::SSL) => {
                self.set_hears(false);
                self.trouble(
                    "the TLS handshake fails; check tls, ca_file and the client certificate",
                );
            }
            // One broker of several, or one more try.
            _ => tracing::debug!(%error, reason, "Kafka"),
        }
    }
}

/// Context of the producer.
pub(super) struct Announcing(pub(super) Arc<State>);

impl ClientContext for Announcing {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.told(&error, reason);
    }

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }
}

impl ProducerContext for Announcing {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {
        match result {
            Ok(_) => self.0.taken(),
            Err((error, _)) => {
                self.0.dropped();
                tracing::debug!(%error, "an event was not taken by Kafka");
            }
        }
    }
}

/// Context of the consumer.
pub(super) struct Hearing(pub(super) Arc<State>);

impl ClientContext for Hearing {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.told(&error, reason);
    }

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }
}

impl ConsumerContext for Hearing {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.0.seek(match rebalance {
            Rebalance::Assign(partitions) => {
                let elements = partitions.elements();
                elements
                    .iter()
                    .map(TopicPartitionListElem::partition)
                    .collect()
            }
            Rebalance::Revoke(_) | Rebalance::Error(_) => HashSet::new(),
        });
    }
}
