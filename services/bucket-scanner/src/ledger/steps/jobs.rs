//! Jobs: started, shown, cancelled.

use chrono::NaiveDateTime;
use sqlx::FromRow;
use stoker_proto::common::v1::{Interaction, Source, Target};
use stoker_proto::ledger::v1::{Job, JobState};

use super::{Conn, LedgerError, StartJob, progress};
use crate::ledger::is_over;
use crate::ledger::text::{Spelled, clean, timestamp};

pub(super) async fn start(
    conn: &mut Conn,
    now: NaiveDateTime,
    start: &StartJob,
) -> Result<i64, LedgerError> {
    let source_id = upsert_source(conn, now, &start.source).await?;
    if let Some(job_id) = insert(conn, now, source_id, start).await? {
        return Ok(job_id);
    }
    let (job_id, state): (i64, String) = sqlx::query_as(concat!(
        "SELECT job_id, state FROM jobs WHERE source_id = $1 AND base_url = $2 AND tenant = $3 \
         AND interaction = $4",
        lock!()
    ))
    .bind(source_id)
    .bind(&start.target.base_url)
    .bind(&start.target.tenant)
    .bind(start.interaction.spell()?)
    .fetch_one(&mut *conn)
    .await?;
    if is_over(JobState::read(&state)?) {
        restart(conn, now, job_id, start.reload).await?;
    } else {
        join(conn, job_id, start.reload).await?;
    }
    Ok(job_id)
}

