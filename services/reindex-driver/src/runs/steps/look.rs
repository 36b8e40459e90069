//! What can be read of runs.

use chrono::NaiveDateTime;
use prost::Message as _;
use stoker_proto::reindex::v1::{Failure, Run, RunProgress, RunSpec, RunState};
use stoker_shared::process;
use stoker_shared::store::StoreError;
use stoker_shared::store::columns::{self, nat, nat32, timestamp};

use super::{Conn, RunsError};
use crate::runs::text::{STATES, read_ids, read_spans};
use crate::runs::{HapiJob, Position, SetAside};

/// A row of `reindex_runs`.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct RunRow {
    run_id: i64,
    spec: Vec<u8>,
    state: String,
    reason: String,
    started: NaiveDateTime,
    ended: Option<NaiveDateTime>,
    driver: String,
    lease_expiry: Option<NaiveDateTime>,
    reindexed: i64,
    gone: i64,
    requests: i64,
    failed_requests: i64,
    failed: i64,
    waiting: i64,
    frontier: Option<i64>,
    open_spans: String,
    total: Option<i64>,
    concurrency: i64,
    batch: i64,
    per_second: f64,
    trouble: String,
    job_asked: Option<NaiveDateTime>,
    job_there_before: String,
    job_id: String,
    job_state: String,
}

impl RunRow {
    pub(super) fn state(&self) -> Result<RunState, RunsError> {
        Ok(columns::read(&STATES, &self.state)?)
    }

    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn spec(&self) -> Result<RunSpec, RunsError> {
        let damaged = |e| StoreError::Damaged(format!("the spec of run {}: {e}", self.run_id));
        Ok(RunSpec::decode(self.spec.as_slice()).map_err(damaged)?)
    }

    pub(super) fn position(&self) -> Result<Position, RunsError> {
        Ok(Position {
            frontier: self.frontier,
            open: read_spans(&self.open_spans)?,
        })
    }

    pub(super) fn job(&self) -> Result<HapiJob, RunsError> {
        Ok(HapiJob {
            asked: self.job_asked.map(|time| time.and_utc()),
            there_before: read_ids(&self.job_there_before)?,
            job_id: self.job_id.clone(),
            job_state: self.job_state.clone(),
            reindexed: (self.reindexed > 0).then(|| nat(self.reindexed)),
        })
    }

    pub(super) fn run(&self, now: NaiveDateTime) -> Result<Run, RunsError> {
        let is_driven = self.lease_expiry.is_some_and(|expiry| expiry > now);
        Ok(Run {
            run_id: self.run_id,
            spec: Some(self.spec()?),
            state: self.state()?.into(),
            reason: self.reason.clone(),
            started: Some(timestamp(self.started)),
            ended: self.ended.map(timestamp),
            progress: Some(self.progress(is_driven)?),
            driver: seen(is_driven, &process::shown(&self.driver).to_owned()),
        })
    }

    fn progress(&self, is_driven: bool) -> Result<RunProgress, RunsError> {
        Ok(RunProgress {
            reindexed: nat(self.reindexed),
            gone: nat(self.gone),
            failed: nat(self.failed),
            waiting: nat(self.waiting),
            total: self.total.map(nat),
            checkpoint: checkpoint(&self.position()?),
            frontier: self.frontier,
            requests: nat(self.requests),
            failed_requests: nat(self.failed_requests),
            concurrency: seen(is_driven, &nat32(self.concurrency)),
            batch: seen(is_driven, &nat32(self.batch)),
            per_second: seen(is_driven, &self.per_second),
            trouble: seen(is_driven, &self.trouble),
            job_id: self.job_id.clone(),
            job_state: self.job_state.clone(),
        })
    }
}

/// What a driver noted holds as long as it is there.
fn seen<T: Clone + Default>(is_driven: bool, value: &T) -> T {
    if is_driven {
        value.clone()
    } else {
        T::default()
    }
}

/// All ids up to there are settled, or set aside.
fn checkpoint(position: &Position) -> Option<i64> {
    match position.open.first() {
        Some((first, _)) => first.checked_sub(1),
        None => position.frontier,
    }
}

pub(super) async fn run(
    conn: &mut Conn,
    now: NaiveDateTime,
    run_id: i64,
) -> Result<Run, RunsError> {
    let find = sqlx::query_as::<_, RunRow>("SELECT * FROM reindex_runs WHERE run_id = $1");
    let found = find.bind(run_id).fetch_optional(conn).await?;
    found.ok_or(RunsError::NotFound(run_id))?.run(now)
}

pub(super) async fn runs(conn: &mut Conn, now: NaiveDateTime) -> Result<Vec<Run>, RunsError> {
    let find = sqlx::query_as::<_, RunRow>("SELECT * FROM reindex_runs ORDER BY run_id DESC");
    let found = find.fetch_all(conn).await?;
    found.iter().map(|row| row.run(now)).collect()
}

/// The row of a run that is about to be changed.
pub(super) async fn lock(conn: &mut Conn, run_id: i64) -> Result<RunRow, RunsError> {
    let find = sqlx::query_as(concat!(
        "SELECT * FROM reindex_runs WHERE run_id = $1",
        lock!()
    ));
    let found = find.bind(run_id).fetch_optional(conn).await?;
    found.ok_or(RunsError::NotFound(run_id))
}

#[derive(Debug, sqlx::FromRow)]
struct AsideRow {
    index_id: i64,
    failed: bool,
    attempts: i64,
    http_status: i64,
    reason: String,
    time: NaiveDateTime,
}

pub(super) async fn failures(
    conn: &mut Conn,
    run_id: i64,
    after: i64,
    limit: u32,
) -> Result<Vec<Failure>, RunsError> {
    let there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM reindex_runs WHERE run_id = $1)")
            .bind(run_id)
            .fetch_one(&mut *conn)
            .await?;
    if !there {
        return Err(RunsError::NotFound(run_id));
    }
    let find = sqlx::query_as::<_, AsideRow>(
        "SELECT index_id, failed, attempts, http_status, reason, time FROM reindex_set_aside \
         WHERE run_id = $1 AND index_id > $2 AND failed ORDER BY index_id LIMIT $3",
    );
    let find = find.bind(run_id).bind(after).bind(i64::from(limit));
    let found = find.fetch_all(conn).await?;
    let failure = |row: AsideRow| Failure {
        index_id: row.index_id,
        http_status: nat32(row.http_status),
        reason: row.reason,
        attempts: nat32(row.attempts),
        time: Some(timestamp(row.time)),
    };
    Ok(found.into_iter().map(failure).collect())
}

/// What waits to be tried again.
pub(super) async fn waiting(conn: &mut Conn, run_id: i64) -> Result<Vec<SetAside>, RunsError> {
    let find = sqlx::query_as::<_, AsideRow>(
        "SELECT index_id, failed, attempts, http_status, reason, time FROM reindex_set_aside \
         WHERE run_id = $1 AND NOT failed ORDER BY index_id",
    );
    let found = find.bind(run_id).fetch_all(conn).await?;
    let aside = |row: AsideRow| SetAside {
        index_id: row.index_id,
        failed: row.failed,
        attempts: nat32(row.attempts),
        http_status: u16::try_from(row.http_status).unwrap_or(0),
        reason: row.reason,
        time: row.time.and_utc(),
    };
    Ok(found.into_iter().map(aside).collect())
}
