//! Runs that were given back: not over, and no agent's. A backup that is not there has no name meanwhile.

use chrono::NaiveDateTime;
use stoker_shared::store::StoreError;
use stoker_shared::store::columns::{clean, to_micros};

use super::begin::Holder;
use super::runs::RunRow;
use super::{CatalogError, Conn, schedule};
use crate::catalog::{Lease, Wish, not_all_was_done};

pub(super) async fn give_back(
    conn: &mut Conn,
    lease: &Lease,
    why: &str,
    is_committed: bool,
) -> Result<(), CatalogError> {
    let done = sqlx::query(
        "UPDATE backup_runs SET agent = '', reason = $3, \
           backup = CASE WHEN $4 THEN backup ELSE '' END, \
           lease_token = NULL, lease_expiry = NULL, phase = '', bytes = 0, total_bytes = NULL \
         WHERE run_id = $1 AND lease_token = $2",
    )
    .bind(lease.run_id)
    .bind(&lease.token)
    .bind(clean(why))
    .bind(is_committed)
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(CatalogError::LeaseLost(lease.run_id))
    }
}

/// Whether going on with a run is what is wanted. A person wants a backup of now.
pub(super) fn is_wanted(row: &RunRow, wish: &Wish) -> bool {
    let is_within_reach = row.backup.is_empty() || row.place == clean(&wish.place);
    wish.due.is_some() && is_within_reach
}

/// Gives a run to an agent; answers its number, and whether its backup is there. One that is keeps the time it was due
/// at: what came due since is not done with it.
pub(super) async fn go_on(
    conn: &mut Conn,
    row: &RunRow,
    wish: &Wish,
    holder: &Holder<'_>,
) -> Result<(i64, bool), CatalogError> {
    let is_committed = !row.backup.is_empty();
    let (due, backup) = if is_committed {
        (row.due, row.backup.clone())
    } else {
        (wish.due.map(to_micros), clean(&wish.backup).into_owned())
    };
    let done = sqlx::query(
        "UPDATE backup_runs SET due = $2, place = $3, backup = $4, agent = $5, reason = '', \
           lease_token = $6, lease_expiry = $7 \
         WHERE run_id = $1 AND state = 'running' AND agent = ''",
    )
    .bind(row.run_id)
    .bind(due)
    .bind(clean(&wish.place))
    .bind(backup)
    .bind(clean(holder.agent))
    .bind(holder.token)
    .bind(holder.expiry)
    .execute(conn)
    .await?;
    was_one(done.rows_affected(), row)?;
    Ok((row.run_id, is_committed))
}

/// Ends a run, since another begins instead. What it was due for is still due, unless its backup is there.
pub(super) async fn drop_out(
    conn: &mut Conn,
    now: NaiveDateTime,
    row: &RunRow,
) -> Result<(), CatalogError> {
    let is_committed = !row.backup.is_empty();
    let mut why = "its agent was stopped, and another run began instead".to_owned();
    if is_committed {
        why = not_all_was_done(&why, &row.backup);
    }
    let done = sqlx::query(
        "UPDATE backup_runs SET state = 'failed', reason = $2, ended = $3 \
         WHERE run_id = $1 AND state = 'running' AND agent = ''",
    )
    .bind(row.run_id)
    .bind(why)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    was_one(done.rows_affected(), row)?;
    match row.due.filter(|_| is_committed) {
        Some(due) => schedule::is_over(conn, &row.source, &row.task, due).await,
        None => Ok(()),
    }
}

/// Starts take turns, so that nobody else takes it between.
fn was_one(rows: u64, row: &RunRow) -> Result<(), CatalogError> {
    if rows == 1 {
        return Ok(());
    }
    let taken = format!("run {} waited, and was another's at once", row.run_id);
    Err(StoreError::Damaged(taken).into())
}
