//! How runs begin: one at a time of each source and task.

use chrono::{NaiveDateTime, TimeDelta};
use stoker_shared::process;
use stoker_shared::store::StoreError;
use stoker_shared::store::columns::{clean, nat32, spell, to_micros};
use uuid::Uuid;

use super::runs::{self, RunRow, run_columns};
use super::{CatalogError, Conn, TAKE_TURNS, schedule, waiting};
use crate::catalog::text::TASKS;
use crate::catalog::{Begun, Lease, Run, RunState, Task, Wish};

/// A lease that lasts so much longer than leases do was given by a clock that was wrong, and would keep the source from
/// being backed up until then.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::hours(1);

pub(super) async fn begin(
    conn: &mut Conn,
    now: NaiveDateTime,
    length: TimeDelta,
    wish: &Wish,
    agent: &str,
) -> Result<Begun, CatalogError> {
    if let Some(take_turns) = TAKE_TURNS {
        sqlx::query(take_turns).execute(&mut *conn).await?;
    }
    let waiting = match running(conn, wish).await? {
        Some(row) if row.is_waiting() => Some(row),
        Some(row) => match lost(&row, now, length) {
            Some(why) => {
                lose(conn, now, &row, &why).await?;
                None
            }
            None => return Ok(Begun::Busy(Box::new(row.run()?))),
        },
        None => None,
    };
    if let Some(last) = wish.last
        && schedule::has_moved(conn, &wish.source, wish.task, last).await?
    {
        return Ok(Begun::Over);
    }
    if is_name_taken(conn, wish, waiting.as_ref()).await? {
        return Ok(Begun::NameTaken);
    }
    let lost_before = lost_before(conn, wish).await?;
    let token = Uuid::new_v4().simple().to_string();
    let holder = Holder {
        agent,
        token: &token,
        expiry: now + length,
    };
    let (run_id, is_committed) = take(conn, now, waiting, wish, &holder).await?;
    let run = runs::run(conn, run_id).await?;
    let missing = || StoreError::Damaged("a run that was begun is not there".to_owned());
    Ok(Begun::Yours {
        lease: Lease { run_id, token },
        run: Box::new(run.ok_or_else(missing)?),
        is_committed,
        lost_before,
    })
}

/// Who is to have a run, and until when.
pub(super) struct Holder<'a> {
    pub(super) agent: &'a str,
    pub(super) token: &'a str,
    pub(super) expiry: NaiveDateTime,
}

/// Goes on with a run that waits, or makes a new one; answers its number, and whether its backup is there.
async fn take(
    conn: &mut Conn,
    now: NaiveDateTime,
    waiting: Option<RunRow>,
    wish: &Wish,
    holder: &Holder<'_>,
) -> Result<(i64, bool), CatalogError> {
    if let Some(row) = waiting {
        if waiting::is_wanted(&row, wish) {
            return waiting::go_on(conn, &row, wish, holder).await;
        }
        waiting::drop_out(conn, now, &row).await?;
    }
    Ok((insert(conn, now, wish, holder).await?, false))
}

/// Finds those lost that nobody has any more.
pub(super) async fn sweep(
    conn: &mut Conn,
    now: NaiveDateTime,
    length: TimeDelta,
) -> Result<Vec<Run>, CatalogError> {
    if let Some(take_turns) = TAKE_TURNS {
        sqlx::query(take_turns).execute(&mut *conn).await?;
    }
    let find = sqlx::query_as::<_, RunRow>(concat!(
        "SELECT ",
        run_columns!(),
        " FROM backup_runs WHERE state = 'running' ORDER BY run_id"
    ));
    let mut found = Vec::new();
    let rows = find.fetch_all(&mut *conn).await?;
    for row in rows.into_iter().filter(|row| !row.is_waiting()) {
        // An agent that could not reach the catalog for a while gets the same time again.
        let may_return = |expiry| expiry <= now && now - expiry < length;
        if row.lease_expiry.is_some_and(may_return) && !process::is_gone(&row.agent) {
            continue;
        }
        let Some(why) = lost(&row, now, length) else {
            continue;
        };
        lose(conn, now, &row, &why).await?;
        found.push(Run {
            state: RunState::Lost,
            reason: why,
            ended: Some(now.and_utc()),
            ..row.run()?
        });
    }
    Ok(found)
}

