//! Jobs as they start: asked for by a person, or kept going since they are configured.

use chrono::{NaiveDateTime, TimeDelta};
use sqlx::FromRow;
use stoker_proto::common::v1::{FileType, Source};
use stoker_proto::ledger::v1::{JobOptions, JobState};

use super::{Conn, LedgerError, StartJob, damaged, one_row, places};
use crate::ledger::text::{Spelled, int, spell_all};
use crate::ledger::{Kept, is_over};

pub(super) async fn start(
    conn: &mut Conn,
    now: NaiveDateTime,
    start: &StartJob,
) -> Result<i64, LedgerError> {
    let known = match find_or_add(conn, now, start).await? {
        Job::New(job_id) => return Ok(job_id),
        Job::Known(known) => known,
    };
    let job_id = known.job_id;
    take_options(conn, &known, &start.options).await?;
    if is_over(JobState::read(&known.state)?) {
        begin_run(conn, now, job_id, start.reload).await?;
        if start.reload {
            drop_unfinished(conn, job_id).await?;
            return Ok(job_id);
        }
    } else {
        ask_for_listing(conn, job_id, start.reload).await?;
    }
    take_up(conn, now, job_id).await?;
    adopt_unfinished(conn, job_id).await?;
    Ok(job_id)
}

/// What a person ended or what was set aside stays so.
pub(super) async fn keep_loaded(
    conn: &mut Conn,
    now: NaiveDateTime,
    interval: TimeDelta,
    start: &StartJob,
) -> Result<Kept, LedgerError> {
    let known = match find_or_add(conn, now, start).await? {
        Job::New(job_id) => return Ok(Kept::Run(job_id)),
        Job::Known(known) => known,
    };
    take_options(conn, &known, &start.options).await?;
    let due = |listed: NaiveDateTime| {
        listed
            .checked_add_signed(interval)
            .is_some_and(|d| d <= now)
    };
    if !known.listed.is_none_or(due) {
        return Ok(Kept::AsItWas);
    }
    match JobState::read(&known.state)? {
        JobState::Loading => {
            ask_for_listing(conn, known.job_id, false).await?;
            Ok(Kept::Listing)
        }
        JobState::Done | JobState::Failed => {
            begin_run(conn, now, known.job_id, false).await?;
            adopt_unfinished(conn, known.job_id).await?;
            Ok(Kept::Run(known.job_id))
        }
        _ => Ok(Kept::AsItWas),
    }
}

enum Job {
    New(i64),
    Known(Known),
}

#[derive(Debug, FromRow)]
struct Known {
    job_id: i64,
    state: String,
    /// When the last listing that it asked for ended.
    listed: Option<NaiveDateTime>,
    #[sqlx(flatten)]
    options: Options,
}

/// Options of a job, as its row has them.
#[derive(Debug, PartialEq, FromRow)]
struct Options {
    file_types: String,
    recycle_after_ms: Option<i64>,
    no_scan: bool,
    unordered: bool,
}

impl Options {
    fn of(options: &JobOptions) -> Result<Self, LedgerError> {
        let mut file_types: Vec<FileType> = options.file_types().collect();
        file_types.sort_unstable();
        file_types.dedup();
        Ok(Self {
            file_types: spell_all(file_types)?,
            recycle_after_ms: options.recycle_after_ms.map(int),
            no_scan: options.no_scan,
            unordered: options.unordered,
        })
    }
}

/// A known job, whose row is locked, goes by these from now on. What is planned already stays so.
async fn take_options(
    conn: &mut Conn,
    known: &Known,
    options: &JobOptions,
) -> Result<(), LedgerError> {
    let options = Options::of(options)?;
    if options == known.options {
        return Ok(());
    }
    // A scan of the other kind that is under way is not the one that the job waits for now.
    sqlx::query(
        "UPDATE jobs SET file_types = $2, recycle_after_ms = $3, unordered = $4, \
           scan_wanted = scan_wanted + CASE WHEN no_scan <> $5 THEN 1 ELSE 0 END, no_scan = $5 \
         WHERE job_id = $1",
    )
    .bind(known.job_id)
    .bind(options.file_types)
    .bind(options.recycle_after_ms)
    .bind(options.unordered)
    .bind(options.no_scan)
    .execute(conn)
    .await?;
    Ok(())
}

async fn find_or_add(
    conn: &mut Conn,
    now: NaiveDateTime,
    start: &StartJob,
) -> Result<Job, LedgerError> {
    places::keep_apart(conn, start).await?;
    if let Some(known) = find(conn, start).await? {
        return Ok(Job::Known(known));
    }
    let source_id = upsert_source(conn, now, &start.source).await?;
    if let Some(job_id) = insert(conn, now, source_id, start).await? {
        return Ok(Job::New(job_id));
    }
    let vanished = || damaged("a job vanished");
    Ok(Job::Known(find(conn, start).await?.ok_or_else(vanished)?))
}

