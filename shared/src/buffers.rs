//! Large buffers that are used again: memory that a process has touched before costs no page faults.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes that are in use, kept to be written over when nobody uses them any more.
#[derive(Debug)]
pub struct Kept {
    most: usize,
    given: VecDeque<Bytes>,
}

impl Kept {
    /// Keeps `most` of them.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            given: VecDeque::new(),
        }
    }

    /// Keeps bytes that were given to somebody; no part of another's.
    pub fn keep(&mut self, bytes: Bytes) {
        if self.given.len() < self.most {
            self.given.push_back(bytes);
        }
    }

    /// A buffer that whoever had its bytes has let go of, as they left it.
    pub fn free(&mut self) -> Option<BytesMut> {
        for _ in 0..self.given.len() {
            match self.given.pop_front()?.try_into_mut() {
                Ok(free) => return Some(free),
                Err(in_use) => self.given.push_back(in_use),
            }
        }
        None
    }
}

/// Buffers of one size, handed out again.
#[derive(Debug)]
pub struct Buffers {
    size: usize,
    kept: Kept,
}

impl Buffers {
    /// Of `size` bytes each; keeps `most` of them for later.
    pub fn new(size: usize, most: usize) -> Self {
        Self {
            size,
            kept: Kept::new(most),
        }
    }

    /// A buffer of the full size; what it holds is of no meaning.
    pub fn take(&mut self) -> BytesMut {
        let free = self.kept.free();
        free.unwrap_or_else(|| BytesMut::zeroed(self.size))
    }

    /// The first `filled` bytes of a buffer that was taken; the buffer comes back when they are dropped.
    pub fn give(&mut self, buffer: BytesMut, filled: usize) -> Bytes {
        let whole = buffer.freeze();
        let bytes = whole.slice(..filled);
        if whole.len() == self.size {
            self.kept.keep(whole);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_bytes_are_dropped() {
        let mut buffers = Buffers::new(8, 1);
        let mut buffer = buffers.take();
        buffer[..2].copy_from_slice(b"ab");
        let place = buffer.as_ptr();
        let bytes = buffers.give(buffer, 2);
        assert_eq!(bytes, "ab");
        assert_ne!(buffers.take().as_ptr(), place, "it is in use");
        drop(bytes);
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.len()), (place, 8));
    }

    #[test]
    fn bytes_are_written_over_when_no_part_of_them_is_in_use() {
        let mut kept = Kept::new(1);
        let mut text = BytesMut::with_capacity(100);
        text.extend_from_slice(b"some text");
        let (place, room) = (text.as_ptr(), text.capacity());
        let text = text.freeze();
        let part = text.slice(5..);
        kept.keep(text.clone());
        drop(text);
        assert!(kept.free().is_none());
        drop(part);
        let again = kept.free().unwrap();
        assert_eq!((again.as_ptr(), again.capacity()), (place, room));
        assert!(kept.free().is_none());
    }
}
