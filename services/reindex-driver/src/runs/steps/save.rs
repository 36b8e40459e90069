//! Progress, made durable under the lease.

use chrono::{NaiveDateTime, TimeDelta};
use serde_json::json;
use stoker_proto::reindex::v1::RunState;
use stoker_shared::store::columns::{self, clean, int};
use stoker_shared::store::rows::{Column, ints, texts};

use super::{Conn, RunsError, drive, one_row, rows};
use crate::runs::text::{STATES, spans};
use crate::runs::{HapiJob, Lease, Save, SetAside};

/// Rows of one statement: SQLite takes 32 766 values in all.
const ROWS: usize = 1000;

pub(super) async fn save(
    conn: &mut Conn,
    now: NaiveDateTime,
    length: TimeDelta,
    lease: &Lease,
    save: &Save,
) -> Result<RunState, RunsError> {
    // First the fence, which also keeps others from taking the run meanwhile.
    let state = drive::renew(conn, now, length, lease, &save.seen).await?;
    let done = sqlx::query(
        "UPDATE reindex_runs SET frontier = $3, open_spans = $4, reindexed = $5, gone = $6, \
           requests = $7, failed_requests = $8 \
         WHERE run_id = $1 AND lease_token = $2",
    )
    .bind(lease.run_id)
    .bind(&lease.token)
    .bind(save.position.frontier)
    .bind(spans(&save.position.open))
    .bind(int(save.counts.reindexed))
    .bind(int(save.counts.gone))
    .bind(int(save.counts.requests))
    .bind(int(save.counts.failed_requests))
    .execute(&mut *conn)
    .await?;
    one_row(done.rows_affected(), || RunsError::LeaseLost(lease.run_id))?;
    if !save.set_aside.is_empty() || !save.settled.is_empty() {
        set_aside(conn, lease, save).await?;
    }
    Ok(state)
}

pub(super) async fn job(
    conn: &mut Conn,
    now: NaiveDateTime,
    length: TimeDelta,
    lease: &Lease,
    job: &HapiJob,
) -> Result<RunState, RunsError> {
    let state: Option<String> = sqlx::query_scalar(
        "UPDATE reindex_runs SET lease_expiry = $3, job_asked = $4, job_there_before = $5, job_id = $6, \
           job_state = $7, reindexed = COALESCE($8, reindexed) \
         WHERE run_id = $1 AND lease_token = $2 RETURNING state",
    )
    .bind(lease.run_id)
    .bind(&lease.token)
    .bind(now + length)
    .bind(job.asked.map(columns::to_micros))
    .bind(json!(job.there_before).to_string())
    .bind(clean(&job.job_id))
    .bind(clean(&job.job_state))
    .bind(job.reindexed.map(int))
    .fetch_optional(conn)
    .await?;
    let state = state.ok_or(RunsError::LeaseLost(lease.run_id))?;
    Ok(columns::read(&STATES, &state)?)
}

/// Brings the rows that a save is about up to date, and the run's counts of them.
async fn set_aside(conn: &mut Conn, lease: &Lease, save: &Save) -> Result<(), RunsError> {
    let run_id = lease.run_id;
    let aside = save.set_aside.iter().map(|resource| resource.index_id);
    let touched: Vec<i64> = aside.chain(save.settled.iter().copied()).collect();
    let touched = json!(touched).to_string();
    let (failed_before, waiting_before) = count(conn, run_id, &touched).await?;
    sqlx::query(concat!(
        "DELETE FROM reindex_set_aside WHERE run_id = $1 AND index_id IN (",
        numbers_in!("$2"),
        ")"
    ))
    .bind(run_id)
    .bind(&touched)
    .execute(&mut *conn)
    .await?;
    for some in save.set_aside.chunks(ROWS) {
        insert(conn, run_id, some).await?;
    }
    let (failed, waiting) = count(conn, run_id, &touched).await?;
    let done = sqlx::query(
        "UPDATE reindex_runs SET failed = failed + $3, waiting = waiting + $4 \
         WHERE run_id = $1 AND lease_token = $2",
    )
    .bind(run_id)
    .bind(&lease.token)
    .bind(failed - failed_before)
    .bind(waiting - waiting_before)
    .execute(conn)
    .await?;
    one_row(done.rows_affected(), || RunsError::LeaseLost(run_id))
}

/// Of some resources, how many have failed and how many wait.
async fn count(conn: &mut Conn, run_id: i64, ids: &str) -> Result<(i64, i64), RunsError> {
    let count = sqlx::query_as(concat!(
        "SELECT COUNT(CASE WHEN failed THEN 1 END), COUNT(CASE WHEN NOT failed THEN 1 END) \
         FROM reindex_set_aside WHERE run_id = $1 AND index_id IN (",
        numbers_in!("$2"),
        ")"
    ));
    Ok(count.bind(run_id).bind(ids).fetch_one(conn).await?)
}

async fn insert(conn: &mut Conn, run_id: i64, some: &[SetAside]) -> Result<(), RunsError> {
    let mut insert = rows(
        "index_id, failed, attempts, http_status, reason, time",
        &[
            ints(some.iter().map(|resource| resource.index_id)),
            Column::Flags(some.iter().map(|resource| resource.failed).collect()),
            ints(some.iter().map(|resource| i64::from(resource.attempts))),
            ints(some.iter().map(|resource| i64::from(resource.http_status))),
            texts(some.iter().map(|resource| clean(&resource.reason))),
            Column::Times(
                some.iter()
                    .map(|resource| columns::to_micros(resource.time))
                    .collect(),
            ),
        ],
    );
    insert.push(
        "INSERT INTO reindex_set_aside \
           (run_id, index_id, failed, attempts, http_status, reason, time) SELECT ",
    );
    insert.push_bind(run_id);
    insert.push(", index_id, failed, attempts, http_status, reason, time FROM r");
    let insert = insert.build().persistent(false);
    insert.execute(conn).await?;
    Ok(())
}
