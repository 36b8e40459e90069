//! Where the first frame of a range begins, found from the middle.

use memchr::memmem;

use super::{Frames, MAGIC, SKIPPABLE};

/// Bytes of a skippable frame before its content.
const SKIPPABLE_HEADER: usize = 8;

/// A longer skippable frame is not looked for as the first: its length would be believed for too long.
const MAX_FIRST_SKIPPABLE: u32 = 1 << 20;

/// Places that look like frames at one time.
const MAX_CANDIDATES: usize = 1 << 10;

/// There are too many places that look like frames to tell the true ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many places look like zstd frames and are none; compress it anew, or as one frame")]
pub struct TooMany;

/// How a search stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// More bytes are needed.
    Open,
    /// The first frame with content begins at this offset of the object. It lies behind the limit when a skippable
    /// frame before the limit comes before it.
    Found(u64),
    /// No frame begins before the limit.
    Nothing,
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
    /// Frames that begin here or later are not looked for.
    limit: u64,
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
    /// Whether it may still be one. Who is settled stays so: what follows is not for this to judge.
    fn push(&mut self, bytes: &[u8]) -> bool {
        if self.is_settled() {
            return true;
        }
        let first = &mut self.first;
        let pushed = self.frames.push(bytes, |at| {
            first.get_or_insert(at);
        });
        pushed.is_ok() || self.is_settled()
    }

    /// Another frame follows on it.
    fn is_settled(&self) -> bool {
        self.first.is_some() && self.frames.begun > 1
    }
}

impl FirstFrame {
    /// For the bytes from an offset on, and frames that begin before a limit.
    pub fn new(at: u64, limit: u64) -> Self {
        Self {
            at,
            limit,
            tail: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Takes the next bytes. However they are cut, the answer is the same.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Search, TooMany> {
        self.candidates.retain_mut(|c| c.push(bytes));
        let base = self.at - self.tail.len() as u64;
        let seen = self.tail.len();
        let mut recent = std::mem::take(&mut self.tail);
        recent.extend_from_slice(bytes);
        self.at += bytes.len() as u64;
        for place in places(&recent, seen) {
            let start = base + place as u64;
            if start >= self.limit || self.is_settled() {
                break;
            }
            self.consider(start, &recent[place..]);
            if self.candidates.len() > MAX_CANDIDATES {
                return Err(TooMany);
            }
        }
        self.tail = recent.split_off(recent.len().saturating_sub(SKIPPABLE_HEADER - 1));
        Ok(self.state())
    }

    /// Lowers the limit: what begins there or later does not matter any more.
    pub fn only_before(&mut self, limit: u64) -> Search {
        self.limit = self.limit.min(limit);
        self.candidates.retain(|c| c.start < limit);
        self.state()
    }

    /// After the object's last byte: the first frame, if there is one. One that is cut short counts where no
    /// other does: who reads it finds the damage.
    pub fn end(self) -> Option<u64> {
        let whole = |c: &&Candidate| c.is_settled() || c.frames.is_whole();
        let cut = || self.candidates.iter().find(|c| c.first.is_some());
        self.candidates.iter().find(whole).or_else(cut)?.first
    }

    fn consider(&mut self, start: u64, bytes: &[u8]) {
        let mut candidate = Candidate {
            start,
            frames: Frames::new(start),
            first: None,
        };
        if candidate.push(bytes) {
            let place = self.candidates.partition_point(|c| c.start < start);
            self.candidates.insert(place, candidate);
        }
    }

    /// One that lies before all others must fail before another can be it.
    fn is_settled(&self) -> bool {
        self.candidates.first().is_some_and(Candidate::is_settled)
    }

    fn state(&self) -> Search {
        match self.candidates.first() {
            Some(Candidate {
                first: Some(at), ..
            }) if self.is_settled() => Search::Found(*at),
            None if self.at >= self.limit.saturating_add(SKIPPABLE_HEADER as u64 - 1) => {
                Search::Nothing
            }
            _ => Search::Open,
        }
    }
}

/// Where a frame may begin whose first bytes are all there, and were not all among the first `seen`; in their order.
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
    let mut places: Vec<usize> = frames.chain(skippable).collect();
    places.sort_unstable();
    places
}
