//! Cuts a stream of chunks into lines, without copying lines that lie within one chunk.

use bytes::{Bytes, BytesMut};

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Offset of its first byte in the stream.
    pub(super) start: u64,
    /// Offset one past its end mark.
    pub(super) end: u64,
    /// Its bytes without `\n` or `\r\n`; `None` when it was longer than the limit.
    pub(super) bytes: Option<Bytes>,
}

/// Cuts lines; holds at most one unfinished line of up to `limit` bytes.
#[derive(Debug)]
pub(super) struct Lines {
    limit: usize,
    /// Offset of the start of the unfinished line.
    start: u64,
    unfinished: BytesMut,
    /// Bytes of the unfinished line that were dropped because it is too long.
    dropped: u64,
}

impl Lines {
    /// For a stream whose lines may be `limit` bytes long.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            start: 0,
            unfinished: BytesMut::new(),
            dropped: 0,
        }
    }

    /// Takes the next chunk; calls `emit` for each line that ends in it. Stops early when `emit` says false.
    pub(super) fn push(&mut self, chunk: &Bytes, mut emit: impl FnMut(Line) -> bool) -> bool {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', chunk) {
            let line = self.finish(chunk.slice(start..end), 1);
            start = end + 1;
            if !emit(line) {
                return false;
            }
        }
        self.keep(&chunk[start..]);
        true
    }

    /// Bytes of the last line so far that are kept.
    pub(super) fn unfinished_bytes(&self) -> usize {
        self.unfinished.len()
    }

    /// Ends the stream: the last line when it has no end mark.
    pub(super) fn end(&mut self) -> Option<Line> {
        let empty = self.unfinished.is_empty() && self.dropped == 0;
        (!empty).then(|| self.finish(Bytes::new(), 0))
    }

    fn keep(&mut self, rest: &[u8]) {
        if self.dropped > 0 || self.unfinished.len() + rest.len() > self.limit {
            self.dropped += (self.unfinished.len() + rest.len()) as u64;
            self.unfinished = BytesMut::new();
        } else {
            self.unfinished.extend_from_slice(rest);
        }
    }

    fn finish(&mut self, tail: Bytes, mark: u64) -> Line {
        let start = self.start;
        let bytes = if self.unfinished.is_empty() && self.dropped == 0 && tail.len() <= self.limit {
            self.start += tail.len() as u64 + mark;
            Some(tail)
        } else {
            self.keep(&tail);
            self.start += self.unfinished.len() as u64 + self.dropped + mark;
            let whole = self.dropped == 0;
            self.dropped = 0;
            let line = self.unfinished.split().freeze();
            whole.then_some(line)
        };
        Line {
            start,
            end: self.start,
            bytes: bytes.map(without_return),
        }
    }
}

fn without_return(mut bytes: Bytes) -> Bytes {
    if bytes.last() == Some(&b'\r') {
        bytes.truncate(bytes.len() - 1);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(chunks: &[&[u8]], limit: usize) -> Vec<Line> {
        let mut lines = Lines::new(limit);
        let mut found = Vec::new();
        for chunk in chunks {
            lines.push(&Bytes::copy_from_slice(chunk), |line| {
                found.push(line);
                true
            });
        }
        found.extend(lines.end());
        found
    }

    fn texts(lines: &[Line]) -> Vec<Option<&[u8]>> {
        lines.iter().map(|l| l.bytes.as_deref()).collect()
    }

    #[test]
    fn line_ends_are_no_content() {
        let lines = cut(&[b"ab\r\nc", b"d\n\n", b"e"], 100);
        let expected: [Option<&[u8]>; 4] = [Some(b"ab"), Some(b"cd"), Some(b""), Some(b"e")];
        assert_eq!(texts(&lines), expected);
        let spans: Vec<_> = lines.iter().map(|l| (l.start, l.end)).collect();
        assert_eq!(spans, [(0, 4), (4, 7), (7, 8), (8, 9)]);
    }

    #[test]
    fn a_line_over_the_limit_is_passed_over_and_the_next_is_whole() {
        let lines = cut(&[b"123", b"456", b"7\nok\n12345\n"], 4);
        let expected: [Option<&[u8]>; 3] = [None, Some(b"ok"), None];
        assert_eq!(texts(&lines), expected);
        assert_eq!((lines[0].start, lines[0].end), (0, 8));
        assert_eq!((lines[1].start, lines[1].end), (8, 11));
        assert_eq!(lines[2].end, 17);
    }

    proptest! {
        #[test]
        fn chunk_borders_do_not_matter(
            text in "[ab\n\r]{0,60}", cuts in prop::collection::vec(1usize..9, 0..30)
        ) {
            let whole = cut(&[text.as_bytes()], 1000);
            let mut rest = text.as_bytes();
            let mut chunks = Vec::new();
            for size in cuts {
                let (head, tail) = rest.split_at(size.min(rest.len()));
                chunks.push(head);
                rest = tail;
            }
            chunks.push(rest);
            prop_assert_eq!(&whole, &cut(&chunks, 1000));
            let mut at = 0;
            for line in &whole {
                prop_assert_eq!(line.start, at);
                at = line.end;
            }
            prop_assert_eq!(at, text.len() as u64);
        }
    }
}
