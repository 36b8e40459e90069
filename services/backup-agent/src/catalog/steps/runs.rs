//! Runs that are under way, and those that were.

use chrono::{NaiveDateTime, TimeDelta};
use stoker_shared::process;
use stoker_shared::store::columns::{self, clean, int, nat, spell};

use super::{CatalogError, Conn, schedule, waiting};
use crate::catalog::text::{STATES, TASKS};
use crate::catalog::{Ended, Lease, Run, RunState, Seen};

/// Of [`RunRow`].
macro_rules! run_columns {
    () => {
        "run_id, source, task, due, place, backup, agent, state, reason, found_bad, started, ended, \
         lease_expiry, phase, bytes, total_bytes"
    };
}
pub(super) use run_columns;

/// A row of `backup_runs`.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct RunRow {
    pub(super) run_id: i64,
    pub(super) source: String,
    pub(super) task: String,
    pub(super) due: Option<NaiveDateTime>,
    pub(super) place: String,
    pub(super) backup: String,
    pub(super) agent: String,
    state: String,
    reason: String,
    found_bad: bool,
    started: NaiveDateTime,
    ended: Option<NaiveDateTime>,
    pub(super) lease_expiry: Option<NaiveDateTime>,
    phase: String,
    bytes: i64,
    total_bytes: Option<i64>,
}

impl RunRow {
    /// As [`Run::is_waiting`], of one that is not over.
    pub(super) fn is_waiting(&self) -> bool {
        self.agent.is_empty()
    }

    pub(super) fn run(self) -> Result<Run, CatalogError> {
        Ok(Run {
            run_id: self.run_id,
            task: columns::read(&TASKS, &self.task)?,
            source: self.source,
            due: self.due.map(|time| time.and_utc()),
            place: self.place,
            backup: self.backup,
            agent: process::shown(&self.agent).to_owned(),
            state: columns::read(&STATES, &self.state)?,
            reason: self.reason,
            found_bad: self.found_bad,
            started: self.started.and_utc(),
            ended: self.ended.map(|time| time.and_utc()),
            phase: self.phase,
            bytes: nat(self.bytes),
            total_bytes: self.total_bytes.map(nat),
        })
    }
}

pub(super) async fn renew(
    conn: &mut Conn,
    now: NaiveDateTime,
    length: TimeDelta,
    lease: &Lease,
    seen: &Seen,
) -> Result<(), CatalogError> {
    let done = sqlx::query(
        "UPDATE backup_runs SET lease_expiry = $3, phase = $4, bytes = $5, total_bytes = $6 \
         WHERE run_id = $1 AND lease_token = $2",
    )
    .bind(lease.run_id)
    .bind(&lease.token)
    .bind(now + length)
    .bind(clean(&seen.phase))
    .bind(int(seen.bytes))
    .bind(seen.total_bytes.map(int))
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(CatalogError::LeaseLost(lease.run_id))
    }
}

pub(super) async fn finish(
    conn: &mut Conn,
    now: NaiveDateTime,
    lease: &Lease,
    ended: &Ended,
) -> Result<(), CatalogError> {
    let (state, reason) = match ended {
        Ended::Done => (RunState::Done, ""),
        Ended::Noted(what) => (RunState::Done, what.as_str()),
        Ended::Failed(reason) | Ended::FoundBad(reason) => (RunState::Failed, reason.as_str()),
        Ended::GivenBack { why, is_committed } => {
            return waiting::give_back(conn, lease, why, *is_committed).await;
        }
    };
    let find = sqlx::query_as(
        "UPDATE backup_runs SET state = $3, reason = $4, ended = $5, found_bad = $6, \
           lease_token = NULL, lease_expiry = NULL \
         WHERE run_id = $1 AND lease_token = $2 RETURNING source, task, due",
    )
    .bind(lease.run_id)
    .bind(&lease.token)
    .bind(spell(&STATES, state)?)
    .bind(clean(reason))
    .bind(now)
    .bind(matches!(ended, Ended::FoundBad(_)));
    let found: Option<(String, String, Option<NaiveDateTime>)> =
        find.fetch_optional(&mut *conn).await?;
    let (source, task, due) = found.ok_or(CatalogError::LeaseLost(lease.run_id))?;
    match due {
        Some(due) => schedule::is_over(conn, &source, &task, due).await,
        None => Ok(()),
    }
}

pub(super) async fn runs(
    conn: &mut Conn,
    source: &str,
    limit: u32,
) -> Result<Vec<Run>, CatalogError> {
    let find = sqlx::query_as::<_, RunRow>(concat!(
        "SELECT ",
        run_columns!(),
        " FROM backup_runs WHERE $1 = '' OR source = $1 ORDER BY run_id DESC LIMIT $2"
    ));
    let find = find.bind(clean(source)).bind(i64::from(limit));
    let found = find.fetch_all(conn).await?;
    found.into_iter().map(RunRow::run).collect()
}

pub(super) async fn run(conn: &mut Conn, run_id: i64) -> Result<Option<Run>, CatalogError> {
    let find = sqlx::query_as::<_, RunRow>(concat!(
        "SELECT ",
        run_columns!(),
        " FROM backup_runs WHERE run_id = $1"
    ));
    let found = find.bind(run_id).fetch_optional(conn).await?;
    found.map(RunRow::run).transpose()
}

pub(super) async fn under_way(conn: &mut Conn, place: &str) -> Result<Vec<String>, CatalogError> {
    let find = sqlx::query_scalar(
        "SELECT DISTINCT backup FROM backup_runs \
         WHERE place = $1 AND state = 'running' AND backup <> '' ORDER BY backup",
    );
    Ok(find.bind(clean(place)).fetch_all(conn).await?)
}
