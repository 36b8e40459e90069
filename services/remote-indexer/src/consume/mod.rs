//! One consumer: takes messages, has them indexed, commits how far they are done.
//!
//! A message's offset is committed after its effect is durable in the database, or in the topic of dead letters. A
//! process that dies before that takes the message again and writes the same rows; one that dies after it does not.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::{FutureExt as _, StreamExt as _};
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use stoker_shared::kafka;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::config::IndexSettings;
use crate::index::{Indexer, Judged};
use crate::status::Board;

mod client;
mod group;
mod progress;
mod record;
mod teller;
mod waiting;

pub use client::ConsumerError;
pub(crate) use client::connect;
pub(crate) use group::Group;
pub(crate) use record::Record;
use teller::{TELL, Teller};
use waiting::Waiting;

/// Messages to the first batch, at most.
const FIRST_BATCH: usize = 32;
/// Bytes by which the message that fills a batch goes beyond its limit, as a rule at most.
const LAST_MESSAGE: usize = 64 << 10;
/// While messages come so fast that so many times the waiting for more fills a batch, more are waited for: large batches
/// cost the database less.
const FILLS: usize = 32;
/// A batch that takes longer must not keep the group from sharing out partitions.
const LONG: Duration = Duration::from_secs(2);
/// After an error of Kafka's, of which several come at once.
const PAUSE: Duration = Duration::from_millis(100);
/// For the last offsets, and for leaving the group.
const LAST: Duration = Duration::from_secs(5);

/// See the [module](self).
pub(crate) struct Consumer {
    /// Counted from 0.
    pub(crate) number: usize,
    /// Takes messages.
    pub(crate) kafka: Arc<StreamConsumer<Group>>,
    /// Does what they ask for.
    pub(crate) indexer: Indexer,
    /// How they are gathered.
    pub(crate) settings: IndexSettings,
    /// Where others look, and pause us.
    pub(crate) board: Board,
    teller: Teller,
    intake: Intake,
    waiting: Waiting,
}

/// Messages taken and not yet looked at.
#[derive(Debug)]
struct Intake {
    records: Vec<Record>,
    bytes: usize,
    /// What they say; one batch after the other has it, so that it is asked of the system once.
    memory: BytesMut,
    /// Bytes of it that a batch needs.
    room: usize,
    /// Messages that make it full, at most: few at first, so that the first are searchable soon.
    limit: usize,
    /// Whether no more are wanted.
    is_closed: bool,
}

impl Consumer {
    /// Ready to run.
    pub(crate) fn new(
        number: usize,
        kafka: StreamConsumer<Group>,
        indexer: Indexer,
        settings: IndexSettings,
        board: Board,
    ) -> Self {
        Self {
            teller: Teller::new(number, board.clone(), indexer.trouble.clone()),
            number,
            kafka: Arc::new(kafka),
            indexer,
            intake: Intake::new(settings.batch_bytes + LAST_MESSAGE),
            settings,
            board,
            waiting: Waiting::default(),
        }
    }

