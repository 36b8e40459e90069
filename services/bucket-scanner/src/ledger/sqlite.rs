//! The ledger in a SQLite file, or in memory.

use std::path::Path;
use std::sync::Arc;

use chrono::DateTime;
use sqlx::Connection;
use stoker_shared::clock::SharedClock;
use stoker_shared::store;
use stoker_shared::store::rows::values as rows;
use stoker_shared::store::sqlite::{BEGIN, versions};

use super::adopt::JavaScripts;
use super::error::LedgerError;
use super::{Ledger, LedgerLook, LedgerOptions};

type Db = sqlx::Sqlite;
type Conn = sqlx::SqliteConnection;

const BEGIN_LOSABLE: &str = BEGIN;
const BEGIN_LEASE: &str = BEGIN;
const BEGIN_BULK: &str = BEGIN;
/// A statement over many rows is another text for every number of them.
const KEEP_STATEMENTS: bool = false;
const TABLES: &str = include_str!("../../migrations/sqlite/0001_ledger.sql");
const BULK: &str = include_str!("../../migrations/sqlite/0006_bulk.sql");
const JOB_SUMS: &str = include_str!("../../migrations/sqlite/0008_job_sums.sql");
/// There is nothing of the kind to change.
const QUICK_LEASES: &str = "";
/// They are counted, not kept.
const FOLD_SUMS: Option<&str> = None;
// Its one writer at a time sees what those before it wrote.
const LOCK_PLACES: Option<&str> = None;
const LOCK_LEASES: Option<&str> = None;
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

/// The file holds patient data in quarantine.
pub(super) async fn open(
    path: Option<&Path>,
    options: &LedgerOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Ledger>, LedgerError> {
    let store = store::sqlite::open(path, clock).await?;
    let ledger = steps::SqlLedger::new(store, options);
    ledger.migrate(async |_: &mut Conn| Ok(())).await?;
    Ok(Arc::new(ledger))
}

/// Looks without changing the ledger, or making one.
pub(super) async fn look(path: Option<&Path>) -> Result<LedgerLook, LedgerError> {
    let place = store::sqlite::place(path);
    let mut conn = store::sqlite::look(path).await?;
    let seen = async {
        let version: String = sqlx::query_scalar("SELECT sqlite_version()")
            .fetch_one(&mut conn)
            .await?;
        let now = DateTime::UNIX_EPOCH.naive_utc();
        let (tables, java) = steps::look_at_tables(&mut conn, now, &place).await?;
        conn.close().await?;
        Ok::<_, LedgerError>(LedgerLook {
            place: place.show(),
            software: format!("SQLite {version}"),
            tables,
            ahead: None,
            java,
        })
    };
    seen.await.map_err(|e| place.explain(e))
}
