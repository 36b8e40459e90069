//! How runs start.

use chrono::NaiveDateTime;
use prost::Message as _;
use stoker_proto::reindex::v1::{Method, Run, RunSpec, RunState};
use stoker_shared::store::StoreError;
use stoker_shared::store::columns::clean;

use super::look::{self, RunRow};
use super::{Conn, RunsError, TAKE_TURNS, one_row, steer};
use crate::runs::text::asked_for;

pub(super) async fn start(
    conn: &mut Conn,
    now: NaiveDateTime,
    spec: &RunSpec,
) -> Result<(Run, bool), RunsError> {
    if let Some(take_turns) = TAKE_TURNS {
        sqlx::query(take_turns).execute(&mut *conn).await?;
    }
    let unfinished = find(conn, spec).await?;
    let run_id = match unfinished {
        Some(run_id) => go_on(conn, run_id, spec).await?,
        None => make(conn, now, spec).await?,
    };
    let run = look::run(conn, now, run_id).await?;
    Ok((run, unfinished.is_some()))
}

/// The newest unfinished run that was asked for the same, or for more.
async fn find(conn: &mut Conn, spec: &RunSpec) -> Result<Option<i64>, RunsError> {
    let find = sqlx::query_as(
        "SELECT run_id, spec FROM reindex_runs \
         WHERE asked_for = $1 AND state IN ('running', 'paused', 'stopped') \
           AND ($2 = '' OR tstamp = $2) \
         ORDER BY run_id DESC",
    );
    let find = find.bind(asked_for(spec)).bind(clean(&spec.tstamp));
    let unfinished: Vec<(i64, Vec<u8>)> = find.fetch_all(conn).await?;
    for (run_id, kept) in unfinished {
        let kept = RunSpec::decode(&kept[..]);
        let kept =
            kept.map_err(|e| StoreError::Damaged(format!("run {run_id} has no spec ({e})")))?;
        // One that began higher would leave out what is below.
        if kept.start_with_index_id <= spec.start_with_index_id {
            return Ok(Some(run_id));
        }
    }
    Ok(None)
}

async fn go_on(conn: &mut Conn, run_id: i64, spec: &RunSpec) -> Result<i64, RunsError> {
    let row: RunRow = look::lock(conn, run_id).await?;
    let stands = row.state()?;
    let spec = RunSpec {
        concurrency: spec.concurrency,
        batch: spec.batch,
        max_server_latency_ms: spec.max_server_latency_ms,
        ..row.spec()?
    };
    // A person may have ended it since it was found.
    let done = sqlx::query(
        "UPDATE reindex_runs SET spec = $2, state = 'running', reason = '', ended = NULL \
         WHERE run_id = $1 AND state IN ('running', 'paused', 'stopped')",
    )
    .bind(run_id)
    .bind(spec.encode_to_vec())
    .execute(&mut *conn)
    .await?;
    let ended = || RunsError::NotNow {
        run_id,
        reason: "ended just now; start again for a new one".to_owned(),
    };
    one_row(done.rows_affected(), ended)?;
    if stands == RunState::Stopped {
        steer::forget_job(conn, run_id).await?;
    }
    Ok(run_id)
}

async fn make(conn: &mut Conn, now: NaiveDateTime, spec: &RunSpec) -> Result<i64, RunsError> {
    let mut spec = spec.clone();
    if spec.tstamp.is_empty() && spec.method() != Method::HapiJob {
        spec.tstamp = now.and_utc().format("%Y-%m-%dT%H:%M:%SZ").to_string();
    }
    let made: Option<i64> = sqlx::query_scalar(
        "INSERT INTO reindex_runs (asked_for, tstamp, spec, state, started) \
         VALUES ($1, $2, $3, 'running', $4) RETURNING run_id",
    )
    .bind(asked_for(&spec))
    .bind(clean(&spec.tstamp))
    .bind(spec.encode_to_vec())
    .bind(now)
    .fetch_optional(conn)
    .await?;
    let missing = || StoreError::Damaged("a run that was made has no number".to_owned());
    Ok(made.ok_or_else(missing)?)
}
