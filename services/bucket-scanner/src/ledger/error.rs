use std::path::PathBuf;

use stoker_shared::retry::Retry;

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The ledger's URL names no ledger there is.
    #[error(
        "{url}: not a ledger; give sqlite:PATH, postgres://user@host/database or none (in a password, write what is no letter or digit as %XX)"
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
    /// No room left for the ledger.
    #[error("{place}: the disk is full; make room and start again, nothing that was saved is lost")]
    DiskFull {
        /// Path or address.
        place: String,
    },
    /// The ledger's file, or its folder, cannot be made or opened.
    #[error("{}: the ledger cannot be opened ({reason}); check the path and who may write there", path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The ledger's file may be read but not written.
    #[error(
        "{place}: the ledger is read-only; give the user that runs Stoker the right to write it"
    )]
    ReadOnly {
        /// Path or address.
        place: String,
    },
    /// The file is something else.
    #[error(
        "{place}: is not a ledger, or is damaged; give another path or restore it from a backup"
    )]
    NotADatabase {
        /// The file.
        place: String,
    },
    /// All connections of this process were in use for too long.
    #[error(
        "{place}: the ledger has more to do than it gets done; use fewer workers, or PostgreSQL"
    )]
    Overloaded {
        /// The file.
        place: String,
    },
    /// Another process keeps the file locked.
    #[error(
        "{place}: another process keeps the ledger busy; try again, or use PostgreSQL for many writers"
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
    #[error("{}: cannot be read ({reason}); check {parameter} in the ledger's URL", path.display())]
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
        "{place}: no connection can be made as the ledger's URL wants it ({reason}); check sslmode, sslrootcert, sslcert and sslkey"
    )]
    BadConnection {
        /// Address and database.
        place: String,
        /// What the driver says.
        reason: String,
    },
    /// The database cannot hold every text.
    #[error(
        "{place}: the database keeps text as {encoding}, the ledger needs UTF8; make one with `createdb -E UTF8 -T template0`"
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
    /// Tables of the same names, made neither by Stoker nor by the Java fhir-bucket, are in the way.
    #[error(
        "{place}: holds a table {table} that neither Stoker nor fhir-bucket made; give another schema name"
    )]
    ForeignTables {
        /// Path, or address and schema.
        place: String,
        /// One of the tables.
        table: &'static str,
    },
    /// Tables of the Java fhir-bucket, and an instance of it that may be at work.
    #[error(
        "{place}: fhir-bucket is running on its tables there ({instances}), and both at once would load objects twice; stop it and start Stoker a minute later, which then takes the tables over"
    )]
    JavaRunning {
        /// Address and database.
        place: String,
        /// Its instances, with their hosts.
        instances: String,
    },
    /// The Java fhir-bucket has not made all of its tables.
    #[error(
        "{place}: the making of fhir-bucket's tables there was not ended (version {version}); run `fhir-bucket --create-schema` once more, or drop the schema"
    )]
    JavaUnfinished {
        /// Address and database.
        place: String,
        /// What it wrote of how far it came.
        version: i64,
    },
    /// Something of others hangs on the tables of the Java fhir-bucket.
    #[error(
        "{place}: the tables of fhir-bucket cannot be taken over, since others hold on to them ({reason}); drop the views and foreign keys that do, and make them again after"
    )]
    JavaInUse {
        /// Address and database.
        place: String,
        /// What PostgreSQL says.
        reason: String,
    },
    /// A later release of Stoker made the ledger.
    #[error(
        "{place}: the ledger has version {version}, this Stoker knows {known}; use the newer Stoker"
    )]
    TooNew {
        /// Path or address.
        place: String,
        /// Version of the ledger's tables.
        version: i64,
        /// The last version known here.
        known: i64,
    },
    /// A write came under a lease that does not hold any more; nothing was changed.
    #[error("unit {unit_id}: the lease is lost: {reason}")]
    LeaseLost {
        /// The unit.
        unit_id: i64,
        /// Why, for a person.
        reason: String,
    },
    /// A scan went on after another scanner had taken its source; nothing was changed.
    #[error("source {source_id}: another scanner has taken over its scan")]
    ScanLost {
        /// The source.
        source_id: i64,
    },
    /// There is no such thing.
    #[error("{}", missing(what, *id))]
    NotFound {
        /// What was asked for.
        what: &'static str,
        /// Its id.
        id: i64,
    },
    /// What was asked for cannot be done as things stand.
    #[error("{0}")]
    NotNow(String),
    /// A commit that contradicts itself or what is committed already; nothing was changed.
    #[error("unit {unit_id}: the commit cannot be taken: {reason}")]
    BadCommit {
        /// The unit.
        unit_id: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// The ledger holds something that it should not.
    #[error("the ledger is damaged: {0}; restore it from a backup")]
    Damaged(String),
    /// Any other fault of the database.
    #[error("the ledger failed: {0}")]
    Database(#[from] sqlx::Error),
}

impl LedgerError {
    /// Whether the same call may succeed later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Busy { .. }
            | Self::Overloaded { .. }
            | Self::Unreachable { .. }
            | Self::Unserved { .. }
            | Self::Standby { .. }
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

/// A worker that a ledger does not know has only to register again.
fn missing(what: &str, id: i64) -> String {
    match what {
        "worker" => format!("worker {id} is not known here; register again"),
        "job" => format!("there is no job {id}; `stoker jobs` lists those there are"),
        what => format!("there is no {what} {id}"),
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
