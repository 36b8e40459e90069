//! Jobs: shown, cancelled, failed.

use chrono::NaiveDateTime;
use sqlx::FromRow;
use stoker_proto::common::v1::{Interaction, Source, Target};
use stoker_proto::ledger::v1::{Job, JobState};

use super::{Conn, LOCK_LEASES, LedgerError, Scan, progress};
use crate::ledger::EndedJob;
use crate::ledger::text::{Spelled, clean, timestamp};

pub(super) async fn cancel(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
) -> Result<(), LedgerError> {
    let cancelled = sqlx::query(
        "UPDATE jobs SET state = 'cancelled', ended = $2 \
         WHERE job_id = $1 AND state IN ('scanning', 'loading')",
    )
    .bind(job_id)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    if cancelled.rows_affected() == 0 {
        return state(conn, job_id).await.map(drop);
    }
    // Who leases at the same time has seen the job running.
    if let Some(lock) = LOCK_LEASES {
        sqlx::query(lock).execute(&mut *conn).await?;
    }
    // What is open stays so, however much it is: of a job that is over nobody is given any.
    sqlx::query(
        "UPDATE load_units SET state = 'cancelled', reason = 'the job was cancelled', \
           lease_token = NULL, lease_expiry = NULL \
         WHERE job_id = $1 AND state = 'leased'",
    )
    .bind(job_id)
    .execute(conn)
    .await?;
    Ok(())
}

/// A job's state, for who waits for its end.
pub(super) async fn look(conn: &mut Conn, job_id: i64) -> Result<JobState, LedgerError> {
    let find = "SELECT state FROM jobs WHERE job_id = $1";
    let found: Option<String> = sqlx::query_scalar(find)
        .bind(job_id)
        .fetch_optional(conn)
        .await?;
    JobState::read(&found.ok_or_else(|| unknown(job_id))?)
}

fn unknown(job_id: i64) -> LedgerError {
    LedgerError::NotFound {
        what: "job",
        id: job_id,
    }
}

/// A job's state; its row stays locked.
pub(super) async fn state(conn: &mut Conn, job_id: i64) -> Result<JobState, LedgerError> {
    let find = concat!("SELECT state FROM jobs WHERE job_id = $1", lock!());
    let found: Option<String> = sqlx::query_scalar(find)
        .bind(job_id)
        .fetch_optional(conn)
        .await?;
    JobState::read(&found.ok_or_else(|| unknown(job_id))?)
}

/// Ends the jobs that waited for a scan of a source that cannot be listed; answers them.
pub(super) async fn fail_scanned(
    conn: &mut Conn,
    now: NaiveDateTime,
    scan: &Scan,
    reason: &str,
) -> Result<Vec<EndedJob>, LedgerError> {
    let failed: Vec<i64> = sqlx::query_scalar(
        "UPDATE jobs SET state = 'failed', reason = $3, ended = $2, listed = $2 \
         WHERE source_id = $1 AND no_scan = $4 AND state = 'scanning' \
           AND scan_begun = scan_wanted RETURNING job_id",
    )
    .bind(scan.source_id)
    .bind(now)
    .bind(clean(reason))
    .bind(scan.known_only)
    .fetch_all(conn)
    .await?;
    let state = JobState::Failed;
    let ended = |job_id| EndedJob { job_id, state };
    Ok(failed.into_iter().map(ended).collect())
}

/// A row of `jobs` with its source.
#[derive(Debug, FromRow)]
pub(super) struct JobRow {
    pub(super) job_id: i64,
    uri: String,
    reach: String,
    base_url: String,
    tenant: String,
    interaction: String,
    state: String,
    reason: String,
    created: NaiveDateTime,
    started: NaiveDateTime,
    ended: Option<NaiveDateTime>,
    pub(super) run: i64,
    pub(super) scan_run: i64,
    pub(super) objects_unchanged: i64,
    pub(super) objects_ignored: i64,
}

macro_rules! select_jobs {
    ($rest:literal) => {
        concat!(
            "SELECT j.job_id, s.uri, s.reach, j.base_url, j.tenant, j.interaction, j.state, \
               j.reason, j.created, j.started, j.ended, j.run, j.scan_run, j.objects_unchanged, \
               j.objects_ignored \
             FROM jobs j JOIN sources s ON s.source_id = j.source_id ",
            $rest
        )
    };
}

pub(super) async fn get(conn: &mut Conn, job_id: i64) -> Result<Job, LedgerError> {
    let row: Option<JobRow> = sqlx::query_as(select_jobs!("WHERE j.job_id = $1"))
        .bind(job_id)
        .fetch_optional(&mut *conn)
        .await?;
    with_progress(conn, row.ok_or_else(|| unknown(job_id))?).await
}

pub(super) async fn list(conn: &mut Conn) -> Result<Vec<Job>, LedgerError> {
    let rows: Vec<JobRow> = sqlx::query_as(select_jobs!("ORDER BY j.job_id DESC"))
        .fetch_all(&mut *conn)
        .await?;
    let mut jobs = Vec::with_capacity(rows.len());
    for row in rows {
        jobs.push(with_progress(conn, row).await?);
    }
    Ok(jobs)
}

/// The counts are read after the state: those of a job that is over are complete.
async fn with_progress(conn: &mut Conn, row: JobRow) -> Result<Job, LedgerError> {
    let (run, total) = progress::of(conn, &row).await?;
    Ok(Job {
        job_id: row.job_id,
        source: Some(Source {
            uri: row.uri,
            reach: row.reach,
        }),
        target: Some(Target {
            base_url: row.base_url,
            tenant: row.tenant,
        }),
        interaction: Interaction::read(&row.interaction)?.into(),
        state: JobState::read(&row.state)?.into(),
        reason: row.reason,
        created: Some(timestamp(row.created)),
        started: Some(timestamp(row.started)),
        ended: row.ended.map(timestamp),
        run: Some(run),
        total: Some(total),
    })
}
