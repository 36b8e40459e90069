//! Texts of Bundles, which all units of a worker write over once nobody uses them any more.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use stoker_shared::buffers::Kept;

/// Texts kept: about as many as are on the wire at a time.
const KEPT: usize = 32;

/// Longer texts are not kept.
const LONGEST_KEPT: usize = 1 << 20;

/// Shared by cloning.
#[derive(Debug, Clone)]
pub struct Texts(Arc<Mutex<Old>>);

#[derive(Debug)]
struct Old {
    kept: Kept,
    /// Bytes of the longest so far: a text that has room for so many seldom grows.
    longest: usize,
}

impl Default for Texts {
    fn default() -> Self {
        let kept = Kept::new(KEPT);
        Self(Arc::new(Mutex::new(Old { kept, longest: 0 })))
    }
}

impl Texts {
    /// An empty text, with room for as many bytes as others had.
    pub(crate) fn begin(&self) -> BytesMut {
        let (text, longest) = self.with(|old| (old.kept.free(), old.longest));
        let mut text = text.unwrap_or_default();
        text.clear();
        text.reserve(longest);
        text
    }

    /// Keeps a text that is sent.
    pub(crate) fn keep(&self, text: &Bytes) {
        if text.len() <= LONGEST_KEPT {
            self.with(|old| {
                old.longest = old.longest.max(text.len());
                old.kept.keep(text.clone());
            });
        }
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Old) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