async fn upsert_source(
    conn: &mut Conn,
    now: NaiveDateTime,
    source: &Source,
) -> Result<i64, LedgerError> {
    sqlx::query(
        "INSERT INTO sources (uri, reach, added) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(&source.uri)
    .bind(&source.reach)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    let find = "SELECT source_id FROM sources WHERE uri = $1 AND reach = $2";
    let id = sqlx::query_scalar(find)
        .bind(&source.uri)
        .bind(&source.reach);
    Ok(id.fetch_one(conn).await?)
}

/// None when there is such a job.
async fn insert(
    conn: &mut Conn,
    now: NaiveDateTime,
    source_id: i64,
    start: &StartJob,
) -> Result<Option<i64>, LedgerError> {
    let inserted = sqlx::query_scalar(
        "INSERT INTO jobs (source_id, base_url, tenant, interaction, state, reason, created, \
           started, run, reload, scan_wanted, scan_begun, scan_run, objects_unchanged, \
           objects_ignored) \
         VALUES ($1, $2, $3, $4, 'scanning', '', $5, $5, 1, $6, 1, 0, 0, 0, 0) \
         ON CONFLICT DO NOTHING RETURNING job_id",
    )
    .bind(source_id)
    .bind(&start.target.base_url)
    .bind(&start.target.tenant)
    .bind(start.interaction.spell()?)
    .bind(now)
    .bind(start.reload);
    Ok(inserted.fetch_optional(conn).await?)
}

/// Has a running job list its source again.
async fn join(conn: &mut Conn, job_id: i64, reload: bool) -> Result<(), LedgerError> {
    sqlx::query(
        "UPDATE jobs SET state = 'scanning', scan_wanted = scan_wanted + 1, \
         reload = (reload OR $2) WHERE job_id = $1",
    )
    .bind(job_id)
    .bind(reload)
    .execute(conn)
    .await?;
    Ok(())
}

/// Begins a new run of a job that had ended.
async fn restart(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
    reload: bool,
) -> Result<(), LedgerError> {
    sqlx::query(
        "UPDATE jobs SET state = 'scanning', reason = '', started = $2, ended = NULL, \
         run = run + 1, reload = $3, scan_wanted = scan_wanted + 1 WHERE job_id = $1",
    )
    .bind(job_id)
    .bind(now)
    .bind(reload)
    .execute(&mut *conn)
    .await?;
    if reload {
        drop_unfinished(conn, job_id).await
    } else {
        resume_unfinished(conn, now, job_id).await
    }
}

/// What was left unfinished belongs to the new run.
async fn resume_unfinished(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
) -> Result<(), LedgerError> {
    // One statement a state, here and below: each is served by the state's own index.
    for sql in [
        "UPDATE load_units SET state = 'open', attempts = 0, not_before = $2, reason = '' \
         WHERE job_id = $1 AND state = 'parked'",
        "UPDATE load_units SET state = 'open', attempts = 0, not_before = $2, reason = '' \
         WHERE job_id = $1 AND state = 'cancelled'",
    ] {
        sqlx::query(sql)
            .bind(job_id)
            .bind(now)
            .execute(&mut *conn)
            .await?;
    }
    sqlx::query(
        "UPDATE resource_bundle_loads SET run = (SELECT run FROM jobs WHERE job_id = $1) \
         WHERE resource_bundle_load_id IN ( \
           SELECT resource_bundle_load_id FROM load_units WHERE job_id = $1 AND state = 'open' \
           UNION ALL \
           SELECT resource_bundle_load_id FROM load_units WHERE job_id = $1 AND state = 'leased')",
    )
    .bind(job_id)
    .execute(conn)
    .await?;
    Ok(())
}

/// What was left unfinished will never be: every object is loaded anew.
async fn drop_unfinished(conn: &mut Conn, job_id: i64) -> Result<(), LedgerError> {
    let rescind = [
        "UPDATE load_units SET state = 'rescinded', reason = 'the object is loaded anew', \
         lease_token = NULL, lease_expiry = NULL WHERE job_id = $1 AND state = 'open'",
        "UPDATE load_units SET state = 'rescinded', reason = 'the object is loaded anew', \
         lease_token = NULL, lease_expiry = NULL WHERE job_id = $1 AND state = 'leased'",
        "UPDATE load_units SET state = 'rescinded', reason = 'the object is loaded anew' \
         WHERE job_id = $1 AND state = 'parked'",
        "UPDATE load_units SET state = 'rescinded', reason = 'the object is loaded anew' \
         WHERE job_id = $1 AND state = 'cancelled'",
        "UPDATE resource_bundle_loads SET latest = FALSE \
         WHERE job_id = $1 AND latest AND load_completed IS NULL",
    ];
    for sql in rescind {
        sqlx::query(sql).bind(job_id).execute(&mut *conn).await?;
    }
    Ok(())
}

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
    for sql in [
        "UPDATE load_units SET state = 'cancelled', reason = 'the job was cancelled', \
         lease_token = NULL, lease_expiry = NULL WHERE job_id = $1 AND state = 'open'",
        "UPDATE load_units SET state = 'cancelled', reason = 'the job was cancelled', \
         lease_token = NULL, lease_expiry = NULL WHERE job_id = $1 AND state = 'leased'",
    ] {
        sqlx::query(sql).bind(job_id).execute(&mut *conn).await?;
    }
    Ok(())
}

/// A job's state; its row stays locked.
pub(super) async fn state(conn: &mut Conn, job_id: i64) -> Result<JobState, LedgerError> {
    let find = concat!("SELECT state FROM jobs WHERE job_id = $1", lock!());
    let found: Option<String> = sqlx::query_scalar(find)
        .bind(job_id)
        .fetch_optional(conn)
        .await?;
    JobState::read(&found.ok_or(LedgerError::NotFound {
        what: "job",
        id: job_id,
    })?)
}

/// Ends the scanning of jobs whose source cannot be listed.
pub(super) async fn fail_scanned(
    conn: &mut Conn,
    now: NaiveDateTime,
    source_id: i64,
    reason: &str,
) -> Result<(), LedgerError> {
    sqlx::query(
        "UPDATE jobs SET state = 'failed', reason = $3, ended = $2 \
         WHERE source_id = $1 AND state = 'scanning' AND scan_begun = scan_wanted",
    )
    .bind(source_id)
    .bind(now)
    .bind(clean(reason))
    .execute(conn)
    .await?;
    Ok(())
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
    with_progress(
        conn,
        row.ok_or(LedgerError::NotFound {
            what: "job",
            id: job_id,
        })?,
    )
    .await
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
