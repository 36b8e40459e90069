//! Reads a little of a JSON text and checks that all of it is JSON, in one pass without copying.
//!
//! Whatever is not plain is left to `serde_json`, which also has the words for what is wrong: a text is taken here
//! only if it would be taken there.

use std::ops::Range;

/// How deep arrays and objects may lie in each other here.
const DEEPEST: u32 = 64;

/// Where the strings lie in a text, without their quotes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) resource_type: Range<usize>,
    pub(crate) id: Option<Range<usize>>,
}

/// Finds type and id of an object; `None` when the text is no such object, or no plain one.
pub(crate) fn resource(json: &[u8]) -> Option<Found> {
    whole(json, Cursor::resource)
}

/// Calls `each` with the status of every entry of an answer to a Bundle, in order, until it says `None`;
/// `None` then, and when an entry has none or the text is no plain Bundle.
pub(crate) fn statuses(json: &[u8], each: impl FnMut(u16) -> Option<()>) -> Option<()> {
    whole(json, |cursor| cursor.statuses(each))
}

/// Reads a text to its end.
fn whole<'a, T>(json: &'a [u8], read: impl FnOnce(&mut Cursor<'a>) -> Option<T>) -> Option<T> {
    let mut cursor = Cursor {
        json,
        at: 0,
        high: 0,
    };
    let found = read(&mut cursor)?;
    cursor.next_token();
    if cursor.at != json.len() {
        return None;
    }
    if cursor.high != 0 {
        std::str::from_utf8(json).ok()?;
    }
    Some(found)
}

struct Cursor<'a> {
    json: &'a [u8],
    at: usize,
    /// Has bits where a byte of a string was not ASCII.
    high: u64,
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH_BITS: u64 = ONES << 7;

/// Marks the high bit of the first byte that may not just be passed over in a string: a quote, a
/// backslash or a control character. Bytes after the first may be marked wrongly.
fn mark_special(bytes: u64) -> u64 {
    let quote = bytes ^ (ONES * u64::from(b'"'));
    let backslash = bytes ^ (ONES * u64::from(b'\\'));
    let marks = (quote.wrapping_sub(ONES) & !quote)
        | (backslash.wrapping_sub(ONES) & !backslash)
        | (bytes.wrapping_sub(ONES * 0x20) & !bytes);
    marks & HIGH_BITS
}

impl<'a> Cursor<'a> {
    /// The next byte; 0, which is no part of JSON, at the end.
    #[inline]
    fn peek(&self) -> u8 {
        self.json.get(self.at).copied().unwrap_or(0)
    }

