//! How drivers come to have a run, keep it and leave it. Whoever shows the token has it, also past the lease's
//! expiry, as long as nobody else has taken it.

use chrono::{NaiveDateTime, TimeDelta};
use serde_json::json;
use stoker_proto::reindex::v1::RunState;
use stoker_shared::process;
use stoker_shared::store::columns::{self, clean, int};
use uuid::Uuid;

use super::{Conn, RunsError, look, one_row};
use crate::runs::text::STATES;
use crate::runs::{Lease, Seen, Taken};

pub(super) async fn take(
    conn: &mut Conn,
    now: NaiveDateTime,
    length: TimeDelta,
    driver: &str,
    only: &[i64],
) -> Result<Option<Taken>, RunsError> {
    let only = Only {
        is_any: only.is_empty(),
        ids: json!(only).to_string(),
    };
    let mut found = free(conn, now, &only).await?;
    if found.is_none() {
        found = abandoned(conn, &only).await?;
    }
    let Some((run_id, before)) = found else {
        return Ok(None);
    };
    let lease = Lease {
        run_id,
        token: Uuid::new_v4().simple().to_string(),
    };
    give(conn, now, length, driver, &before, &lease).await?;
    let row = look::lock(conn, run_id).await?;
    Ok(Some(Taken {
        run: row.run(now)?,
        lease,
        position: row.position()?,
        waiting: look::waiting(conn, run_id).await?,
        job: row.job()?,
    }))
}

/// Which runs are asked for.
struct Only {
    is_any: bool,
    ids: String,
}

/// A run and the driver that had it last.
type Found = Option<(i64, String)>;

/// A run that nobody has, or whose driver gave no sign in time.
async fn free(conn: &mut Conn, now: NaiveDateTime, only: &Only) -> Result<Found, RunsError> {
    let find = sqlx::query_as(concat!(
        "SELECT run_id, driver FROM reindex_runs \
         WHERE state = 'running' AND (lease_token IS NULL OR lease_expiry <= $1) \
           AND ($2 OR run_id IN (",
        numbers_in!("$3"),
        ")) ORDER BY run_id LIMIT 1",
        skip_locked!()
    ));
    let find = find.bind(now).bind(only.is_any).bind(&only.ids);
    Ok(find.fetch_optional(conn).await?)
}

/// A run whose driver has certainly ended, though its lease has not.
async fn abandoned(conn: &mut Conn, only: &Only) -> Result<Found, RunsError> {
    let find = sqlx::query_as(concat!(
        "SELECT run_id, driver FROM reindex_runs \
         WHERE state = 'running' AND lease_token IS NOT NULL AND ($1 OR run_id IN (",
        numbers_in!("$2"),
        ")) ORDER BY run_id",
        skip_locked!()
    ));
    let find = find.bind(only.is_any).bind(&only.ids);
    let held: Vec<(i64, String)> = find.fetch_all(conn).await?;
    let mut held = held.into_iter();
    Ok(held.find(|(_, driver)| process::is_gone(driver)))
}

async fn give(
    conn: &mut Conn,
    now: NaiveDateTime,
    length: TimeDelta,
    driver: &str,
    before: &str,
    lease: &Lease,
) -> Result<(), RunsError> {
    let done = sqlx::query(
        "UPDATE reindex_runs SET driver = $3, lease_token = $4, lease_expiry = $5, \
           concurrency = 0, batch = 0, per_second = 0, trouble = '' \
         WHERE run_id = $1 AND state = 'running' \
           AND (lease_token IS NULL OR lease_expiry <= $2 OR driver = $6)",
    )
    .bind(lease.run_id)
    .bind(now)
    .bind(clean(driver))
    .bind(&lease.token)
    .bind(now + length)
    .bind(before)
    .execute(conn)
    .await?;
    one_row(done.rows_affected(), || RunsError::LeaseLost(lease.run_id))
}

pub(super) async fn renew(
    conn: &mut Conn,
    now: NaiveDateTime,
    length: TimeDelta,
    lease: &Lease,
    seen: &Seen,
) -> Result<RunState, RunsError> {
    let state: Option<String> = sqlx::query_scalar(
        "UPDATE reindex_runs SET lease_expiry = $3, total = COALESCE($4, total), concurrency = $5, \
           batch = $6, per_second = $7, trouble = $8 \
         WHERE run_id = $1 AND lease_token = $2 RETURNING state",
    )
    .bind(lease.run_id)
    .bind(&lease.token)
    .bind(now + length)
    .bind(seen.total.map(int))
    .bind(i64::from(seen.concurrency))
    .bind(i64::from(seen.batch))
    .bind(seen.per_second)
    .bind(clean(&seen.trouble))
    .fetch_optional(conn)
    .await?;
    let state = state.ok_or(RunsError::LeaseLost(lease.run_id))?;
    Ok(columns::read(&STATES, &state)?)
}

pub(super) async fn finish(
    conn: &mut Conn,
    now: NaiveDateTime,
    lease: &Lease,
    state: RunState,
    reason: &str,
) -> Result<(), RunsError> {
    let done = sqlx::query(
        "UPDATE reindex_runs SET \
           ended = CASE state WHEN 'cancelled' THEN ended ELSE $3 END, reason = $4, \
           state = CASE state WHEN 'cancelled' THEN state ELSE $5 END, \
           driver = '', lease_token = NULL, lease_expiry = NULL \
         WHERE run_id = $1 AND lease_token = $2",
    )
    .bind(lease.run_id)
    .bind(&lease.token)
    .bind(now)
    .bind(clean(reason))
    .bind(columns::spell(&STATES, state)?)
    .execute(conn)
    .await?;
    one_row(done.rows_affected(), || RunsError::LeaseLost(lease.run_id))
}

pub(super) async fn release(
    conn: &mut Conn,
    _now: NaiveDateTime,
    lease: &Lease,
) -> Result<(), RunsError> {
    let done = sqlx::query(
        "UPDATE reindex_runs SET driver = '', lease_token = NULL, lease_expiry = NULL \
         WHERE run_id = $1 AND lease_token = $2",
    )
    .bind(lease.run_id)
    .bind(&lease.token)
    .execute(conn)
    .await?;
    one_row(done.rows_affected(), || RunsError::LeaseLost(lease.run_id))
}
