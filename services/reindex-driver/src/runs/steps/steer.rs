//! What people have runs do.

use chrono::NaiveDateTime;
use stoker_proto::reindex::v1::{Run, RunState};
use stoker_shared::store::columns;

use super::{Conn, RunsError, look, one_row};
use crate::runs::Wish;
use crate::runs::text::STATES;

pub(super) async fn steer(
    conn: &mut Conn,
    now: NaiveDateTime,
    run_id: i64,
    wish: Wish,
) -> Result<Run, RunsError> {
    let row = look::lock(conn, run_id).await?;
    let stands = row.state()?;
    let wanted = match wish {
        Wish::Pause => RunState::Paused,
        Wish::Resume => RunState::Running,
        Wish::Cancel => RunState::Cancelled,
    };
    if stands != wanted {
        may_become(stands, wanted, row.reason())
            .map_err(|reason| RunsError::NotNow { run_id, reason })?;
        // A driver that has it keeps it until what is on the wire is written down.
        let done = sqlx::query(
            "UPDATE reindex_runs SET state = $3, reason = '', ended = $4 \
             WHERE run_id = $1 AND state = $2",
        )
        .bind(run_id)
        .bind(columns::spell(&STATES, stands)?)
        .bind(columns::spell(&STATES, wanted)?)
        .bind((wanted == RunState::Cancelled).then_some(now))
        .execute(&mut *conn)
        .await?;
        let changed = || RunsError::NotNow {
            run_id,
            reason: "changed just now; ask again".to_owned(),
        };
        one_row(done.rows_affected(), changed)?;
        if (stands, wanted) == (RunState::Stopped, RunState::Running) {
            forget_job(conn, run_id).await?;
        }
    }
    look::run(conn, now, run_id).await
}

/// Of a stopped run that goes on: a job that has ended in vain, or that nobody knows to have been started, is followed
/// by another.
pub(super) async fn forget_job(conn: &mut Conn, run_id: i64) -> Result<(), RunsError> {
    sqlx::query(
        "UPDATE reindex_runs SET job_asked = NULL, job_there_before = '[]', job_id = '', job_state = '' \
         WHERE run_id = $1 AND (job_id = '' OR job_state IN ('FAILED', 'CANCELLED'))",
    )
    .bind(run_id)
    .execute(conn)
    .await?;
    Ok(())
}

/// Fails with how the run stands, and what to do.
fn may_become(stands: RunState, wanted: RunState, reason: &str) -> Result<(), String> {
    match (stands, wanted) {
        (RunState::Done, _) => Err("is done; start a new one to reindex again".to_owned()),
        (RunState::Cancelled, _) => {
            Err("was cancelled; start a new one to reindex again".to_owned())
        }
        (RunState::Stopped, RunState::Paused) => Err(format!(
            "has stopped ({reason}); resume it once that is seen to, or cancel it"
        )),
        _ => Ok(()),
    }
}