    /// The next byte after white space, which is passed over.
    #[inline]
    fn next_token(&mut self) -> u8 {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.peek()
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next_token() == byte).then(|| self.at += 1)
    }

    fn resource(&mut self) -> Option<Found> {
        let (mut resource_type, mut id) = (None, None);
        self.members(|cursor, name| {
            let found = match name {
                b"resourceType" => &mut resource_type,
                b"id" => &mut id,
                _ => return cursor.value(),
            };
            // Given twice, it is left to serde_json.
            let before = found.replace(cursor.plain_string()?);
            before.is_none().then_some(())
        })?;
        Some(Found {
            resource_type: resource_type?,
            id,
        })
    }

    /// Passes over an object; `each` is given the names of its members and passes over their values.
    #[inline]
    fn members(&mut self, mut each: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.next_token() == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let name = self.key()?;
            each(self, name)?;
            match self.next_token() {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    /// Passes over an array; `each` passes over its elements.
    #[inline]
    fn elements(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'[')?;
        if self.next_token() == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            each(self)?;
            match self.next_token() {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    fn statuses(&mut self, mut each: impl FnMut(u16) -> Option<()>) -> Option<()> {
        let mut answered = false;
        self.members(|cursor, name| {
            if name != b"entry" {
                return cursor.value();
            }
            let first = !std::mem::replace(&mut answered, true);
            first.then_some(())?;
            cursor.elements(|cursor| each(cursor.status_of_entry()?))
        })
    }

    fn status_of_entry(&mut self) -> Option<u16> {
        let mut status = None;
        self.members(|cursor, name| {
            if name != b"response" {
                return cursor.value();
            }
            cursor.members(|cursor, name| {
                if name != b"status" {
                    return cursor.value();
                }
                let text = cursor.plain_string()?;
                let text = &cursor.json[text.start..text.end.min(text.start + 3)];
                let number = std::str::from_utf8(text).ok()?.parse().ok()?;
                let before = status.replace(number);
                before.is_none().then_some(())
            })
        })?;
        status
    }

    /// Passes over a member's name and colon; answers the name unless it is written with escapes.
    #[inline]
    fn key(&mut self) -> Option<&'a [u8]> {
        let name = self.plain_string()?;
        self.expect(b':')?;
        Some(&self.json[name])
    }

    /// Passes over a string without escapes.
    #[inline]
    fn plain_string(&mut self) -> Option<Range<usize>> {
        self.expect(b'"')?;
        let start = self.at;
        self.pass_plain();
        let end = self.at;
        self.expect_now(b'"')?;
        Some(start..end)
    }

    #[inline]
    fn expect_now(&mut self, byte: u8) -> Option<()> {
        (self.peek() == byte).then(|| self.at += 1)
    }

    /// Passes over what needs no care in a string: up to a quote, a backslash, a control character or
    /// the end.
    #[inline]
    fn pass_plain(&mut self) {
        while let Some((bytes, _)) = self.json[self.at..].split_first_chunk() {
            let bytes = u64::from_le_bytes(*bytes);
            self.high |= bytes & HIGH_BITS;
            let special = mark_special(bytes);
            if special != 0 {
                self.at += (special.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
        while !matches!(self.peek(), b'"' | b'\\' | 0..0x20) {
            self.high |= u64::from(self.peek() & 0x80);
            self.at += 1;
        }
    }

    /// Passes over the rest of a string, after its first quote.
    #[inline]
    fn string(&mut self) -> Option<()> {
        loop {
            self.pass_plain();
            match self.peek() {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    #[cold]
    fn escape(&mut self) -> Option<()> {
        let escaped = *self.json.get(self.at + 1)?;
        self.at += 2;
        match escaped {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            // Halves of surrogate pairs alone: serde_json decides.
            b'u' => {
                let digits = self.json.get(self.at..self.at + 4)?;
                self.at += 4;
                let surrogate = matches!(
                    digits,
                    [b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..]
                );
                (!surrogate && digits.iter().all(u8::is_ascii_hexdigit)).then_some(())
            }
            _ => None,
        }
    }

    /// Passes over any value.
    fn value(&mut self) -> Option<()> {
        let mut depth = 0;
        // The innermost in the lowest bit: 1 for an object.
        let mut objects: u64 = 0;
        loop {
            let opens = self.next_token();
            match opens {
                b'"' => {
                    self.at += 1;
                    self.string()?;
                }
                b'{' | b'[' => {
                    self.at += 1;
                    let object = opens == b'{';
                    // In ASCII the closing bracket is two after the opening one.
                    if self.next_token() == opens + 2 {
                        self.at += 1;
                    } else {
                        if depth == DEEPEST {
                            return None;
                        }
                        depth += 1;
                        objects = objects << 1 | u64::from(object);
                        if object {
                            self.member()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar(opens)?,
            }
            loop {
                if depth == 0 {
                    return Some(());
                }
                let object = objects & 1 == 1;
                match self.next_token() {
                    b',' => {
                        self.at += 1;
                        if object {
                            self.member()?;
                        }
                        break;
                    }
                    b'}' if object => {}
                    b']' if !object => {}
                    _ => return None,
                }
                self.at += 1;
                depth -= 1;
                objects >>= 1;
            }
        }
    }

    /// Passes over a member's name and colon.
    #[inline]
    fn member(&mut self) -> Option<()> {
        self.expect(b'"')?;
        self.string()?;
        self.expect(b':')
    }

    fn scalar(&mut self, first: u8) -> Option<()> {
        match first {
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => None,
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let there = self.json[self.at..].starts_with(word);
        there.then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
mod tests;
