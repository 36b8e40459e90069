//! Reads a unit: stored bytes → decoded chunks → lines or a document → requests.
//!
//! The work between the store and the network runs on a blocking thread, and on a second one where there is
//! compression to take off; bounded channels hold them back when the server is slower than the disk.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::StreamExt;
use stoker_proto::common::v1::FileType;
use stoker_shared::object_store::{ByteStream, Chunks};
use tokio::sync::mpsc;

mod decode;
mod document;
mod entry;
mod groups;
mod header;
mod key;
mod lines;
mod parted;
mod piece;
mod reading;
mod room;
mod share;

pub use decode::DecodeError;
pub use document::Rejected;
pub use header::BadInput;
pub use piece::{Piece, WholeDocument};
pub use reading::{BatchSize, Reading};
pub use share::{Share, ShareEnd, ShareError};

use crate::input::{Input, Place, Request};
use decode::{Decoded, Stored};
pub(crate) use key::{KeySet, key_of};

use document::{Document, Documents};
use groups::{Groups, Limits};
use lines::{Line, Lines};
pub(crate) use room::Held;
use room::Room;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether a text is JSON and a FHIR resource as far as is looked.
pub(crate) fn is_resource(json: &[u8]) -> bool {
    header::parse(json).is_ok()
}

/// Starts reading; `read` counts stored bytes as they are taken. Dropping the receiver ends it.
pub fn start(reading: Reading, stored: Chunks, read: Arc<AtomicU64>) -> mpsc::Receiver<Piece> {
    let (pieces, receiver) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        let stored = Stored::new(stored, read);
        let (compression, share) = (reading.compression, reading.share);
        let mut splitter = Splitter::new(reading, pieces);
        let decoded = decode::decode_ahead(stored, compression, share, |decoded| match decoded {
            Decoded::Bytes(chunk) => splitter.chunk(&chunk),
            Decoded::Border => splitter.border(),
        });
        splitter.end(decoded);
    });
    receiver
}

/// What arrives for an async task, for a thread that may block: it comes one chunk ahead of who takes it.
pub fn ahead(mut stored: ByteStream) -> Chunks {
    let (chunks, mut from_store) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(chunk) = stored.next().await {
            if chunks.send(chunk).await.is_err() {
                return;
            }
        }
    });
    Box::new(std::iter::from_fn(move || from_store.blocking_recv()))
}

/// Gathers decoded chunks into pieces.
struct Splitter {
    reading: Reading,
    pieces: mpsc::Sender<Piece>,
    documents: Documents,
    lines: Lines,
    room: Room,
    /// The whole content so far of a JSON file; `None` once it is too long.
    content: Option<BytesMut>,
    decoded: u64,
    /// Decoded bytes of the unit's range; more than there are as long as that is not known.
    length: u64,
    line: u64,
    /// Start of the blank lines just passed: settled together with the line after them.
    blank_from: Option<u64>,
    groups: Groups,
    open: bool,
    /// Within a line that began before the range.
    before_first_line: bool,
    /// The last line that is held has been read.
    over: bool,
}

impl Splitter {
    fn new(reading: Reading, pieces: mpsc::Sender<Piece>) -> Self {
        Self {
            documents: Documents::new(reading.interaction),
            lines: Lines::new(reading.max_document_bytes),
            room: Room::new(&reading),
            content: Some(BytesMut::new()),
            decoded: 0,
            length: match reading.share.end {
                ShareEnd::Decoded(length) => length,
                ShareEnd::Frame(_) => u64::MAX,
            },
            line: 0,
            blank_from: None,
            groups: Groups::new(
                Limits {
                    count: reading.batch.clone(),
                    bytes: reading.batch_bytes,
                    transactions: reading.transactions,
                },
                reading.texts.clone(),
            ),
            open: true,
            before_first_line: reading.share.begins_inside,
            over: false,
            reading,
            pieces,
        }
    }