    /// Works until `stop`, finishes the batch it is at, and commits.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), ConsumerError> {
        while !stop.is_cancelled() {
            self.indexer
                .open()
                .await
                .map_err(|e| ConsumerError::database(&e))?;
            self.open_or_close();
            self.gather(&stop).await?;
            let mut records = self.waiting.take_due();
            records.append(&mut self.intake.take());
            self.drop_lost(&mut records);
            if !records.is_empty() {
                let span = self.batch_span(&records);
                let judged = self.index(records, &stop).instrument(span.clone()).await?;
                span.record("done", number(judged.done.len()));
                span.record("waiting", number(judged.waiting.len()));
                span.in_scope(|| self.settle(judged));
            }
            self.tell();
        }
        self.leave().await;
        Ok(())
    }

    /// From what is taken to the commit of what is done.
    fn batch_span(&self, records: &[Record]) -> Span {
        let span = tracing::info_span!(
            "batch",
            otel.kind = "consumer",
            consumer = number(self.number),
            messages = number(records.len()),
            done = Empty,
            waiting = Empty,
        );
        kafka::link(
            &span,
            records.iter().filter_map(|record| record.headers.as_ref()),
        );
        span
    }

    /// Whoever has their partitions now does those.
    fn drop_lost(&self, records: &mut Vec<Record>) {
        let progress = self.kafka.context().progress();
        records.retain(|record| progress.holds(record));
    }

    /// Takes none while paused, or while too much waits.
    fn open_or_close(&mut self) {
        let is_full = self.waiting.bytes() >= self.settings.waiting_bytes;
        let close = is_full || self.board.is_paused();
        if close != self.intake.is_closed {
            self.set_closed(close);
        }
    }

    fn set_closed(&mut self, close: bool) {
        let assigned = self.kafka.context().assigned();
        let done = if close {
            self.kafka.pause(&assigned)
        } else {
            self.kafka.resume(&assigned)
        };
        if let Err(error) = done {
            tracing::debug!(%error, close, "partitions could not be paused or resumed");
        }
        self.intake.is_closed = close;
    }

    /// Waits for messages, and gathers those that come soon after the first.
    async fn gather(&mut self, stop: &CancellationToken) -> Result<(), ConsumerError> {
        let soon = !self.intake.records.is_empty();
        let mut until = Instant::now() + if soon { self.settings.gather } else { TELL };
        until = self
            .waiting
            .next_look()
            .map_or(until, |look| look.min(until));
        let mut pausing = self.board.pausing();
        let mut messages = self.kafka.stream();
        let mut before = 0;
        while !self.intake.is_full(&self.settings) {
            // What has come already is taken without a look at anything else.
            let received = if let Some(received) = messages.next().now_or_never() {
                received
            } else {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(()),
                    received = messages.next() => received,
                    () = tokio::time::sleep_until(until) => {
                        let came = self.intake.bytes - before;
                        if came == 0 || came * FILLS < self.settings.batch_bytes {
                            return Ok(());
                        }
                        before = self.intake.bytes;
                        until += self.settings.gather;
                        continue;
                    }
                    _ = pausing.changed() => return Ok(()),
                }
            };
            let first = self.intake.records.is_empty();
            match received {
                Some(Ok(message)) => take(&self.kafka, &mut self.intake, &message),
                Some(Err(error)) => self.complain(error)?,
                None => return Ok(()),
            }
            if first && !self.intake.records.is_empty() {
                until = until.min(Instant::now() + self.settings.gather);
            }
        }
        Ok(())
    }

    /// Has messages indexed. When that takes long, Kafka is listened to meanwhile: whoever does not is put out of
    /// the group, and keeps others from joining it.
    async fn index(
        &mut self,
        records: Vec<Record>,
        stop: &CancellationToken,
    ) -> Result<Judged, ConsumerError> {
        let (kafka, intake) = (&self.kafka, &mut self.intake);
        let (teller, waiting) = (&mut self.teller, &self.waiting);
        let work = self.indexer.index(records, stop);
        tokio::pin!(work);
        tokio::select! {
            judged = &mut work => return Ok(judged),
            () = tokio::time::sleep(LONG) => {}
        }
        loop {
            let assigned = kafka.context().assigned();
            let _ = kafka.pause(&assigned);
            intake.is_closed = true;
            teller.tell(kafka, waiting, intake.is_closed);
            let received = tokio::select! {
                judged = &mut work => return Ok(judged),
                received = kafka.recv() => received,
                () = tokio::time::sleep(TELL) => continue,
            };
            match received {
                Ok(message) => take(kafka, intake, &message),
                Err(KafkaError::MessageConsumptionFatal(code)) => {
                    return Err(ConsumerError::Fatal(code));
                }
                Err(error) => {
                    tracing::debug!(%error, "Kafka");
                    tokio::select! {
                        judged = &mut work => return Ok(judged),
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
            }
        }
    }

    /// Commits how far messages are done; those that are not wait.
    fn settle(&mut self, judged: Judged) {
        let group = self.kafka.context();
        let mut progress = group.progress();
        judged.done.iter().for_each(|record| progress.done(record));
        judged
            .waiting
            .iter()
            .for_each(|record| progress.waits(record));
        self.waiting.retain(|record| progress.holds(record));
        let waiting = judged.waiting.into_iter();
        let ours: Vec<Record> = waiting.filter(|record| progress.holds(record)).collect();
        drop(progress);
        self.waiting.add(ours, self.settings.look_again);
        self.commit(CommitMode::Async);
    }

    fn commit(&self, mode: CommitMode) {
        let done = self.kafka.context().not_committed(None);
        if done.count() == 0 {
            return;
        }
        self.kafka.context().committing();
        if let Err(error) = self.kafka.commit(&done, mode) {
            tracing::debug!(%error, "offsets were not committed; they will be with the next");
            let mut progress = self.kafka.context().progress();
            for partition in done.elements() {
                progress.refused(partition.partition());
            }
        }
    }

    fn complain(&self, error: KafkaError) -> Result<(), ConsumerError> {
        let group = self.kafka.context();
        match error {
            KafkaError::MessageConsumptionFatal(code) => return Err(ConsumerError::Fatal(code)),
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
            ) => group.without_topic(),
            KafkaError::MessageConsumption(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                group.without_partitions(
                    "the user may not read this topic; grant it READ and DESCRIBE",
                );
            }
            KafkaError::MessageConsumption(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                group.without_partitions(
                    "the user may not use the consumer group; grant it READ on topic.group",
                );
            }
            error => tracing::debug!(%error, "Kafka"),
        }
        Ok(())
    }

    fn tell(&mut self) {
        // What was not taken is asked for again.
        self.commit(CommitMode::Async);
        self.teller
            .tell(&self.kafka, &self.waiting, self.intake.is_closed);
    }

    /// Commits for the last time and leaves the group.
    async fn leave(self) {
        let leaving = tokio::task::spawn_blocking(move || {
            self.commit(CommitMode::Sync);
            drop(self);
        });
        if tokio::time::timeout(LAST, leaving).await.is_err() {
            tracing::warn!("Kafka does not answer; what was not committed will be done again");
        }
    }
}

