//! Breaks what a unit holds up into another bucket or folder, in place of sending it.
//!
//! Names and contents follow from the object, so whatever is written twice is the same. Died between a write and
//! the commit of its outcome: the next lease writes it again.

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use serde::Deserialize;
use stoker_proto::common::v1::FileType;
use stoker_proto::ledger::v1::{ObjectVersion, Unit};
use stoker_shared::object_store::{ObjectStore, Place, StoreError};
use tokio::sync::mpsc;

use super::names_of_parts::PartNames;
use super::surplus::Surplus;
use super::{BreakupError, Part, break_up};
use crate::config::LoadSettings;
use crate::input::{Ask, Input, OwnBundle};
use crate::memory::Memory;
use crate::outcome::{Fate, Refusal, Settled};
use crate::read::{DecodeError, Piece, WholeDocument};
use crate::record::Recording;
use crate::send::Stops;
use crate::unit::UnitEnd;

/// Of what is written.
const JSON: &str = "application/fhir+json";
const NDJSON: &str = "application/fhir+ndjson";

/// Entries to a part unless it is said how many; the Java tool's.
const MAX_ENTRIES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99);

/// Parts of one Bundle that are written at a time.
const WRITES: usize = 8;

/// What writing needs of the worker.
#[derive(Debug)]
pub(crate) struct Means<'w> {
    pub(crate) settings: &'w LoadSettings,
    pub(crate) memory: &'w Memory,
    pub(crate) stops: &'w Stops,
    /// Where the unit is read.
    pub(crate) source: &'w dyn ObjectStore,
}

/// Writes piece by piece; says how many lines and bytes there were.
pub(crate) async fn write_all(
    unit: &Unit,
    place: &Place,
    means: Means<'_>,
    mut pieces: mpsc::Receiver<Piece>,
    recording: &Recording,
) -> Result<(u64, u64), UnitEnd> {
    let object = unit.object.clone().unwrap_or_default();
    let mut writing = Writing {
        names: PartNames::of(unit),
        object: &object,
        max: means.settings.max_entries().unwrap_or(MAX_ENTRIES),
        lines: (object.file_type() == FileType::Ndjson).then(Lines::default),
        place,
        means,
        recording,
    };
    loop {
        let piece = tokio::select! {
            biased;
            () = writing.means.stops.stop.cancelled() => return Err(UnitEnd::Interrupted),
            piece = pieces.recv() => piece,
        };
        match piece {
            Some(Piece::Document(document)) => writing.document(document).await?,
            Some(Piece::Rejected(bad)) => writing.settle(Settled::unsent(bad)).await?,
            Some(Piece::End {
                lines,
                decoded_bytes,
            }) => {
                writing.flush().await?;
                return Ok((lines, decoded_bytes));
            }
            Some(Piece::Broken(error)) => {
                // What came before is whole.
                writing.flush().await?;
                return Err(match error {
                    DecodeError::Store(error) => UnitEnd::Unreadable(error),
                    damage @ DecodeError::Damaged(_) => UnitEnd::Damaged(damage),
                });
            }
            Some(Piece::Request(_)) | None => return Err(UnitEnd::ReaderFailed),
        }
    }
}

/// Lines that are written together.
#[derive(Default)]
struct Lines {
    bytes: BytesMut,
    first: u64,
    settled: Settled,
}

struct Writing<'w> {
    names: PartNames,
    object: &'w ObjectVersion,
    max: NonZeroUsize,
    /// None when the object is one document.
    lines: Option<Lines>,
    place: &'w Place,
    means: Means<'w>,
    recording: &'w Recording,
}

