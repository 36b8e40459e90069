//! A number that is given, or left to Stoker.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::Axis;

/// A number that Stoker chooses unless it is given: `auto`, or 1 and more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// Stoker chooses.
    #[default]
    Auto,
    /// As given.
    Fixed(NonZeroUsize),
}

impl Choice {
    /// The number given, or `auto`.
    pub fn or(self, auto: usize) -> usize {
        match self {
            Self::Auto => auto,
            Self::Fixed(n) => n.get(),
        }
    }

    /// Always the number given, or between 1 and `most`, beginning with `start`.
    pub fn axis(self, start: usize, most: usize) -> Axis {
        match self {
            Self::Auto => Axis::auto(start, 1, most),
            Self::Fixed(n) => Axis::fixed(n.get()),
        }
    }
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let number = text
            .parse()
            .map_err(|_| format!("{text:?} is neither auto nor 1 or more"))?;
        Ok(Self::Fixed(number))
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(n) => n.fmt(f),
        }
    }
}

impl Serialize for Choice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Number(NonZeroUsize),
            Text(String),
        }
        match Given::deserialize(deserializer)? {
            Given::Number(n) => Ok(Self::Fixed(n)),
            Given::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}
