//! Letters read from their topic, up to where it ends at the start.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use stoker_shared::kafka::{self, KafkaConfig, KafkaConfigError, KafkaLookError};

use super::client::{self, Quiet};
use super::letter::{self, Letter, Origin};
use super::progress::Progress;
use crate::Config;

/// The brokers have so long to answer, or to send the next letter.
const LIMIT: Duration = Duration::from_secs(20);

/// The library is asked for a message so long at a time.
const SLICE: Duration = Duration::from_millis(250);

/// Why letters cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// The settings cannot be used.
    #[error("remote_indexer.{0}")]
    Config(#[from] KafkaConfigError),
    /// Kafka cannot be used.
    #[error(transparent)]
    Kafka(#[from] KafkaLookError),
    /// The brokers do not answer as they should.
    #[error(
        "{topic}: dead letters cannot be read: {source}; let the user READ and DESCRIBE this topic and the group {group}, and try again"
    )]
    Refused {
        /// The topic of dead letters.
        topic: String,
        /// The group that remembers what has been sent again.
        group: String,
        /// What the library says.
        source: Box<KafkaError>,
    },
    /// No letter comes any more, though there are more.
    #[error(
        "{topic}: no dead letter came within {}; check that the brokers run, and try again",
        humantime::format_duration(LIMIT)
    )]
    Silent {
        /// The topic of dead letters.
        topic: String,
    },
}

/// Which letters to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    All,
    NotReplayed,
}

/// Letters, each message's once, partition by partition in the order they were written. Reading blocks, and changes
/// nothing.
pub struct Letters {
    consumer: BaseConsumer<Quiet>,
    topic: String,
    group: String,
    progress: Progress,
    /// Of each partition that is not read to its end: what is to be read of it.
    open: BTreeMap<i32, Range<u64>>,
    known: HashSet<Origin>,
    /// When the last message came.
    heard: Instant,
}

/// What lies at an offset.
pub(super) enum Found {
    /// A letter.
    Letter(Box<Letter>),
    /// Another letter of a message that one has been read of.
    Again,
    /// No letter of ours.
    Foreign,
}

/// A message of the letters' topic.
pub(super) struct At {
    pub(super) partition: i32,
    /// Its offset, and those before it that hold nothing.
    pub(super) offsets: Range<u64>,
    pub(super) found: Found,
}

impl Letters {
    /// All letters there are now; none when there is no topic of dead letters.
    pub fn open(config: &Config) -> Result<Option<Self>, LettersError> {
        Self::begin(config, Begin::All)
    }

    pub(super) fn begin(config: &Config, begin: Begin) -> Result<Option<Self>, LettersError> {
        let topic = config.topic.dead_letters();
        let asked = KafkaConfig {
            events_topic: topic.clone(),
            ..config.kafka.clone()
        };
        // It knows best why no broker can be used.
        let Some(partitions) = kafka::look(&asked, LIMIT)?.partitions else {
            return Ok(None);
        };
        let group = format!("{}.dlq-replay", config.topic.group);
        let consumer = client::settings(config)?
            .set("group.id", &group)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("fetch.message.max.bytes", "4194304")
            .create_with_context(Quiet)
            .map_err(KafkaConfigError::from)?;
        let mut letters = Self {
            consumer,
            topic,
            group,
            progress: Progress::default(),
            open: BTreeMap::new(),
            known: HashSet::new(),
            heard: Instant::now(),
        };
        let found = letters.find(partitions, begin);
        found.map_err(|source| letters.refused(source))?;
        Ok(Some(letters))
    }

    /// Messages that are still to be read, about: some offsets may hold none.
    pub fn left(&self) -> u64 {
        self.open
            .values()
            .map(|range| range.end - range.start)
            .sum()
    }

