use std::path::PathBuf;

use stoker_shared::retry::Retry;

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The ledger's URL names no ledger there is.
    #[error("{url}: not a ledger; give sqlite:PATH, postgres://user@host/database or none")]
    BadUrl {
        /// As given, without a password.
        url: String,
    },
    /// The schema's name cannot be used.
    #[error("{schema:?} cannot name a schema; use lower-case letters, digits and _ (at most 63)")]
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
    /// Tables of the same names, not made by Stoker, are in the way.
    #[error(
        "{place}: holds tables that Stoker did not make, maybe of the Java fhir-bucket; give another schema name"
    )]
    ForeignTables {
        /// Path, or address and schema.
        place: String,
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
    #[error("there is no {what} {id}")]
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
            Self::Busy { .. } | Self::Unreachable { .. } | Self::DiskFull { .. } => {
                Retry::After(None)
            }
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

fn code(error: &sqlx::Error) -> Option<String> {
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
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    Some(code(error)?.parse::<u32>().ok()? & 0xff)
}

fn is_transient(error: &sqlx::Error) -> bool {
    use sqlx::Error;
    matches!(
        error,
        Error::Io(_) | Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed
    )
}

/// Where a ledger lies, for messages.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A file, or `:memory:`.
    Sqlite(PathBuf),
    /// Address and database, without a password.
    Postgres(String),
}

impl Place {
    pub(super) fn show(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(address) => address.clone(),
        }
    }

    /// Turns the database's own error into one that says what to do.
    pub(super) fn explain(&self, error: LedgerError) -> LedgerError {
        let LedgerError::Database(error) = error else {
            return error;
        };
        match self {
            Self::Sqlite(path) => explain_sqlite(path.clone(), error),
            Self::Postgres(place) => explain_postgres(place.clone(), error),
        }
    }
}

fn explain_sqlite(path: PathBuf, error: sqlx::Error) -> LedgerError {
    let place = path.display().to_string();
    if matches!(error, sqlx::Error::PoolTimedOut) {
        return LedgerError::Busy { place };
    }
    if is_busy(&error) {
        return LedgerError::Busy { place };
    }
    let Some(code) = sqlite_code(&error) else {
        return LedgerError::Database(error);
    };
    match code {
        8 => LedgerError::ReadOnly { place },
        11 | 26 => LedgerError::NotADatabase { place },
        13 => LedgerError::DiskFull { place },
        3 | 14 => {
            let reason = message_of(&error);
            LedgerError::CannotOpen { path, reason }
        }
        _ => LedgerError::Database(error),
    }
}

fn message_of(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .map(|e| e.message().to_owned())
        .unwrap_or_default()
}

fn explain_postgres(place: String, error: sqlx::Error) -> LedgerError {
    let reason = match &error {
        sqlx::Error::Io(e) => {
            return LedgerError::Unreachable {
                place,
                reason: e.to_string(),
            };
        }
        sqlx::Error::PoolTimedOut => {
            let reason = "no connection in time".to_owned();
            return LedgerError::Unreachable { place, reason };
        }
        other => message_of(other),
    };
    // https://www.postgresql.org/docs/current/errcodes-appendix.html
    match code(&error).as_deref() {
        Some("28000" | "28P01") => LedgerError::WrongPassword { place, reason },
        Some("3D000") => LedgerError::DatabaseMissing { place },
        Some("42501") => LedgerError::LacksRights { place, reason },
        Some("25006") => LedgerError::ReadOnly { place },
        Some("53100") => LedgerError::DiskFull { place },
        // Too many connections, and a server that starts or stops.
        Some("53300" | "57P01" | "57P02" | "57P03") => LedgerError::Unreachable { place, reason },
        _ => LedgerError::Database(error),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
    use sqlx::{ConnectOptions, Executor};

    use super::*;

    async fn explained(conn: &mut SqliteConnection, sql: &'static str) -> LedgerError {
        let error = conn.execute(sql).await.unwrap_err();
        Place::Sqlite("/x/ledger.sqlite".into()).explain(LedgerError::Database(error))
    }

    #[tokio::test]
    async fn a_full_disk_is_told() {
        let mut conn = SqliteConnectOptions::new()
            .in_memory(true)
            .connect()
            .await
            .unwrap();
        conn.execute("PRAGMA max_page_count = 2; CREATE TABLE t (x BLOB)")
            .await
            .unwrap();
        let error = explained(&mut conn, "INSERT INTO t VALUES (zeroblob(100000))").await;
        assert!(matches!(&error, LedgerError::DiskFull { place } if place.contains("/x/")));
        assert_eq!(error.retry(), Retry::After(None));
    }

    #[tokio::test]
    async fn a_read_only_file_and_a_busy_one_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new().filename(folder.path().join("x"));
        let mut writer = options
            .clone()
            .create_if_missing(true)
            .connect()
            .await
            .unwrap();
        writer.execute("CREATE TABLE t (x)").await.unwrap();
        let mut reader = options.clone().read_only(true).connect().await.unwrap();
        let error = explained(&mut reader, "INSERT INTO t VALUES (1)").await;
        assert!(matches!(error, LedgerError::ReadOnly { .. }), "{error}");
        writer.execute("BEGIN IMMEDIATE").await.unwrap();
        let quick = options.busy_timeout(std::time::Duration::ZERO);
        let mut second = quick.connect().await.unwrap();
        let error = explained(&mut second, "INSERT INTO t VALUES (1)").await;
        assert!(matches!(error, LedgerError::Busy { .. }), "{error}");
    }
}
