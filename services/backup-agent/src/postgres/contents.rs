//! What is in an archive, learnt as it streams by.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::tar::{Event, Header, Kind, Reader};

use super::checksum::{Algorithm, Summing};
use super::error::PostgresError;
use super::manifest::{File, Files};

/// Files that say what the archive is of, and how much of them is kept.
const TELLING: [&str; 3] = ["PG_VERSION", "backup_label", "global/pg_control"];
const KEPT: usize = 4096;

/// Takes an archive's bytes, and keeps of each file its size and checksum.
#[derive(Debug)]
pub(crate) struct Contents {
    part: String,
    tar: Reader,
    found: Found,
}

#[derive(Debug)]
struct Found {
    part: String,
    prefix: Vec<u8>,
    algorithm: Algorithm,
    current: Option<(Header, Summing)>,
    files: Files,
    kept: BTreeMap<String, Vec<u8>>,
}

impl Contents {
    /// `part` is the archive's name without what compression adds to it. Files of `<oid>.tar` are known by their path
    /// below `pg_tblspc/<oid>/`.
    pub(super) fn new(part: &str, algorithm: Algorithm) -> Self {
        let oid = part.strip_suffix(".tar").unwrap_or(part);
        let prefix = match oid.parse::<u32>() {
            Ok(oid) => format!("pg_tblspc/{oid}/").into_bytes(),
            Err(_) => Vec::new(),
        };
        Self {
            part: part.to_owned(),
            tar: Reader::new(),
            found: Found {
                part: part.to_owned(),
                prefix,
                algorithm,
                current: None,
                files: Files::new(),
                kept: BTreeMap::new(),
            },
        }
    }

    /// Takes more of it.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), PostgresError> {
        let found = &mut self.found;
        let pushed = self.tar.push(bytes, &mut |event| found.take(&event));
        pushed.map_err(|error| error.of(&self.part))
    }

    /// Bytes that were taken.
    pub(super) fn bytes(&self) -> u64 {
        self.tar.at()
    }

    /// Passes over the rest of the file under way where there is more than `most` of it and `chosen` does not want it.
    /// It is then known by its size alone. Answers how many bytes are passed over.
    pub(super) fn skip(&mut self, most: u64, chosen: &impl Fn(&[u8]) -> bool) -> u64 {
        let left = self.tar.left();
        let found = &mut self.found;
        if left <= most {
            return 0;
        }
        match found.current.take_if(|(header, _)| !chosen(&header.path)) {
            Some((header, _)) => {
                let file = File {
                    size: header.size,
                    algorithm: Algorithm::None,
                    sum: Vec::new(),
                };
                found.files.insert(found.path(&header), file);
                self.tar.skip();
                left
            }
            None => 0,
        }
    }

    /// The beginnings of `PG_VERSION`, `backup_label` and `global/pg_control`, as far as they were taken.
    pub(super) fn kept(&mut self) -> BTreeMap<String, Vec<u8>> {
        std::mem::take(&mut self.found.kept)
    }

    /// The files, when all of it was taken.
    pub(super) fn finish(self) -> Result<Files, PostgresError> {
        let whole = self.tar.finish();
        whole.map_err(|source| Wrong::Tar(source).of(&self.part))?;
        Ok(self.found.files)
    }
}

/// So that a decoder can hand on what it decodes; the error inside is a [`PostgresError`].
impl Write for Contents {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error behind one that a decoder passed on, or that of the decoder.
pub(crate) fn decoding(part: &str, error: io::Error) -> PostgresError {
    match error.downcast::<PostgresError>() {
        Ok(ours) => ours,
        Err(source) => PostgresError::Compressed {
            part: part.to_owned(),
            source,
        },
    }
}

enum Wrong {
    Tar(crate::tar::TarError),
    Other(PostgresError),
}

impl From<crate::tar::TarError> for Wrong {
    fn from(error: crate::tar::TarError) -> Self {
        Self::Tar(error)
    }
}

impl Wrong {
    fn of(self, part: &str) -> PostgresError {
        match self {
            Self::Tar(source) => PostgresError::Tar {
                part: part.to_owned(),
                source,
            },
            Self::Other(error) => error,
        }
    }
}

impl Found {
    fn take(&mut self, event: &Event<'_>) -> Result<(), Wrong> {
        match event {
            Event::Begin(header) => {
                self.current = (header.kind == Kind::File)
                    .then(|| ((*header).clone(), Summing::new(self.algorithm)));
            }
            Event::Data(bytes) => {
                if let Some((header, summing)) = &mut self.current {
                    summing.update(bytes);
                    let is_it = |name: &&&str| {
                        self.prefix.is_empty() && relative(header) == name.as_bytes()
                    };
                    if let Some(name) = TELLING.iter().find(is_it) {
                        let kept = self.kept.entry((*name).to_owned()).or_default();
                        kept.extend_from_slice(&bytes[..bytes.len().min(KEPT - kept.len())]);
                    }
                }
            }
            Event::End => {
                if let Some((header, summing)) = self.current.take() {
                    self.keep(&header, summing)?;
                }
            }
        }
        Ok(())
    }

    fn path(&self, header: &Header) -> Vec<u8> {
        [&self.prefix, relative(header)].concat()
    }

    fn keep(&mut self, header: &Header, summing: Summing) -> Result<(), Wrong> {
        let path = self.path(header);
        let file = File {
            size: header.size,
            algorithm: self.algorithm,
            sum: summing.finish(),
        };
        if self.files.insert(path, file).is_some() {
            return Err(Wrong::Other(PostgresError::Damaged {
                part: self.part.clone(),
                file: String::from_utf8_lossy(relative(header)).into_owned(),
                what: "it is there twice".to_owned(),
            }));
        }
        Ok(())
    }
}

fn relative(header: &Header) -> &[u8] {
    header.path.strip_prefix(b"./").unwrap_or(&header.path)
}
