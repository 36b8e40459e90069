//! What of an object a unit holds.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use stoker_proto::common::v1::Compression;
use stoker_proto::ledger::v1::{ObjectVersion, Unit};
use stoker_shared::frames::{FirstFrame, Search, TooMany};
use stoker_shared::object_store::{ByteStream, ObjectStore, StoreError};

/// Which of an object's lines a unit holds: those that begin after its first decoded byte, up to its end. A line that begins
/// just where the next unit does is of this unit: who reads that one cannot see that a line ends just before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The first stored byte that is read; decoded bytes and lines are counted from it.
    pub from: u64,
    /// This is not the object's first unit: all up to the first line end is of one before.
    pub begins_inside: bool,
    /// Where the unit ends.
    pub end: ShareEnd,
}

/// Where a unit ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareEnd {
    /// After so many decoded bytes.
    Decoded(u64),
    /// Where the first zstd frame begins that begins at this stored byte or later.
    Frame(u64),
}

/// Why it cannot be told what a unit holds.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The unit's first frame cannot be told.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

impl Share {
    /// All there is.
    pub const WHOLE: Self = Self {
        from: 0,
        begins_inside: false,
        end: ShareEnd::Decoded(u64::MAX),
    };

    /// What a unit holds; none when no zstd frame begins in its range. `read` counts stored bytes read to find it.
    ///
    /// It follows from the range and the object's bytes alone: whoever takes the unit again counts from the
    /// same byte.
    pub async fn of(
        unit: &Unit,
        object: &ObjectVersion,
        store: &dyn ObjectStore,
        read: &AtomicU64,
    ) -> Result<Option<Self>, ShareError> {
        let range = unit.range.map_or(0..object.size, |r| r.start..r.end);
        let begins_inside = range.start > 0;
        let is_last = range.end >= object.size;
        let in_frames = object.compression() == Compression::Zstd;
        let end = match in_frames {
            _ if is_last => ShareEnd::Decoded(u64::MAX),
            true => ShareEnd::Frame(range.end),
            false => ShareEnd::Decoded(range.end - range.start),
        };
        let from = if in_frames && begins_inside {
            let stored = store.get(&object.key, range.start..object.size).await?;
            first_frame(stored, range, read).await?
        } else {
            Some(range.start)
        };
        Ok(from.map(|from| Self {
            from,
            begins_inside,
            end,
        }))
    }
}

/// Where the first zstd frame begins that begins in a range, of an object's bytes from the range's start on.
async fn first_frame(
    mut stored: ByteStream,
    range: Range<u64>,
    read: &AtomicU64,
) -> Result<Option<u64>, ShareError> {
    let mut search = FirstFrame::new(range.start, range.end);
    let within = |at: &u64| *at < range.end;
    while let Some(chunk) = stored.next().await {
        let chunk = chunk?;
        read.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        match search.push(&chunk)? {
            Search::Open => {}
            Search::Found(at) => return Ok(Some(at).filter(within)),
            Search::Nothing => return Ok(None),
        }
    }
    Ok(search.end().filter(within))
}

#[cfg(test)]
mod tests;