impl Writing<'_> {
    async fn document(&mut self, document: WholeDocument) -> Result<(), UnitEnd> {
        let line = self.lines.is_some().then_some(document.place.line);
        if &*document.resource_type != "Bundle" {
            return self
                .unbroken(document.clone(), vec![document.resource_type])
                .await;
        }
        let entries = match types_of_entries(&document.json) {
            Ok(types) if types.len() > self.max.get() => types,
            Ok(types) => return self.unbroken(document, types).await,
            Err(error) => {
                return self
                    .refuse(document, &BreakupError::NotABundle(error))
                    .await;
            }
        };
        // First, since a unit that waits for memory must hold nothing that others wait for.
        self.flush().await?;
        let _memory = self.means.memory.take(2 * document.json.len()).await;
        let seed = self.names.seed(line);
        let (json, max) = (document.json.clone(), self.max);
        let broken = tokio::task::spawn_blocking(move || break_up(&json, max, &seed)).await;
        match broken {
            Ok(Ok(Some(parts))) => self.write_parts(&document, line, parts, entries).await,
            Ok(Ok(None)) => self.unbroken(document, entries).await,
            Ok(Err(error)) => self.refuse(document, &error).await,
            Err(_) => Err(UnitEnd::ReaderFailed),
        }
    }

    async fn write_parts(
        &self,
        document: &WholeDocument,
        line: Option<u64>,
        parts: Vec<Part>,
        entries: Vec<Arc<str>>,
    ) -> Result<(), UnitEnd> {
        let all = parts.len();
        let writes = parts.into_iter().enumerate().map(|(n, part)| {
            let name = self.names.part(line, n, all);
            async move { self.write(&name, part.json(), JSON).await }
        });
        let mut writes = futures::stream::iter(writes).buffer_unordered(WRITES);
        while let Some(written) = writes.next().await {
            written?;
        }
        if line.is_none() {
            self.remove_surplus(Some(all)).await?;
        }
        let mut settled = Settled::default();
        settle_document(&mut settled, document, entries);
        settled.requests = all as u64;
        self.settle(settled).await
    }

    /// A document that is written as it is: by itself, or as one line among others.
    async fn unbroken(
        &mut self,
        document: WholeDocument,
        types: Vec<Arc<str>>,
    ) -> Result<(), UnitEnd> {
        let Some(lines) = &mut self.lines else {
            let name = self.names.unbroken();
            self.write(&name, document.json.clone(), JSON).await?;
            self.remove_surplus(None).await?;
            let mut settled = Settled::default();
            settle_document(&mut settled, &document, types);
            settled.requests = 1;
            return self.settle(settled).await;
        };
        if lines.bytes.is_empty() {
            lines.first = document.place.line;
        }
        lines.bytes.put_slice(&document.json);
        lines.bytes.put_u8(b'\n');
        settle_document(&mut lines.settled, &document, types);
        if lines.bytes.len() >= self.means.settings.batch_bytes {
            self.flush().await?;
        }
        Ok(())
    }

    /// Writes the lines that wait.
    async fn flush(&mut self) -> Result<(), UnitEnd> {
        let Some(lines) = self.lines.as_mut().map(std::mem::take) else {
            return Ok(());
        };
        if lines.bytes.is_empty() {
            return Ok(());
        }
        let name = self.names.lines(lines.first);
        self.write(&name, lines.bytes.freeze(), NDJSON).await?;
        let mut settled = lines.settled;
        settled.requests = 1;
        self.settle(settled).await
    }

    async fn refuse(&mut self, document: WholeDocument, why: &BreakupError) -> Result<(), UnitEnd> {
        let mut settled = Settled::default();
        let bundle = OwnBundle {
            json: document.json,
            place: document.place,
        };
        let refusal = Refusal::new(0, why.to_string(), Bytes::new());
        settled.bundle(bundle, Fate::Rejected(refusal), 0);
        self.settle(settled).await
    }

    async fn write(&self, name: &str, body: Bytes, content_type: &str) -> Result<(), UnitEnd> {
        let key = self.place.key(name);
        let write = self.place.store().put(&key, body, content_type);
        let abandon = &self.means.stops.abandon;
        match abandon.run_until_cancelled(write).await {
            Some(written) => written.map_err(UnitEnd::Unwritable),
            None => Err(UnitEnd::Interrupted),
        }
    }

    /// Where the object is one document; of lines nobody knows which an earlier version was written as.
    async fn remove_surplus(&self, parts: Option<usize>) -> Result<(), UnitEnd> {
        let surplus = Surplus {
            names: &self.names,
            object: self.object,
            source: self.means.source,
            place: self.place,
            gap: WRITES,
        };
        match surplus.remove(parts).await {
            // Keys that may only write were enough so far.
            Err(error @ (StoreError::Refused { .. } | StoreError::Denied { .. })) => {
                let error = error.without_name();
                tracing::warn!(
                    error,
                    "parts of an earlier version of an object may be left"
                );
                Ok(())
            }
            removed => removed.map_err(UnitEnd::Unwritable),
        }
    }

    async fn settle(&self, settled: Settled) -> Result<(), UnitEnd> {
        let place = self.recording.place().await;
        self.recording.hand_over(settled, place).await
    }
}

/// Records that a document is written: each of its entries counts, or the resource it is.
fn settle_document(settled: &mut Settled, document: &WholeDocument, types: Vec<Arc<str>>) {
    settled.done.push(document.place.covers.clone());
    for (n, resource_type) in (0u32..).zip(types) {
        let mut place = document.place.clone();
        if &*document.resource_type == "Bundle" {
            place.entry = Some(n);
        }
        let input = Input {
            place,
            resource_type,
            ask: Ask::AsEntry { repeatable: true },
            json: Bytes::new(),
        };
        settled.input(input, Fate::Updated, 0);
    }
}

/// The type of each entry of a Bundle, of its resource or its URL.
fn types_of_entries(json: &[u8]) -> Result<Vec<Arc<str>>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Bundle {
        #[serde(default)]
        entry: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        resource: Option<Resource>,
        request: Option<Request>,
    }
    #[derive(Deserialize)]
    struct Resource {
        #[serde(rename = "resourceType")]
        name: Option<Arc<str>>,
    }
    #[derive(Deserialize)]
    struct Request {
        url: Option<String>,
    }
    let bundle: Bundle = serde_json::from_slice(json)?;
    let of = |entry: Entry| {
        let of_resource = entry.resource.and_then(|resource| resource.name);
        of_resource.unwrap_or_else(|| {
            let url = entry.request.and_then(|request| request.url);
            let url = url.unwrap_or_default();
            let first = url.split(['/', '?']).next().unwrap_or_default();
            let is_type = first.bytes().all(|b| b.is_ascii_alphabetic());
            if is_type { first } else { "" }.into()
        })
    };
    Ok(bundle.entry.into_iter().map(of).collect())
}
