//! Where the frames of zstd data begin (RFC 8878 §3.1), told from their headers without decoding.

use memchr::memmem;

/// Every zstd frame begins with it.
const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// Begins a skippable frame, the lowest four bits left out: it holds no content, but sizes or a seek table.
const SKIPPABLE: u32 = 0x184D_2A50;

/// Bytes of a skippable frame before its content.
const SKIPPABLE_HEADER: usize = 8;

/// Largest block content.
const MAX_BLOCK: u64 = 128 << 10;

/// Largest header behind the magic and the descriptor: window, dictionary id and content size.
const MAX_HEADER: usize = 1 + 4 + 8;

/// A longer skippable frame is not looked for as the first: its length would be believed for too long.
const MAX_FIRST_SKIPPABLE: u32 = 1 << 20;

/// Places that look like frames at one time.
const MAX_CANDIDATES: usize = 1 << 10;

/// The bytes are no zstd frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no zstd frame where one must begin or go on")]
pub struct NotFrames;

/// There are too many places that look like frames to tell the true ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many places look like zstd frames")]
pub struct TooMany;

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

    /// Bytes that the decoder must be able to look back on.
    fn window(self, header: &[u8]) -> u64 {
        if !self.is_single_segment() {
            let base = 1u64 << (10 + (header[0] >> 3));
            return base + base / 8 * u64::from(header[0] & 7);
        }
        let mut size = [0; 8];
        let stored = &header[self.dictionary_bytes()..];
        size[..stored.len()].copy_from_slice(stored);
        let offset = if stored.len() == 2 { 256 } else { 0 };
        u64::from_le_bytes(size).saturating_add(offset)
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
        self.begun += u64::from(self.state == State::Magic);
        self.state = match self.state {
            State::Magic if self.gathered[..4] == MAGIC => {
                begins(self.at - 4);
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
                State::BlockHeader
            }
            State::BlockHeader => self.block()?,
            State::Magic | State::Descriptor | State::Content { .. } => return Err(NotFrames),
        };
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

/// Whether an object has several frames, told from its first bytes; none when they are too few to tell.
pub fn has_several(head: &[u8], size: u64) -> Result<Option<bool>, NotFrames> {
    let (mut frames, mut begun) = (Frames::new(0), 0);
    frames.push(head, |_| begun += 1)?;
    Ok(match begun {
        0 | 1 if head.len() as u64 >= size => Some(false),
        0 | 1 => None,
        _ => Some(true),
    })
}

/// Finds the first zstd frame at or after an offset of an object.
///
/// A place that looks like one is followed by its headers to its end, where another frame, a skippable one or
/// the object's end must be. Content of the frame before that looks like that too, to its last byte, cannot be told
/// from a frame; it would be no UTF-8, so no text holds it.
#[derive(Debug)]
pub struct FirstFrame {
    /// Bytes of the object before what comes next.
    at: u64,
    /// The last bytes, in which a frame may have begun.
    tail: Vec<u8>,
    /// By their place.
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    start: u64,
    frames: Frames,
    /// Its first frame with content.
    first: Option<u64>,
}

impl Candidate {
    /// Whether it may still be one.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let first = &mut self.first;
        let pushed = self.frames.push(bytes, |at| {
            first.get_or_insert(at);
        });
        pushed.is_ok()
    }
}

impl FirstFrame {
    /// For the bytes from an offset on.
    pub fn new(at: u64) -> Self {
        Self {
            at,
            tail: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Takes the next bytes; the offset of the first frame once it is sure.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<u64>, TooMany> {
        self.candidates.retain_mut(|c| c.push(bytes));
        let base = self.at - self.tail.len() as u64;
        let seen = self.tail.len();
        let mut recent = std::mem::take(&mut self.tail);
        recent.extend_from_slice(bytes);
        for place in places(&recent, seen) {
            let start = base + place as u64;
            let mut candidate = Candidate {
                start,
                frames: Frames::new(start),
                first: None,
            };
            if candidate.push(&recent[place..]) {
                self.candidates.push(candidate);
            }
        }
        if self.candidates.len() > MAX_CANDIDATES {
            return Err(TooMany);
        }
        self.candidates.sort_by_key(|c| c.start);
        self.at += bytes.len() as u64;
        self.tail = recent.split_off(recent.len().saturating_sub(SKIPPABLE_HEADER - 1));
        // One that lies before all others must fail before another can be it.
        let sure = self.candidates.first().filter(|c| c.frames.begun > 1);
        Ok(sure.and_then(|c| c.first))
    }

    /// After the object's last byte: the first frame, if there is one.
    pub fn end(self) -> Option<u64> {
        let mut whole = self
            .candidates
            .iter()
            .filter(|c| c.frames.is_whole() || c.frames.begun > 1);
        whole.next()?.first
    }
}

/// Where a frame may begin whose first bytes are all there, and were not all among the first `seen`.
fn places(bytes: &[u8], seen: usize) -> Vec<usize> {
    let frames = memmem::find_iter(bytes, &MAGIC).filter(|at| at + MAGIC.len() > seen);
    let magic = SKIPPABLE.to_le_bytes();
    let skippable = memmem::find_iter(bytes, &magic[1..]);
    let skippable = skippable.filter_map(|at| {
        let start = at.checked_sub(1).filter(|&s| bytes[s] & 0xF0 == 0x50)?;
        let size = bytes.get(start + 4..start + SKIPPABLE_HEADER)?;
        let size = u32::from_le_bytes(size.try_into().ok()?);
        (size <= MAX_FIRST_SKIPPABLE && start + SKIPPABLE_HEADER > seen).then_some(start)
    });
    frames.chain(skippable).collect()
}

#[cfg(test)]
mod tests;
