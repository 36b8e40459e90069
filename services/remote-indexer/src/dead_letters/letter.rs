//! A dead letter as it lies in its topic: the message as it came, and in its last headers what is wrong with it.

use chrono::{DateTime, SecondsFormat, Utc};
use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, OwnedHeaders};

use super::DeadLetter;

/// In this order behind the message's own headers.
const OURS: [&str; 6] = [
    "stoker-reason",
    "stoker-detail",
    "stoker-topic",
    "stoker-partition",
    "stoker-offset",
    "stoker-time",
];

/// The message that a letter was: two letters of one message are the same to a reader. A topic that was made anew
/// counts its offsets anew; the time tells its messages from those of the old one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The topic it came from.
    pub topic: String,
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its time in Kafka, where it had one.
    pub time: Option<DateTime<Utc>>,
}

/// A dead letter.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The partition of the topic of dead letters.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// The message it was.
    pub origin: Origin,
    /// A code such as those of [`Reason`](crate::Reason).
    pub reason: String,
    /// The same in a sentence.
    pub detail: String,
    /// The message's key.
    pub key: Option<Vec<u8>>,
    /// The message's value.
    pub value: Option<Vec<u8>>,
    /// The message's own headers.
    pub headers: OwnedHeaders,
    /// Whether it has been sent again.
    pub is_replayed: bool,
}

/// The message's headers, and ours.
pub(super) fn headers(letter: &DeadLetter<'_>, topic: &str) -> OwnedHeaders {
    let time = letter.time.map(written).unwrap_or_default();
    let (partition, offset) = (letter.partition.to_string(), letter.offset.to_string());
    let values = [
        letter.reason.code(),
        letter.detail,
        topic,
        &partition,
        &offset,
        &time,
    ];
    let own = letter.headers.cloned().unwrap_or_default();
    let all = OURS.into_iter().zip(values);
    all.fold(own, |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    })
}

/// None for a message that is no dead letter: others may write to the topic too.
pub(super) fn read(message: &BorrowedMessage<'_>) -> Option<Letter> {
    let headers = message.headers()?;
    let own = headers.count().checked_sub(OURS.len())?;
    let mut values = Vec::with_capacity(OURS.len());
    for (index, key) in (own..).zip(OURS) {
        let header = headers.try_get(index)?;
        let value = header.value.filter(|_| header.key == key)?;
        values.push(std::str::from_utf8(value).ok()?);
    }
    let [reason, detail, topic, partition, offset, time] = values[..] else {
        return None;
    };
    Some(Letter {
        partition: message.partition(),
        offset: message.offset(),
        origin: Origin {
            topic: topic.to_owned(),
            partition: partition.parse().ok()?,
            offset: offset.parse().ok()?,
            time: time.parse().ok(),
        },
        reason: reason.to_owned(),
        detail: detail.to_owned(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers
            .iter()
            .take(own)
            .fold(OwnedHeaders::new(), OwnedHeaders::insert),
        is_replayed: false,
    })
}

fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
