//! The topic of dead letters, made when it is missing.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use stoker_shared::kafka::{self, KafkaConfig, KafkaConfigError};

use super::DeadLetterError;
use super::client::{self, Quiet};
use crate::Config;

/// The brokers have so long to answer.
const LIMIT: Duration = Duration::from_secs(10);

const BROKERS_DEFAULT: i32 = -1;

/// A letter is larger than its message by its headers, and must be kept however large that is.
const LARGEST: &str = "33554432";

/// Makes the topic: letters stay until a person deletes them. One that is there stays as it is.
pub(super) async fn make(config: &Config, topic: &str) -> Result<(), DeadLetterError> {
    let admin: AdminClient<Quiet> = client::settings(config)?
        .create_with_context(Quiet)
        .map_err(KafkaConfigError::from)?;
    let wanted = NewTopic::new(topic, 1, TopicReplication::Fixed(BROKERS_DEFAULT))
        .set("cleanup.policy", "delete")
        .set("retention.ms", "-1")
        .set("max.message.bytes", LARGEST);
    let options = AdminOptions::new()
        .request_timeout(Some(LIMIT))
        .operation_timeout(Some(LIMIT));
    let not_made = |reason: String| DeadLetterError::NotMade {
        topic: topic.to_owned(),
        reason,
    };
    let made = admin.create_topics([&wanted], &options).await;
    let made = made.map_err(|error| DeadLetterError::NotTaken {
        topic: topic.to_owned(),
        reason: error.to_string(),
    })?;
    match made.into_iter().next() {
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((
            _,
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed,
        ))) => made_by_another(config, topic).await,
        Some(Err((_, code))) => Err(not_made(code.to_string())),
    }
}

/// Whoever may not make topics may have had it made.
async fn made_by_another(config: &Config, topic: &str) -> Result<(), DeadLetterError> {
    let topic = topic.to_owned();
    let asked = KafkaConfig {
        events_topic: topic.clone(),
        ..config.kafka.clone()
    };
    let looked = tokio::task::spawn_blocking(move || kafka::look(&asked, LIMIT)).await;
    let is_there = matches!(looked, Ok(Ok(look)) if look.partitions.is_some());
    if is_there {
        return Ok(());
    }
    let what = "make";
    Err(DeadLetterError::Denied { topic, what })
}
