//! Tables, brought up to date by numbered scripts. Compiled once for each database.

use chrono::NaiveDateTime;
use sqlx::AssertSqlSafe;

use super::super::{Place, StoreError, Versions};
use super::{Conn, TABLE_EXISTS};

/// Whether there is such a table.
pub async fn exists(conn: &mut Conn, table: &str) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar(TABLE_EXISTS).bind(table);
    Ok(found.fetch_one(conn).await?)
}

/// The version of the tables that are there; none where there are none. Fails with
/// [`StoreError::TooNew`] where it is not known here.
pub async fn found(
    conn: &mut Conn,
    versions: &Versions,
    place: &Place,
) -> Result<Option<i64>, StoreError> {
    if !exists(conn, versions.table).await? {
        return Ok(None);
    }
    let ask = format!("SELECT COALESCE(MAX(version), 0) FROM {}", versions.table);
    let version: i64 = sqlx::query_scalar(AssertSqlSafe(ask))
        .fetch_one(conn)
        .await?;
    let known = versions.last();
    if version > known {
        return Err(StoreError::TooNew {
            place: place.show(),
            version,
            known,
        });
    }
    Ok(Some(version))
}

/// Runs the scripts that come after the version that was found, up to one.
pub async fn bring_up(
    conn: &mut Conn,
    versions: &Versions,
    found: Option<i64>,
    last: i64,
    now: NaiveDateTime,
) -> Result<(), StoreError> {
    if found.is_none() {
        make_list(conn, versions).await?;
    }
    let done = found.unwrap_or(0);
    for (number, script) in (1..=last).zip(versions.scripts) {
        if number > done {
            sqlx::raw_sql(*script).execute(&mut *conn).await?;
            note(conn, versions, number, now).await?;
        }
    }
    Ok(())
}

async fn make_list(conn: &mut Conn, versions: &Versions) -> Result<(), StoreError> {
    let create = format!(
        "CREATE TABLE {} (version BIGINT PRIMARY KEY, applied TIMESTAMP NOT NULL)",
        versions.table
    );
    sqlx::raw_sql(AssertSqlSafe(create)).execute(conn).await?;
    Ok(())
}

async fn note(
    conn: &mut Conn,
    versions: &Versions,
    number: i64,
    now: NaiveDateTime,
) -> Result<(), StoreError> {
    let insert = format!(
        "INSERT INTO {} (version, applied) VALUES ($1, $2)",
        versions.table
    );
    let insert = sqlx::query(AssertSqlSafe(insert));
    insert.bind(number).bind(now).execute(conn).await?;
    Ok(())
}
