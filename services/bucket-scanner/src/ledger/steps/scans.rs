//! Sources, and the leave of one scanner at a time to list them.

use chrono::{NaiveDateTime, TimeDelta};
use sqlx::FromRow;
use stoker_proto::common::v1::Source;
use stoker_proto::ledger::v1::SourceStatus;
use uuid::Uuid;

use super::{
    Conn, LedgerError, Limits, Page, Registered, Scan, claim, claim_known, jobs, objects, one_row,
    plan, settle, waves,
};
use crate::ledger::Ended;
use crate::ledger::text::{nat, timestamp};

#[derive(Debug, FromRow)]
struct SourceRow {
    source_id: i64,
    uri: String,
    reach: String,
    /// A job waits that loads what is known.
    known_only: bool,
}

pub(super) async fn begin(
    conn: &mut Conn,
    now: NaiveDateTime,
    lease: TimeDelta,
    reaches: &[String],
    only_known: bool,
) -> Result<Option<Scan>, LedgerError> {
    let waiting: Vec<SourceRow> = sqlx::query_as(concat!(
        "SELECT source_id, uri, reach, \
           EXISTS (SELECT 1 FROM jobs WHERE jobs.source_id = sources.source_id \
             AND jobs.state = 'scanning' AND jobs.no_scan) AS known_only FROM sources \
         WHERE (scan_expiry IS NULL OR scan_expiry <= $1) AND source_id IN \
           (SELECT source_id FROM jobs WHERE state = 'scanning') ORDER BY source_id",
        skip_locked!()
    ))
    .bind(now)
    .fetch_all(&mut *conn)
    .await?;
    let wanted = |s: &SourceRow| {
        (s.reach.is_empty() || reaches.contains(&s.reach)) && (s.known_only || !only_known)
    };
    let Some(row) = waiting.into_iter().find(wanted) else {
        return Ok(None);
    };
    let token = Uuid::new_v4().to_string();
    sqlx::query("UPDATE sources SET scan_token = $2, scan_expiry = $3 WHERE source_id = $1")
        .bind(row.source_id)
        .bind(&token)
        .bind(now + lease)
        .execute(&mut *conn)
        .await?;
    reset_jobs(conn, row.source_id, row.known_only).await?;
    let source = Source {
        uri: row.uri,
        reach: row.reach,
    };
    Ok(Some(Scan {
        source_id: row.source_id,
        source,
        known_only: row.known_only,
        token,
    }))
}

/// What this scan finds replaces what an earlier one told of the jobs that want it. Jobs that want the
/// other kind of scan wait for their turn.
async fn reset_jobs(conn: &mut Conn, source_id: i64, known_only: bool) -> Result<(), LedgerError> {
    for sql in [
        "UPDATE jobs SET scan_begun = scan_wanted, scan_run = run, objects_unchanged = 0, \
         objects_ignored = 0 WHERE source_id = $1 AND no_scan = $2 AND state = 'scanning'",
        "DELETE FROM scan_issues WHERE job_id IN (SELECT job_id FROM jobs WHERE source_id = $1 \
         AND no_scan = $2 AND state = 'scanning' AND scan_begun = scan_wanted)",
    ] {
        let reset = sqlx::query(sql).bind(source_id).bind(known_only);
        reset.execute(&mut *conn).await?;
    }
    Ok(())
}

pub(super) async fn renew(
    conn: &mut Conn,
    now: NaiveDateTime,
    lease: TimeDelta,
    scan: &Scan,
) -> Result<(), LedgerError> {
    let renewed =
        sqlx::query("UPDATE sources SET scan_expiry = $3 WHERE source_id = $1 AND scan_token = $2")
            .bind(scan.source_id)
            .bind(&scan.token)
            .bind(now + lease)
            .execute(conn)
            .await?;
    one_row(renewed.rows_affected(), || lost(scan))
}

pub(super) async fn register(
    conn: &mut Conn,
    now: NaiveDateTime,
    limits: Limits,
    scan: &Scan,
    page: &Page,
) -> Result<Registered, LedgerError> {
    renew(conn, now, limits.lease, scan).await?;
    plan::lock_jobs(conn, scan.source_id).await?;
    let claimed = claim::page(conn, scan.source_id, page).await?;
    let types = plan::file_types(conn, scan.source_id).await?;
    let (objects, mut registered) =
        objects::register(conn, now, scan.source_id, &types, page).await?;
    for job_id in plan::running_jobs(conn, scan.source_id).await? {
        let planned = plan::page(conn, now, job_id, page, &objects, limits.unit_bytes);
        registered.planned += planned.await?;
    }
    claim::tell(conn, now, &claimed).await?;
    Ok(registered)
}

