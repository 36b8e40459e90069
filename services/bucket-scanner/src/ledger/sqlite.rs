//! The ledger in a SQLite file, or in memory.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use stoker_shared::clock::SharedClock;
use tokio::time::Instant;
use uuid::Uuid;

use super::adopt::JavaScripts;
use super::error::{LedgerError, is_busy};
use super::explain::Place;
use super::rows::values as rows;
use super::{Ledger, LedgerLook, LedgerOptions};

type Db = sqlx::Sqlite;
type Pool = sqlx::SqlitePool;
type Conn = sqlx::SqliteConnection;

/// Takes the file's one write lock at once, so that a transaction never fails half-way for it.
const BEGIN: &str = "BEGIN IMMEDIATE";
const BEGIN_LOSABLE: &str = BEGIN;
const BEGIN_BULK: &str = BEGIN;
/// A statement over many rows is another text for every number of them.
const KEEP_STATEMENTS: bool = false;
const TABLES: &str = include_str!("../../migrations/sqlite/0001_ledger.sql");
const BULK: &str = include_str!("../../migrations/sqlite/0006_bulk.sql");
const JOB_SUMS: &str = include_str!("../../migrations/sqlite/0008_job_sums.sql");
/// They are counted, not kept.
const FOLD_SUMS: Option<&str> = None;
const TABLE_EXISTS: &str =
    "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1)";

/// fhir-bucket keeps its tables in Derby or PostgreSQL.
const JAVA: Option<JavaScripts> = None;

// Rows need no locks of their own below the write lock.
macro_rules! lock {
    () => {
        ""
    };
}
macro_rules! skip_locked {
    () => {
        ""
    };
}
/// The numbers of a JSON array that is bound as text.
macro_rules! numbers_in {
    ($bound:literal) => {
        concat!("SELECT CAST(value AS BIGINT) FROM json_each(", $bound, ")")
    };
}

#[path = "steps/mod.rs"]
mod steps;

/// How long to wait for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(20);
const READERS: u32 = 4;

/// Opens the file, or an empty ledger in memory. A missing folder is made, closed to other users,
/// as is the file: it holds patient data in quarantine.
pub(super) async fn open(
    path: Option<&PathBuf>,
    options: &LedgerOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Ledger>, LedgerError> {
    let place = Place::Sqlite(path.cloned().unwrap_or_else(|| ":memory:".into()));
    let explain = |e| place.explain(LedgerError::Database(e));
    let (write, read) = match path {
        None => {
            let pool = memory().await.map_err(explain)?;
            (pool.clone(), pool)
        }
        Some(path) => {
            make_file(path)?;
            // What is acknowledged outlives a loss of power, which NORMAL does not promise with this log.
            let write = pool(path, 1, SqliteSynchronous::Full).await;
            let read = pool(path, READERS, SqliteSynchronous::Normal);
            (write.map_err(explain)?, read.await.map_err(explain)?)
        }
    };
    let ledger = steps::SqlLedger::new(write, read, clock, options, place);
    ledger.migrate(async |_: &mut Conn| Ok(())).await?;
    Ok(Arc::new(ledger))
}

/// Looks without changing the ledger, or making one.
pub(super) async fn look(path: Option<&Path>) -> Result<LedgerLook, LedgerError> {
    let place = Place::Sqlite(path.map_or_else(|| ":memory:".into(), Path::to_owned));
    let there = path.filter(|path| path.exists());
    if let Some(path) = path {
        can_be_written(path)?;
    }
    let options = match there {
        None => connect_options().in_memory(true),
        // Reading a file through its write-ahead log makes more files where there is none yet. Where
        // nobody has the log open, the file by itself holds everything.
        Some(path) => connect_options()
            .filename(path)
            .read_only(true)
            .immutable(!beside(path, "-wal").exists()),
    };
    let seen = async {
        let mut conn = options.connect().await?;
        let version: String = sqlx::query_scalar("SELECT sqlite_version()")
            .fetch_one(&mut conn)
            .await?;
        let now = DateTime::UNIX_EPOCH.naive_utc();
        let (tables, java) = steps::look_at_tables(&mut conn, now, &place).await?;
        conn.close().await?;
        Ok(LedgerLook {
            place: place.show(),
            software: format!("SQLite {version}"),
            tables,
            ahead: None,
            java,
        })
    };
    seen.await.map_err(|e| place.explain(e))
}

/// Whether the file, or the folder that it would be made in, may be written: by what the system says when
/// asked to, since rights have more sources than a file's mode.
fn can_be_written(path: &Path) -> Result<(), LedgerError> {
    if path.exists() {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        opened.map_err(|e| cannot_open(path, &e))?;
    }
    let folders = path.ancestors().skip(1);
    let named = folders.map(|f| {
        if f.as_os_str().is_empty() {
            Path::new(".")
        } else {
            f
        }
    });
    let Some(folder) = named.into_iter().find(|folder| folder.exists()) else {
        return Ok(());
    };
    // SQLite puts its log beside the file. Died before the removal, an empty file with a dot is left.
    let probe = folder.join(format!(".stoker-{}", Uuid::new_v4().simple()));
    let made = OpenOptions::new().write(true).create_new(true).open(&probe);
    made.map_err(|e| cannot_open(path, &e))?;
    std::fs::remove_file(&probe).map_err(|e| cannot_open(path, &e))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn cannot_open(path: &Path, error: &std::io::Error) -> LedgerError {
    match error.kind() {
        std::io::ErrorKind::StorageFull => LedgerError::DiskFull {
            place: path.display().to_string(),
        },
        _ => LedgerError::CannotOpen {
            path: path.to_owned(),
            reason: error.to_string(),
        },
    }
}

fn make_file(path: &Path) -> Result<(), LedgerError> {
    let cannot = |e: std::io::Error| cannot_open(path, &e);
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(cannot)?;
    }
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(cannot(e)),
        _ => Ok(()),
    }
}

fn connect_options() -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
}

/// Waits for others that open the file: the switch to the write-ahead log wants it alone, and SQLite
/// answers "busy" at once there, whatever the time limit. https://www.sqlite.org/pragma.html#pragma_journal_mode
async fn pool(
    path: &Path,
    connections: u32,
    synchronous: SqliteSynchronous,
) -> Result<Pool, sqlx::Error> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connect(path, connections, synchronous).await {
            Err(e) if is_busy(&e) && Instant::now() < deadline => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            done => return done,
        }
    }
}

async fn connect(
    path: &Path,
    connections: u32,
    synchronous: SqliteSynchronous,
) -> Result<Pool, sqlx::Error> {
    let connect = connect_options()
        .filename(path)
        .synchronous(synchronous)
        .journal_mode(SqliteJournalMode::Wal);
    SqlitePoolOptions::new()
        .max_connections(connections)
        .test_before_acquire(false)
        .connect_with(connect)
        .await
}

/// One connection that is never closed: with it the ledger would go.
async fn memory() -> Result<Pool, sqlx::Error> {
    SqlitePoolOptions::new()
        .min_connections(1)
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(connect_options().in_memory(true))
        .await
}
