//! Why a store did not do what was asked.

use std::path::PathBuf;

use crate::retry::Retry;

/// A fault of a database, or of how it is to be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no database there is.
    #[error(
        "{url}: not a database; give sqlite:PATH, postgres://user@host/database or none (in a password, write what is no letter or digit as %XX)"
    )]
    BadUrl {
        /// As given, without a password.
        url: String,
    },
    /// The schema's name cannot be used.
    #[error(
        "{schema:?} cannot name a schema; use letters, digits and _ (at most 63), and let it not begin with a digit or pg_"
    )]
    BadSchema {
        /// As given.
        schema: String,
    },
    /// No room left for what is to be kept.
    #[error("{place}: the disk is full; make room and start again, nothing that was saved is lost")]
    DiskFull {
        /// Path or address.
        place: String,
    },
    /// The file, or its folder, cannot be made or opened.
    #[error("{}: the database cannot be opened ({reason}); check the path and who may write there", path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file may be read but not written.
    #[error(
        "{place}: the database is read-only; give the user that runs Stoker the right to write it"
    )]
    ReadOnly {
        /// Path or address.
        place: String,
    },
    /// The file is something else.
    #[error(
        "{place}: is not an SQLite database, or is damaged; give another path or restore it from a backup"
    )]
    NotADatabase {
        /// The file.
        place: String,
    },
    /// All connections of this process were in use for too long.
    #[error(
        "{place}: the database has more to do than it gets done; have fewer at work, or use PostgreSQL"
    )]
    Overloaded {
        /// The file.
        place: String,
    },
    /// Another process keeps the file locked.
    #[error(
        "{place}: another process keeps the database busy; try again, or use PostgreSQL for many writers"
    )]
    Busy {
        /// The file.
        place: String,
    },
    /// No answer from PostgreSQL.
    #[error("{place}: PostgreSQL cannot be reached ({reason}); check the address and that it runs")]
    Unreachable {
        /// Address and database.
        place: String,
        /// What the system says.
        reason: String,
    },
    /// PostgreSQL answers, and cannot do its work at the moment.
    #[error(
        "{place}: PostgreSQL cannot serve at the moment ({reason}); see to the server, Stoker tries again"
    )]
    Unserved {
        /// Address and database.
        place: String,
        /// What PostgreSQL says.
        reason: String,
    },
    /// PostgreSQL takes no writes: a standby, or set to read only.
    #[error("{place}: PostgreSQL is read-only ({reason}); give the address of the primary")]
    Standby {
        /// Address and database.
        place: String,
        /// What PostgreSQL says.
        reason: String,
    },
    /// A file that the URL names for TLS cannot be read.
    #[error("{}: cannot be read ({reason}); check {parameter} in the database's URL", path.display())]
    NoTlsFile {
        /// The parameter of the URL.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The connection cannot be made as the URL wants it.
    #[error(
        "{place}: no connection can be made as the database's URL wants it ({reason}); check sslmode, sslrootcert, sslcert and sslkey"
    )]
    BadConnection {
        /// Address and database.
        place: String,
        /// What the driver says.
        reason: String,
    },
    /// The database cannot hold every text.
    #[error(
        "{place}: the database keeps text as {encoding}, Stoker needs UTF8; make one with `createdb -E UTF8 -T template0`"
    )]
    NotUtf8 {
        /// Address and database.
        place: String,
        /// Its encoding.
        encoding: String,
    },
    /// PostgreSQL refused who we are.
    #[error(
        "{place}: PostgreSQL refuses the user or password ({reason}); check both, and pg_hba.conf"
    )]
    WrongPassword {
        /// Address and database.
        place: String,
        /// What PostgreSQL says.
        reason: String,
    },
    /// PostgreSQL knows no such database.
    #[error("{place}: there is no such database; create it with `createdb`, Stoker makes the rest")]
    DatabaseMissing {
        /// Address and database.
        place: String,
    },
    /// PostgreSQL knows us, but does not let us do this.
    #[error(
        "{place}: a right is missing ({reason}); grant the user CREATE on the database, or the rights on the schema"
    )]
    LacksRights {
        /// Address and database.
        place: String,
        /// What PostgreSQL says.
        reason: String,
    },
    /// PostgreSQL is too old.
    #[error("{place}: PostgreSQL {version} is too old; Stoker needs 12 or later")]
    TooOld {
        /// Address and database.
        place: String,
        /// Its version.
        version: String,
    },
    /// A later release of Stoker made the tables.
    #[error(
        "{place}: the tables have version {version}, this Stoker knows {known}; use the newer Stoker"
    )]
    TooNew {
        /// Path or address.
        place: String,
        /// Version of the tables.
        version: i64,
        /// The last version known here.
        known: i64,
    },
    /// A value that has no spelling in a column.
    #[error("{0} cannot be kept")]
    CannotKeep(String),
    /// The database holds something that it should not.
    #[error("the database is damaged: {0}; restore it from a backup")]
    Damaged(String),
    /// Any other fault of the database.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// An error of whoever keeps a store, that may be the database's.
pub trait StoreFault: From<StoreError> + From<sqlx::Error> {
    /// The database's fault, if it is that.
    fn store(&self) -> Option<&StoreError>;

    /// The same by value, or the error as it was.
    fn into_store(self) -> Result<StoreError, Self>;
}

impl StoreFault for StoreError {
    fn store(&self) -> Option<&StoreError> {
        Some(self)
    }

    fn into_store(self) -> Result<StoreError, Self> {
        Ok(self)
    }
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Busy { .. }
            | Self::Overloaded { .. }
            | Self::Unreachable { .. }
            | Self::Unserved { .. }
            | Self::Standby { .. }
            // Whoever was let in before waits until the new password is in its file.
            | Self::WrongPassword { .. }
            | Self::DiskFull { .. } => Retry::After(None),
            Self::Database(e) if is_conflict(e) || is_transient(e) => Retry::After(None),
            _ => Retry::Never,
        }
    }

    /// SQLite may have ended the transaction by itself, which the driver does not know: the
    /// connection cannot be used again. https://www.sqlite.org/lang_transaction.html
    pub(super) fn breaks_connection(&self) -> bool {
        const NOMEM: u32 = 7;
        const IOERR: u32 = 10;
        const FULL: u32 = 13;
        let Self::Database(e) = self else {
            return false;
        };
        matches!(sqlite_code(e), Some(NOMEM | IOERR | FULL))
    }

    /// The database undid the transaction so that another could go on; it can be repeated at once.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Database(e) if is_conflict(e))
    }
}

pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

fn is_conflict(error: &sqlx::Error) -> bool {
    // serialization_failure and deadlock_detected
    matches!(code(error).as_deref(), Some("40001" | "40P01"))
}

/// SQLite: another connection has the file locked.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    sqlite_code(error).is_some_and(|code| matches!(code, 5 | 6))
}

/// The primary result code of https://www.sqlite.org/rescode.html: the low byte of an extended one.
pub(super) fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    Some(code(error)?.parse::<u32>().ok()? & 0xff)
}

fn is_transient(error: &sqlx::Error) -> bool {
    use sqlx::Error;
    matches!(
        error,
        Error::Io(_) | Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed
    )
}
