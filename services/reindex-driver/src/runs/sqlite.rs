//! Runs in a SQLite file, or in memory.

use std::path::Path;
use std::sync::Arc;

use stoker_shared::clock::SharedClock;
use stoker_shared::store::rows::values as rows;
use stoker_shared::store::sqlite::BEGIN;
use stoker_shared::store::{self, Versions};

use super::{Runs, RunsError, RunsOptions};

type Db = sqlx::Sqlite;
type Conn = sqlx::SqliteConnection;

/// Its one write lock makes starts take turns.
const TAKE_TURNS: Option<&str> = None;
const VERSIONS: Versions = Versions {
    table: "reindex_schema_versions",
    scripts: &[include_str!("../../migrations/sqlite/0001_runs.sql")],
};

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

pub(super) async fn open(
    path: Option<&Path>,
    options: &RunsOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Runs>, RunsError> {
    let store = store::sqlite::open(path, clock).await?;
    store::sqlite::migrate(&store, &VERSIONS).await?;
    Ok(Arc::new(steps::SqlRuns::new(store, options.lease)))
}
