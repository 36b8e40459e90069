//! How columns spell numbers, texts, times and enums.

use std::borrow::Cow;
use std::fmt::Debug;

use chrono::{DateTime, NaiveDateTime, Utc};
use prost_types::Timestamp;

use super::StoreError;

/// How a column spells one of the values of `all`. Fails with [`StoreError::CannotKeep`] for any other.
pub fn spell<T: Copy + PartialEq + Debug>(
    all: &[(T, &'static str)],
    value: T,
) -> Result<&'static str, StoreError> {
    let found = all.iter().find(|(known, _)| *known == value);
    let unknown = || StoreError::CannotKeep(format!("{value:?}"));
    found.map(|(_, text)| *text).ok_or_else(unknown)
}

/// What [`spell`] spelled. Fails with [`StoreError::Damaged`] for any other text.
pub fn read<T: Copy>(all: &[(T, &'static str)], text: &str) -> Result<T, StoreError> {
    let found = all.iter().find(|(_, spelling)| *spelling == text);
    let unknown = || StoreError::Damaged(format!("{text:?} is not known"));
    found.map(|(value, _)| *value).ok_or_else(unknown)
}

/// A number for a column. What is beyond 2^63 cannot be a size or a count.
pub fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number from a column that holds no negative ones.
pub fn nat(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The same for numbers that the contracts keep in 32 bits.
pub fn nat32(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(if number < 0 { 0 } else { u32::MAX })
}

/// A text that PostgreSQL takes: it refuses U+0000.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// A name that somebody else chose, cut to what an index takes: FHIR's ids and types have 64
/// characters at most.
pub fn name(text: &str) -> Cow<'_, str> {
    const MOST_BYTES: usize = 256;
    if text.len() <= MOST_BYTES {
        return clean(text);
    }
    let cut = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = cut.take_while(|end| *end <= MOST_BYTES).last();
    clean(text.get(..end.unwrap_or(0)).unwrap_or_default())
}

/// A column's time, which is UTC, for a message.
pub fn timestamp(time: NaiveDateTime) -> Timestamp {
    let time = time.and_utc();
    Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0),
    }
}

/// To the microsecond, which is what PostgreSQL keeps: an object must not look changed because its
/// time was cut.
pub fn to_micros(time: DateTime<Utc>) -> NaiveDateTime {
    let cut = DateTime::from_timestamp_micros(time.timestamp_micros());
    cut.unwrap_or(time).naive_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(name("a\0b"), "a\u{fffd}b");
        assert_eq!(name(&"é".repeat(128)).len(), 256);
        assert_eq!(name(&format!("x{}", "é".repeat(300))).len(), 255);
        assert_eq!(name(&format!("\0{}", "x".repeat(300))).len(), 258);
    }
}