    pub(super) fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }

    /// Remembers what has been sent again; returns once the brokers have it.
    pub(super) fn commit(&self) -> Result<(), LettersError> {
        let offsets = self.progress.offsets(&self.topic);
        let committed = offsets
            .and_then(|offsets| patiently(|| self.consumer.commit(&offsets, CommitMode::Sync)));
        committed.map_err(|source| self.refused(source))
    }

    fn refused(&self, source: KafkaError) -> LettersError {
        LettersError::Refused {
            topic: self.topic.clone(),
            group: self.group.clone(),
            source: Box::new(source),
        }
    }

    /// Finds out what is there and how far it has been sent again, and begins to read.
    fn find(&mut self, partitions: usize, begin: Begin) -> Result<(), KafkaError> {
        let mut all = TopicPartitionList::new();
        for partition in (0..).take(partitions) {
            all.add_partition(&self.topic, partition);
        }
        let committed = patiently(|| self.consumer.committed_offsets(all.clone(), LIMIT))?;
        let mut assigned = TopicPartitionList::new();
        for place in committed.elements() {
            place.error()?;
            let partition = place.partition();
            let (low, end) = self
                .consumer
                .fetch_watermarks(&self.topic, partition, LIMIT)?;
            let mut there = offset(low)..offset(end);
            self.progress
                .read(partition, place.offset(), place.metadata(), &there);
            if begin == Begin::NotReplayed {
                there.start = there.start.max(self.progress.next(partition));
                // What is deleted need not be sent.
                self.progress.add(partition, 0..there.start);
            }
            if !there.is_empty() {
                let start = Offset::Offset(i64::try_from(there.start).unwrap_or(i64::MAX));
                assigned.add_partition_offset(&self.topic, partition, start)?;
                self.open.insert(partition, there);
            }
        }
        self.heard = Instant::now();
        self.consumer.assign(&assigned)
    }

    pub(super) fn next_at(&mut self) -> Option<Result<At, LettersError>> {
        while !self.open.is_empty() {
            match self.consumer.poll(SLICE) {
                None => {}
                Some(Ok(message)) => {
                    let found = letter::read(&message);
                    if let Some(offsets) = step(&mut self.open, &message) {
                        self.heard = Instant::now();
                        let partition = message.partition();
                        return Some(Ok(self.judged(partition, offsets, found)));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.open.remove(&partition);
                }
                Some(Err(source)) if is_final(&source) => return Some(Err(self.refused(source))),
                Some(Err(error)) => tracing::debug!(%error, "reading dead letters"),
            }
            if self.heard.elapsed() > LIMIT {
                let topic = self.topic.clone();
                return Some(Err(LettersError::Silent { topic }));
            }
        }
        None
    }

    fn judged(&mut self, partition: i32, offsets: Range<u64>, found: Option<Letter>) -> At {
        let found = match found {
            None => Found::Foreign,
            Some(letter) if !self.known.insert(letter.origin.clone()) => Found::Again,
            Some(mut letter) => {
                letter.is_replayed = self.progress.has(partition, offset(letter.offset));
                Found::Letter(Box::new(letter))
            }
        };
        At {
            partition,
            offsets,
            found,
        }
    }
}

impl Iterator for Letters {
    type Item = Result<Letter, LettersError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_at()? {
                Ok(At {
                    found: Found::Letter(letter),
                    ..
                }) => return Some(Ok(*letter)),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut letters = f.debug_struct("Letters");
        letters
            .field("topic", &self.topic)
            .field("open", &self.open);
        letters.finish_non_exhaustive()
    }
}

/// What the message reaches of its partition; none when that was read to its end already.
fn step(open: &mut BTreeMap<i32, Range<u64>>, message: &BorrowedMessage<'_>) -> Option<Range<u64>> {
    let partition = message.partition();
    let to_read = open.get_mut(&partition)?;
    let next = offset(message.offset()) + 1;
    if next > to_read.end {
        open.remove(&partition);
        return None;
    }
    let reached = to_read.start..next;
    to_read.start = next;
    if to_read.is_empty() {
        open.remove(&partition);
    }
    Some(reached)
}

/// A broker that has just started must load what groups have committed before it answers for them.
fn patiently<T>(ask: impl Fn() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = ask();
        let is_loading = answer.as_ref().is_err_and(|error| {
            matches!(
                error.rdkafka_error_code(),
                Some(
                    RDKafkaErrorCode::NotCoordinator
                        | RDKafkaErrorCode::CoordinatorNotAvailable
                        | RDKafkaErrorCode::CoordinatorLoadInProgress
                )
            )
        });
        if !is_loading || Instant::now() > deadline {
            return answer;
        }
        std::thread::sleep(SLICE);
    }
}

/// Kafka's offsets are never negative.
fn offset(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

fn is_final(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    )
}
