//! The ledger in a schema of a PostgreSQL database.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection};
use stoker_shared::clock::{Clock, SharedClock};

use super::adopt::JavaScripts;
use super::connect::{self, Connect};
use super::error::LedgerError;
use super::explain::Place;
use super::rows::arrays as rows;
use super::{Ledger, LedgerLook, LedgerOptions};

type Db = sqlx::Postgres;
type Pool = sqlx::PgPool;
type Conn = sqlx::PgConnection;

const BEGIN: &str = "BEGIN";
/// For what may be lost when the server fails, until a later transaction is durable: all before it is then.
const BEGIN_LOSABLE: &str = "BEGIN; SET LOCAL synchronous_commit = off";
/// For many new rows: keeps the plan by which PostgreSQL looks up for each whether its references exist.
const BEGIN_BULK: &str = "BEGIN; SET LOCAL plan_cache_mode = auto";
/// A statement over many rows is one text whatever their number: kept, it is read only once.
const KEEP_STATEMENTS: bool = true;
const TABLES: &str = include_str!("../../migrations/postgres/0001_ledger.sql");
const BULK: &str = include_str!("../../migrations/postgres/0006_bulk.sql");
const JOB_SUMS: &str = include_str!("../../migrations/postgres/0008_job_sums.sql");
/// Of a job with many kept differences makes few; what others add meanwhile stays as it is.
const FOLD_SUMS: Option<&str> = Some(
    "WITH gone AS (DELETE FROM job_sums WHERE job_id IN \
         (SELECT job_id FROM job_sums GROUP BY job_id HAVING COUNT(*) > 1000) RETURNING *) \
     INSERT INTO job_sums SELECT job_id, run, resource_type, SUM(objects), SUM(objects_done), \
       SUM(requests), SUM(retries), SUM(bytes), SUM(bytes_done), SUM(created), SUM(updated), \
       SUM(rejected), SUM(in_doubt) FROM gone GROUP BY job_id, run, resource_type",
);
const TABLE_EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM information_schema.tables \
     WHERE table_schema = current_schema() AND table_name = $1)";

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

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// `server_version_num` of PostgreSQL 12.
const OLDEST: i32 = 120_000;
/// What writes finds its rows by their keys, whatever the server believes of tables that a scan makes large
/// in minutes; and it makes its plans for the tables as they are now.
const BY_KEY: [(&str, &str); 5] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_custom_plan"),
];
/// Any number, the same in every Stoker: makes processes that start together take turns.
const MIGRATION_LOCK: i64 = 0x0053_544f_4b45_5201;

/// Opens the schema; makes it when it is missing. TLS is chosen by the URL (`sslmode`,
/// `sslrootcert`, `sslcert`, `sslkey`).
pub(super) async fn open(
    url: &str,
    options: &LedgerOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Ledger>, LedgerError> {
    let Connect { how, schema, place } = connect::to(url, options)?;
    try_once(&how, &place).await?;
    let readers = (options.connections / 4).max(1);
    let writers = options.connections.saturating_sub(readers).max(1);
    let read = pool(readers, how.clone());
    let write = pool(writers, how.options(BY_KEY));
    let ledger = steps::SqlLedger::new(write, read, clock, options, place);
    ledger
        .migrate(async |conn: &mut Conn| make_schema(conn, &schema).await)
        .await?;
    Ok(Arc::new(ledger))
}

fn pool(connections: u32, how: PgConnectOptions) -> Pool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_lazy_with(how)
}

/// Looks without changing anything.
pub(super) async fn look(
    url: &str,
    options: &LedgerOptions,
    clock: &dyn Clock,
) -> Result<LedgerLook, LedgerError> {
    let Connect { how, schema, place } = connect::to(url, options)?;
    try_once(&how, &place).await?;
    let seen = async {
        let mut conn = Conn::connect_with(&how).await?;
        let seen = look_around(&mut conn, &schema, clock, &place).await?;
        conn.close().await?;
        Ok(seen)
    };
    seen.await.map_err(|e| place.explain(e))
}

