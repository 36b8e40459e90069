//! Takes compression off an object's bytes.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use stoker_proto::common::v1::Compression;
use stoker_shared::buffers::Buffers;
use stoker_shared::object_store::{Chunks, StoreError};
use tokio::sync::mpsc;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::parted::Parted;
use super::share::{Share, ShareEnd};

/// Decoded bytes read at a time.
const CHUNK: usize = 256 << 10;

/// Chunks on their way to who takes them, about.
const CHUNKS_KEPT: usize = 4;

/// What a unit's stored bytes come to, in their order.
#[derive(Debug)]
pub(super) enum Decoded {
    /// The next bytes.
    Bytes(Bytes),
    /// The unit's own frames are over: what comes now is of the next.
    Border,
}

/// Why an object's decoded bytes ended early.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// The compressed bytes are damaged or cut short.
    #[error("the compressed data is damaged: {0}")]
    Damaged(io::Error),
}

/// Stored bytes, for a thread that may block.
pub(super) struct Stored {
    chunks: Chunks,
    current: Bytes,
    failure: Option<StoreError>,
    read: Arc<AtomicU64>,
}

impl Stored {
    /// Reads `chunks`; `read` counts the stored bytes taken.
    pub(super) fn new(chunks: Chunks, read: Arc<AtomicU64>) -> Self {
        Self {
            chunks,
            current: Bytes::new(),
            failure: None,
            read,
        }
    }

    /// The next chunk; `None` at the end.
    pub(super) fn take(&mut self) -> io::Result<Option<Bytes>> {
        let chunk = self.next_chunk();
        if self.failure.is_some() {
            return Err(io::Error::other("the store failed"));
        }
        Ok(chunk)
    }

    /// The next chunk; `None` at the end or after a failure.
    fn next_chunk(&mut self) -> Option<Bytes> {
        match self.chunks.next()? {
            Ok(chunk) => {
                self.read.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                Some(chunk)
            }
            Err(e) => {
                self.failure = Some(e);
                None
            }
        }
    }
}

