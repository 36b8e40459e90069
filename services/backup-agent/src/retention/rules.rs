//! How much is kept.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_hours(24);

/// How much is kept of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// The newest backup of each of the last so many days (UTC) that have one.
    pub daily: u32,
    /// The newest backup of each of the last so many weeks (from Monday, UTC) that have one.
    pub weekly: u32,
    /// The newest backup of each of the last so many months (UTC) that have one.
    pub monthly: u32,
    /// All that were begun within so much time before the newest good one.
    #[serde(with = "humantime_serde")]
    pub keep_within: Duration,
    /// So many good ones at least.
    pub minimum: NonZeroU32,
    /// Nothing goes after a pause longer than this and than three times the usual one: the clock has jumped, or
    /// something keeps backups from being made.
    #[serde(with = "humantime_serde")]
    pub longest_pause: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            daily: 7,
            weekly: 4,
            monthly: 3,
            keep_within: DAY,
            minimum: NonZeroU32::MIN,
            longest_pause: 7 * DAY,
        }
    }
}

impl Rules {
    pub(super) fn minimum(&self) -> usize {
        usize::try_from(self.minimum.get()).unwrap_or(usize::MAX)
    }
}
