//! The ledger in a schema of a PostgreSQL database.

use std::sync::Arc;

use sqlx::Connection;
use stoker_shared::clock::{Clock, SharedClock};
use stoker_shared::store;
use stoker_shared::store::postgres::{BEGIN, Look, versions};
use stoker_shared::store::rows::arrays as rows;

use super::adopt::JavaScripts;
use super::error::LedgerError;
use super::{Ledger, LedgerLook, LedgerOptions};

type Db = sqlx::Postgres;
type Conn = sqlx::PgConnection;

/// For what may be lost when the server fails, until a later transaction is durable: all before it is then.
const BEGIN_LOSABLE: &str = "BEGIN; SET LOCAL synchronous_commit = off";
/// The same for leases, any number of them at once. Their statements find a few rows by their keys and in the
/// order of an index, whatever is bound: planning each anew would take as long as running it.
const BEGIN_LEASE: &str = "BEGIN; SET LOCAL synchronous_commit = off; \
     SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_bitmapscan = off; \
     SELECT pg_advisory_xact_lock_shared(hashtext('stoker leases'))";
/// Waits for leases that are being given, and keeps others back until the transaction ends.
const LOCK_LEASES: Option<&str> = Some("SELECT pg_advisory_xact_lock(hashtext('stoker leases'))");
/// For many new rows: keeps the plan by which PostgreSQL looks up for each whether its references exist.
const BEGIN_BULK: &str = "BEGIN; SET LOCAL plan_cache_mode = auto";
/// A statement over many rows is one text whatever their number: kept, it is read only once.
const KEEP_STATEMENTS: bool = true;
const TABLES: &str = include_str!("../../migrations/postgres/0001_ledger.sql");
const BULK: &str = include_str!("../../migrations/postgres/0006_bulk.sql");
const JOB_SUMS: &str = include_str!("../../migrations/postgres/0008_job_sums.sql");
const QUICK_LEASES: &str = include_str!("../../migrations/postgres/0009_quick_leases.sql");
/// Of a job with many kept differences makes few; what others add meanwhile stays as it is.
const FOLD_SUMS: Option<&str> = Some(
    "WITH gone AS (DELETE FROM job_sums WHERE job_id IN \
         (SELECT job_id FROM job_sums GROUP BY job_id HAVING COUNT(*) > 1000) RETURNING *) \
     INSERT INTO job_sums SELECT job_id, run, resource_type, SUM(objects), SUM(objects_done), \
       SUM(requests), SUM(retries), SUM(bytes), SUM(bytes_done), SUM(created), SUM(updated), \
       SUM(rejected), SUM(in_doubt) FROM gone GROUP BY job_id, run, resource_type",
);
/// Until the transaction ends: of two loads that begin at once, the later sees the earlier.
const LOCK_PLACES: Option<&str> = Some("SELECT pg_advisory_xact_lock(hashtext('stoker places'))");
const JAVA: Option<JavaScripts> = Some(JavaScripts {
    missing: include_str!("../../migrations/postgres/adopt/missing.sql"),
    not_owned: include_str!("../../migrations/postgres/adopt/not_owned.sql"),
    set_aside: include_str!("../../migrations/postgres/adopt/set_aside.sql"),
    take_over: include_str!("../../migrations/postgres/adopt/take_over.sql"),
});

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

/// Opens the schema; makes it when it is missing. TLS is chosen by the URL (`sslmode`,
/// `sslrootcert`, `sslcert`, `sslkey`).
pub(super) async fn open(
    url: &str,
    options: &LedgerOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Ledger>, LedgerError> {
    let connect = store::postgres::connect(url, &options.postgres())?;
    let store = store::postgres::open(&connect, options.connections, clock).await?;
    let ledger = steps::SqlLedger::new(store, options);
    let make_schema =
        async |conn: &mut Conn| Ok(store::postgres::make_schema(conn, &connect.schema).await?);
    ledger.migrate(make_schema).await?;
    Ok(Arc::new(ledger))
}

/// Looks without changing anything.
pub(super) async fn look(
    url: &str,
    options: &LedgerOptions,
    clock: &dyn Clock,
) -> Result<LedgerLook, LedgerError> {
    let connect = store::postgres::connect(url, &options.postgres())?;
    let place = &connect.place;
    let Look {
        mut conn,
        version,
        asked,
        ahead,
    } = store::postgres::look(&connect, clock).await?;
    let seen = async {
        let (tables, java) = steps::look_at_tables(&mut conn, asked.naive_utc(), place).await?;
        conn.close().await?;
        Ok::<_, LedgerError>(LedgerLook {
            place: place.show(),
            software: format!("PostgreSQL {version}"),
            tables,
            ahead: Some(ahead),
            java,
        })
    };
    seen.await.map_err(|e| place.explain(e))
}