    /// Whether to go on.
    fn chunk(&mut self, chunk: &Bytes) -> bool {
        self.decoded += chunk.len() as u64;
        if self.reading.file_type == FileType::Json {
            let limit = self.reading.max_document_bytes;
            let bytes = self.content.as_ref().map(|c| c.len() + chunk.len());
            if bytes.is_some_and(|bytes| bytes <= limit) {
                self.make_room(bytes.unwrap_or_default());
                self.content
                    .iter_mut()
                    .for_each(|c| c.extend_from_slice(chunk));
            } else {
                self.content = None;
                self.room.leave();
            }
            return self.open;
        }
        let mut lines = std::mem::replace(&mut self.lines, Lines::new(0));
        let go_on = lines.push(chunk, |line| self.line(line));
        self.lines = lines;
        self.make_room(self.lines.unfinished_bytes());
        // A line that goes all through the range is of a unit before.
        self.over |= self.before_first_line && self.is_beyond(self.decoded);
        go_on && !self.over
    }

    /// The range ends here; so does a line that began before, or it goes on.
    fn border(&mut self) -> bool {
        self.length = self.decoded;
        self.open
    }

    /// Waits for memory for a text that turns out to be long.
    fn make_room(&mut self, bytes: usize) {
        if self.room.is_short_for(bytes) {
            // Long texts among these hold memory.
            self.flush();
            self.room.take(&self.pieces);
        }
    }

    fn end(mut self, decoded: Result<(), DecodeError>) {
        // The unfinished text of a damaged file is damaged too.
        if decoded.is_ok() {
            if self.reading.file_type == FileType::Json {
                self.whole_file();
            } else if !self.over
                && let Some(last) = self.lines.end()
            {
                self.line(last);
            }
        }
        self.flush();
        self.emit(match decoded {
            Ok(()) => Piece::End {
                lines: self.line,
                decoded_bytes: self.decoded.min(self.length),
            },
            Err(e) => Piece::Broken(e),
        });
    }

    fn line(&mut self, line: Line) -> bool {
        // The next line begins where this one ends.
        self.over = self.is_beyond(line.end);
        if std::mem::take(&mut self.before_first_line) {
            return !self.over;
        }
        let number = self.line;
        self.line += 1;
        if self.reading.done.covers(line.start..line.end) {
            self.blank_from = None;
            return self.open && !self.over;
        }
        let whole = Place {
            bytes: line.start..line.end,
            covers: line.start..line.end,
            line: number,
            entry: None,
        };
        match line.bytes {
            None => self.too_long(whole),
            Some(bytes) => self.text(bytes, whole),
        }
        self.room.leave();
        self.open && !self.over
    }

    fn is_beyond(&self, start: u64) -> bool {
        start > self.length
    }

    fn whole_file(&mut self) {
        let whole = Place {
            bytes: 0..self.decoded,
            covers: 0..self.decoded,
            line: 0,
            entry: None,
        };
        self.line = 1;
        match self.content.take() {
            None => self.too_long(whole),
            Some(content) => self.text(content.freeze(), whole),
        }
    }

    /// One line or one file: trims it, skips what is settled, groups or forwards what is not.
    fn text(&mut self, mut text: Bytes, mut whole: Place) {
        let marked = whole.bytes.start == 0 && text.starts_with(BYTE_ORDER_MARK);
        let mark = if marked { BYTE_ORDER_MARK.len() } else { 0 };
        let front = text.len() - text[mark..].trim_ascii_start().len();
        let back = front + text[front..].trim_ascii_end().len();
        if front == back {
            self.blank_from.get_or_insert(whole.covers.start);
            return;
        }
        if let Some(from) = self.blank_from.take() {
            whole.covers.start = from;
        }
        let start = whole.bytes.start + front as u64;
        whole.bytes = start..start + (back - front) as u64;
        text.truncate(back);
        text.advance(front);
        if self.reading.whole {
            return self.whole_document(text, whole);
        }
        match self.documents.read(text, whole) {
            Document::Bundle(request) => self.own_bundles(request),
            Document::Resource(resource) => self.resource(resource),
            Document::Resources(resources) => {
                for resource in resources {
                    self.resource(resource);
                }
            }
        }
    }

