//! Reasons, and how they are put to people.

use std::fmt::{self, Display};

use serde::Serialize;

/// Why a backup stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stays {
    /// No good one is as new.
    NewerThanGood,
    /// It is hardly older than the newest good one.
    Within,
    /// It takes a place.
    Place(Place),
    /// It would take a place if it, and what it needs, were verified.
    Awaited(Place),
    /// It is among the good ones that there must be at least.
    Minimum,
    /// No newer one was restored for proof.
    LastProven,
    /// Another that stays needs it.
    Needed {
        /// The other's name.
        by: String,
    },
    /// None of the source is known to be good.
    NoneIsGood,
}

/// A place that one backup can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Of what it is the newest.
    pub period: Period,
    /// Which of them, counted from 1 and from now.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

/// What backups are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A day, in UTC.
    Day,
    /// A week from Monday, in UTC.
    Week,
    /// A month, in UTC.
    Month,
}

/// Why a backup goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goes {
    /// Newer ones have all the places.
    NoPlace,
    /// It was never verified, and good ones are newer.
    Unverified,
    /// It could not be restored.
    Refuted,
    /// It cannot be restored without one that is not there.
    Broken {
        /// The other's name.
        missing: String,
    },
    /// It cannot be restored without one that could not be restored.
    NeedsRefuted {
        /// The other's name.
        refuted: String,
    },
}

impl Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewerThanGood => f.write_str("newer than any that is known to be good"),
            Self::Within => f.write_str("within keep_within of the newest good one"),
            Self::Place(place) => Display::fmt(place, f),
            Self::Awaited(place) => write!(f, "not known to be good yet; would be {place}"),
            Self::Minimum => f.write_str("one of the least number to keep"),
            Self::LastProven => f.write_str("the last that was proven"),
            Self::Needed { by } => write!(f, "needed by {by}"),
            Self::NoneIsGood => f.write_str("none is known to be good"),
        }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = match self.period {
            Period::Day => "daily",
            Period::Week => "weekly",
            Period::Month => "monthly",
        };
        write!(f, "{period} {} of {}", self.number, self.of)
    }
}

impl Display for Goes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPlace => f.write_str("newer ones have all places"),
            Self::Unverified => f.write_str("never verified, and verified ones are newer"),
            Self::Refuted => f.write_str("could not be restored"),
            Self::Broken { missing } => write!(f, "needs {missing}, which is not there"),
            Self::NeedsRefuted { refuted } => {
                write!(f, "needs {refuted}, which could not be restored")
            }
        }
    }
}