impl Read for Stored {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(out.len());
        out[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Stored {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.is_empty() {
            self.current = self.take()?.unwrap_or_default();
        }
        Ok(&self.current)
    }

    fn consume(&mut self, n: usize) {
        let _ = self.current.split_to(n);
    }
}

/// Feeds what a unit comes to to `emit` until the end, or until `emit` says false. Compression is taken off on a
/// thread of its own, which works ahead of who takes the chunks; so it is for a blocking thread of a runtime.
pub(super) fn decode_ahead(
    stored: Stored,
    compression: Compression,
    share: Share,
    mut emit: impl FnMut(Decoded) -> bool,
) -> Result<(), DecodeError> {
    if matches!(compression, Compression::None | Compression::Unspecified) {
        return decode(stored, compression, share, emit);
    }
    let (decoded, mut chunks) = mpsc::channel(2);
    let decoding = tokio::task::spawn_blocking(move || {
        decode(stored, compression, share, |chunk| {
            decoded.blocking_send(chunk).is_ok()
        })
    });
    while let Some(chunk) = chunks.blocking_recv() {
        if !emit(chunk) {
            break;
        }
    }
    drop(chunks);
    let ended = tokio::runtime::Handle::current().block_on(decoding);
    // A panic, which must not look like the end of the object.
    ended.unwrap_or_else(|e| Err(DecodeError::Damaged(io::Error::other(e))))
}

/// Feeds what a unit comes to to `emit` until the end, or until `emit` says false.
pub(super) fn decode(
    mut stored: Stored,
    compression: Compression,
    share: Share,
    mut emit: impl FnMut(Decoded) -> bool,
) -> Result<(), DecodeError> {
    let result = match (compression, share.end) {
        (Compression::Gzip, _) => pump(MultiGzDecoder::new(&mut stored), &mut emit).map(drop),
        (Compression::Zstd, ShareEnd::Decoded(_)) => unpack(&mut stored, &mut emit).map(drop),
        (Compression::Zstd, ShareEnd::Frame(until)) => {
            unpack_frames(Parted::new(&mut stored, share.from, until), &mut emit)
        }
        (Compression::None | Compression::Unspecified, _) => {
            while let Some(chunk) = stored.next_chunk() {
                if !emit(Decoded::Bytes(chunk)) {
                    break;
                }
            }
            Ok(())
        }
    };
    match (stored.failure, result) {
        (Some(failure), _) => Err(DecodeError::Store(failure)),
        (None, result) => result.map_err(DecodeError::Damaged),
    }
}

/// A unit's own frames, and what follows for as long as it is wanted: the unit's last line.
fn unpack_frames(mut frames: Parted<'_>, emit: &mut impl FnMut(Decoded) -> bool) -> io::Result<()> {
    if unpack(&mut frames, emit)? && frames.go_beyond() && emit(Decoded::Border) {
        unpack(&mut frames, emit)?;
    }
    frames.agree()
}

fn unpack(stored: impl BufRead, emit: &mut impl FnMut(Decoded) -> bool) -> io::Result<bool> {
    pump(zstd::stream::read::Decoder::with_buffer(stored)?, emit)
}

/// Whether it came to the end.
fn pump(mut decoder: impl Read, emit: &mut impl FnMut(Decoded) -> bool) -> io::Result<bool> {
    let mut buffers = Buffers::new(CHUNK, CHUNKS_KEPT);
    loop {
        let mut buffer = buffers.take();
        let mut filled = 0;
        let end = loop {
            match decoder.read(&mut buffer[filled..]) {
                Ok(0) => break Ok(true),
                Ok(n) if filled + n == CHUNK => {
                    filled += n;
                    break Ok(false);
                }
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        // What was decoded before the damage is whole: it is loaded, and the damage named after it.
        if filled > 0 && !emit(Decoded::Bytes(buffers.give(buffer, filled))) {
            return Ok(false);
        }
        if end? {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn decoded(stored: &[u8], compression: Compression) -> (Vec<u8>, Result<(), DecodeError>) {
        let (tx, rx) = mpsc::channel(1000);
        for piece in stored.chunks(7) {
            tx.try_send(Ok(Bytes::copy_from_slice(piece))).unwrap();
        }
        drop(tx);
        let mut out = Vec::new();
        let result = collect(rx, compression, &mut out);
        (out, result)
    }

    fn collect(
        mut chunks: mpsc::Receiver<Result<Bytes, StoreError>>,
        compression: Compression,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let chunks = std::iter::from_fn(move || chunks.blocking_recv());
        let stored = Stored::new(Box::new(chunks), Arc::default());
        decode(stored, compression, Share::WHOLE, |decoded| {
            if let Decoded::Bytes(chunk) = decoded {
                out.extend_from_slice(&chunk);
            }
            true
        })
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn several_members_and_frames_are_one_content() {
        let gz = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(decoded(&gz, Compression::Gzip).0, b"one two");
        let frames = [
            zstd::encode_all(&b"one "[..], 1).unwrap(),
            zstd::encode_all(&b"two"[..], 1).unwrap(),
        ];
        let (content, result) = decoded(&frames.concat(), Compression::Zstd);
        assert_eq!(content, b"one two");
        result.unwrap();
    }

    #[test]
    fn a_cut_stream_is_damage_after_what_was_whole() {
        let content: Vec<u8> = (0..500_000u32).flat_map(u32::to_le_bytes).collect();
        for (stored, compression) in [
            (gzip(&content), Compression::Gzip),
            (
                zstd::encode_all(&content[..], 1).unwrap(),
                Compression::Zstd,
            ),
        ] {
            let (out, result) = decoded_cut(&stored, compression);
            assert!(matches!(result, Err(DecodeError::Damaged(_))), "{result:?}");
            assert!(!out.is_empty() && content.starts_with(&out));
        }
    }

    fn decoded_cut(stored: &[u8], compression: Compression) -> (Vec<u8>, Result<(), DecodeError>) {
        let (tx, rx) = mpsc::channel(2);
        tx.try_send(Ok(Bytes::copy_from_slice(&stored[..stored.len() * 3 / 4])))
            .unwrap();
        drop(tx);
        let mut out = Vec::new();
        let result = collect(rx, compression, &mut out);
        (out, result)
    }

    #[test]
    fn a_failing_store_is_told_apart_from_damage() {
        let (tx, rx) = mpsc::channel(2);
        let what = "x".to_owned();
        tx.try_send(Err(StoreError::Denied { what })).unwrap();
        drop(tx);
        let result = collect(rx, Compression::Gzip, &mut Vec::new());
        assert!(matches!(
            result,
            Err(DecodeError::Store(StoreError::Denied { .. }))
        ));
    }
}
