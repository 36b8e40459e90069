//! What others are told of troubles.

use chrono::{DateTime, Utc};

use crate::troubles::Kind;

/// What of a trouble is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has begun.
    Began,
    /// It lasts.
    Lasts,
    /// It is over.
    Ended,
}

/// One thing to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The same whenever the same is told again, since nobody noted that it was.
    pub notice_id: String,
    /// The same in all notices of one trouble.
    pub trouble_id: String,
    /// What of it.
    pub stage: Stage,
    /// The source.
    pub source: String,
    /// Its kind.
    pub kind: Kind,
    /// See [`Trouble::subject`](crate::troubles::Trouble::subject).
    pub subject: String,
    /// The backup; empty for none.
    pub backup: String,
    /// What is or was wrong.
    pub sentence: String,
    /// When it was seen first.
    pub since: DateTime<Utc>,
    /// When it was seen to be over.
    pub ended: Option<DateTime<Utc>>,
    /// Random; of this claim.
    pub(super) token: String,
}