/// Whether a backup of the same name is being written to the same repository, by another run than the one that waits.
async fn is_name_taken(
    conn: &mut Conn,
    wish: &Wish,
    waiting: Option<&RunRow>,
) -> Result<bool, CatalogError> {
    if !matches!(wish.task, Task::Backup | Task::Import) {
        return Ok(false);
    }
    let count: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM backup_runs \
         WHERE place = $1 AND backup = $2 AND state = 'running' AND run_id <> $3 \
           AND task IN ('backup', 'import')",
    )
    .bind(clean(&wish.place))
    .bind(clean(&wish.backup))
    .bind(waiting.map_or(0, |row| row.run_id))
    .fetch_one(conn)
    .await?;
    Ok(count > 0)
}

async fn running(conn: &mut Conn, wish: &Wish) -> Result<Option<RunRow>, CatalogError> {
    let find = sqlx::query_as(concat!(
        "SELECT ",
        run_columns!(),
        " FROM backup_runs WHERE source = $1 AND task = $2 AND state = 'running'"
    ));
    let find = find
        .bind(clean(&wish.source))
        .bind(spell(&TASKS, wish.task)?);
    Ok(find.fetch_optional(conn).await?)
}

/// Why nobody has a run any more; none where its agent may be at it.
fn lost(row: &RunRow, now: NaiveDateTime, length: TimeDelta) -> Option<String> {
    let agent = process::shown(&row.agent);
    if process::is_gone(&row.agent) {
        return Some(format!("its agent, {agent}, has ended"));
    }
    let expiry = row.lease_expiry?;
    if expiry <= now {
        return Some(format!("its agent, {agent}, gave no sign in time"));
    }
    let longest = length.checked_add(&CLOCKS_DIFFER)?;
    (expiry - now > longest).then(|| {
        format!("its agent, {agent}, gave its last sign at a time that is still to come: a clock is or was wrong")
    })
}

async fn lose(
    conn: &mut Conn,
    now: NaiveDateTime,
    row: &RunRow,
    why: &str,
) -> Result<(), CatalogError> {
    sqlx::query(
        "UPDATE backup_runs SET state = 'lost', reason = $2, ended = $3, lease_token = NULL, \
           lease_expiry = NULL \
         WHERE run_id = $1 AND state = 'running'",
    )
    .bind(row.run_id)
    .bind(clean(why))
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

async fn lost_before(conn: &mut Conn, wish: &Wish) -> Result<u32, CatalogError> {
    let count: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM backup_runs \
         WHERE source = $1 AND task = $2 AND due = $3 AND state = 'lost'",
    )
    .bind(clean(&wish.source))
    .bind(spell(&TASKS, wish.task)?)
    .bind(wish.due.map(to_micros))
    .fetch_one(conn)
    .await?;
    Ok(nat32(count))
}

async fn insert(
    conn: &mut Conn,
    now: NaiveDateTime,
    wish: &Wish,
    holder: &Holder<'_>,
) -> Result<i64, CatalogError> {
    let made: Option<i64> = sqlx::query_scalar(
        "INSERT INTO backup_runs \
           (source, task, due, place, backup, agent, state, started, lease_token, lease_expiry) \
         VALUES ($1, $2, $3, $4, $5, $6, 'running', $7, $8, $9) RETURNING run_id",
    )
    .bind(clean(&wish.source))
    .bind(spell(&TASKS, wish.task)?)
    .bind(wish.due.map(to_micros))
    .bind(clean(&wish.place))
    .bind(clean(&wish.backup))
    .bind(clean(holder.agent))
    .bind(now)
    .bind(holder.token)
    .bind(holder.expiry)
    .fetch_optional(conn)
    .await?;
    let missing = || StoreError::Damaged("a run that was begun has no number".to_owned());
    Ok(made.ok_or_else(missing)?)
}
