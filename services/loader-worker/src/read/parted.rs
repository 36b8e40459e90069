//! The stored bytes of a unit's zstd frames, and those of the frames after them, each for a decoder of its own.

use std::io::{self, BufRead, Read};

use bytes::{Bytes, BytesMut};
use stoker_shared::frames::{FirstFrame, Frames, NotFrames, Search};

use super::decode::Stored;

/// What lies within a frame of the unit looks like one of its own, so that another unit begins at the wrong place.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(
    "a zstd frame seems to begin at byte {at} within another one, so that parts of the object cannot be told from each other; compress it anew, or as one frame"
)]
struct FalseFrame {
    at: u64,
}

/// Reads up to the border between the frames of a unit and those of the next, where it ends for the first time;
/// then, once told, on to the object's end.
pub(super) struct Parted<'s> {
    stored: &'s mut Stored,
    walk: Frames,
    /// The unit's frames begin before this stored byte.
    until: u64,
    /// Offset of the next chunk.
    at: u64,
    /// To be decoded next.
    ready: Bytes,
    /// The last bytes, too few to tell whether they begin the frame at the border.
    held: Bytes,
    border: Option<Border>,
    /// No frame goes on where one must.
    fault: Option<NotFrames>,
    ended: bool,
    check: Check,
}

/// The frame at which the next unit with frames begins.
#[derive(Debug)]
struct Border {
    at: u64,
    /// What has been read from it on; none once that is to be decoded.
    beyond: Option<Bytes>,
}

impl<'s> Parted<'s> {
    /// Of bytes that begin with a frame at `from`.
    pub(super) fn new(stored: &'s mut Stored, from: u64, until: u64) -> Self {
        Self {
            stored,
            walk: Frames::new(from),
            until,
            at: from,
            ready: Bytes::new(),
            held: Bytes::new(),
            border: None,
            fault: None,
            ended: false,
            check: Check::new(until),
        }
    }

    /// Goes on beyond the border; false when there is none.
    pub(super) fn go_beyond(&mut self) -> bool {
        let beyond = self.border.as_mut().and_then(|b| b.beyond.take());
        let goes_on = beyond.is_some();
        self.ready = beyond.unwrap_or_default();
        goes_on
    }

    /// Fails unless a search from the unit's end, as other units do it, finds the border that the unit's own frames led to.
    pub(super) fn agree(&mut self) -> io::Result<()> {
        while self.border.is_some() && self.check.is_open() && self.next()?.is_some() {}
        if self.border.is_some() || self.ended {
            let at = self.border.as_ref().map(|b| b.at);
            self.check.end(at)?;
        }
        Ok(())
    }

    /// The next chunk from the store; `None` at the object's end.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(chunk) = self.stored.take()? else {
            self.ended = true;
            return Ok(None);
        };
        self.check.push(self.at, &chunk)?;
        self.at += chunk.len() as u64;
        Ok(Some(chunk))
    }

    /// Gets more of the unit's own frames.
    fn refill(&mut self) -> io::Result<()> {
        while self.ready.is_empty() && self.border.is_none() && !self.ended {
            if let Some(fault) = self.fault {
                return Err(io::Error::other(fault));
            }
            match self.next()? {
                Some(chunk) => self.walk(chunk),
                None => self.ready = std::mem::take(&mut self.held),
            }
        }
        Ok(())
    }

    fn walk(&mut self, chunk: Bytes) {
        let mut border = None;
        let until = self.until;
        let walked = self.walk.push(&chunk, |at| {
            if at >= until {
                border.get_or_insert(at);
            }
        });
        let mut known = joined(std::mem::take(&mut self.held), chunk);
        let start = self.at - known.len() as u64;
        let length = known.len();
        // Both lie within the bytes at hand, so they fit.
        let place = |at: u64| usize::try_from(at - start).unwrap_or(length);
        if let Some(at) = border {
            let beyond = known.split_off(place(at));
            self.check.found(at);
            self.border = Some(Border {
                at,
                beyond: Some(beyond),
            });
        } else if let Err(fault) = walked {
            self.fault = Some(fault);
            known.truncate(place(self.walk.at()));
        } else {
            self.held = known.split_off(length - self.walk.unfinished_magic());
        }
        self.ready = known;
    }
}

impl Read for Parted<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(out.len());
        out[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Parted<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let is_beyond = matches!(self.border, Some(Border { beyond: None, .. }));
        if self.ready.is_empty() {
            if is_beyond {
                self.ready = self.next()?.unwrap_or_default();
            } else {
                self.refill()?;
            }
        }
        Ok(&self.ready)
    }

    fn consume(&mut self, n: usize) {
        let _ = self.ready.split_to(n);
    }
}

fn joined(front: Bytes, back: Bytes) -> Bytes {
    if front.is_empty() {
        return back;
    }
    let mut whole = BytesMut::from(front);
    whole.extend_from_slice(&back);
    whole.freeze()
}

/// Searches from the unit's end as the unit after it does.
#[derive(Debug)]
struct Check {
    search: FirstFrame,
    until: u64,
    state: Search,
}

impl Check {
    fn new(until: u64) -> Self {
        Self {
            search: FirstFrame::new(until, u64::MAX),
            until,
            state: Search::Open,
        }
    }

    fn is_open(&self) -> bool {
        self.state == Search::Open
    }

    fn push(&mut self, at: u64, chunk: &Bytes) -> io::Result<()> {
        let passed = usize::try_from(self.until.saturating_sub(at)).unwrap_or(usize::MAX);
        if self.is_open() && passed < chunk.len() {
            let pushed = self.search.push(&chunk[passed..]);
            self.state = pushed.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// What looks like a frame from the border on needs no look.
    fn found(&mut self, border: u64) {
        if self.is_open() {
            self.state = self.search.only_before(border);
        }
    }

    fn end(&mut self, border: Option<u64>) -> io::Result<()> {
        let found = match self.state {
            Search::Found(at) => Some(at),
            Search::Nothing => border,
            Search::Open => {
                let nothing = FirstFrame::new(0, 0);
                std::mem::replace(&mut self.search, nothing)
                    .end()
                    .or(border)
            }
        };
        match found {
            Some(at) if found != border => Err(io::Error::other(FalseFrame { at })),
            _ => Ok(()),
        }
    }
}