    fn whole_document(&mut self, json: Bytes, place: Place) {
        if self.is_done(&place) {
            return;
        }
        let read = header::parse(&json).map(|head| head.resource_type.as_ref().into());
        let piece = match read {
            Ok(resource_type) => Piece::Document(WholeDocument {
                json,
                place,
                resource_type,
                _held: self.room.held(),
            }),
            Err(why) => Piece::Rejected(vec![Rejected {
                place,
                json,
                resource_type: "".into(),
                why,
            }]),
        };
        self.emit(piece);
    }

    fn own_bundles(&mut self, request: Request) {
        let line = request.bundle.as_ref().map(|bundle| bundle.place.line);
        let line = line.filter(|_| self.reading.file_type == FileType::Ndjson);
        let broken = self.reading.in_flight.as_ref();
        let broken = broken.map_or(Ok(None), |f| f.requests(&request, line));
        match (broken, request.bundle.as_ref()) {
            (Ok(Some(parts)), _) => parts.into_iter().for_each(|part| self.own_bundle(part)),
            (Err(why), Some(bundle)) if !self.is_done(&bundle.place) => {
                self.emit(Piece::Rejected(vec![Rejected {
                    place: bundle.place.clone(),
                    json: bundle.json.clone(),
                    resource_type: "Bundle".into(),
                    why: BadInput::TooManyEntries(why),
                }]));
            }
            (Err(_), _) => {}
            (Ok(None), _) => self.own_bundle(request),
        }
    }

    fn own_bundle(&mut self, mut request: Request) {
        self.flush();
        let done = &self.reading.done;
        let is_done = |place: &Place| done.covers(place.bytes.clone());
        if request.bundle.as_ref().is_some_and(|b| is_done(&b.place)) {
            return;
        }
        // What is left of one that was taken apart goes as a Bundle of its own. Entries that refer to
        // each other are done together or not at all.
        let whole = request.inputs.len();
        request.inputs.retain(|entry| !is_done(&entry.place));
        if request.inputs.len() < whole {
            request.bundle = None;
        }
        if whole > 0 && request.inputs.is_empty() {
            return;
        }
        request.held = self.room.held();
        self.emit(Piece::Request(request));
    }

    fn resource(&mut self, resource: Result<Input, Rejected>) {
        match resource {
            Ok(input) if self.is_done(&input.place) => {}
            Ok(input) => {
                let (open, pieces) = (&mut self.open, &self.pieces);
                let held = self.room.held();
                self.groups.add(input, held, |bundle| {
                    send(open, pieces, Piece::Request(bundle));
                });
            }
            Err(bad) if self.is_done(&bad.place) => {}
            Err(bad) => self.emit(Piece::Rejected(vec![bad])),
        }
    }

    fn is_done(&self, place: &Place) -> bool {
        self.reading.done.covers(place.bytes.clone())
    }

    fn too_long(&mut self, place: Place) {
        let why = BadInput::TooLong {
            limit: self.reading.max_document_bytes,
        };
        self.emit(Piece::Rejected(vec![Rejected {
            place,
            json: Bytes::new(),
            resource_type: "".into(),
            why,
        }]));
    }

    /// Ends all Bundles.
    fn flush(&mut self) {
        let (open, pieces) = (&mut self.open, &self.pieces);
        self.groups
            .flush(|bundle| send(open, pieces, Piece::Request(bundle)));
    }

    fn emit(&mut self, piece: Piece) {
        send(&mut self.open, &self.pieces, piece);
    }
}

/// Hands a piece over while somebody takes them.
fn send(open: &mut bool, pieces: &mpsc::Sender<Piece>, piece: Piece) {
    *open = *open && pieces.blocking_send(piece).is_ok();
}

#[cfg(test)]
mod tests;
