//! Memory for long texts, which is taken before they are read to their end.

use std::sync::Arc;

use stoker_proto::common::v1::Compression;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Piece, Reading};
use crate::memory::Memory;

/// Texts up to about here are read without asking.
const SHORT: usize = 1 << 20;

/// What a text takes of the memory for reading, until it is on the wire.
pub(crate) type Held = Arc<OwnedSemaphorePermit>;

/// Room for one text at a time.
pub(super) struct Room {
    memory: Option<Memory>,
    longest: usize,
    held: Option<Held>,
}

impl Room {
    pub(super) fn new(reading: &Reading) -> Self {
        let plain = matches!(
            reading.compression,
            Compression::None | Compression::Unspecified
        );
        let bytes = usize::try_from(reading.stored_bytes).unwrap_or(usize::MAX);
        let longest = reading.max_document_bytes;
        Self {
            memory: reading.memory.clone(),
            longest: if plain { longest.min(bytes) } else { longest },
            held: None,
        }
    }

    /// Whether a text that has come to so many bytes is to wait for memory.
    pub(super) fn is_short_for(&self, bytes: usize) -> bool {
        self.memory.is_some() && self.held.is_none() && bytes > SHORT
    }

    /// Waits for memory for the longest text that may come, at once: who had a part of what it needs
    /// could wait for another who has. Whoever calls holds none for texts that were read before.
    pub(super) fn take(&mut self, pieces: &mpsc::Sender<Piece>) {
        let Some(memory) = &self.memory else {
            return;
        };
        let taken = tokio::runtime::Handle::current().block_on(async {
            tokio::select! {
                taken = memory.take_to_read(self.longest) => Some(taken),
                // Nobody waits for the text any more.
                () = pieces.closed() => None,
            }
        });
        self.held = taken.map(Arc::new);
    }

    /// What the text takes; none when it is short.
    pub(super) fn held(&self) -> Option<Held> {
        self.held.clone()
    }

    /// The text has been read.
    pub(super) fn leave(&mut self) {
        self.held = None;
    }
}
