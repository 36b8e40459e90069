//! Clients of Kafka, made alike.

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use stoker_shared::kafka::KafkaConfigError;

use super::{LIMIT, Producer};
use crate::Config;

/// Most that librdkafka lets a producer send; what a topic takes is the brokers' to say.
const ANY_SIZE: &str = "1000000000";

/// How the brokers are reached, as the service's consumers reach them.
pub(super) fn settings(config: &Config) -> Result<ClientConfig, KafkaConfigError> {
    let mut client = config.kafka.client()?;
    for (key, value) in &config.topic.properties {
        client.set(key, value);
    }
    Ok(client)
}

/// Takes a message for sent when all replicas in sync have it, and writes it once however often it is sent. Chooses
/// partitions as Kafka's own Java producer does, and so the FHIR server.
pub(super) fn producer(config: &Config) -> Result<Producer, KafkaConfigError> {
    let producer = settings(config)?
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("max.in.flight.requests.per.connection", "5")
        .set("partitioner", "murmur2_random")
        .set("compression.type", "zstd")
        .set("message.max.bytes", ANY_SIZE)
        .set("message.timeout.ms", LIMIT.as_millis().to_string())
        .create_with_context(Quiet)?;
    Ok(producer)
}

/// The library's own words are for those who debug; each error is told by whoever meets it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka");
    }

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }
}

impl ConsumerContext for Quiet {}
