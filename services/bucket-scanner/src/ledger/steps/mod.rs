//! The ledger's transactions, in SQL that both databases understand. Compiled once for each; what
//! differs (`Db`, `lock!`, …) is in the module around this one.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{NaiveDateTime, TimeDelta};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sqlx::Connection as _;
use stoker_proto::ledger::v1::{
    Disposition, Job, JobState, Lease, LeaseUnitsRequest, RegisterWorkerRequest, RenewedLease,
    SourceStatus, Unit,
};
use stoker_shared::clock::SharedClock;
use stoker_shared::retry::Backoff;

use super::{BEGIN, Conn, Db, Pool, TABLE_EXISTS, TABLES};
use crate::ledger::error::LedgerError;
use crate::ledger::explain::Place;
use crate::ledger::{
    Commit, ErrorCursor, ErrorPage, Finished, Ledger, LedgerOptions, Page, QuarantineCursor,
    QuarantinePage, Registered, Retried, Scan, StartJob, UnitCounts,
};

mod errors;
mod jobs;
mod migrate;
mod objects;
mod outcomes;
mod plan;
mod progress;
mod retry;
mod scans;
mod settle;
mod start;
mod work;

/// A transaction that the database undid for another's sake is repeated so often.
const CONFLICT_RETRIES: u32 = 5;
/// Before the first of these; each further one comes later, so that the two do not meet again.
const CONFLICT_PAUSE: Duration = Duration::from_millis(10);

/// The ledger over one database. SQLite: `write` has one connection.
#[derive(Debug)]
pub(super) struct SqlLedger {
    write: Pool,
    read: Pool,
    clock: SharedClock,
    lease: TimeDelta,
    place: Place,
}

impl SqlLedger {
    pub(super) fn new(
        write: Pool,
        read: Pool,
        clock: SharedClock,
        options: &LedgerOptions,
        place: Place,
    ) -> Self {
        let lease = TimeDelta::from_std(options.lease).unwrap_or(TimeDelta::MAX);
        Self {
            write,
            read,
            clock,
            lease,
            place,
        }
    }

    /// Makes or updates the tables, after `prepare` in the same transaction.
    pub(super) async fn migrate(
        &self,
        prepare: impl AsyncFnOnce(&mut Conn) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let done = async {
            let mut tx = self.write.begin_with(BEGIN).await?;
            prepare(&mut tx).await?;
            migrate::run(&mut tx, self.now(), &self.place).await?;
            tx.commit().await?;
            Ok(())
        };
        done.await.map_err(|e| self.place.explain(e))
    }

    fn now(&self) -> NaiveDateTime {
        self.clock.now().naive_utc()
    }
}

/// The version of the tables, without making any; see [`migrate`].
pub(super) async fn look_at_tables(
    conn: &mut Conn,
    place: &Place,
) -> Result<Option<i64>, LedgerError> {
    migrate::look(conn, place).await
}

/// Runs a step in a transaction of its own; again where it had to give way to another.
macro_rules! in_transaction {
    ($ledger:expr, $step:path $(, $argument:expr)*) => {{
        let mut conflicts = 0;
        let mut pauses = Backoff::new(CONFLICT_PAUSE, CONFLICT_PAUSE * 32);
        loop {
            let attempt = async {
                let mut conn = $ledger.write.acquire().await?;
                let done = async {
                    let mut tx = conn.begin_with(BEGIN).await?;
                    let value = $step(&mut tx, $ledger.now() $(, $argument)*).await?;
                    tx.commit().await?;
                    Ok::<_, LedgerError>(value)
                };
                let done = done.await;
                if done.as_ref().is_err_and(LedgerError::breaks_connection) {
                    conn.close_on_drop();
                }
                done
            };
            match attempt.await {
                Err(e) if conflicts < CONFLICT_RETRIES && e.is_conflict() => {
                    conflicts += 1;
                    let pause = pauses.pause(None, &mut StdRng::from_os_rng());
                    tokio::time::sleep(pause).await;
                }
                done => break done.map_err(|e| $ledger.place.explain(e)),
            }
        }
    }};
}

/// Runs a step that only reads.
macro_rules! with_connection {
    ($ledger:expr, $step:path $(, $argument:expr)*) => {{
        let attempt = async {
            let mut conn = $ledger.read.acquire().await?;
            $step(&mut conn $(, $argument)*).await
        };
        attempt.await.map_err(|e| $ledger.place.explain(e))
    }};
}

impl SqlLedger {
    /// Ends those that are over, each in a transaction of its own after that of their units: died
    /// between the two, or failed here, the next worker that finds no work ends them.
    /// Answers which did end.
    async fn end_jobs(&self, job_ids: &[i64]) -> Vec<i64> {
        let mut ended = Vec::new();
        for &job_id in job_ids {
            let result: Result<bool, _> = in_transaction!(self, settle::job, job_id);
            match result {
                Ok(true) => ended.push(job_id),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(job_id, %error, "the job's end waits for an idle worker");
                }
            }
        }
        ended
    }
}

