//! Tables, brought up to date by numbered scripts that are only ever added to.

use chrono::NaiveDateTime;
use stoker_shared::store::Versions;

use super::{
    BULK, Conn, JAVA, JOB_SUMS, LedgerError, Place, QUICK_LEASES, TABLES, adopt, versions,
};

const RESOURCE_TYPES: &str = include_str!("../../../migrations/common/0002_resource_types.sql");
const LISTED: &str = include_str!("../../../migrations/common/0003_listed.sql");
const OPTIONS_WAVES_BEGUN: &str =
    include_str!("../../../migrations/common/0004_options_waves_begun.sql");
const ADOPTED: &str = include_str!("../../../migrations/common/0005_adopted.sql");
const JOB_SUMS_COUNTED: &str = include_str!("../../../migrations/common/0007_job_sums_counted.sql");

const VERSIONS: Versions = Versions {
    table: "stoker_schema_versions",
    scripts: &[
        TABLES,
        RESOURCE_TYPES,
        LISTED,
        OPTIONS_WAVES_BEGUN,
        ADOPTED,
        BULK,
        JOB_SUMS_COUNTED,
        JOB_SUMS,
        QUICK_LEASES,
    ],
};

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
    let mut version = match found {
        Found::Ours(version) => Some(version),
        Found::Nothing | Found::Java => None,
    };
    if let Some(java) = &java {
        adopt::set_aside(conn, now, place, java).await?;
        // So later scripts find the rows as if a ledger of version 1 had held them.
        versions::bring_up(conn, &VERSIONS, None, 1, now).await?;
        adopt::take_over(conn, now, place, java).await?;
        version = Some(1);
    }
    versions::bring_up(conn, &VERSIONS, version, VERSIONS.last(), now).await?;
    Ok(java.is_some())
}

/// Fails where the tables that are there are not for this Stoker.
pub(super) async fn look(conn: &mut Conn, place: &Place) -> Result<Found, LedgerError> {
    if let Some(version) = versions::found(conn, &VERSIONS, place).await? {
        return Ok(Found::Ours(version));
    }
    let java = adopt::look(conn, place).await?;
    Ok(if java { Found::Java } else { Found::Nothing })
}
