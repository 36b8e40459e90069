//! A store in a SQLite file, or in memory.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Sqlite};
use tokio::time::Instant;
use uuid::Uuid;

use super::error::is_busy;
use super::{Place, Store, StoreError, Versions};
use crate::clock::SharedClock;

type Pool = sqlx::SqlitePool;
type Conn = sqlx::SqliteConnection;

/// Takes the file's one write lock at once, so that a transaction never fails half-way for it.
pub const BEGIN: &str = "BEGIN IMMEDIATE";

const TABLE_EXISTS: &str =
    "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1)";

/// How long to wait for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(20);
const READERS: u32 = 4;

#[path = "versions.rs"]
pub mod versions;

/// Opens the file, or an empty store in memory. A missing folder is made, closed to other users, as is the
/// file.
pub async fn open(path: Option<&Path>, clock: SharedClock) -> Result<Store<Sqlite>, StoreError> {
    let place = place(path);
    let explain = |e| place.explain(StoreError::Database(e));
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
    Ok(Store {
        write,
        read,
        clock,
        place,
        following: None,
    })
}

/// Makes or updates the tables. Any number of processes may do so at once.
///
/// Died before the end: the tables are as they were. After: they are done.
pub async fn migrate(store: &Store<Sqlite>, versions: &Versions) -> Result<(), StoreError> {
    let done = async {
        let mut tx = store.write.begin_with(BEGIN).await?;
        let found = versions::found(&mut tx, versions, &store.place).await?;
        versions::bring_up(&mut tx, versions, found, versions.last(), store.now()).await?;
        tx.commit().await?;
        Ok(())
    };
    done.await.map_err(|e| store.place.explain(e))
}

/// A connection that only reads what is there; to an empty store where there is none. Makes and changes
/// nothing, and fails where the file could not be written.
pub async fn look(path: Option<&Path>) -> Result<Conn, StoreError> {
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
    let conn = options.connect().await;
    conn.map_err(|e| place(path).explain(e.into()))
}

/// For messages.
pub fn place(path: Option<&Path>) -> Place {
    Place::Sqlite(path.map_or_else(|| ":memory:".into(), Path::to_owned))
}

/// Whether the file, or the folder that it would be made in, may be written: by what the system says when
/// asked to, since rights have more sources than a file's mode.
fn can_be_written(path: &Path) -> Result<(), StoreError> {
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

fn cannot_open(path: &Path, error: &std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull => StoreError::DiskFull {
            place: path.display().to_string(),
        },
        _ => StoreError::CannotOpen {
            path: path.to_owned(),
            reason: error.to_string(),
        },
    }
}

fn make_file(path: &Path) -> Result<(), StoreError> {
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

/// One connection that is never closed: with it the store would go.
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
