//! A message as it came from Kafka.

use chrono::{DateTime, Utc};
use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, OwnedHeaders};

/// A message, with its place in the topic.
#[derive(Debug)]
pub(crate) struct Record {
    /// Which partition.
    pub(crate) partition: i32,
    /// Where in it.
    pub(crate) offset: i64,
    /// Which time of holding the partition it came in; see [`super::progress::Progress`].
    pub(crate) epoch: u64,
    /// When it came, by the monotonic clock.
    pub(crate) since: tokio::time::Instant,
    /// Kafka's time of it.
    pub(crate) time: Option<DateTime<Utc>>,
    /// As it came.
    pub(crate) key: Option<Box<[u8]>>,
    /// As it came.
    pub(crate) payload: Option<Box<[u8]>>,
    /// As they came.
    pub(crate) headers: Option<OwnedHeaders>,
}

impl Record {
    /// A copy; librdkafka may use its own memory for what comes next.
    pub(crate) fn of(message: &BorrowedMessage<'_>, epoch: u64) -> Self {
        let time = message.timestamp().to_millis();
        Self {
            partition: message.partition(),
            offset: message.offset(),
            epoch,
            since: tokio::time::Instant::now(),
            time: time.and_then(DateTime::from_timestamp_millis),
            key: message.key().map(Into::into),
            payload: message.payload().map(Into::into),
            headers: message
                .headers()
                .map(rdkafka::message::BorrowedHeaders::detach),
        }
    }

    /// Bytes that it holds, about.
    pub(crate) fn size(&self) -> usize {
        let bytes = |part: &Option<Box<[u8]>>| part.as_ref().map_or(0, |bytes| bytes.len());
        bytes(&self.key) + bytes(&self.payload) + size_of::<Self>()
    }
}
