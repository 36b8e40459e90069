//! How the ledger's columns spell things.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDateTime, Utc};
use prost_types::Timestamp;
use stoker_proto::common::v1::{Compression, FileType, Interaction};
use stoker_proto::ledger::v1::{JobState, LoadErrorKind};

use super::LedgerError;

const INTERACTIONS: [(Interaction, &str); 3] = [
    (Interaction::Auto, "auto"),
    (Interaction::Create, "create"),
    (Interaction::Update, "update"),
];

const JOB_STATES: [(JobState, &str); 5] = [
    (JobState::Scanning, "scanning"),
    (JobState::Loading, "loading"),
    (JobState::Done, "done"),
    (JobState::Cancelled, "cancelled"),
    (JobState::Failed, "failed"),
];

const FILE_TYPES: [(FileType, &str); 2] = [(FileType::Json, "JSON"), (FileType::Ndjson, "NDJSON")];

const COMPRESSIONS: [(Compression, &str); 3] = [
    (Compression::None, "none"),
    (Compression::Gzip, "gzip"),
    (Compression::Zstd, "zstd"),
];

const ERROR_KINDS: [(LoadErrorKind, &str); 4] = [
    (LoadErrorKind::Rejected, "rejected"),
    (LoadErrorKind::InDoubt, "in_doubt"),
    (LoadErrorKind::Parked, "parked"),
    (LoadErrorKind::Repeated, "repeated"),
];

/// An enum that a column spells.
pub(super) trait Spelled: Copy + PartialEq + std::fmt::Debug + 'static {
    /// Every value there can be, with its spelling.
    const ALL: &'static [(Self, &'static str)];

    fn spell(self) -> Result<&'static str, LedgerError> {
        let found = Self::ALL.iter().find(|(value, _)| *value == self);
        let unknown = || LedgerError::NotNow(format!("{self:?} cannot be kept in the ledger"));
        found.map(|(_, text)| *text).ok_or_else(unknown)
    }

    fn read(text: &str) -> Result<Self, LedgerError> {
        let found = Self::ALL.iter().find(|(_, spelling)| *spelling == text);
        let unknown = || LedgerError::Damaged(format!("{text:?} is not known"));
        found.map(|(value, _)| *value).ok_or_else(unknown)
    }
}

impl Spelled for Interaction {
    const ALL: &'static [(Self, &'static str)] = &INTERACTIONS;
}

impl Spelled for JobState {
    const ALL: &'static [(Self, &'static str)] = &JOB_STATES;
}

impl Spelled for FileType {
    const ALL: &'static [(Self, &'static str)] = &FILE_TYPES;
}

impl Spelled for Compression {
    const ALL: &'static [(Self, &'static str)] = &COMPRESSIONS;
}

impl Spelled for LoadErrorKind {
    const ALL: &'static [(Self, &'static str)] = &ERROR_KINDS;
}

/// Some of them in one column, with commas between.
pub(super) fn spell_all<T: Spelled>(
    values: impl IntoIterator<Item = T>,
) -> Result<String, LedgerError> {
    let spelled: Result<Vec<&str>, LedgerError> = values.into_iter().map(T::spell).collect();
    Ok(spelled?.join(","))
}

/// Whether [`spell_all`] put this spelling there; of an empty list also that it put none.
pub(super) fn all_or_has(list: &str, spelling: &str) -> bool {
    list.is_empty() || list.split(',').any(|one| one == spelling)
}

/// A number for a column. What is beyond 2^63 cannot be a size or a count.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number from a column that holds no negative ones.
pub(super) fn nat(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The same for numbers that the contracts keep in 32 bits.
pub(super) fn nat32(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(if number < 0 { 0 } else { u32::MAX })
}

/// A text that PostgreSQL takes: it refuses U+0000.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// A name that somebody else chose, cut to what an index takes: FHIR's ids and types have 64
/// characters at most.
pub(super) fn name(text: &str) -> Cow<'_, str> {
    const MOST_BYTES: usize = 256;
    if text.len() <= MOST_BYTES {
        return clean(text);
    }
    let cut = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = cut.take_while(|end| *end <= MOST_BYTES).last();
    clean(text.get(..end.unwrap_or(0)).unwrap_or_default())
}

pub(super) fn timestamp(time: NaiveDateTime) -> Timestamp {
    let time = time.and_utc();
    Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0),
    }
}

/// To the microsecond, which is what PostgreSQL keeps: an object must not look changed because its
/// time was cut.
pub(super) fn to_micros(time: DateTime<Utc>) -> NaiveDateTime {
    let cut = DateTime::from_timestamp_micros(time.timestamp_micros());
    cut.unwrap_or(time).naive_utc()
}

/// A key as the tables keep it: path up to the last slash, and name. A key without a slash has the
/// path `/`, as in the seed; one whose only slash comes first has the empty path.
pub(super) fn split_key(key: &str) -> (&str, &str) {
    match key.rfind('/') {
        None => ("/", key),
        Some(0) => ("", key.get(1..).unwrap_or_default()),
        Some(at) => key.split_at(at + 1),
    }
}

/// What [`split_key`] took apart.
pub(super) fn join_key(path: &str, name: &str) -> String {
    match path {
        "/" => name.to_owned(),
        "" => format!("/{name}"),
        path => format!("{path}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_come_back_whole(key in "[/ab]{0,6}") {
            let (path, name) = split_key(&key);
            prop_assert!(!name.contains('/'));
            prop_assert_eq!(join_key(path, name), key);
        }

        #[test]
        fn keys_stay_apart(a in "[/ab]{0,4}", b in "[/ab]{0,4}") {
            prop_assert_eq!(split_key(&a) == split_key(&b), a == b);
        }
    }

    #[test]
    fn keys_are_split_as_in_the_seed() {
        assert_eq!(split_key("a/b/c.json"), ("a/b/", "c.json"));
        assert_eq!(split_key("c.json"), ("/", "c.json"));
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(name("a\0b"), "a\u{fffd}b");
        assert_eq!(name(&"é".repeat(128)).len(), 256);
        assert_eq!(name(&format!("x{}", "é".repeat(300))).len(), 255);
        assert_eq!(name(&format!("\0{}", "x".repeat(300))).len(), 258);
    }

    #[test]
    fn spellings_are_read_back() {
        for (state, text) in JobState::ALL {
            assert_eq!(JobState::read(text).unwrap(), *state);
        }
        assert!(JobState::Unspecified.spell().is_err());
        assert!(Compression::read("lzma").is_err());
    }
}