/// The job of a load, its row locked.
async fn find(conn: &mut Conn, start: &StartJob) -> Result<Option<Known>, LedgerError> {
    let known = sqlx::query_as(concat!(
        "SELECT job_id, state, listed, file_types, recycle_after_ms, no_scan, unordered FROM jobs WHERE source_id = \
           (SELECT source_id FROM sources WHERE uri = $1 AND reach = $2) \
         AND base_url = $3 AND tenant = $4 AND interaction = $5",
        lock!()
    ))
    .bind(&start.source.uri)
    .bind(&start.source.reach)
    .bind(&start.target.base_url)
    .bind(&start.target.tenant)
    .bind(start.interaction.spell()?);
    Ok(known.fetch_optional(conn).await?)
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
    let options = Options::of(&start.options)?;
    let inserted = sqlx::query_scalar(
        "INSERT INTO jobs (source_id, base_url, tenant, interaction, state, reason, created, \
           started, run, reload, scan_wanted, scan_begun, scan_run, objects_unchanged, \
           objects_ignored, file_types, recycle_after_ms, no_scan, unordered) \
         VALUES ($1, $2, $3, $4, 'scanning', '', $5, $5, 1, $6, 1, 0, 0, 0, 0, $7, $8, $9, $10) \
         ON CONFLICT DO NOTHING RETURNING job_id",
    )
    .bind(source_id)
    .bind(&start.target.base_url)
    .bind(&start.target.tenant)
    .bind(start.interaction.spell()?)
    .bind(now)
    .bind(start.reload)
    .bind(options.file_types)
    .bind(options.recycle_after_ms)
    .bind(options.no_scan)
    .bind(options.unordered);
    Ok(inserted.fetch_optional(conn).await?)
}

/// Has a running job, whose row is locked, list its source again.
async fn ask_for_listing(conn: &mut Conn, job_id: i64, reload: bool) -> Result<(), LedgerError> {
    let asked = sqlx::query(
        "UPDATE jobs SET state = 'scanning', scan_wanted = scan_wanted + 1, \
         reload = (reload OR $2) WHERE job_id = $1 AND state IN ('scanning', 'loading')",
    )
    .bind(job_id)
    .bind(reload)
    .execute(conn)
    .await?;
    one_row(asked.rows_affected(), || changed(job_id))
}

/// Begins a new run of a job that had ended and whose row is locked.
async fn begin_run(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
    reload: bool,
) -> Result<(), LedgerError> {
    let begun = sqlx::query(
        "UPDATE jobs SET state = 'scanning', reason = '', started = $2, ended = NULL, \
         run = run + 1, reload = $3, scan_wanted = scan_wanted + 1 \
         WHERE job_id = $1 AND state IN ('done', 'cancelled', 'failed')",
    )
    .bind(job_id)
    .bind(now)
    .bind(reload)
    .execute(conn)
    .await?;
    one_row(begun.rows_affected(), || changed(job_id))
}

fn changed(job_id: i64) -> LedgerError {
    damaged(format!("job {job_id} changed under its lock"))
}

/// What was set aside or cancelled is open again, and nothing is near its last attempt.
async fn take_up(conn: &mut Conn, now: NaiveDateTime, job_id: i64) -> Result<(), LedgerError> {
    // Each state is named beside the job, here and below: so its own index serves it.
    for sql in [
        "UPDATE load_units SET state = 'open', attempts = 0, not_before = $2, reason = '' \
         WHERE (job_id = $1 AND state = 'parked') OR (job_id = $1 AND state = 'cancelled')",
        "UPDATE load_units SET attempts = 0, not_before = $2 \
         WHERE job_id = $1 AND state = 'open' AND attempts > 0",
        // The attempt that ran out is the first.
        "UPDATE load_units SET attempts = 1 \
         WHERE job_id = $1 AND state = 'leased' AND lease_expiry <= $2 AND attempts > 1",
    ] {
        sqlx::query(sql)
            .bind(job_id)
            .bind(now)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// What is unfinished belongs to the present run.
async fn adopt_unfinished(conn: &mut Conn, job_id: i64) -> Result<(), LedgerError> {
    sqlx::query(
        "UPDATE resource_bundle_loads SET run = (SELECT run FROM jobs WHERE job_id = $1) \
         WHERE run <> (SELECT run FROM jobs WHERE job_id = $1) AND resource_bundle_load_id IN ( \
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
    // One statement: a unit that goes from one of these states to another meanwhile is not missed.
    for sql in [
        "UPDATE load_units SET state = 'rescinded', reason = 'the object is loaded anew', \
           lease_token = NULL, lease_expiry = NULL \
         WHERE (job_id = $1 AND state = 'open') OR (job_id = $1 AND state = 'leased') \
           OR (job_id = $1 AND state = 'parked') OR (job_id = $1 AND state = 'cancelled')",
        "UPDATE resource_bundle_loads SET latest = FALSE \
         WHERE job_id = $1 AND latest AND load_completed IS NULL",
    ] {
        sqlx::query(sql).bind(job_id).execute(&mut *conn).await?;
    }
    Ok(())
}
