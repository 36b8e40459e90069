//! What the job scheduler ofelia was told to do (<https://github.com/mcuadros/ofelia>), read from its INI file.
//!
//! Jobs that run `pg_basebackup` into a folder named by the time become jobs of Stoker's own, with the same folders.
//! All others are listed with the reason. Nothing of the file is run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

mod address;
mod basebackup;
mod ini;
mod job;
mod shell;
#[cfg(test)]
mod tests;

use super::Schedule;
use stoker_shared::secret::Secret;

pub use basebackup::{Compression, Method};
pub use job::FolderName;

/// What holds around the file.
#[derive(Clone, Default)]
pub struct Around {
    /// Values of `${VARIABLES}`, which are put in before ofelia reads the file. `$(…)` is the shell's, and left alone.
    pub variables: BTreeMap<String, String>,
    /// Where Stoker sees folders of the host, and named volumes: the names that `volume=` has, each with the path here.
    pub paths: BTreeMap<String, PathBuf>,
}

impl fmt::Debug for Around {
    /// Without values, which may be passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Around")
            .field("variables", &self.variables.keys())
            .field("paths", &self.paths)
            .finish()
    }
}

/// What became of a file.
#[derive(Debug, Serialize)]
pub struct Read {
    /// What Stoker does by itself.
    pub native: Vec<NativeJob>,
    /// What it does not.
    pub rest: Vec<Rest>,
}

/// A base backup of PostgreSQL on a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NativeJob {
    /// As the file names it.
    pub name: String,
    /// Where it begins, from 1.
    pub line: usize,
    /// When it runs.
    pub schedule: Schedule,
    /// Host or folder of the socket; none: as libpq finds it.
    pub host: Option<String>,
    /// Port of the server.
    pub port: Option<u16>,
    /// Who backs up.
    pub user: Option<String>,
    /// A connection string that holds what the others do not.
    pub connection: Option<Secret>,
    /// The user's password, where the file has it.
    pub password: Option<Secret>,
    /// The repository: the folder in which each backup has one of its own.
    pub repository: PathBuf,
    /// How these are named.
    pub folder: FolderName,
    /// Of each file.
    pub compression: Compression,
    /// Kilobytes (1024 bytes) that the server sends in a second, at most.
    pub max_rate_kb: Option<u32>,
    /// The server begins at once, not when its next checkpoint comes by itself.
    pub fast_checkpoint: bool,
    /// What is good to know.
    pub notes: Vec<String>,
}

/// A section that Stoker does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rest {
    /// Its name; that of its kind where it has none.
    pub name: String,
    /// Where it begins, from 1.
    pub line: usize,
    /// Why, and what to do.
    pub reason: String,
}

/// A file that is no INI file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} cannot be read: {problem}; correct the file, ofelia would not take it either")]
pub struct BadIni {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// Reads a file. Fails with [`BadIni`] where it has another form.
pub fn read(text: &str, around: &Around) -> Result<Read, BadIni> {
    let mut read = Read {
        native: Vec::new(),
        rest: Vec::new(),
    };
    for section in ini::read(text)? {
        match job::recognised(&section, around) {
            Ok(job) => read.native.push(job),
            Err(reason) => read.rest.push(Rest {
                name: if section.name.is_empty() {
                    section.kind
                } else {
                    section.name
                },
                line: section.line,
                reason,
            }),
        }
    }
    Ok(read)
}
