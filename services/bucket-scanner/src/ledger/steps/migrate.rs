//! Tables, brought up to date by numbered scripts that are only ever added to.

use chrono::NaiveDateTime;

use super::{BULK, Conn, JAVA, JOB_SUMS, LedgerError, Place, TABLES, adopt};

const RESOURCE_TYPES: &str = include_str!("../../../migrations/common/0002_resource_types.sql");
const LISTED: &str = include_str!("../../../migrations/common/0003_listed.sql");
const OPTIONS_WAVES_BEGUN: &str =
    include_str!("../../../migrations/common/0004_options_waves_begun.sql");
const ADOPTED: &str = include_str!("../../../migrations/common/0005_adopted.sql");
const JOB_SUMS_COUNTED: &str = include_str!("../../../migrations/common/0007_job_sums_counted.sql");

/// By version, from 1.
const SCRIPTS: [&str; 8] = [
    TABLES,
    RESOURCE_TYPES,
    LISTED,
    OPTIONS_WAVES_BEGUN,
    ADOPTED,
    BULK,
    JOB_SUMS_COUNTED,
    JOB_SUMS,
];

/// What tables there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// The ledger's own, of this version.
    Ours(i64),
    /// All of the Java fhir-bucket's.
    Java,
}

/// Answers whether tables of fhir-bucket were taken over.
pub(super) async fn run(
    conn: &mut Conn,
    now: NaiveDateTime,
    place: &Place,
) -> Result<bool, LedgerError> {
    let found = look(conn, place).await?;
    let java = JAVA.filter(|_| found == Found::Java);
    if let Some(java) = &java {
        adopt::set_aside(conn, now, place, java).await?;
    }
    let version = if let Found::Ours(version) = found {
        version
    } else {
        sqlx::raw_sql(
            "CREATE TABLE stoker_schema_versions \
             (version BIGINT PRIMARY KEY, applied TIMESTAMP NOT NULL)",
        )
        .execute(&mut *conn)
        .await?;
        0
    };
    for (number, script) in (1..).zip(SCRIPTS) {
        if number <= version {
            continue;
        }
        sqlx::raw_sql(script).execute(&mut *conn).await?;
        // So later scripts find the rows as if a ledger of version 1 had held them.
        if let (1, Some(java)) = (number, &java) {
            adopt::take_over(conn, now, place, java).await?;
        }
        sqlx::query("INSERT INTO stoker_schema_versions (version, applied) VALUES ($1, $2)")
            .bind(number)
            .bind(now)
            .execute(&mut *conn)
            .await?;
    }
    Ok(java.is_some())
}

/// Fails where the tables that are there are not for this Stoker.
pub(super) async fn look(conn: &mut Conn, place: &Place) -> Result<Found, LedgerError> {
    if !adopt::exists(conn, "stoker_schema_versions").await? {
        let java = adopt::look(conn, place).await?;
        return Ok(if java { Found::Java } else { Found::Nothing });
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
    Ok(Found::Ours(version))
}