async fn look_around(
    conn: &mut Conn,
    schema: &str,
    clock: &dyn Clock,
    place: &Place,
) -> Result<LedgerLook, LedgerError> {
    let version: String = sqlx::query_scalar("SHOW server_version")
        .fetch_one(&mut *conn)
        .await?;
    let asked = clock.now();
    let theirs: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(&mut *conn)
        .await?;
    let ours = asked + (clock.now() - asked) / 2;
    let takes_no_writes: bool =
        sqlx::query_scalar("SELECT current_setting('transaction_read_only')::BOOL")
            .fetch_one(&mut *conn)
            .await?;
    if takes_no_writes {
        return Err(LedgerError::Standby {
            place: place.show(),
            reason: "transaction_read_only is on".to_owned(),
        });
    }
    if let Some(reason) = missing_right(conn, schema).await? {
        return Err(LedgerError::LacksRights {
            place: place.show(),
            reason,
        });
    }
    let (tables, java) = steps::look_at_tables(conn, ours.naive_utc(), place).await?;
    Ok(LedgerLook {
        place: place.show(),
        software: format!("PostgreSQL {version}"),
        tables,
        ahead: Some(theirs - ours),
        java,
    })
}

/// The first right that opening the ledger, or working with it, would want and not have.
async fn missing_right(conn: &mut Conn, schema: &str) -> Result<Option<String>, sqlx::Error> {
    let found: Option<String> = sqlx::query_scalar(
        "SELECT CASE \
           WHEN to_regnamespace($1) IS NULL \
             THEN CASE WHEN NOT has_database_privilege(current_database(), 'CREATE') \
               THEN 'CREATE on the database, to make the schema ' || $1 END \
           WHEN NOT has_schema_privilege($1, 'USAGE') THEN 'USAGE on the schema ' || $1 \
           WHEN NOT has_schema_privilege($1, 'CREATE') THEN 'CREATE on the schema ' || $1 \
           ELSE (SELECT 'SELECT, INSERT, UPDATE and DELETE on ' || $1 || '.' || relname \
             FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p') \
               AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT') \
                 AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')) \
             ORDER BY relname LIMIT 1) \
         END",
    )
    .bind(schema)
    .fetch_one(conn)
    .await?;
    Ok(found)
}

/// Connects once outside of the pool, which would hide why it fails behind a timeout.
async fn try_once(connect: &PgConnectOptions, place: &Place) -> Result<(), LedgerError> {
    let attempt = async {
        let mut conn = Conn::connect_with(connect).await?;
        let number: String = sqlx::query_scalar("SHOW server_version_num")
            .fetch_one(&mut conn)
            .await?;
        let encoding: String = sqlx::query_scalar("SHOW server_encoding")
            .fetch_one(&mut conn)
            .await?;
        conn.close().await?;
        Ok::<_, sqlx::Error>((number, encoding))
    };
    let Ok(answer) = tokio::time::timeout(CONNECT_TIMEOUT, attempt).await else {
        let reason = format!("no answer in {} s", CONNECT_TIMEOUT.as_secs());
        return Err(LedgerError::Unreachable {
            place: place.show(),
            reason,
        });
    };
    let (number, encoding) = answer.map_err(|e| place.explain(LedgerError::Database(e)))?;
    check_version(&number, place)?;
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(LedgerError::NotUtf8 {
        place: place.show(),
        encoding,
    })
}

fn check_version(number: &str, place: &Place) -> Result<(), LedgerError> {
    let parsed: i32 = number.parse().unwrap_or(0);
    if parsed >= OLDEST {
        return Ok(());
    }
    let version = if parsed >= 100_000 {
        (parsed / 10_000).to_string()
    } else {
        format!("{}.{}", parsed / 10_000, parsed / 100 % 100)
    };
    Err(LedgerError::TooOld {
        place: place.show(),
        version,
    })
}

async fn make_schema(conn: &mut Conn, schema: &str) -> Result<(), LedgerError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *conn)
        .await?;
    // Looked up first: CREATE … IF NOT EXISTS asks for the right to create also when it is there.
    let there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)")
            .bind(schema)
            .fetch_one(&mut *conn)
            .await?;
    if !there {
        let create = format!("CREATE SCHEMA \"{schema}\"");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(conn).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused_by_name() {
        let place = Place::Postgres("postgres://db:5432/x".to_owned());
        assert!(check_version("150018", &place).is_ok());
        for (number, version) in [("90624", "9.6"), ("110022", "11")] {
            let error = check_version(number, &place).unwrap_err().to_string();
            assert!(
                error.contains(&format!("PostgreSQL {version} is too old")),
                "{error}"
            );
        }
    }
}
