//! What can go wrong in a restore.

use std::io;
use std::path::{Path, PathBuf};

use crate::pgbackrest::PgbackrestError;
use crate::repository::RepositoryError;
use crate::server::ServerError;
use crate::tar::TarError;

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The repository did not give it.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The server is not to be had.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The backup is no whole backup of a server.
    #[error("{backup}: cannot be restored: {what}; use another backup")]
    Incomplete {
        /// Its name.
        backup: String,
        /// What is missing.
        what: String,
    },
    /// An archive is damaged.
    #[error("{part}: {source}; use another backup")]
    Tar {
        /// The archive.
        part: String,
        /// What is wrong.
        source: TarError,
    },
    /// An archive cannot be decompressed.
    #[error("{part}: cannot be decompressed: {source}; use another backup")]
    Compressed {
        /// The archive.
        part: String,
        /// What is wrong.
        source: io::Error,
    },
    /// An archive has an entry that no server puts into one.
    #[error(
        "{part}: its entry {entry:?} is refused: {what}; this is no backup by PostgreSQL's means"
    )]
    Entry {
        /// The archive.
        part: String,
        /// The path or link in it.
        entry: String,
        /// Why it is refused.
        what: &'static str,
    },
    /// pgBackRest did not restore its set.
    #[error(transparent)]
    Pgbackrest(#[from] PgbackrestError),
    /// A folder that is not empty.
    #[error("{folder}: is not empty, so nothing was restored: {advice}")]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
        /// What can be done.
        advice: &'static str,
    },
    /// A server runs there.
    #[error(
        "{0}: a server runs in it, so nothing was restored; stop it first (pg_ctl stop -D {0})"
    )]
    Running(PathBuf),
    /// Another restore is at the folder.
    #[error("{0}: another restore is at it; wait for its end")]
    Busy(PathBuf),
    /// A folder that cannot be used as it is.
    #[error("{folder}: cannot be restored into: {what}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A mapping that fits no tablespace.
    #[error("{old}: the backup has no tablespace there; it has {has}")]
    NoTablespace {
        /// The old path of the mapping.
        old: PathBuf,
        /// The paths that there are.
        has: String,
    },
    /// A file cannot be used.
    #[error("{path}: cannot be {doing}: {source}{}", advice(.source))]
    Files {
        /// Its path.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A thread ended by itself.
    #[error("the restore stopped: {0}; restore again")]
    Stopped(String),
}

impl RestoreError {
    /// Whether it is the backup that is no good, and not this machine or the way to the repository.
    pub fn is_of_backup(&self) -> bool {
        match self {
            Self::Incomplete { .. }
            | Self::Tar { .. }
            | Self::Compressed { .. }
            | Self::Entry { .. } => true,
            Self::Repository(error) => matches!(
                error,
                RepositoryError::Differs { .. } | RepositoryError::Manifest { .. }
            ),
            Self::Pgbackrest(error) => error.is_of_backup(),
            _ => false,
        }
    }
}

/// Makes an error of the system's one of ours.
pub(super) fn failed(
    path: &Path,
    doing: &'static str,
) -> impl FnOnce(io::Error) -> RestoreError + use<> {
    let path = path.to_owned();
    move |source| RestoreError::Files {
        path,
        doing,
        source,
    }
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room on its disk and restore again"
        }
        io::ErrorKind::PermissionDenied => "; run Stoker as a user that may, or as root",
        _ => "",
    }
}
