//! Large buffers that are used again: memory that a process has touched before costs no page faults.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Buffers of one size, handed out again when whoever had their bytes has let go of them.
#[derive(Debug)]
pub struct Buffers {
    size: usize,
    most: usize,
    given: VecDeque<Bytes>,
}

impl Buffers {
    /// Of `size` bytes each; keeps `most` of them for later.
    pub fn new(size: usize, most: usize) -> Self {
        Self {
            size,
            most,
            given: VecDeque::with_capacity(most),
        }
    }

    /// A buffer of the full size; what it holds is of no meaning.
    pub fn take(&mut self) -> BytesMut {
        for _ in 0..self.given.len() {
            let Some(oldest) = self.given.pop_front() else {
                break;
            };
            match oldest.try_into_mut() {
                Ok(free) => return free,
                Err(in_use) => self.given.push_back(in_use),
            }
        }
        BytesMut::zeroed(self.size)
    }

    /// The first `filled` bytes of a buffer that was taken; the buffer comes back when they are dropped.
    pub fn give(&mut self, buffer: BytesMut, filled: usize) -> Bytes {
        let whole = buffer.freeze();
        let bytes = whole.slice(..filled);
        if whole.len() == self.size && self.given.len() < self.most {
            self.given.push_back(whole);
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
}