/// Unsigned numbers are told to collectors as texts.
fn number(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Intake {
    /// Empty; a batch is of about `room` bytes.
    fn new(room: usize) -> Self {
        Self {
            records: Vec::new(),
            bytes: 0,
            memory: BytesMut::new(),
            room,
            limit: FIRST_BATCH,
            is_closed: false,
        }
    }

    /// Takes a message in.
    fn add(&mut self, message: &BorrowedMessage<'_>, epoch: u64) {
        if self.records.is_empty() {
            self.memory.reserve(self.room);
        }
        let record = Record::of(message, epoch, &mut self.memory);
        self.bytes += record.size();
        self.records.push(record);
    }

    fn is_full(&self, settings: &IndexSettings) -> bool {
        let limit = self.limit.min(settings.batch_messages);
        self.records.len() >= limit || self.bytes >= settings.batch_bytes
    }

    /// All of it; when it is full, the next may be four times as much.
    fn take(&mut self) -> Vec<Record> {
        if self.records.len() >= self.limit {
            self.limit = self.limit.saturating_mul(4);
        }
        self.bytes = 0;
        std::mem::take(&mut self.records)
    }
}

fn take(kafka: &StreamConsumer<Group>, intake: &mut Intake, message: &BorrowedMessage<'_>) {
    use rdkafka::Message as _;
    let time = message.timestamp().to_millis();
    let time = time.and_then(chrono::DateTime::from_timestamp_millis);
    let group = kafka.context();
    group.reached();
    let epoch = group
        .progress()
        .take(message.partition(), message.offset(), time);
    group.metrics.taken(1);
    // A partition that went in this moment; whoever has it now takes the message.
    let Some(epoch) = epoch else { return };
    intake.add(message, epoch);
}
