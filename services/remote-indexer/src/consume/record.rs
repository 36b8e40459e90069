//! A message as it came from Kafka.

use bytes::{Bytes, BytesMut};
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
    pub(crate) key: Option<Bytes>,
    /// As it came.
    pub(crate) payload: Option<Bytes>,
    /// As they came.
    pub(crate) headers: Option<OwnedHeaders>,
}

impl Record {
    /// A copy in `memory`; librdkafka may use its own for what comes next.
    pub(crate) fn of(message: &BorrowedMessage<'_>, epoch: u64, memory: &mut BytesMut) -> Self {
        let mut copy = |part: &[u8]| {
            memory.extend_from_slice(part);
            memory.split().freeze()
        };
        let time = message.timestamp().to_millis();
        Self {
            partition: message.partition(),
            offset: message.offset(),
            epoch,
            since: tokio::time::Instant::now(),
            time: time.and_then(DateTime::from_timestamp_millis),
            key: message.key().map(&mut copy),
            payload: message.payload().map(&mut copy),
            headers: message
                .headers()
                .map(rdkafka::message::BorrowedHeaders::detach),
        }
    }

    /// Moves out of the memory that it shares with others of its batch.
    pub(crate) fn move_out(&mut self) {
        for part in [&mut self.key, &mut self.payload].into_iter().flatten() {
            if !part.is_unique() {
                *part = Bytes::copy_from_slice(part);
            }
        }
    }

    /// Bytes that it holds, about.
    pub(crate) fn size(&self) -> usize {
        let bytes = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        bytes(&self.key) + bytes(&self.payload) + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_moves_out_leaves_the_memory_to_the_next_batch() {
        let mut memory = BytesMut::with_capacity(64);
        memory.extend_from_slice(b"what it says");
        let mut record = Record {
            partition: 0,
            offset: 0,
            epoch: 0,
            since: tokio::time::Instant::now(),
            time: None,
            key: None,
            payload: Some(memory.split().freeze()),
            headers: None,
        };
        assert!(!memory.try_reclaim(64));
        record.move_out();
        assert!(memory.try_reclaim(64));
        assert_eq!(record.payload.as_deref(), Some(&b"what it says"[..]));

        let own = record.payload.clone().map(|payload| payload.as_ptr());
        record.move_out();
        assert_eq!(record.payload.map(|payload| payload.as_ptr()), own);
    }
}
