//! How large backups are.

use crate::manifest::{Elsewhere, Manifest, Part};

/// What tar writes when it is given no file at all is no larger.
const EMPTY_BYTES: u64 = 10_240;
/// So many are looked back on.
const BEFORE: usize = 7;

/// A backup that is smaller than it should be.
pub(super) struct Shrinkage {
    /// Bytes of its data.
    pub(super) bytes: u64,
    /// The median of those before.
    pub(super) usual: u64,
}

/// Whether a backup of these parts, or of that elsewhere, has nothing in it: then it is none, however well it was made.
pub fn is_empty(parts: &[Part], elsewhere: Option<&Elsewhere>) -> bool {
    let parts: u64 = parts.iter().map(|part| part.raw_bytes).sum();
    elsewhere.map_or(parts, |set| set.raw_bytes) <= EMPTY_BYTES
}

/// Whether a backup is much smaller than those before, the newest first.
pub(super) fn shrunk<'a>(
    percent: u8,
    backup: &Manifest,
    before: impl Iterator<Item = &'a Manifest>,
) -> Option<Shrinkage> {
    let mut before: Vec<u64> = before.take(BEFORE).map(data_bytes).collect();
    before.sort_unstable();
    // Of an even number the lower of the two in the middle, which cries later.
    let usual = *before.get(before.len().checked_sub(1)? / 2)?;
    let bytes = data_bytes(backup);
    let is_smaller = u128::from(bytes) * 100 < u128::from(usual) * u128::from(percent);
    is_smaller.then_some(Shrinkage { bytes, usual })
}

/// How much is written while a backup is made says nothing of how much data there is.
fn data_bytes(backup: &Manifest) -> u64 {
    let is_data = |part: &&Part| !part.name.starts_with("pg_wal.tar");
    if let Some(set) = &backup.elsewhere {
        return set.raw_bytes;
    }
    backup
        .parts
        .iter()
        .filter(is_data)
        .map(|part| part.raw_bytes)
        .sum()
}
