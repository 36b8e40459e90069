//! Why a backup was not taken in.

use std::path::PathBuf;

use crate::postgres::PostgresError;
use crate::repository::RepositoryError;

/// Why a backup was not taken in. Nothing of it is a backup then, and what was given is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is nothing that can be taken in.
    #[error("{}: cannot be imported: {what}", path.display())]
    Unknown {
        /// What was given.
        path: PathBuf,
        /// What it is, and what to do.
        what: String,
    },
    /// It was taken in before.
    #[error(
        "{place}: there is a backup {name} already, so nothing was done; to take another of that name in too, rename it first"
    )]
    There {
        /// The repository.
        place: String,
        /// The backup.
        name: String,
    },
    /// It is not whole.
    #[error("{}: not imported: {source}", path.display())]
    Bad {
        /// What was given.
        path: PathBuf,
        /// What is the matter.
        source: Box<PostgresError>,
    },
    /// It ends before its end.
    #[error("{}: not imported: the archive is cut off; the backup is not good", .0.display())]
    Cut(PathBuf),
    /// It cannot be read, or not written into the repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl ImportError {
    /// Whether what was given is no whole backup; otherwise nothing was learnt of it.
    pub fn is_of_backup(&self) -> bool {
        match self {
            Self::Bad { source, .. } => source.is_of_backup(),
            Self::Cut(_) => true,
            _ => false,
        }
    }

    /// That of a repository, for the backup `name`.
    pub(super) fn of_repository(name: &str, error: RepositoryError) -> Self {
        match error {
            RepositoryError::Exists { place, .. } => Self::There {
                place,
                name: name.to_owned(),
            },
            other => Self::Repository(other),
        }
    }
}
