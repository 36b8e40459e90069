//! An archive of `mongodump --archive`, with `--gzip` or without. Of gzip all members must be whole, by their checksums;
//! the archive must begin and end as one does. What it holds is not looked at.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::taking::Taking;
use super::{ImportError, Taken};

/// What archives begin with: <https://github.com/mongodb/mongo-tools/blob/master/common/archive/archive.go>.
const MAGIC: [u8; 4] = 0x8199_e26d_u32.to_le_bytes();

/// What ends each block of one, and so the last.
const TERMINATOR: [u8; 4] = [0xff; 4];

const NO_ARCHIVE: &str =
    "it is no archive of mongodump; a PostgreSQL backup is given as the folder that holds base.tar";

/// Reads all of it.
pub(super) async fn take(taking: &Taking<'_>) -> Result<Taken, ImportError> {
    let mut parts = Vec::new();
    for file in &taking.given.files {
        let (part, ends) = taking.file(file, Ends::default()).await?;
        if ends.head != MAGIC {
            return Err(ImportError::Unknown {
                path: taking.given.path.clone(),
                what: NO_ARCHIVE.to_owned(),
            });
        }
        if ends.tail != TERMINATOR {
            return Err(ImportError::Cut(taking.given.path.clone()));
        }
        parts.push(part);
    }
    // Without gzip nothing in it is held against a checksum here.
    let is_verified = parts.iter().all(|part| part.compression != "none");
    Ok(Taken {
        parts,
        about: BTreeMap::new(),
        began: None,
        is_verified,
    })
}

/// The first and the last four bytes.
#[derive(Debug, Default)]
struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Write for Ends {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let missing = MAGIC.len() - self.head.len();
        self.head
            .extend_from_slice(&bytes[..missing.min(bytes.len())]);
        self.tail
            .extend_from_slice(&bytes[bytes.len().saturating_sub(TERMINATOR.len())..]);
        self.tail
            .drain(..self.tail.len().saturating_sub(TERMINATOR.len()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
