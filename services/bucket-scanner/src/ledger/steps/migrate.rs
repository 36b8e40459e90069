//! Tables, brought up to date by numbered scripts that are only ever added to.

use chrono::NaiveDateTime;

use super::{Conn, LedgerError, Place, TABLE_EXISTS, TABLES};

const RESOURCE_TYPES: &str = include_str!("../../../migrations/common/0002_resource_types.sql");
const LISTED: &str = include_str!("../../../migrations/common/0003_listed.sql");

/// By version, from 1.
const SCRIPTS: [&str; 3] = [TABLES, RESOURCE_TYPES, LISTED];

pub(super) async fn run(
    conn: &mut Conn,
    now: NaiveDateTime,
    place: &Place,
) -> Result<(), LedgerError> {
    let version = look(conn, place).await?;
    if version.is_none() {
        sqlx::raw_sql(
            "CREATE TABLE stoker_schema_versions \
             (version BIGINT PRIMARY KEY, applied TIMESTAMP NOT NULL)",
        )
        .execute(&mut *conn)
        .await?;
    }
    let version = version.unwrap_or(0);
    for (number, script) in (1..).zip(SCRIPTS) {
        if number <= version {
            continue;
        }
        sqlx::raw_sql(script).execute(&mut *conn).await?;
        sqlx::query("INSERT INTO stoker_schema_versions (version, applied) VALUES ($1, $2)")
            .bind(number)
            .bind(now)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// The version of the tables; none where there are none yet. Fails where those that are there are
/// not for this Stoker.
pub(super) async fn look(conn: &mut Conn, place: &Place) -> Result<Option<i64>, LedgerError> {
    if !exists(conn, "stoker_schema_versions").await? {
        if exists(conn, "resource_bundles").await? {
            return Err(LedgerError::ForeignTables {
                place: place.show(),
            });
        }
        return Ok(None);
    }
    let version: i64 =
        sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM stoker_schema_versions")
            .fetch_one(conn)
            .await?;
    let known = i64::try_from(SCRIPTS.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(LedgerError::TooNew {
            place: place.show(),
            version,
            known,
        });
    }
    Ok(Some(version))
}

async fn exists(conn: &mut Conn, table: &str) -> Result<bool, LedgerError> {
    Ok(sqlx::query_scalar(TABLE_EXISTS)
        .bind(table)
        .fetch_one(conn)
        .await?)
}
