//! The catalog in a SQLite file, or in memory.

use std::path::Path;
use std::sync::Arc;

use stoker_shared::clock::SharedClock;
use stoker_shared::store::rows::values as rows;
use stoker_shared::store::sqlite::BEGIN;
use stoker_shared::store::{self, Versions};

use super::{Catalog, CatalogError, CatalogOptions};

type Db = sqlx::Sqlite;
type Conn = sqlx::SqliteConnection;

/// Its one write lock makes starts take turns.
const TAKE_TURNS: Option<&str> = None;
const VERSIONS: Versions = Versions {
    table: "backup_schema_versions",
    scripts: &[include_str!("../../migrations/sqlite/0001_catalog.sql")],
};

#[path = "steps/mod.rs"]
mod steps;

pub(super) async fn open(
    path: Option<&Path>,
    options: &CatalogOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Catalog>, CatalogError> {
    let store = store::sqlite::open(path, clock).await?;
    store::sqlite::migrate(&store, &VERSIONS).await?;
    Ok(Arc::new(steps::SqlCatalog::new(store, options.lease)))
}
