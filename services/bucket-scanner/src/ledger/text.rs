//! How the ledger's columns spell things.

use stoker_proto::common::v1::{Compression, FileType, Interaction};
use stoker_proto::ledger::v1::{JobState, LoadErrorKind};
use stoker_shared::store::columns;
pub(super) use stoker_shared::store::columns::{
    clean, int, name, nat, nat32, timestamp, to_micros,
};

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

pub(super) const FILE_TYPES: [(FileType, &str); 2] =
    [(FileType::Json, "JSON"), (FileType::Ndjson, "NDJSON")];

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
        Ok(columns::spell(Self::ALL, self)?)
    }

    fn read(text: &str) -> Result<Self, LedgerError> {
        Ok(columns::read(Self::ALL, text)?)
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
    fn spellings_are_read_back() {
        for (state, text) in JobState::ALL {
            assert_eq!(JobState::read(text).unwrap(), *state);
        }
        assert!(JobState::Unspecified.spell().is_err());
        assert!(Compression::read("lzma").is_err());
    }
}
