//! Which bytes of a backup a sample reads.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures::StreamExt as _;

use crate::manifest::Part;

use super::contents::Contents;
use super::error::PostgresError;
use super::verify::Reading;

/// Files up to this size are read whatever is chosen: going past them would take longer.
const SMALL: u64 = 1 << 20;

/// A share of what there is, the same for the same seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) percent: u32,
    pub(super) seed: u64,
}

impl Sample {
    /// Whether something of this name is in it.
    pub(super) fn has(self, name: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        (self.seed, name).hash(&mut hasher);
        hasher.finish() % 100 < u64::from(self.percent)
    }

    /// Goes through an archive from header to header, past the bytes of large files that are not in it.
    pub(super) async fn walk(
        self,
        reading: &Reading<'_>,
        part: &Part,
        contents: &mut Contents,
    ) -> Result<(), PostgresError> {
        let mut at = 0;
        let mut before = None;
        while at < part.bytes && before != Some(at) {
            before = Some(at);
            let mut stream = reading.from(part, at).await?;
            while let Some(piece) = stream.next().await {
                let piece = piece?;
                contents.push(&piece)?;
                reading.tell(piece.len());
                at += piece.len() as u64;
                let skipped = contents.skip(SMALL, &|path| self.has(path));
                if skipped > 0 {
                    at += skipped;
                    break;
                }
            }
        }
        Ok(())
    }
}
