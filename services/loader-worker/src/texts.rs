//! Texts of Bundles, which all units of a worker write over once nobody uses them any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use stoker_shared::buffers::Kept;

/// Texts kept: about as many as are on the wire at a time.
const KEPT: usize = 32;

/// Resources that a text has room for, in bytes: one with more grows, and is not kept.
const MOST_ROOM: usize = 1 << 20;

/// Room for what a Bundle has around its resources: of as many as self-tuning ever puts into one.
const AROUND: usize = 100 << 10;

/// Shared by cloning.
#[derive(Debug, Clone)]
pub struct Texts {
    old: Arc<Mutex<Kept>>,
    /// Bytes that each has room for from the start: memory is taken as it is written to, and a text that never
    /// grows leaves no holes behind.
    room: usize,
}

impl Texts {
    /// Texts of Bundles with so many bytes of resources.
    pub fn new(batch_bytes: usize) -> Self {
        Self {
            old: Arc::new(Mutex::new(Kept::new(KEPT))),
            room: batch_bytes.min(MOST_ROOM) + AROUND,
        }
    }

    /// An empty text.
    pub(crate) fn begin(&self) -> BytesMut {
        let old = self.old().free();
        let mut text = old.unwrap_or_else(|| BytesMut::with_capacity(self.room));
        text.clear();
        text
    }

    /// Keeps a text that is sent, unless it had to grow.
    pub(crate) fn keep(&self, text: &Bytes) {
        if text.len() <= self.room {
            self.old().keep(text.clone());
        }
    }

    fn old(&self) -> MutexGuard<'_, Kept> {
        self.old.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
