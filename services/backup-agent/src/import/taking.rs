//! Reading a file to its end: looked at, and copied where it does not lie where it is to stay.

use std::io::{self, Write};

use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::ImportError;
use super::given::Given;
use crate::compress::{Decoder, told_by_name};
use crate::manifest::Part;
use crate::postgres::decoding;
use crate::repository::{Draft, Found, hex};

/// See the [module](self).
pub(super) struct Taking<'a> {
    pub(super) given: &'a Given<'a>,
    /// None where it stays in its place.
    pub(super) draft: Option<&'a dyn Draft>,
    pub(super) read: &'a watch::Sender<u64>,
}

impl Taking<'_> {
    /// Reads a file; what it holds, decompressed, is written to `into`.
    pub(super) async fn file<W: Write>(
        &self,
        file: &Found,
        into: W,
    ) -> Result<(Part, W), ImportError> {
        let wrong = |error| self.bad(decoding(&file.name, error));
        let (_, compression) = told_by_name(&file.name);
        let counted = Counted { into, bytes: 0 };
        let mut decoder = Decoder::new(compression, counted).map_err(wrong)?;
        let mut copy = match self.draft {
            Some(draft) => Some(draft.part(&file.name).await?),
            None => None,
        };
        let (mut sum, mut bytes) = (Sha256::new(), 0);
        let mut pieces = self.given.bytes(file).await?;
        while let Some(piece) = pieces.try_next().await? {
            sum.update(&piece);
            bytes += piece.len() as u64;
            self.read.send_modify(|read| *read += piece.len() as u64);
            decoder.push(&piece).map_err(wrong)?;
            if let Some(copy) = &mut copy {
                copy.write(piece).await?;
            }
        }
        let counted = decoder.finish().map_err(wrong)?;
        if let Some(copy) = copy {
            copy.finish().await?;
        }
        let part = Part {
            name: file.name.clone(),
            bytes,
            sha256: hex(sum),
            compression: compression.to_owned(),
            raw_bytes: counted.bytes,
        };
        Ok((part, counted.into))
    }

    /// What is wrong with it, and with what.
    pub(super) fn bad(&self, source: crate::postgres::PostgresError) -> ImportError {
        ImportError::Bad {
            path: self.given.path.clone(),
            source: Box::new(source),
        }
    }
}

/// Counts what passes.
struct Counted<W> {
    into: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.into.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}