/// Answers also the last object, after which to go on.
pub(super) async fn register_known(
    conn: &mut Conn,
    now: NaiveDateTime,
    limits: Limits,
    scan: &Scan,
    after: i64,
) -> Result<(Registered, Option<i64>), LedgerError> {
    renew(conn, now, limits.lease, scan).await?;
    plan::lock_jobs(conn, scan.source_id).await?;
    let claimed = claim_known::some(conn, scan, after).await?;
    let objects = objects::known_after(conn, scan.source_id, after).await?;
    let (mut registered, nothing_else) = (Registered::default(), Page::default());
    for job_id in plan::jobs_for_known(conn, scan.source_id).await? {
        let unit_bytes = limits.unit_bytes;
        let planned = plan::page(conn, now, job_id, &nothing_else, &objects, unit_bytes);
        registered.planned += planned.await?;
    }
    claim::tell(conn, now, &claimed).await?;
    Ok((registered, objects.last().map(|o| o.resource_bundle_id)))
}

pub(super) async fn finish(
    conn: &mut Conn,
    now: NaiveDateTime,
    scan: &Scan,
    failure: Option<&str>,
) -> Result<Ended, LedgerError> {
    let ended = sqlx::query(
        "UPDATE sources SET scan_token = NULL, scan_expiry = NULL, \
           last_scan = CASE WHEN $3 THEN $4 ELSE last_scan END \
         WHERE source_id = $1 AND scan_token = $2",
    )
    .bind(scan.source_id)
    .bind(&scan.token)
    .bind(failure.is_none() && !scan.known_only)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    one_row(ended.rows_affected(), || lost(scan))?;
    if let Some(reason) = failure {
        let jobs = jobs::fail_scanned(conn, now, scan, reason).await?;
        return Ok(Ended {
            jobs,
            waves_of: Vec::new(),
        });
    }
    let listed: Vec<i64> = sqlx::query_scalar(
        "UPDATE jobs SET state = 'loading', listed = $2, listed_run = run \
         WHERE source_id = $1 AND no_scan = $3 AND state = 'scanning' \
           AND scan_begun = scan_wanted RETURNING job_id",
    )
    .bind(scan.source_id)
    .bind(now)
    .bind(scan.known_only)
    .fetch_all(&mut *conn)
    .await?;
    let waves_of = waves::begun(conn, &listed).await?;
    // Also those that were loading before: the scan may have rescinded the last they waited for.
    let mut jobs = Vec::new();
    for job_id in plan::running_jobs(conn, scan.source_id).await? {
        jobs.extend(settle::job(conn, now, job_id).await?);
    }
    Ok(Ended { jobs, waves_of })
}

pub(super) async fn leave(
    conn: &mut Conn,
    _now: NaiveDateTime,
    scan: &Scan,
) -> Result<(), LedgerError> {
    let left = sqlx::query(
        "UPDATE sources SET scan_token = NULL, scan_expiry = NULL \
         WHERE source_id = $1 AND scan_token = $2",
    )
    .bind(scan.source_id)
    .bind(&scan.token)
    .execute(conn)
    .await?;
    one_row(left.rows_affected(), || lost(scan))
}

fn lost(scan: &Scan) -> LedgerError {
    LedgerError::ScanLost {
        source_id: scan.source_id,
    }
}

#[derive(Debug, FromRow)]
struct StatusRow {
    uri: String,
    reach: String,
    last_scan: Option<NaiveDateTime>,
    objects: i64,
}

pub(super) async fn sources(conn: &mut Conn) -> Result<Vec<SourceStatus>, LedgerError> {
    let rows: Vec<StatusRow> = sqlx::query_as(
        "SELECT s.uri, s.reach, s.last_scan, \
           (SELECT COUNT(*) FROM resource_bundles b WHERE b.source_id = s.source_id) AS objects \
         FROM sources s ORDER BY s.source_id",
    )
    .fetch_all(conn)
    .await?;
    let status = |row: StatusRow| SourceStatus {
        source: Some(Source {
            uri: row.uri,
            reach: row.reach,
        }),
        last_scan: row.last_scan.map(timestamp),
        objects: nat(row.objects),
    };
    Ok(rows.into_iter().map(status).collect())
}
