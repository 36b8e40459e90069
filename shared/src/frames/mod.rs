//! Where the frames of zstd data begin (RFC 8878 §3.1), told from their headers without decoding.

mod first;

pub use first::{FirstFrame, Search, TooMany};

/// Every zstd frame begins with it.
const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// Begins a skippable frame, the lowest four bits left out: it holds no content, but sizes or a seek table.
const SKIPPABLE: u32 = 0x184D_2A50;

/// Largest block content.
const MAX_BLOCK: u64 = 128 << 10;

/// Largest header behind the magic and the descriptor: window, dictionary id and content size.
const MAX_HEADER: usize = 1 + 4 + 8;

/// The bytes are no zstd frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no zstd frame where one must begin or go on")]
pub struct NotFrames;

/// Says where frames begin while their bytes pass by.
#[derive(Debug, Clone)]
pub struct Frames {
    /// Bytes before what comes next.
    at: u64,
    state: State,
    gathered: [u8; MAX_HEADER],
    have: usize,
    frame: Frame,
    /// Frames that have begun, skippable ones too.
    begun: u64,
}

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Magic,
    SkippableSize,
    Descriptor,
    Header,
    BlockHeader,
    /// Bytes of content to pass over, and whether it is the last.
    Content {
        left: u64,
        last: bool,
    },
}

/// What the header of the frame at hand says.
#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    descriptor: u8,
    max_block: u64,
    content: Option<u64>,
}

impl Frame {
    fn is_single_segment(self) -> bool {
        self.descriptor & 0x20 != 0
    }

    fn has_checksum(self) -> bool {
        self.descriptor & 0x04 != 0
    }

    fn dictionary_bytes(self) -> usize {
        [0, 1, 2, 4][usize::from(self.descriptor & 3)]
    }

    fn size_bytes(self) -> usize {
        match self.descriptor >> 6 {
            0 => usize::from(self.is_single_segment()),
            flag => 1 << flag,
        }
    }

    fn header_bytes(self) -> usize {
        usize::from(!self.is_single_segment()) + self.dictionary_bytes() + self.size_bytes()
    }

    /// Bytes of its content, where the header says so.
    fn content(self, header: &[u8]) -> Option<u64> {
        let mut size = [0; 8];
        let stored = &header[header.len() - self.size_bytes()..];
        size[..stored.len()].copy_from_slice(stored);
        let offset = if stored.len() == 2 { 256 } else { 0 };
        let size = u64::from_le_bytes(size).saturating_add(offset);
        (!stored.is_empty()).then_some(size)
    }

    /// Bytes that the decoder must be able to look back on.
    fn window(self, header: &[u8]) -> u64 {
        if self.is_single_segment() {
            return self.content(header).unwrap_or_default();
        }
        let base = 1u64 << (10 + (header[0] >> 3));
        base + base / 8 * u64::from(header[0] & 7)
    }
}

impl Frames {
    /// For bytes that begin with a frame and lie at an offset of the object.
    pub fn new(at: u64) -> Self {
        Self {
            at,
            state: State::Magic,
            gathered: [0; MAX_HEADER],
            have: 0,
            frame: Frame::default(),
            begun: 0,
        }
    }

    /// Takes the next bytes; `begins` is told the offset of each zstd frame as soon as its magic has been seen.
    pub fn push(&mut self, mut bytes: &[u8], mut begins: impl FnMut(u64)) -> Result<(), NotFrames> {
        loop {
            if let State::Content { left, last } = self.state {
                let passed = left.min(bytes.len() as u64);
                // No more than there are bytes, so it fits.
                bytes = &bytes[usize::try_from(passed).unwrap_or(bytes.len())..];
                self.at += passed;
                if passed < left {
                    let left = left - passed;
                    self.state = State::Content { left, last };
                    return Ok(());
                }
                self.content_ended(last);
                continue;
            }
            let missing = self.wanted() - self.have;
            let taken = missing.min(bytes.len());
            self.gathered[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            self.at += taken as u64;
            bytes = &bytes[taken..];
            if taken < missing {
                return Ok(());
            }
            self.have = 0;
            self.understand(&mut begins)?;
        }
    }

    /// Whether the bytes so far are whole frames.
    pub fn is_whole(&self) -> bool {
        self.state == State::Magic && self.have == 0 && self.begun > 0
    }

    /// Bytes at the end that may begin the next frame, and are too few to tell.
    pub fn unfinished_magic(&self) -> usize {
        if self.state == State::Magic {
            self.have
        } else {
            0
        }
    }

    /// Bytes before what comes next; after a fault, before what cannot be understood or in the middle of it.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Bytes of content of the frame at hand, where its header has been seen and says so.
    pub fn content_size(&self) -> Option<u64> {
        self.frame.content
    }

    /// Bytes of the header that comes next.
    fn wanted(&self) -> usize {
        match self.state {
            State::Magic | State::SkippableSize => 4,
            State::Descriptor => 1,
            State::Header => self.frame.header_bytes(),
            State::BlockHeader => 3,
            State::Content { .. } => 0,
        }
    }

    fn understand(&mut self, begins: &mut impl FnMut(u64)) -> Result<(), NotFrames> {
        let word = || u32::from_le_bytes([0, 1, 2, 3].map(|n| self.gathered[n]));
        let next = match self.state {
            State::Magic if self.gathered[..4] == MAGIC => {
                begins(self.at - 4);
                self.frame.content = None;
                State::Descriptor
            }
            State::Magic if word() & !0xF == SKIPPABLE => State::SkippableSize,
            State::SkippableSize => State::Content {
                left: u64::from(word()),
                last: true,
            },
            State::Descriptor if self.gathered[0] & 0x08 == 0 => {
                self.frame.descriptor = self.gathered[0];
                State::Header
            }
            State::Header => {
                let header = &self.gathered[..self.frame.header_bytes()];
                self.frame.max_block = self.frame.window(header).min(MAX_BLOCK);
                self.frame.content = self.frame.content(header);
                State::BlockHeader
            }
            State::BlockHeader => self.block()?,
            State::Magic | State::Descriptor | State::Content { .. } => return Err(NotFrames),
        };
        self.begun += u64::from(self.state == State::Magic);
        self.state = next;
        Ok(())
    }

    fn block(&self) -> Result<State, NotFrames> {
        let [a, b, c] = [0, 1, 2].map(|n| u32::from(self.gathered[n]));
        let header = a | b << 8 | c << 16;
        let size = u64::from(header >> 3);
        if size > self.frame.max_block {
            return Err(NotFrames);
        }
        let left = match header >> 1 & 3 {
            0 | 2 => size,
            // One byte, to be repeated.
            1 => 1,
            _ => return Err(NotFrames),
        };
        let last = header & 1 == 1;
        let checksum = if last && self.frame.has_checksum() {
            4
        } else {
            0
        };
        let left = left + checksum;
        Ok(State::Content { left, last })
    }

    fn content_ended(&mut self, last: bool) {
        self.state = if last {
            State::Magic
        } else {
            State::BlockHeader
        };
    }
}

#[cfg(test)]
mod tests;
