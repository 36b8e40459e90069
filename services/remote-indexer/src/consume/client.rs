//! How consumers are made.

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use stoker_shared::kafka::KafkaConfigError;

use super::group::Group;
use crate::config::Config;
use crate::metrics::IndexMetrics;

/// Why a consumer ended otherwise than asked to.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The settings cannot be used.
    #[error("remote_indexer.{0}")]
    Config(#[from] KafkaConfigError),
    /// librdkafka refuses the settings.
    #[error("remote_indexer.topic.properties: {0}; see librdkafka's CONFIGURATION.md")]
    Properties(KafkaError),
    /// A fault of this program.
    #[error(
        "a consumer ended by a fault of this program; what it had not committed will be done again"
    )]
    Panicked,
    /// The database cannot be used, now or later.
    #[error("remote_indexer.database: {0}")]
    Database(String),
    /// Kafka has put the consumer out for good.
    #[error("Kafka has put the consumer out: {0}; does another process use the same topic.member?")]
    Fatal(RDKafkaErrorCode),
}

impl ConsumerError {
    pub(super) fn database(error: &crate::database::DbError) -> Self {
        Self::Database(error.to_string())
    }
}

/// A consumer that has joined the group, or will as soon as Kafka is there.
pub(crate) fn connect(
    config: &Config,
    number: usize,
    metrics: IndexMetrics,
) -> Result<StreamConsumer<Group>, ConsumerError> {
    let mut client = config.kafka.client()?;
    settings(config, number, &mut client);
    let group = Group::new(config.topic.name.clone(), metrics);
    let consumer: StreamConsumer<Group> = client
        .create_with_context(group)
        .map_err(ConsumerError::Properties)?;
    consumer
        .subscribe(&[&config.topic.name])
        .map_err(ConsumerError::Properties)?;
    Ok(consumer)
}

/// Bytes that a broker is asked for at once.
const FETCH: &str = "524288";

fn settings(config: &Config, number: usize, client: &mut ClientConfig) {
    let held = config.index.batch_bytes;
    client
        // A killed consumer's partitions are another's after six seconds, the least that brokers grant unless told
        // otherwise.
        .set("session.timeout.ms", "6000")
        // Whoever is there already learns of a newcomer by the answer, and makes room.
        .set("heartbeat.interval.ms", "500")
        .set("partition.assignment.strategy", "cooperative-sticky")
        // A topic or partition that is new is found soon.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("allow.auto.create.topics", "false")
        // Half of it must pass from one broker's connection to the next, of which the group's coordinator is the third.
        .set("reconnect.backoff.ms", "20")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "5")
        // What is fetched is held beside the batch that is worked on, and the brokers are near: little at once keeps
        // up. A larger message comes alone. (librdkafka asks for no more than it may queue, and no less than a message.)
        .set("message.max.bytes", FETCH)
        .set("fetch.message.max.bytes", FETCH)
        .set(
            "queued.max.messages.kbytes",
            (held / 6144).max(512).to_string(),
        )
        .set("statistics.interval.ms", "5000");
    for (key, value) in &config.topic.properties {
        client.set(key, value);
    }
    // These are not to be chosen: offsets move when messages are done.
    client
        .set("group.id", &config.topic.group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    if let Some(member) = &config.topic.member {
        client.set("group.instance.id", format!("{member}-{number}"));
    }
}
