//! A store in a schema of a PostgreSQL database.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Postgres};
use tokio_util::task::AbortOnDropHandle;

pub use super::connect::to as connect;
use super::{Connect, Place, Store, StoreError, Versions};
use crate::clock::{Clock, SharedClock};
use crate::secret;

type Pool = sqlx::PgPool;
type Conn = sqlx::PgConnection;

/// How a transaction begins.
pub const BEGIN: &str = "BEGIN";

const TABLE_EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM information_schema.tables \
     WHERE table_schema = current_schema() AND table_name = $1)";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was unused for longer is tried before it is used: the server may have ended it. Trying takes a
/// round trip, which the busy do without.
const TRY_AFTER: Duration = Duration::from_millis(500);
/// How often it is seen whether the password is another.
const LOOK_AT_PASSWORD: Duration = Duration::from_secs(5);
/// `server_version_num` of PostgreSQL 12.
const OLDEST: i32 = 120_000;
/// What writes finds its rows by their keys, whatever the server believes of tables that become large
/// in minutes; and it makes its plans for the tables as they are now.
const BY_KEY: [(&str, &str); 5] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_custom_plan"),
];
/// What a process that hangs in a transaction has locked is free again after so long: without it, nobody
/// could take over what it had.
const LET_GO_AFTER: (&str, &str) = ("idle_in_transaction_session_timeout", "10s");
/// What only reads leaves the other processors to those who wait for a lease or a commit.
const ON_ONE_PROCESSOR: (&str, &str) = ("max_parallel_workers_per_gather", "0");
/// Any number, the same in every Stoker: makes processes that start together take turns.
const MIGRATION_LOCK: i64 = 0x0053_544f_4b45_5201;

#[path = "versions.rs"]
#[expect(
    clippy::duplicate_mod,
    reason = "the same steps are compiled for each database"
)]
pub mod versions;

/// Opens the database, after one try that says why it cannot be. A quarter of the connections reads.
pub async fn open(
    connect: &Connect,
    connections: u32,
    clock: SharedClock,
) -> Result<Store<Postgres>, StoreError> {
    try_once(&connect.how, &connect.place).await?;
    let readers = (connections / 4).max(1);
    let writers = connections.saturating_sub(readers).max(1);
    let how_to_write = connect.how.clone().options(BY_KEY).options([LET_GO_AFTER]);
    let how_to_read = connect.how.clone().options([ON_ONE_PROCESSOR]);
    let (write, read) = (pool(writers, how_to_write), pool(readers, how_to_read));
    let following = connect.password_file.as_ref().map(|file| {
        let following = follow_password(file.clone(), [write.clone(), read.clone()]);
        Arc::new(AbortOnDropHandle::new(tokio::spawn(following)))
    });
    Ok(Store {
        write,
        read,
        clock,
        place: connect.place.clone(),
        following,
    })
}

/// Has new connections use the password that the file holds now; where it holds none, the one before. Never ends.
async fn follow_password(file: PathBuf, pools: [Pool; 2]) {
    let mut used = None;
    loop {
        tokio::time::sleep(LOOK_AT_PASSWORD).await;
        let Ok(Some(held)) = secret::resolve("password", None, Some(&file)) else {
            continue;
        };
        if used.as_ref() == Some(&held) {
            continue;
        }
        for pool in &pools {
            let how = (*pool.connect_options()).clone();
            pool.set_connect_options(how.password(held.expose()));
        }
        if used.replace(held).is_some() {
            tracing::info!(file = ?file, "the changed password is in force");
        }
    }
}

fn pool(connections: u32, how: PgConnectOptions) -> Pool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|conn, seen| {
            Box::pin(async move {
                let is_well = seen.idle_for <= TRY_AFTER || conn.ping().await.is_ok();
                Ok(is_well)
            })
        })
        .connect_lazy_with(how)
}

/// Makes the schema when it is missing, and makes or updates the tables. Any number of processes may do so
/// at once.
///
/// Died before the end: the tables are as they were. After: they are done.
pub async fn migrate(
    store: &Store<Postgres>,
    schema: &str,
    versions: &Versions,
) -> Result<(), StoreError> {
    let done = async {
        let mut tx = store.write.begin_with(BEGIN).await?;
        make_schema(&mut tx, schema).await?;
        let found = versions::found(&mut tx, versions, &store.place).await?;
        versions::bring_up(&mut tx, versions, found, versions.last(), store.now()).await?;
        tx.commit().await?;
        Ok(())
    };
    done.await.map_err(|e| store.place.explain(e))
}

/// The first part of a transaction that makes tables: waits for others that do so, and makes the schema
/// when it is missing.
pub async fn make_schema(conn: &mut Conn, schema: &str) -> Result<(), StoreError> {
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

/// What [`look`] finds.
#[derive(Debug)]
pub struct Look {
    /// To look at tables with.
    pub conn: Conn,
    /// The server's version.
    pub version: String,
    /// The time here when the server was asked for its own.
    pub asked: DateTime<Utc>,
    /// How far the server's clock is ahead.
    pub ahead: TimeDelta,
}

/// Connects without changing anything; fails where the tables could not be made or written.
pub async fn look(connect: &Connect, clock: &dyn Clock) -> Result<Look, StoreError> {
    try_once(&connect.how, &connect.place).await?;
    let seen = async {
        let conn = Conn::connect_with(&connect.how).await?;
        look_around(conn, connect, clock).await
    };
    seen.await.map_err(|e| connect.place.explain(e))
}

async fn look_around(
    mut conn: Conn,
    Connect { schema, place, .. }: &Connect,
    clock: &dyn Clock,
) -> Result<Look, StoreError> {
    let version: String = sqlx::query_scalar("SHOW server_version")
        .fetch_one(&mut conn)
        .await?;
    let asked = clock.now();
    let theirs: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(&mut conn)
        .await?;
    let ours = asked + (clock.now() - asked) / 2;
    let takes_no_writes: bool =
        sqlx::query_scalar("SELECT current_setting('transaction_read_only')::BOOL")
            .fetch_one(&mut conn)
            .await?;
    if takes_no_writes {
        return Err(StoreError::Standby {
            place: place.show(),
            reason: "transaction_read_only is on".to_owned(),
        });
    }
    if let Some(reason) = missing_right(&mut conn, schema).await? {
        return Err(StoreError::LacksRights {
            place: place.show(),
            reason,
        });
    }
    Ok(Look {
        conn,
        version,
        asked: ours,
        ahead: theirs - ours,
    })
}

/// The first right that opening the store, or working with it, would want and not have.
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
async fn try_once(connect: &PgConnectOptions, place: &Place) -> Result<(), StoreError> {
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
        return Err(StoreError::Unreachable {
            place: place.show(),
            reason,
        });
    };
    let (number, encoding) = answer.map_err(|e| place.explain(StoreError::Database(e)))?;
    check_version(&number, place)?;
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(StoreError::NotUtf8 {
        place: place.show(),
        encoding,
    })
}

fn check_version(number: &str, place: &Place) -> Result<(), StoreError> {
    let parsed: i32 = number.parse().unwrap_or(0);
    if parsed >= OLDEST {
        return Ok(());
    }
    let version = if parsed >= 100_000 {
        (parsed / 10_000).to_string()
    } else {
        format!("{}.{}", parsed / 10_000, parsed / 100 % 100)
    };
    Err(StoreError::TooOld {
        place: place.show(),
        version,
    })
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
