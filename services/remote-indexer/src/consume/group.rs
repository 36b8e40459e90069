//! What Kafka tells a consumer besides messages: which partitions are its own, and how it fares.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::Span;

use super::progress::Progress;
use crate::metrics::IndexMetrics;

/// For what is committed of partitions that came; without an answer librdkafka asks again.
const ASK: Duration = Duration::from_millis(500);

/// Shared by a consumer and librdkafka's callbacks.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(super) topic: String,
    pub(super) metrics: IndexMetrics,
    progress: Arc<Mutex<Progress>>,
    trouble: Arc<Mutex<Trouble>>,
    /// Until Kafka answers.
    committing: Arc<Mutex<Span>>,
}

/// What keeps a consumer from taking messages.
#[derive(Debug)]
struct Trouble {
    /// Brokers cannot be used.
    away: Option<&'static str>,
    /// They can, and give us no partitions.
    idle: Option<&'static str>,
}

/// Of a topic that the FHIR server has not sent its first message to.
const NO_TOPIC: &str = "there is no such topic yet; the FHIR server or you make it";

impl Group {
    pub(super) fn new(topic: String, metrics: IndexMetrics) -> Self {
        Self {
            topic,
            metrics,
            progress: Arc::default(),
            trouble: Arc::new(Mutex::new(Trouble {
                away: None,
                idle: Some("the consumer has not joined its group yet"),
            })),
            committing: Arc::new(Mutex::new(Span::none())),
        }
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing can be taken just now.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.lock_trouble();
        let away = trouble.away.map(str::to_owned);
        let idle = trouble
            .idle
            .map(|reason| format!("{}: {reason}", self.topic));
        away.or(idle)
    }

    /// Whether all that is missing is the topic, and with it anything to do.
    pub(super) fn awaits_topic(&self) -> bool {
        let trouble = self.lock_trouble();
        trouble.away.is_none() && trouble.idle == Some(NO_TOPIC)
    }

    /// Brokers answer, and do not have the topic.
    pub(super) fn without_topic(&self) {
        self.without_partitions(NO_TOPIC);
    }

    /// A commit is asked for.
    pub(super) fn committing(&self) {
        self.set_committing(tracing::info_span!("commit"));
    }

    fn set_committing(&self, span: Span) {
        let mut committing = self
            .committing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *committing = span;
    }

    /// A broker answers.
    pub(super) fn reached(&self) {
        if self.lock_trouble().away.take().is_some() {
            tracing::info!("Kafka is back");
        }
        self.metrics.set_kafka_up(true);
    }

    /// No broker answers, or none as it should. Told once.
    fn away(&self, reason: &'static str) {
        let before = self.lock_trouble().away.replace(reason);
        if before != Some(reason) {
            tracing::warn!("{reason}; trying again");
        }
        self.metrics.set_kafka_up(false);
    }

    /// Brokers answer, but give us no partitions. Told once.
    pub(super) fn without_partitions(&self, reason: &'static str) {
        let before = self.lock_trouble().idle.replace(reason);
        if before != Some(reason) {
            tracing::warn!(topic = self.topic, "{reason}; trying again");
        }
    }

    fn lock_trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is done and not yet asked to be committed, as Kafka wants it.
    pub(super) fn not_committed(&self, only: Option<i32>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in self.progress().not_committed(only) {
            // Fails only for offsets below zero.
            let _ = list.add_partition_offset(&self.topic, partition, Offset::Offset(offset));
        }
        list
    }

    /// All partitions that are ours.
    pub(super) fn assigned(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in self.progress().partitions() {
            list.add_partition(&self.topic, partition);
        }
        list
    }

    /// Partitions of which nothing was ever committed are read from their beginning. librdkafka finds that out too, and
    /// then pauses before it does so.
    fn begin_new(consumer: &BaseConsumer<Self>, assigned: &TopicPartitionList) {
        let Ok(committed) = consumer.committed_offsets(assigned.clone(), ASK) else {
            return;
        };
        for mut partition in assigned.elements() {
            let found = committed.find_partition(partition.topic(), partition.partition());
            if found.is_some_and(|p| p.error().is_ok() && p.offset() == Offset::Invalid) {
                // Fails only for what is no offset.
                let _ = partition.set_offset(Offset::Beginning);
            }
        }
    }

    /// What was done so far of partitions that go to another consumer is committed, so that it need not be
    /// done again.
    fn revoke(&self, consumer: &BaseConsumer<Self>, revoked: &TopicPartitionList) {
        for partition in revoked
            .elements()
            .iter()
            .map(rdkafka::topic_partition_list::TopicPartitionListElem::partition)
        {
            let done = self.not_committed(Some(partition));
            if done.count() > 0
                && let Err(error) = consumer.commit(&done, CommitMode::Sync)
            {
                tracing::debug!(partition, %error, "not committed when the partition went");
            }
            self.progress().revoke(partition);
        }
    }
}

impl ClientContext for Group {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                self.away(
                    "no Kafka broker can be reached; check kafka.brokers and that Kafka runs",
                );
            }
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                self.away(
                    "Kafka refuses the user or password; check kafka.user, password and sasl",
                );
            }
            Some(RDKafkaErrorCode::SSL) => {
                self.away("the TLS handshake with Kafka fails; check kafka.tls, ca_file and the client certificate");
            }
            // One broker of several, or one more try.
            _ => tracing::debug!(%error, reason, "Kafka"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        if statistics
            .brokers
            .values()
            .any(|broker| broker.state == "UP")
        {
            self.reached();
        }
        let Some(topic) = statistics.topics.get(&self.topic) else {
            return;
        };
        let mut progress = self.progress();
        for (number, partition) in &topic.partitions {
            progress.seen(*number, partition.hi_offset, partition.committed_offset);
        }
    }
}

impl ConsumerContext for Group {
    fn commit_callback(&self, _: KafkaResult<()>, _: &TopicPartitionList) {
        self.set_committing(Span::none());
    }

    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(assigned) => {
                Self::begin_new(consumer, assigned);
                for partition in assigned.elements() {
                    self.progress().assign(partition.partition());
                }
                self.lock_trouble().idle = None;
                self.reached();
                tracing::info!(partitions = assigned.count(), "partitions came");
            }
            Rebalance::Revoke(revoked) => {
                self.revoke(consumer, revoked);
                tracing::info!(partitions = revoked.count(), "partitions go");
            }
            Rebalance::Error(error) => {
                tracing::warn!(%error, "the partitions could not be shared out");
            }
        }
        self.metrics.rebalanced();
    }
}
