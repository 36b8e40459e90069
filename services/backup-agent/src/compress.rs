//! Compression of parts, in threads beside the stream: a part is cut into chunks, each of them a gzip member or zstd
//! frame of its own, which `gzip -d` and `zstd -d` read as one.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use bytes::{Bytes, BytesMut};
use flate2::write::{GzEncoder, MultiGzDecoder};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::manifest::Part;
use crate::repository::{PartWriter, RepositoryError};

/// Bytes that go through a compressor at once; more compress no better, and each thread holds them twice.
const COMPRESSED: usize = 2 << 20;

/// Bytes that go on at once as they are; few enough to be in a core's cache still where they are summed and written.
const PLAIN: usize = 256 << 10;

/// Compressed bytes that a decoder is given at once, so that what comes of them stays small.
const SIP: usize = 4 << 10;

/// How a part is compressed; as a text `none`, `gzip`, `gzip:LEVEL`, `zstd`, `zstd:LEVEL`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, levels 1 to 9.
    Gzip(u8),
    /// zstd, levels 1 to 19.
    Zstd(u8),
}

/// A text that names no way to compress.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no compression; give none, gzip, gzip:1 to gzip:9, zstd, or zstd:1 to zstd:19")]
pub struct NoCompression(String);

impl FromStr for Compression {
    type Err = NoCompression;

    fn from_str(text: &str) -> Result<Self, NoCompression> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, level.parse().ok()),
            None => (text, Some(if text == "zstd" { 3 } else { 6 })),
        };
        match (name, level) {
            ("none", _) if text == "none" => Ok(Self::None),
            ("gzip", Some(level @ 1..=9)) => Ok(Self::Gzip(level)),
            ("zstd", Some(level @ 1..=19)) => Ok(Self::Zstd(level)),
            _ => Err(NoCompression(text.to_owned())),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str(self.name()),
            Self::Gzip(level) | Self::Zstd(level) => write!(f, "{}:{level}", self.name()),
        }
    }
}

impl TryFrom<String> for Compression {
    type Error = NoCompression;

    fn try_from(text: String) -> Result<Self, NoCompression> {
        text.parse()
    }
}

impl From<Compression> for String {
    fn from(compression: Compression) -> Self {
        compression.to_string()
    }
}

impl Compression {
    /// `none`, `gzip` or `zstd`, as a backup's manifest has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip(_) => "gzip",
            Self::Zstd(_) => "zstd",
        }
    }

    /// What is added to a file's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip(_) => ".gz",
            Self::Zstd(_) => ".zst",
        }
    }

    /// The level, as PostgreSQL's `COMPRESSION_DETAIL` wants it; none where there is none.
    pub fn detail(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Gzip(level) | Self::Zstd(level) => Some(format!("level={level}")),
        }
    }

    fn chunk(self) -> usize {
        match self {
            Self::None => PLAIN,
            Self::Gzip(_) | Self::Zstd(_) => COMPRESSED,
        }
    }

    fn compress(self, chunk: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(chunk.to_vec()),
            Self::Gzip(level) => {
                let level = flate2::Compression::new(u32::from(level));
                let mut encoder = GzEncoder::new(Vec::with_capacity(chunk.len() / 4), level);
                encoder.write_all(chunk)?;
                encoder.finish()
            }
            Self::Zstd(level) => {
                let mut compressor = zstd::bulk::Compressor::new(i32::from(level))?;
                compressor.include_checksum(true)?;
                compressor.compress(chunk)
            }
        }
    }
}

/// A file's name without what compression adds to it, and the compression that it tells: `none`, `gzip` or `zstd`.
pub fn told_by_name(name: &str) -> (&str, &'static str) {
    let all = [(".gz", "gzip"), (".zst", "zstd")];
    let told = all
        .iter()
        .find_map(|(suffix, told)| Some((name.strip_suffix(suffix)?, *told)));
    told.unwrap_or((name, "none"))
}

