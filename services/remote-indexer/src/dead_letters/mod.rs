//! Messages that can never be indexed: kept in a topic of their own, listed, and sent again.
//!
//! A letter is durable before the offset of its message is committed. A process that dies before [`DeadLetters::send`]
//! has returned takes the message again, and judges it again; one that dies after that and before its commit does so
//! too, and a second letter of the same message comes to lie beside the first: [`Letters`] and [`replay`] count the
//! two as one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::try_join_all;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;
use stoker_shared::kafka::KafkaConfigError;

use crate::{Config, Reason};

mod client;
mod letter;
mod progress;
mod read;
mod replay;
mod topic;

use client::Quiet;
pub use letter::{Letter, Origin};
pub use read::{Letters, LettersError};
pub use replay::{Replay, ReplayError, Replayed, replay};

/// Kafka has so long to take a letter.
const LIMIT: Duration = Duration::from_secs(30);

type Producer = FutureProducer<Quiet>;

/// A message that can never be indexed.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'m> {
    /// Its key as it came.
    pub key: Option<&'m [u8]>,
    /// Its value as it came.
    pub value: Option<&'m [u8]>,
    /// Its headers as they came.
    pub headers: Option<&'m OwnedHeaders>,
    /// The partition of the topic that it came from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its time in Kafka, where it has one.
    pub time: Option<DateTime<Utc>>,
    /// What is wrong with it.
    pub reason: Reason,
    /// The same in a sentence without patient data.
    pub detail: &'m str,
}

/// Why letters are not in their topic. All of them may be sent again: what is there twice is counted once.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The settings cannot be used.
    #[error("remote_indexer.{0}")]
    Config(#[from] KafkaConfigError),
    /// The user may not write to the topic, or not make it.
    #[error(
        "{topic}: the user may not {what} this topic; grant it CREATE, DESCRIBE and WRITE on it"
    )]
    Denied {
        /// The topic of dead letters.
        topic: String,
        /// What is not allowed.
        what: &'static str,
    },
    /// The topic is not there and cannot be made.
    #[error(
        "{topic}: the topic of dead letters cannot be made: {reason}; make it with 1 partition, or set topic.dead_letters"
    )]
    NotMade {
        /// The topic of dead letters.
        topic: String,
        /// What the brokers say.
        reason: String,
    },
    /// The topic takes no message so large.
    #[error(
        "{topic}: takes no message as large as that of partition {partition}, offset {offset}; raise its max.message.bytes"
    )]
    TooLarge {
        /// The topic of dead letters.
        topic: String,
        /// Where the message came from.
        partition: i32,
        /// Where it lies there.
        offset: i64,
    },
    /// The brokers did not take it.
    #[error(
        "{topic}: Kafka does not take dead letters: {reason}; check that its brokers run and have room"
    )]
    NotTaken {
        /// The topic of dead letters.
        topic: String,
        /// What the library says.
        reason: String,
    },
}

/// Writes dead letters; cloning shares the connections, which are made with the first letter.
#[derive(Clone)]
pub struct DeadLetters(Arc<Inner>);

struct Inner {
    config: Config,
    topic: String,
    /// None before the first letter, and after a letter was not taken: a new one makes the topic if it has
    /// vanished meanwhile, and has none of the old one's errors, some of which last.
    producer: Mutex<Option<Producer>>,
}

impl DeadLetters {
    /// For messages of the configured topic. Fails where the settings cannot be used; asks no broker yet.
    pub fn connect(config: &Config) -> Result<Self, DeadLetterError> {
        client::settings(config)?;
        Ok(Self(Arc::new(Inner {
            config: config.clone(),
            topic: config.topic.dead_letters(),
            producer: Mutex::default(),
        })))
    }

    /// Returns when the brokers have all letters on as many disks as the topic asks for. Makes the topic when it is
    /// missing. After an error some may be there and some not; send all of them again.
    pub async fn send(&self, letters: &[DeadLetter<'_>]) -> Result<(), DeadLetterError> {
        if letters.is_empty() {
            return Ok(());
        }
        let producer = self.producer().await?;
        let sent = letters
            .iter()
            .map(|letter| self.send_one(&producer, letter));
        let sent = try_join_all(sent).await;
        if sent.is_err() {
            *self.lock() = None;
        }
        sent.map(|_| ())
    }

    async fn send_one(
        &self,
        producer: &Producer,
        letter: &DeadLetter<'_>,
    ) -> Result<(), DeadLetterError> {
        let topic = &self.0.topic;
        let headers = letter::headers(letter, &self.0.config.topic.name);
        let record = record(topic, letter.key, letter.value, headers);
        let sent = producer.send(record, Timeout::After(LIMIT)).await;
        sent.map(|_| ()).map_err(|(error, _)| {
            let topic = topic.clone();
            match cause(&error, producer) {
                RDKafkaErrorCode::MessageSizeTooLarge => DeadLetterError::TooLarge {
                    topic,
                    partition: letter.partition,
                    offset: letter.offset,
                },
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed => DeadLetterError::Denied {
                    topic,
                    what: "write to",
                },
                code => DeadLetterError::NotTaken {
                    topic,
                    reason: code.to_string(),
                },
            }
        })
    }

    async fn producer(&self) -> Result<Producer, DeadLetterError> {
        if let Some(producer) = &*self.lock() {
            return Ok(producer.clone());
        }
        topic::make(&self.0.config, &self.0.topic).await?;
        let made = client::producer(&self.0.config)?;
        Ok(self.lock().get_or_insert(made).clone())
    }

    /// A thread that panicked holding the lock left a whole value.
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Producer>> {
        self.0
            .producer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeadLetters").field(&self.0.topic).finish()
    }
}

fn record<'m>(
    topic: &'m str,
    key: Option<&'m [u8]>,
    value: Option<&'m [u8]>,
    headers: OwnedHeaders,
) -> FutureRecord<'m, [u8], [u8]> {
    let mut record = FutureRecord::to(topic).headers(headers);
    record.key = key;
    record.payload = value;
    record
}

/// Once a producer that writes each message once cannot go on, it says why only when asked.
fn cause(error: &KafkaError, producer: &Producer) -> RDKafkaErrorCode {
    let fatal = producer.client().fatal_error().map(|(code, _)| code);
    let own = error.rdkafka_error_code();
    fatal.or(own).unwrap_or(RDKafkaErrorCode::Unknown)
}
