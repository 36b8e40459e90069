//! Reads a unit: stored bytes → decoded chunks → lines or a document → requests.
//!
//! The work between the store and the network runs on one blocking thread, which bounded channels hold back
//! when the server is slower than the disk.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use stoker_proto::common::v1::{Compression, FileType, Interaction};
use stoker_shared::object_store::ByteStream;
use stoker_shared::ranges::RangeSet;
use tokio::sync::mpsc;

mod decode;
mod document;
mod header;
mod lines;

pub use decode::DecodeError;
pub use document::Rejected;
pub use header::BadInput;

use crate::input::{Ask, Input, OwnBundle, Place, Request};
use decode::Stored;
use document::{Document, Documents, key_of};
use lines::{Line, Lines};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a unit holds, piece by piece.
#[derive(Debug)]
pub enum Piece {
    /// To be sent.
    Request(Request),
    /// Not to be sent.
    Rejected(Vec<Rejected>),
    /// The end, and what was seen on the way.
    End {
        /// Lines, blank ones included.
        lines: u64,
        /// Decoded bytes.
        decoded_bytes: u64,
    },
    /// The bytes ended early; what came before is whole.
    Broken(DecodeError),
}

/// How a unit is to be read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// JSON or NDJSON.
    pub file_type: FileType,
    /// Compression to take off.
    pub compression: Compression,
    /// How its resources are sent.
    pub interaction: Interaction,
    /// Decoded bytes that are settled: not to be sent again.
    pub done: RangeSet,
    /// Resources to a batch.
    pub batch: usize,
    /// Body bytes to a batch, about.
    pub batch_bytes: usize,
    /// Longest line or document held in memory.
    pub max_document_bytes: usize,
}

/// Starts reading; `read` counts stored bytes as they are taken. Dropping the receiver ends it.
pub fn start(
    reading: Reading,
    mut stored: ByteStream,
    read: Arc<AtomicU64>,
) -> mpsc::Receiver<Piece> {
    let (chunks, from_store) = mpsc::channel(2);
    tokio::spawn(async move {
        while let Some(chunk) = stored.next().await {
            if chunks.send(chunk).await.is_err() {
                return;
            }
        }
    });
    let (pieces, receiver) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let compression = reading.compression;
        let mut splitter = Splitter::new(reading, pieces);
        let stored = Stored::new(from_store, read);
        let decoded = decode::decode(stored, compression, |chunk| splitter.chunk(chunk));
        splitter.end(decoded);
    });
    receiver
}

/// Gathers decoded chunks into pieces.
struct Splitter {
    reading: Reading,
    pieces: mpsc::Sender<Piece>,
    documents: Documents,
    lines: Lines,
    /// The whole content so far of a JSON file; `None` once it is too long.
    content: Option<BytesMut>,
    decoded: u64,
    line: u64,
    /// Start of the blank lines just passed: settled together with the line after them.
    blank_from: Option<u64>,
    /// Puts and posts are never in one batch: a doubt about the posts would be one about the puts.
    puts: Group,
    posts: Group,
    open: bool,
}

/// Resources waiting to become one batch.
#[derive(Default)]
struct Group {
    inputs: Vec<Input>,
    keys: HashSet<u64>,
    bytes: usize,
}

impl Splitter {
    fn new(reading: Reading, pieces: mpsc::Sender<Piece>) -> Self {
        Self {
            documents: Documents::new(reading.interaction),
            lines: Lines::new(reading.max_document_bytes),
            content: Some(BytesMut::new()),
            decoded: 0,
            line: 0,
            blank_from: None,
            puts: Group::default(),
            posts: Group::default(),
            open: true,
            reading,
            pieces,
        }
    }

    /// Whether to go on.
    fn chunk(&mut self, chunk: Bytes) -> bool {
        self.decoded += chunk.len() as u64;
        if self.reading.file_type == FileType::Json {
            let limit = self.reading.max_document_bytes;
            let room = |c: &BytesMut| c.len() + chunk.len() <= limit;
            if self.content.as_ref().is_some_and(room) {
                self.content
                    .iter_mut()
                    .for_each(|c| c.extend_from_slice(&chunk));
            } else {
                self.content = None;
            }
            return true;
        }
        let mut lines = std::mem::replace(&mut self.lines, Lines::new(0));
        let go_on = lines.push(chunk, |line| self.line(line));
        self.lines = lines;
        go_on
    }