/// Why a part could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The compressor failed.
    #[error("cannot be compressed: {0}")]
    Compress(#[from] io::Error),
    /// A thread ended by itself.
    #[error("a thread that compresses stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
    /// The repository did not take it.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// Writes a part, compressed.
#[derive(Debug)]
pub struct Encoder {
    writer: Box<dyn PartWriter>,
    compression: Compression,
    threads: usize,
    gathered: BytesMut,
    under_way: VecDeque<JoinHandle<io::Result<Vec<u8>>>>,
    raw_bytes: u64,
}

impl Encoder {
    /// At most `threads` chunks are compressed at a time.
    pub fn new(writer: Box<dyn PartWriter>, compression: Compression, threads: usize) -> Self {
        Self {
            writer,
            compression,
            threads: threads.max(1),
            gathered: BytesMut::with_capacity(compression.chunk()),
            under_way: VecDeque::new(),
            raw_bytes: 0,
        }
    }

    /// Takes more bytes; waits while threads or repository are slower.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), EncodeError> {
        self.raw_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let chunk = self.compression.chunk();
            let taken = (chunk - self.gathered.len()).min(bytes.len());
            self.gathered.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.gathered.len() == chunk {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Ends the part.
    pub async fn finish(mut self) -> Result<Part, EncodeError> {
        // Of an empty part there is one empty frame.
        if !self.gathered.is_empty() || self.raw_bytes == 0 {
            self.send().await?;
        }
        while self.oldest().await? {}
        let part = self.writer.finish().await?;
        Ok(Part {
            compression: self.compression.name().to_owned(),
            raw_bytes: self.raw_bytes,
            ..part
        })
    }

    async fn send(&mut self) -> Result<(), EncodeError> {
        let next = BytesMut::with_capacity(self.compression.chunk());
        let chunk = std::mem::replace(&mut self.gathered, next).freeze();
        if self.compression == Compression::None {
            return Ok(self.writer.write(chunk).await?);
        }
        if self.under_way.len() >= self.threads {
            self.oldest().await?;
        }
        let compression = self.compression;
        let compressing = tokio::task::spawn_blocking(move || compression.compress(&chunk));
        self.under_way.push_back(compressing);
        Ok(())
    }

    /// Writes the oldest chunk that is under way; false where there is none.
    async fn oldest(&mut self) -> Result<bool, EncodeError> {
        let Some(oldest) = self.under_way.pop_front() else {
            return Ok(false);
        };
        let compressed = oldest.await??;
        self.writer.write(Bytes::from(compressed)).await?;
        Ok(true)
    }
}

/// Hands on what compressed bytes hold, in pieces.
pub enum Decoder<W: Write> {
    /// Bytes as they are.
    Plain(W),
    /// gzip, of one member or many.
    Gzip(Box<MultiGzDecoder<W>>),
    /// zstd, of one frame or many.
    Zstd(Box<zstd::stream::write::Decoder<'static, W>>),
}

impl<W: Write> fmt::Debug for Decoder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}

impl<W: Write> Decoder<W> {
    /// `compression` as a backup's manifest names it.
    pub fn new(compression: &str, into: W) -> io::Result<Self> {
        Ok(match compression {
            "none" => Self::Plain(into),
            "gzip" => Self::Gzip(Box::new(MultiGzDecoder::new(into))),
            "zstd" => Self::Zstd(Box::new(zstd::stream::write::Decoder::new(into)?)),
            other => {
                let what = format!("{other:?} is none of none, gzip, zstd");
                return Err(io::Error::other(what));
            }
        })
    }

    /// Takes more compressed bytes. An error of what they are handed to is passed on.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(into) => into.write_all(bytes),
            Self::Gzip(decoder) => bytes.chunks(SIP).try_for_each(|sip| decoder.write_all(sip)),
            Self::Zstd(decoder) => bytes.chunks(SIP).try_for_each(|sip| decoder.write_all(sip)),
        }
    }

    /// Hands on the rest, and gives back what took it.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(into) => Ok(into),
            Self::Gzip(decoder) => decoder.finish(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_how_to_compress() {
        for (text, shown) in [
            ("none", "none"),
            ("gzip", "gzip:6"),
            ("gzip:1", "gzip:1"),
            ("zstd", "zstd:3"),
            ("zstd:19", "zstd:19"),
        ] {
            let read: Compression = text.parse().unwrap();
            assert_eq!(read.to_string(), shown);
        }
        for wrong in [
            "", "none:1", "gzip:0", "gzip:10", "zstd:x", "zstd:20", "lz4",
        ] {
            assert!(wrong.parse::<Compression>().is_err(), "{wrong}");
        }
    }
}
