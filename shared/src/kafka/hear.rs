//! The consumer: hears every event of every service.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use prost::Message as _;
use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use stoker_proto::events::v1::Event;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::links::trace_of;
use super::state::{Hearing, State};
use super::{KafkaConfig, KafkaConfigError};

/// Partitions of the topic where it is not there yet; replicated as the brokers do by default.
const PARTITIONS: i32 = 6;
const BROKERS_DEFAULT: i32 = -1;

/// Pause after the consumer failed.
const PAUSE: Duration = Duration::from_secs(1);

/// An event, and the trace that it belongs to.
#[derive(Debug)]
pub struct Heard {
    /// What was announced.
    pub event: Event,
    /// Of the span in which it was announced; to be linked to.
    pub trace: Context,
}

/// Hears until the last sender of `heard` but its own is gone.
pub(super) fn start(
    config: &KafkaConfig,
    state: Arc<State>,
    heard: broadcast::Sender<Arc<Heard>>,
) -> Result<(), KafkaConfigError> {
    // A group of its own, which commits nothing: every process hears everything, from now on.
    let consumer: StreamConsumer<Hearing> = config
        .client()?
        .set("group.id", format!("stoker-events-{}", Uuid::new_v4()))
        .set("auto.offset.reset", "latest")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("session.timeout.ms", "10000")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .create_with_context(Hearing(Arc::clone(&state)))?;
    let admin: AdminClient<DefaultClientContext> = config.client()?.create()?;
    let topic = config.events_topic.clone();
    let weak = heard.downgrade();
    drop(heard);
    tokio::spawn(async move {
        make_topic(&admin, &topic).await;
        drop(admin);
        while let Err(error) = consumer.subscribe(&[&topic]) {
            tracing::debug!(%error, "cannot subscribe to events");
            tokio::time::sleep(PAUSE).await;
        }
        hear(&consumer, &state, &weak).await;
    });
    Ok(())
}

async fn make_topic(admin: &AdminClient<DefaultClientContext>, topic: &str) {
    let wanted = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(BROKERS_DEFAULT));
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    // Where it cannot be made it may be there, or come later; the consumer finds out.
    match admin.create_topics([&wanted], &options).await {
        Ok(results) => tracing::debug!(?results, "the events' topic"),
        Err(error) => tracing::debug!(%error, "the events' topic could not be made"),
    }
}

async fn hear(
    consumer: &StreamConsumer<Hearing>,
    state: &State,
    heard: &broadcast::WeakSender<Arc<Heard>>,
) {
    loop {
        let received = consumer.recv().await;
        let Some(heard) = heard.upgrade() else {
            return;
        };
        match received {
            Ok(message) => {
                state.found(message.partition());
                if let Some(event) = decode(&message) {
                    state.heard();
                    // Nobody listening is no fault.
                    let _ = heard.send(Arc::new(event));
                }
            }
            Err(KafkaError::PartitionEOF(partition)) => state.found(partition),
            Err(error) => {
                tracing::debug!(%error, "cannot hear events");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// None for what is no event: others may write to the topic too.
fn decode(message: &BorrowedMessage<'_>) -> Option<Heard> {
    let event = Event::decode(message.payload()?).ok()?;
    Some(Heard {
        event,
        trace: message.headers().map(trace_of).unwrap_or_default(),
    })
}
