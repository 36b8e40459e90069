//! Sends letters to the topics they came from once more.
//!
//! What has been sent is remembered only when the brokers have it. A process that dies before that sends the same
//! letters again at the next time; the indexer makes that harmless.

use futures::future::try_join_all;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::util::Timeout;
use stoker_shared::kafka::KafkaConfigError;
use tokio::runtime::Handle;

use super::client;
use super::letter::Letter;
use super::read::{At, Begin, Found, Letters, LettersError};
use super::{LIMIT, Producer, cause, record};
use crate::Config;

/// Letters to a batch: after each it is remembered how far it is.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 8 << 20;

/// What to send.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// Only letters with this code of a reason; all when none.
    pub reason: Option<String>,
    /// Count only: send nothing and remember nothing.
    pub dry_run: bool,
}

/// What became of the letters that had not been sent before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Sent.
    pub sent: u64,
    /// Left for another time: of other reasons than the one asked for.
    pub left: u64,
    /// Further letters of messages that were sent.
    pub again: u64,
    /// Messages in the topic that are no dead letters.
    pub foreign: u64,
}

/// Why not all letters were sent. What was sent is remembered, but for a last batch perhaps; the next replay goes on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The settings cannot be used.
    #[error("remote_indexer.{0}")]
    Config(#[from] KafkaConfigError),
    /// They cannot be read, or it cannot be remembered that they were sent.
    #[error(transparent)]
    Letters(#[from] LettersError),
    /// The brokers did not take one.
    #[error(
        "{topic}: Kafka does not take the message again: {reason}; check that the topic is there, and that the user may WRITE to it"
    )]
    NotTaken {
        /// The topic that the message came from.
        topic: String,
        /// What the library says.
        reason: RDKafkaErrorCode,
    },
}

/// Sends each letter that has not been sent before to its topic, with its key, value and headers as they were; tells
/// `shown` after each batch how many of how many are done. Blocks: to be called on a thread for that, within a Tokio
/// runtime.
pub fn replay(
    config: &Config,
    how: &Replay,
    mut shown: impl FnMut(u64, u64),
) -> Result<Replayed, ReplayError> {
    let Some(letters) = Letters::begin(config, Begin::NotReplayed)? else {
        return Ok(Replayed::default());
    };
    let all = letters.left();
    let mut run = Run {
        producer: client::producer(config)?,
        letters,
        how,
        so_far: Replayed::default(),
        batch: Vec::new(),
        bytes: 0,
    };
    while let Some(at) = run.letters.next_at() {
        run.take(at?);
        if run.batch.len() >= BATCH || run.bytes >= BATCH_BYTES {
            run.send()?;
            shown(all - run.letters.left(), all);
        }
    }
    run.send()?;
    Ok(run.so_far)
}

struct Run<'r> {
    letters: Letters,
    producer: Producer,
    how: &'r Replay,
    so_far: Replayed,
    batch: Vec<Letter>,
    bytes: usize,
}

impl Run<'_> {
    fn take(&mut self, at: At) {
        let At {
            partition,
            mut offsets,
            found,
        } = at;
        match found {
            Found::Again => self.so_far.again += 1,
            Found::Foreign => self.so_far.foreign += 1,
            Found::Letter(letter) if letter.is_replayed => {}
            Found::Letter(letter) if self.is_asked_for(&letter) => {
                self.so_far.sent += 1;
                self.bytes += letter.value.as_ref().map_or(0, Vec::len);
                self.batch.push(*letter);
            }
            Found::Letter(_) => {
                self.so_far.left += 1;
                offsets.end -= 1;
            }
        }
        // Committed when the batch is sent.
        self.letters.progress().add(partition, offsets);
    }

    fn is_asked_for(&self, letter: &Letter) -> bool {
        let asked = self.how.reason.as_ref();
        asked.is_none_or(|reason| *reason == letter.reason)
    }

    /// Sends the batch, and remembers it when all of it is there.
    fn send(&mut self) -> Result<(), ReplayError> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if self.how.dry_run {
            return Ok(());
        }
        let sent = batch.iter().map(|letter| send_one(&self.producer, letter));
        Handle::current().block_on(try_join_all(sent))?;
        Ok(self.letters.commit()?)
    }
}

async fn send_one(producer: &Producer, letter: &Letter) -> Result<(), ReplayError> {
    let topic = &letter.origin.topic;
    let (key, value) = (letter.key.as_deref(), letter.value.as_deref());
    let record = record(topic, key, value, letter.headers.clone());
    let sent = producer.send(record, Timeout::After(LIMIT)).await;
    sent.map(|_| ())
        .map_err(|(error, _)| ReplayError::NotTaken {
            topic: topic.clone(),
            reason: cause(&error, producer),
        })
}
