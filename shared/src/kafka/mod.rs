//! Events on Kafka: services announce what they did, and hear what others did.
//!
//! Events wake and inform; the ledger decides. So announcing never waits and never fails: while Kafka is
//! away a bounded number of events is kept, then they are dropped and counted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use stoker_proto::events::v1::event::Kind;
use stoker_proto::events::v1::{Event, ObjectRef};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::clock::SharedClock;
use crate::health::Metrics;
use crate::trace;

mod check;
mod config;
mod hear;
pub mod java;
mod links;
mod state;
mod tls;

pub use check::{KafkaLook, KafkaLookError, look};
pub use config::{KafkaConfig, KafkaConfigError, Sasl};
pub use hear::Heard;
pub use links::link;
use state::{Announcing, State};
pub use tls::KafkaPem;

/// Events kept while Kafka does not take them.
const KEPT: &str = "20000";

/// Events a slow listener may fall behind by; the loss of one costs time only.
const BEHIND: usize = 1024;

/// Announces and hears events of one process. Does nothing where no broker is configured; cloning
/// shares the connections.
#[derive(Clone)]
pub struct Events(Option<Arc<Connected>>);

struct Connected {
    producer: ThreadedProducer<Announcing>,
    topic: String,
    service: &'static str,
    instance: String,
    clock: SharedClock,
    state: Arc<State>,
    heard: broadcast::Sender<Arc<Heard>>,
}

impl Events {
    /// Without Kafka.
    pub fn none() -> Self {
        Self(None)
    }

    /// For `service`. Connecting happens beside; needs a Tokio runtime.
    pub fn connect(
        config: &KafkaConfig,
        service: &'static str,
        clock: SharedClock,
    ) -> Result<Self, KafkaConfigError> {
        if !config.is_configured() {
            return Ok(Self::none());
        }
        let state = Arc::new(State::new(config.brokers()));
        let (heard, _) = broadcast::channel(BEHIND);
        hear::start(config, Arc::clone(&state), heard.clone())?;
        let producer = config
            .client()?
            .set("queue.buffering.max.messages", KEPT)
            .set("linger.ms", "20")
            .set("compression.type", "lz4")
            .set("message.timeout.ms", "60000")
            .create_with_context(Announcing(Arc::clone(&state)))?;
        let host = crate::object_store::host_name();
        Ok(Self(Some(Arc::new(Connected {
            producer,
            topic: config.events_topic.clone(),
            service,
            instance: format!("{host}:{}", std::process::id()),
            clock,
            state,
            heard,
        }))))
    }

    /// Shows how many events were taken, dropped and heard.
    pub fn register(&self, metrics: &Metrics) {
        if let Some(connected) = &self.0 {
            connected.state.register(metrics);
        }
    }

    /// Announces what happened to the object (or job) that `key` names. Returns at once.
    pub fn announce(&self, key: &str, kind: Kind) {
        let Some(connected) = &self.0 else {
            return;
        };
        let event = Event {
            event_id: Uuid::new_v4().to_string(),
            time: Some(timestamp(connected.clock.now())),
            service: connected.service.to_owned(),
            instance: connected.instance.clone(),
            kind: Some(kind),
        };
        let bytes = event.encode_to_vec();
        let record = BaseRecord::to(&connected.topic)
            .key(key)
            .payload(&bytes)
            .headers(headers());
        match connected.producer.send(record) {
            Ok(()) => {}
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                connected.state.dropped();
            }
            Err((error, _)) => {
                connected.state.dropped();
                connected.state.trouble(&error.to_string());
            }
        }
    }

    /// Whether events are being heard now; otherwise look for yourself.
    pub fn are_heard(&self) -> bool {
        self.0.as_ref().is_some_and(|c| c.state.hears())
    }

    /// What is announced from now on, by this process too. Ends never; yields nothing without Kafka.
    pub fn listen(&self) -> Listener {
        Listener(self.0.as_ref().map(|connected| connected.heard.subscribe()))
    }

    /// Waits until Kafka has taken what is announced, at most for `limit`.
    pub async fn flush(&self, limit: Duration) {
        let Some(connected) = self.0.clone() else {
            return;
        };
        let flushed = tokio::task::spawn_blocking(move || connected.producer.flush(limit));
        if let Ok(Err(error)) = flushed.await {
            tracing::warn!(%error, "the last events were not taken by Kafka");
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events")
            .field(&self.0.as_ref().map(|c| &c.topic))
            .finish()
    }
}

/// Hears events; see [`Events::listen`].
#[derive(Debug)]
pub struct Listener(Option<broadcast::Receiver<Arc<Heard>>>);

impl Listener {
    /// The next event; none where some were missed. Waits for ever without Kafka.
    pub async fn next(&mut self) -> Option<Arc<Heard>> {
        let received = match &mut self.0 {
            Some(receiver) => receiver.recv().await,
            None => std::future::pending().await,
        };
        match received {
            Ok(heard) => Some(heard),
            Err(broadcast::error::RecvError::Lagged(_)) => None,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// The key of events about an object.
pub fn object_key(object: &ObjectRef) -> String {
    format!("{}/{}", object.bucket_name, object.key)
}

fn headers() -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    for (key, value) in trace::current() {
        headers = headers.insert(rdkafka::message::Header {
            key: &key,
            value: Some(&value),
        });
    }
    headers
}

fn timestamp(time: chrono::DateTime<chrono::Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0),
    }
}
