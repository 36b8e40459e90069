//! Runs in a schema of a PostgreSQL database.

use std::sync::Arc;

use stoker_shared::clock::SharedClock;
use stoker_shared::store::postgres::BEGIN;
use stoker_shared::store::rows::arrays as rows;
use stoker_shared::store::{self, Versions};

use super::{Runs, RunsError, RunsOptions};

type Db = sqlx::Postgres;
type Conn = sqlx::PgConnection;

/// So that two starts of the same do not miss each other. Any number, the same in every driver.
const TAKE_TURNS: Option<&str> = Some("SELECT pg_advisory_xact_lock(6003702463349903362)");
const VERSIONS: Versions = Versions {
    table: "reindex_schema_versions",
    scripts: &[include_str!("../../migrations/postgres/0001_runs.sql")],
};

macro_rules! lock {
    () => {
        " FOR UPDATE"
    };
}
macro_rules! skip_locked {
    () => {
        " FOR UPDATE SKIP LOCKED"
    };
}
/// The numbers of a JSON array that is bound as text.
macro_rules! numbers_in {
    ($bound:literal) => {
        concat!(
            "SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST(",
            $bound,
            " AS JSON))"
        )
    };
}

#[path = "steps/mod.rs"]
#[expect(
    clippy::duplicate_mod,
    reason = "the same steps are compiled for each database"
)]
mod steps;

pub(super) async fn open(
    url: &str,
    options: &RunsOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Runs>, RunsError> {
    let connect = store::postgres::connect(url, &options.postgres)?;
    let store = store::postgres::open(&connect, options.postgres.connections, clock).await?;
    store::postgres::migrate(&store, &connect.schema, &VERSIONS).await?;
    Ok(Arc::new(steps::SqlRuns::new(store, options.lease)))
}
