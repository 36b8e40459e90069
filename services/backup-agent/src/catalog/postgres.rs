//! The catalog in a schema of a PostgreSQL database.

use std::sync::Arc;

use stoker_shared::clock::SharedClock;
use stoker_shared::store::postgres::BEGIN;
use stoker_shared::store::rows::arrays as rows;
use stoker_shared::store::{self, Versions};

use super::{Catalog, CatalogError, CatalogOptions};

type Db = sqlx::Postgres;
type Conn = sqlx::PgConnection;

/// So that two starts of the same do not miss each other. Any number, the same in every agent.
const TAKE_TURNS: Option<&str> = Some("SELECT pg_advisory_xact_lock(2718281828459045235)");
const VERSIONS: Versions = Versions {
    table: "backup_schema_versions",
    scripts: &[include_str!("../../migrations/postgres/0001_catalog.sql")],
};

#[path = "steps/mod.rs"]
#[expect(
    clippy::duplicate_mod,
    reason = "the same steps are compiled for each database"
)]
mod steps;

pub(super) async fn open(
    url: &str,
    options: &CatalogOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Catalog>, CatalogError> {
    let connect = store::postgres::connect(url, &options.postgres)?;
    let store = store::postgres::open(&connect, options.postgres.connections, clock).await?;
    store::postgres::migrate(&store, &connect.schema, &VERSIONS).await?;
    Ok(Arc::new(steps::SqlCatalog::new(store, options.lease)))
}