#[async_trait]
impl Ledger for SqlLedger {
    async fn start_job(&self, start: &StartJob) -> Result<i64, LedgerError> {
        in_transaction!(self, start::start, start)
    }

    async fn keep_loaded(&self, start: &StartJob, interval: Duration) -> Result<bool, LedgerError> {
        let interval = TimeDelta::from_std(interval).unwrap_or(TimeDelta::MAX);
        in_transaction!(self, start::keep_loaded, interval, start)
    }

    async fn job(&self, job_id: i64) -> Result<Job, LedgerError> {
        with_connection!(self, jobs::get, job_id)
    }

    async fn job_state(&self, job_id: i64) -> Result<JobState, LedgerError> {
        with_connection!(self, jobs::look, job_id)
    }

    async fn jobs(&self) -> Result<Vec<Job>, LedgerError> {
        with_connection!(self, jobs::list)
    }

    async fn sources(&self) -> Result<Vec<SourceStatus>, LedgerError> {
        with_connection!(self, scans::sources)
    }

    async fn retry_job(&self, job_id: i64) -> Result<Retried, LedgerError> {
        in_transaction!(self, retry::run, job_id)
    }

    async fn cancel_job(&self, job_id: i64) -> Result<(), LedgerError> {
        in_transaction!(self, jobs::cancel, job_id)
    }

    async fn begin_scan(&self, reaches: &[String]) -> Result<Option<Scan>, LedgerError> {
        in_transaction!(self, scans::begin, self.lease, reaches)
    }

    async fn register_page(&self, scan: &Scan, page: &Page) -> Result<Registered, LedgerError> {
        in_transaction!(self, scans::register, self.lease, scan, page)
    }

    async fn finish_scan(&self, scan: &Scan, failure: Option<&str>) -> Result<(), LedgerError> {
        in_transaction!(self, scans::finish, scan, failure)
    }

    async fn leave_scan(&self, scan: &Scan) -> Result<(), LedgerError> {
        in_transaction!(self, scans::leave, scan)
    }

    async fn stop_silent_workers(&self) -> Result<u64, LedgerError> {
        in_transaction!(self, work::stop_silent)
    }

    async fn unit_counts(&self) -> Result<UnitCounts, LedgerError> {
        with_connection!(self, progress::unit_counts)
    }

    async fn register_worker(&self, worker: &RegisterWorkerRequest) -> Result<i64, LedgerError> {
        in_transaction!(self, work::register_worker, worker)
    }

    async fn heartbeat(&self, worker_id: i64) -> Result<(), LedgerError> {
        in_transaction!(self, work::heartbeat, worker_id)
    }

    async fn lease_units(&self, request: &LeaseUnitsRequest) -> Result<Vec<Unit>, LedgerError> {
        let (units, over) = in_transaction!(self, work::lease, self.lease, request)?;
        self.end_jobs(&over).await;
        Ok(units)
    }

    async fn renew(&self, leases: &[Lease]) -> Result<Vec<RenewedLease>, LedgerError> {
        in_transaction!(self, work::renew, self.lease, leases)
    }

    async fn commit_outcomes(&self, commit: &Commit) -> Result<(), LedgerError> {
        in_transaction!(self, outcomes::commit, commit)
    }

    async fn finish_unit(
        &self,
        lease: &Lease,
        lines: u64,
        decoded_bytes: u64,
    ) -> Result<Finished, LedgerError> {
        let (load, over) = in_transaction!(self, settle::finish_unit, lease, lines, decoded_bytes)?;
        let ended_job = self.end_jobs(over.as_slice()).await.pop();
        Ok(Finished { load, ended_job })
    }

    async fn release_unit(
        &self,
        lease: &Lease,
        disposition: Disposition,
        reason: &str,
    ) -> Result<(), LedgerError> {
        let over = in_transaction!(self, settle::release_unit, lease, disposition, reason)?;
        self.end_jobs(over.as_slice()).await;
        Ok(())
    }

    async fn errors(
        &self,
        job_id: i64,
        this_run: bool,
        after: ErrorCursor,
    ) -> Result<ErrorPage, LedgerError> {
        with_connection!(self, errors::list, job_id, this_run, after)
    }

    async fn quarantine(
        &self,
        job_id: i64,
        error_id: i64,
        after: QuarantineCursor,
    ) -> Result<QuarantinePage, LedgerError> {
        with_connection!(self, errors::quarantine, job_id, error_id, after)
    }
}

/// For a guarded write that must hit exactly one row.
fn one_row(rows: u64, otherwise: impl FnOnce() -> LedgerError) -> Result<(), LedgerError> {
    if rows == 1 { Ok(()) } else { Err(otherwise()) }
}
