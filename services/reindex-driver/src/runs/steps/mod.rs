//! The transactions of runs, in SQL that both databases understand. Compiled once for each; what
//! differs (`Db`, `lock!`, …) is in the module around this one.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use stoker_proto::reindex::v1::{Failure, Run, RunSpec, RunState};
use stoker_shared::store::Store;
use stoker_shared::{in_transaction, with_connection};

use super::{BEGIN, Conn, Db, TAKE_TURNS, rows};
use crate::runs::{HapiJob, Lease, Runs, RunsError, Save, Seen, Taken, Wish};

mod drive;
mod look;
mod save;
mod start;
mod steer;

/// Runs over one database.
#[derive(Debug)]
pub(super) struct SqlRuns {
    store: Store<Db>,
    lease: TimeDelta,
}

impl SqlRuns {
    pub(super) fn new(store: Store<Db>, lease: Duration) -> Self {
        let lease = TimeDelta::from_std(lease).unwrap_or(TimeDelta::MAX);
        Self { store, lease }
    }
}

/// Runs a step in a transaction of its own.
macro_rules! transaction {
    ($runs:ident, $($step:tt)*) => {
        in_transaction!(RunsError, BEGIN; $runs.store, $($step)*)
    };
}

#[async_trait]
impl Runs for SqlRuns {
    async fn start(&self, spec: &RunSpec) -> Result<(Run, bool), RunsError> {
        transaction!(self, start::start, spec)
    }

    async fn run(&self, run_id: i64) -> Result<Run, RunsError> {
        with_connection!(self.store, look::run, self.store.now(), run_id)
    }

    async fn runs(&self) -> Result<Vec<Run>, RunsError> {
        with_connection!(self.store, look::runs, self.store.now())
    }

    async fn steer(&self, run_id: i64, wish: Wish) -> Result<Run, RunsError> {
        transaction!(self, steer::steer, run_id, wish)
    }

    async fn failures(
        &self,
        run_id: i64,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Failure>, RunsError> {
        with_connection!(self.store, look::failures, run_id, after, limit)
    }

    async fn take(&self, driver: &str, only: &[i64]) -> Result<Option<Taken>, RunsError> {
        transaction!(self, drive::take, self.lease, driver, only)
    }

    async fn renew(&self, lease: &Lease, seen: &Seen) -> Result<RunState, RunsError> {
        transaction!(self, drive::renew, self.lease, lease, seen)
    }

    async fn save(&self, lease: &Lease, save: &Save) -> Result<RunState, RunsError> {
        transaction!(self, save::save, self.lease, lease, save)
    }

    async fn save_job(&self, lease: &Lease, job: &HapiJob) -> Result<RunState, RunsError> {
        transaction!(self, save::job, self.lease, lease, job)
    }

    async fn finish(&self, lease: &Lease, state: RunState, reason: &str) -> Result<(), RunsError> {
        transaction!(self, drive::finish, lease, state, reason)
    }

    async fn release(&self, lease: &Lease) -> Result<(), RunsError> {
        transaction!(self, drive::release, lease)
    }
}

/// For a guarded write that must hit exactly one row.
fn one_row(rows: u64, otherwise: impl FnOnce() -> RunsError) -> Result<(), RunsError> {
    if rows == 1 { Ok(()) } else { Err(otherwise()) }
}
