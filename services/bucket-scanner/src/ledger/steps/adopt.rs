//! The tables of the Java fhir-bucket become the ledger's own, before anything else is made there.

use chrono::NaiveDateTime;
use sqlx::postgres::PgDatabaseError;
use sqlx::{AssertSqlSafe, FromRow};
use stoker_shared::store::StoreError;

use super::versions::exists;
use super::{Conn, JAVA, LedgerError, Place};
use crate::ledger::JavaTool;
use crate::ledger::adopt::{ADOPTED, JAVA_VERSION, JavaScripts, may_live};

/// The version of the tables since which they say what came from fhir-bucket.
const MARKED_SINCE: i64 = 5;

/// The ledger's own by name, which others may have made.
const TABLES: [&str; 13] = [
    "loader_instances",
    "sources",
    "jobs",
    "scan_issues",
    "bucket_paths",
    "resource_bundles",
    "resource_bundle_loads",
    "load_units",
    "load_counts",
    "resource_types",
    "logical_resources",
    "resource_bundle_errors",
    "quarantine",
];

/// Whether tables that Stoker did not make are fhir-bucket's, and whole; fails where there are others,
/// and where its own are not whole.
pub(super) async fn look(conn: &mut Conn, place: &Place) -> Result<bool, LedgerError> {
    let version = java_version(conn).await?;
    if let (Some(java), Some(JAVA_VERSION)) = (JAVA, version) {
        let missing: i64 = sqlx::query_scalar(java.missing)
            .fetch_one(&mut *conn)
            .await?;
        if missing == 0 {
            return Ok(true);
        }
    }
    if let Some(version) = version.filter(|version| *version < JAVA_VERSION) {
        return Err(LedgerError::JavaUnfinished {
            place: place.show(),
            version,
        });
    }
    for table in TABLES {
        if exists(conn, table).await? {
            return Err(LedgerError::ForeignTables {
                place: place.show(),
                table,
            });
        }
    }
    Ok(false)
}

/// What the Java tools write once all tables are made; 0 before.
async fn java_version(conn: &mut Conn) -> Result<Option<i64>, LedgerError> {
    if !exists(conn, "whole_schema_version").await? {
        return Ok(None);
    }
    let version = sqlx::query_scalar(
        "SELECT CAST(COALESCE(MAX(version_id), 0) AS BIGINT) FROM whole_schema_version",
    );
    Ok(Some(version.fetch_one(conn).await?))
}

#[derive(Debug, FromRow)]
struct Instance {
    loader_instance_id: i64,
    hostname: String,
    heartbeat_tstamp: NaiveDateTime,
}

impl Instance {
    fn show(&self) -> String {
        format!("instance {} on {}", self.loader_instance_id, self.hostname)
    }
}

fn alive(now: NaiveDateTime, instances: &[Instance]) -> Vec<String> {
    let alive = instances
        .iter()
        .filter(|i| may_live(now, i.heartbeat_tstamp));
    alive.map(Instance::show).collect()
}

/// What the transaction that takes the tables over would say, as far as can be seen without locks.
pub(super) async fn can_be(
    conn: &mut Conn,
    now: NaiveDateTime,
    place: &Place,
) -> Result<(Option<i64>, JavaTool), LedgerError> {
    let not_owned: Option<String> = match JAVA {
        Some(java) => {
            let find = sqlx::query_scalar(java.not_owned);
            find.fetch_optional(&mut *conn).await?
        }
        None => None,
    };
    if let Some(table) = not_owned {
        return Err(StoreError::LacksRights {
            place: place.show(),
            reason: format!("ownership of {table}"),
        }
        .into());
    }
    none_alive(conn, now, place, "loader_instances").await?;
    Ok((None, JavaTool::Adoptable))
}

/// What of fhir-bucket is to be seen in the ledger's own tables.
pub(super) async fn left(
    conn: &mut Conn,
    now: NaiveDateTime,
    version: i64,
) -> Result<JavaTool, LedgerError> {
    if version < MARKED_SINCE {
        return Ok(JavaTool::Nothing);
    }
    let running = still_running(conn, now).await?;
    Ok(if running.is_empty() {
        JavaTool::Nothing
    } else {
        JavaTool::Running(running)
    })
}

/// Makes room for the ledger's tables. Fails while an instance of fhir-bucket is running.
pub(super) async fn set_aside(
    conn: &mut Conn,
    now: NaiveDateTime,
    place: &Place,
    java: &JavaScripts,
) -> Result<(), LedgerError> {
    // Locks first: an instance that starts meanwhile is seen, or waits and finds nothing.
    sqlx::raw_sql(java.set_aside).execute(&mut *conn).await?;
    none_alive(conn, now, place, "java_loader_instances").await
}

async fn none_alive(
    conn: &mut Conn,
    now: NaiveDateTime,
    place: &Place,
    table: &'static str,
) -> Result<(), LedgerError> {
    let running: Vec<Instance> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT loader_instance_id, hostname, heartbeat_tstamp FROM {table} \
         WHERE status = 'RUNNING' ORDER BY loader_instance_id"
    )))
    .fetch_all(conn)
    .await?;
    let alive = alive(now, &running);
    if alive.is_empty() {
        return Ok(());
    }
    Err(LedgerError::JavaRunning {
        place: place.show(),
        instances: alive.join(", "),
    })
}

/// Fills the ledger's tables of version 1, and drops those set aside.
pub(super) async fn take_over(
    conn: &mut Conn,
    now: NaiveDateTime,
    place: &Place,
    java: &JavaScripts,
) -> Result<(), LedgerError> {
    let time = now.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
    sqlx::query("SELECT set_config('stoker.now', $1, TRUE)")
        .bind(time)
        .execute(&mut *conn)
        .await?;
    let taken = sqlx::raw_sql(java.take_over).execute(&mut *conn).await;
    taken.map(drop).map_err(|e| in_use(e, place))
}

/// Views and foreign keys of others hold the tables.
fn in_use(error: sqlx::Error, place: &Place) -> LedgerError {
    const DEPENDENT_OBJECTS: &str = "2BP01";
    let found = error.as_database_error();
    let Some(found) = found.filter(|e| e.code().as_deref() == Some(DEPENDENT_OBJECTS)) else {
        return error.into();
    };
    let detail = found
        .try_downcast_ref::<PgDatabaseError>()
        .and_then(PgDatabaseError::detail);
    LedgerError::JavaInUse {
        place: place.show(),
        reason: detail
            .unwrap_or(found.message())
            .replace("java_", "")
            .replace('\n', ", "),
    }
}

/// Instances of fhir-bucket that give signs of life though their tables are taken over: they were
/// silent then. They take no new work and record no more, but go on to send what they had begun.
pub(super) async fn still_running(
    conn: &mut Conn,
    now: NaiveDateTime,
) -> Result<Vec<String>, LedgerError> {
    let beating: Vec<Instance> = sqlx::query_as(
        "SELECT loader_instance_id, hostname, heartbeat_tstamp FROM loader_instances \
         WHERE adopted_heartbeat <> heartbeat_tstamp ORDER BY loader_instance_id",
    )
    .fetch_all(conn)
    .await?;
    Ok(alive(now, &beating))
}

/// The source and the job that stand for what fhir-bucket did.
pub(super) async fn history(conn: &mut Conn) -> Result<Option<(i64, i64)>, LedgerError> {
    let found = sqlx::query_as(
        "SELECT s.source_id, j.job_id FROM sources s JOIN jobs j ON j.source_id = s.source_id \
         WHERE s.uri = $1",
    );
    Ok(found.bind(ADOPTED).fetch_optional(conn).await?)
}
