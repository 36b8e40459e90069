//! What can go wrong with pgBackRest.

use std::path::PathBuf;
use std::process::ExitStatus;

use crate::drill::DrillError;
use crate::repository::RepositoryError;
use crate::server::ServerError;

/// Its errors of files that are not as they were written: checksum, invalid file, format, missing file, invalid set.
/// <https://github.com/pgbackrest/pgbackrest/blob/release/2.45/src/build/error/error.yaml>
const OF_THE_SET: [i32; 5] = [26, 28, 29, 55, 75];

/// Why pgBackRest did not do it.
#[derive(Debug, thiserror::Error)]
pub enum PgbackrestError {
    /// It could not be run.
    #[error(
        "{program}: cannot be run: {source}; install pgBackRest on this machine, or say where it is (backup_agent.pgbackrest.program)"
    )]
    Run {
        /// Its path or name.
        program: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It failed.
    #[error("{program}: {status}: {said}")]
    Failed {
        /// Its path or name.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// What it said is not understood.
    #[error("pgBackRest's {command} said what is not understood: {what}")]
    Odd {
        /// The command.
        command: &'static str,
        /// What is wrong.
        what: String,
    },
    /// It cannot tell what sets there are.
    #[error("pgBackRest's stanza {stanza} cannot be read: {message}; see `pgbackrest info`")]
    Unreadable {
        /// The stanza.
        stanza: String,
        /// What it says.
        message: String,
    },
    /// A set is not there.
    #[error(
        "pgBackRest's stanza {stanza} has no set {label}; something else than Stoker has expired it"
    )]
    Gone {
        /// The stanza.
        stanza: String,
        /// The set.
        label: String,
    },
    /// A set is there and not as it was written.
    #[error("pgBackRest's set {label} is {said}")]
    Invalid {
        /// The set.
        label: String,
        /// What it says of it.
        said: String,
    },
    /// The set that was made is not among those it tells of.
    #[error(
        "pgBackRest's stanza {0} does not tell of the set that was made; see `pgbackrest info`"
    )]
    NotMade(String),
    /// Pages of the database are damaged.
    #[error(
        "pgBackRest found pages with wrong checksums in the database of stanza {0}; see its log, and the server's with `SELECT * FROM pg_stat_database`"
    )]
    Pages(String),
    /// The scratch folder cannot be used.
    #[error(transparent)]
    Scratch(Box<DrillError>),
    /// Its processes, or its user.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// What it said of the set could not be kept.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl From<DrillError> for PgbackrestError {
    fn from(error: DrillError) -> Self {
        Self::Scratch(Box::new(error))
    }
}

impl PgbackrestError {
    /// Whether it is the backup that is no good.
    pub fn is_of_backup(&self) -> bool {
        match self {
            Self::Gone { .. } | Self::Invalid { .. } => true,
            Self::Failed { status, .. } => {
                status.code().is_some_and(|code| OF_THE_SET.contains(&code))
            }
            _ => false,
        }
    }
}
