//! Positions in the write-ahead log, and the names of its segments.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A position in the log, in bytes from its beginning: <https://www.postgresql.org/docs/current/datatype-pg-lsn.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(pub u64);

/// A text that is no [`Lsn`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no position in the log such as 16/B374D848")]
pub struct NoLsn(String);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

impl TryFrom<String> for Lsn {
    type Error = NoLsn;

    fn try_from(text: String) -> Result<Self, NoLsn> {
        text.parse()
    }
}

impl FromStr for Lsn {
    type Err = NoLsn;

    fn from_str(text: &str) -> Result<Self, NoLsn> {
        let half = |text: &str| u32::from_str_radix(text, 16).ok();
        let halves = text
            .split_once('/')
            .and_then(|(high, low)| Some((half(high)?, half(low)?)));
        let (high, low) = halves.ok_or_else(|| NoLsn(text.to_owned()))?;
        Ok(Self(u64::from(high) << 32 | u64::from(low)))
    }
}

/// How a server cuts its log into files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// Bytes of each: a power of two from 1 MiB to 1 GiB.
    pub bytes: u64,
    /// The timeline.
    pub timeline: u32,
}

impl Segments {
    /// None where `bytes` is no size that a server can have.
    pub fn new(bytes: u64, timeline: u32) -> Option<Self> {
        let possible = bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes);
        possible.then_some(Self { bytes, timeline })
    }

    /// Where the segment that holds the byte at `at` begins.
    pub fn start(self, at: Lsn) -> Lsn {
        Lsn(at.0 & !(self.bytes - 1))
    }

    /// Where the segment ends that holds the last byte before `end`.
    pub fn end(self, end: Lsn) -> Lsn {
        Lsn(self
            .start(Lsn(end.0.saturating_sub(1)))
            .0
            .saturating_add(self.bytes))
    }

    /// The name of the segment that begins at `start`.
    pub fn name(self, start: Lsn) -> String {
        let number = start.0 / self.bytes;
        let in_one = (1 << 32) / self.bytes;
        let (high, low) = (number / in_one, number % in_one);
        format!("{:08X}{high:08X}{low:08X}", self.timeline)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn segments_are_named_as_the_server_names_them() {
        let segments = Segments::new(16 << 20, 1).unwrap();
        assert_eq!(segments.name(Lsn(0x0200_0000)), "000000010000000000000002");
        let late: Lsn = "1A/FF000028".parse().unwrap();
        assert_eq!(
            segments.name(segments.start(late)),
            "000000010000001A000000FF"
        );
        let large = Segments::new(64 << 20, 0x1F).unwrap();
        assert_eq!(
            large.name(large.start("2/F8000000".parse().unwrap())),
            "0000001F000000020000003E"
        );
        assert_eq!(Segments::new(3 << 20, 1), None);
    }

    #[test]
    fn a_position_on_a_border_ends_the_segment_before_it() {
        let segments = Segments::new(16 << 20, 1).unwrap();
        assert_eq!(segments.end(Lsn(0x0200_0000)), Lsn(0x0200_0000));
        assert_eq!(segments.end(Lsn(0x0200_0001)), Lsn(0x0300_0000));
    }

    proptest! {
        #[test]
        fn positions_are_read_as_they_are_written(at in any::<u64>()) {
            prop_assert_eq!(Lsn(at).to_string().parse::<Lsn>().unwrap(), Lsn(at));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,24}") {
            let _ = text.parse::<Lsn>();
        }
    }
}
