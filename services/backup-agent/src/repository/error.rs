//! What can go wrong in a repository.

use std::io;

use stoker_shared::object_store::StoreError;
use stoker_shared::retry::Retry;

/// Why a repository did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The address is none.
    #[error("{url}: no repository: {reason}; give a folder's full path or s3://bucket/prefix")]
    Url {
        /// The address given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A name that no backup or part can have.
    #[error(
        "{name:?}: no name for a backup or a part of one: {reason}; use letters, digits and . _ - + : @ ="
    )]
    Name {
        /// The name given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A backup of the name is there.
    #[error("{place}: there is a backup {name} already; give the new one another name")]
    Exists {
        /// The repository.
        place: String,
        /// The backup.
        name: String,
    },
    /// Something of the name is there that is no backup.
    #[error(
        "{place}: {name} is there and is no backup, for it has no manifest.json; move it away or import it"
    )]
    InTheWay {
        /// The repository.
        place: String,
        /// Its name.
        name: String,
    },
    /// Something that no backup has lies among files that are to become one.
    #[error(
        "{what}: cannot be part of a backup: {reason}; move it away, or import the folder that holds the backup's files"
    )]
    Foreign {
        /// Its place.
        what: String,
        /// Why not.
        reason: &'static str,
    },
    /// No backup of the name is there.
    #[error("{place}: there is no backup {name}; `stoker backup list` shows those there are")]
    NotFound {
        /// The repository.
        place: String,
        /// The name.
        name: String,
    },
    /// The backup has no such part.
    #[error("{place}: the backup {name} has no part {part}")]
    NoPart {
        /// The repository.
        place: String,
        /// The backup.
        name: String,
        /// The part.
        part: String,
    },
    /// A manifest that cannot be used.
    #[error("{place}: the manifest of the backup {name} cannot be used: {reason}")]
    Manifest {
        /// The repository.
        place: String,
        /// The backup.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What is to be committed is not what was written.
    #[error("{place}: the backup {name} is not committed: {reason}")]
    Parts {
        /// The repository.
        place: String,
        /// The backup.
        name: String,
        /// Where the two differ.
        reason: String,
    },
    /// Another took away what was written, holding the writer for dead.
    #[error(
        "{place}: what was written of the backup {name} is gone: it lay still for so long that another agent took it away; back up again"
    )]
    Lost {
        /// The repository.
        place: String,
        /// The backup.
        name: String,
    },
    /// A part is not as it was written.
    #[error(
        "{what}: is damaged: {reason}; use another backup, and look after the disk or service it lies on"
    )]
    Differs {
        /// The part's place.
        what: String,
        /// What it is and what it should be.
        reason: String,
    },
    /// A folder or file cannot be used.
    #[error("{what}: cannot be {doing}: {source}; {}", advice(.source))]
    Files {
        /// Its path.
        what: String,
        /// What was tried: `read`, `written`, `removed`.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The object store did not do what was asked, though it was tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RepositoryError {
    /// Whether a backup is not as it was written; otherwise nothing was learnt of it.
    pub fn is_of_backup(&self) -> bool {
        matches!(self, Self::Differs { .. } | Self::Manifest { .. })
    }

    /// Whether the same may go well later. A part that failed is to be written again from its beginning.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Store(e) if e.may_pass() => Retry::After(None),
            Self::Files { source, .. } if !is_of_settings(source) => Retry::After(None),
            Self::Lost { .. } => Retry::After(None),
            _ => Retry::Never,
        }
    }
}

/// Whether somebody has to change something first.
fn is_of_settings(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, NotFound, PermissionDenied, ReadOnlyFilesystem};
    let kind = error.kind();
    [FileTooLarge, NotFound, PermissionDenied, ReadOnlyFilesystem].contains(&kind)
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on its disk, or have fewer backups kept"
        }
        io::ErrorKind::FileTooLarge => "raise the limit on the size of files (ulimit -f)",
        io::ErrorKind::NotFound => "check the path, and that its disk is mounted",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "give the user that runs Stoker the right to it"
        }
        _ => "look after the disk or service it lies on",
    }
}