    fn end(mut self, decoded: Result<(), DecodeError>) {
        // The unfinished text of a damaged file is damaged too.
        if decoded.is_ok() {
            if self.reading.file_type == FileType::Json {
                self.whole_file();
            } else if let Some(last) = self.lines.end() {
                self.line(last);
            }
        }
        self.flush();
        self.emit(match decoded {
            Ok(()) => Piece::End {
                lines: self.line,
                decoded_bytes: self.decoded,
            },
            Err(e) => Piece::Broken(e),
        });
    }

    fn line(&mut self, line: Line) -> bool {
        let number = self.line;
        self.line += 1;
        if self.reading.done.covers(line.start..line.end) {
            self.blank_from = None;
            return self.open;
        }
        let whole = Place {
            bytes: line.start..line.end,
            covers: line.start..line.end,
            line: number,
            entry: None,
        };
        match line.bytes {
            None => self.too_long(whole),
            Some(bytes) => self.text(&bytes, whole),
        }
        self.open
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
            Some(content) => self.text(&content.freeze(), whole),
        }
    }

    /// One line or one file: trims it, skips what is settled, groups or forwards what is not.
    fn text(&mut self, text: &Bytes, mut whole: Place) {
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
        match self.documents.read(&text.slice(front..back), whole) {
            Document::Bundle(own, entries, keys) => self.own_bundle(own, entries, keys),
            Document::Resources(resources) => self.resources(resources),
        }
    }

    fn own_bundle(&mut self, own: OwnBundle, mut entries: Vec<Input>, keys: Vec<u64>) {
        self.flush();
        let done = &self.reading.done;
        if done.covers(own.place.bytes.clone()) {
            return;
        }
        // What is left of a batch of the user's goes as a batch of its own.
        let whole = entries.len();
        if !own.transaction {
            entries.retain(|e| !done.covers(e.place.bytes.clone()));
        }
        let bundle = (entries.len() == whole).then_some(own);
        self.emit(Piece::Request(Request {
            bundle,
            inputs: entries,
            keys,
        }));
    }

    fn resources(&mut self, resources: Vec<Result<Input, Rejected>>) {
        for resource in resources {
            match resource {
                Ok(input) if self.is_done(&input.place) => {}
                Ok(input) => self.add(input),
                Err(bad) if self.is_done(&bad.place) => {}
                Err(bad) => self.emit(Piece::Rejected(vec![bad])),
            }
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

    /// Adds a resource to its batch; one that writes the same `Type/id` again starts the next.
    fn add(&mut self, mut input: Input) {
        let key = match &input.ask {
            Ask::Put { id } => Some(key_of(&input.resource_type, id)),
            _ => None,
        };
        let group = if key.is_some() {
            &mut self.puts
        } else {
            &mut self.posts
        };
        let full = group.inputs.len() >= self.reading.batch
            || group.bytes + input.json.len() > self.reading.batch_bytes;
        let mut finished = Group::default();
        if full || key.is_some_and(|k| group.keys.contains(&k)) {
            finished = std::mem::take(group);
        }
        let last = group.inputs.last().map(|last| last.place.covers.end);
        if last != Some(input.place.covers.start) {
            // A part of a chunk keeps all of it: one line of a thousand must not keep a thousand.
            input.json = Bytes::copy_from_slice(&input.json);
        }
        group.keys.extend(key);
        group.bytes += input.json.len();
        group.inputs.push(input);
        self.send_group(finished);
    }

    /// Ends both batches.
    fn flush(&mut self) {
        let (puts, posts) = (
            std::mem::take(&mut self.puts),
            std::mem::take(&mut self.posts),
        );
        self.send_group(puts);
        self.send_group(posts);
    }

    fn send_group(&mut self, group: Group) {
        if !group.inputs.is_empty() {
            let keys = group.keys.into_iter().collect();
            self.emit(Piece::Request(Request::group(group.inputs, keys)));
        }
    }

    fn emit(&mut self, piece: Piece) {
        self.open = self.open && self.pieces.blocking_send(piece).is_ok();
    }
}

#[cfg(test)]
mod tests;
