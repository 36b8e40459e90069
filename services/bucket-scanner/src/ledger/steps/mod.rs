//! The ledger's transactions, in SQL that both databases understand. Compiled once for each; what
//! differs (`Db`, `lock!`, …) is in the module around this one.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use stoker_proto::common::v1::Target;
use stoker_proto::ledger::v1::{
    Disposition, Job, JobState, Lease, LeaseUnitsRequest, RegisterWorkerRequest, RenewedLease,
    SettledError, SourceStatus,
};
use stoker_shared::store::{Place, Store, StoreError};
use stoker_shared::with_connection;

use super::{
    BEGIN, BEGIN_BULK, BEGIN_LEASE, BEGIN_LOSABLE, BULK, Conn, Db, FOLD_SUMS, JAVA, JOB_SUMS,
    KEEP_STATEMENTS, LOCK_LEASES, LOCK_PLACES, QUICK_LEASES, TABLES, rows, versions,
};
use crate::ledger::error::LedgerError;
use crate::ledger::{
    Commit, Ended, EndedJob, ErrorCursor, ErrorPage, Finished, JavaTool, Kept, Leased, Ledger,
    LedgerOptions, Page, QuarantineCursor, QuarantinePage, Registered, Retried, Scan, StartJob,
    UnitCounts,
};

use finish::{Finish, Over};
use group::{Group, Write};
pub(super) use opening::look_at_tables;
use plan::Limits;

mod adopt;
mod begun;
mod claim;
mod claim_known;
mod errors;
mod finish;
mod group;
mod jobs;
mod migrate;
mod objects;
mod opening;
mod outcomes;
mod paths;
mod pick;
mod places;
mod plan;
mod progress;
mod records;
mod recycle;
mod retry;
mod scans;
mod settle;
mod start;
mod take;
mod taken;
mod waves;
mod work;

/// Statements over so few rows are met again soon, also where every number of rows makes another.
const FEW_ROWS: usize = 8;

/// Whether the database is to keep a statement over so many rows.
fn keep(rows: usize) -> bool {
    KEEP_STATEMENTS || rows <= FEW_ROWS
}

/// The ledger over one database.
#[derive(Debug)]
pub(super) struct SqlLedger {
    store: Store<Db>,
    group: Group,
    limits: Limits,
}

impl SqlLedger {
    pub(super) fn new(store: Store<Db>, options: &LedgerOptions) -> Self {
        Self {
            group: Group::start(store.clone()),
            store,
            limits: Limits::of(options),
        }
    }
}

/// Runs a step in a transaction of its own.
macro_rules! in_transaction {
    ($begin:ident; $($call:tt)*) => {
        stoker_shared::in_transaction!(LedgerError, $begin; $($call)*)
    };
    ($($call:tt)*) => {
        stoker_shared::in_transaction!(LedgerError, BEGIN; $($call)*)
    };
}

/// In one transaction.
async fn write_at_once(
    store: &Store<Db>,
    writes: &[&Write],
) -> Result<Vec<Result<Over, LedgerError>>, LedgerError> {
    in_transaction!(store, group::write, writes)
}

impl SqlLedger {
    /// Durable together with what others write at the time.
    async fn write(&self, write: Write) -> Result<Over, LedgerError> {
        if !write.is_large() {
            return self.group.write(write).await;
        }
        let answers = write_at_once(&self.store, &[&write]).await?;
        answers
            .into_iter()
            .next()
            .unwrap_or_else(|| Ok(Over::default()))
    }

    /// Ends those that are over, each in a transaction of its own after that of their units: died
    /// between the two, or failed here, the next worker that finds no work ends them.
    /// Answers which did end.
    async fn end_jobs(&self, job_ids: &[i64]) -> Vec<EndedJob> {
        let mut ended = Vec::new();
        for &job_id in job_ids {
            let result: Result<Option<EndedJob>, _> =
                in_transaction!(self.store, settle::job, job_id);
            match result {
                Ok(job) => ended.extend(job),
                Err(error) => {
                    tracing::warn!(job_id, %error, "the job's end waits for an idle worker");
                }
            }
        }
        ended
    }

    async fn finished(&self, over: Over) -> Finished {
        Finished {
            load: over.load,
            ended_job: self.end_jobs(over.job.as_slice()).await.pop(),
            ended_wave_of: over.wave_of,
        }
    }
}

#[async_trait]
impl Ledger for SqlLedger {
    async fn start_job(&self, start: &StartJob) -> Result<i64, LedgerError> {
        in_transaction!(self.store, start::start, start)
    }

    async fn keep_loaded(&self, start: &StartJob, interval: Duration) -> Result<Kept, LedgerError> {
        let interval = TimeDelta::from_std(interval).unwrap_or(TimeDelta::MAX);
        in_transaction!(self.store, start::keep_loaded, interval, start)
    }

    async fn job(&self, job_id: i64) -> Result<Job, LedgerError> {
        with_connection!(self.store, jobs::get, job_id)
    }

    async fn job_state(&self, job_id: i64) -> Result<JobState, LedgerError> {
        with_connection!(self.store, jobs::look, job_id)
    }

    async fn jobs(&self) -> Result<Vec<Job>, LedgerError> {
        with_connection!(self.store, jobs::list)
    }

    async fn sources(&self) -> Result<Vec<SourceStatus>, LedgerError> {
        with_connection!(self.store, scans::sources)
    }

    async fn retry_job(&self, job_id: i64) -> Result<Retried, LedgerError> {
        in_transaction!(self.store, retry::run, job_id)
    }

    async fn settle_errors(
        &self,
        job_id: i64,
        target: &Target,
        errors: &[SettledError],
    ) -> Result<u64, LedgerError> {
        in_transaction!(self.store, taken::settle, job_id, target, errors)
    }

    async fn cancel_job(&self, job_id: i64) -> Result<(), LedgerError> {
        in_transaction!(self.store, jobs::cancel, job_id)
    }

    async fn begin_scan(&self, reaches: &[String]) -> Result<Option<Scan>, LedgerError> {
        in_transaction!(self.store, scans::begin, self.limits.lease, reaches, false)
    }

    async fn begin_known_scan(&self, reaches: &[String]) -> Result<Option<Scan>, LedgerError> {
        in_transaction!(self.store, scans::begin, self.limits.lease, reaches, true)
    }

    async fn worth_a_look(&self, scan: &Scan, page: &Page) -> Result<Vec<usize>, LedgerError> {
        let large = objects::large_zstd(page, self.limits.unit_bytes);
        if large.is_empty() {
            return Ok(large);
        }
        with_connection!(
            self.store,
            objects::not_as_known,
            scan.source_id,
            page,
            large
        )
    }

    async fn renew_scan(&self, scan: &Scan) -> Result<(), LedgerError> {
        in_transaction!(BEGIN_LOSABLE; self.store, scans::renew, self.limits.lease, scan)
    }

    async fn register_page(&self, scan: &Scan, page: &Page) -> Result<Registered, LedgerError> {
        in_transaction!(BEGIN_BULK; self.store, scans::register, self.limits, scan, page)
    }

    async fn register_known(
        &self,
        scan: &Scan,
        after: i64,
    ) -> Result<(Registered, Option<i64>), LedgerError> {
        in_transaction!(BEGIN_BULK; self.store, scans::register_known, self.limits, scan, after)
    }

    async fn recycle(&self) -> Result<u64, LedgerError> {
        let mut planned = 0;
        for job_id in with_connection!(self.store, recycle::jobs)? {
            // In parts: workers wait for none of them long.
            loop {
                let some: Result<u64, _> =
                    in_transaction!(self.store, recycle::some, self.limits, job_id);
                match some? {
                    0 => break,
                    more => planned += more,
                }
            }
        }
        Ok(planned)
    }

    async fn finish_scan(&self, scan: &Scan, failure: Option<&str>) -> Result<Ended, LedgerError> {
        in_transaction!(self.store, scans::finish, scan, failure)
    }

    async fn leave_scan(&self, scan: &Scan) -> Result<(), LedgerError> {
        in_transaction!(self.store, scans::leave, scan)
    }

    async fn stop_silent_workers(&self) -> Result<u64, LedgerError> {
        in_transaction!(self.store, work::stop_silent)
    }

    async fn fold_sums(&self) -> Result<(), LedgerError> {
        in_transaction!(self.store, progress::fold)
    }

    async fn unit_counts(&self) -> Result<UnitCounts, LedgerError> {
        with_connection!(self.store, progress::unit_counts, self.store.now())
    }

    async fn register_worker(&self, worker: &RegisterWorkerRequest) -> Result<i64, LedgerError> {
        in_transaction!(self.store, work::register_worker, worker)
    }

    async fn heartbeat(&self, worker_id: i64) -> Result<(), LedgerError> {
        in_transaction!(BEGIN_LOSABLE; self.store, work::heartbeat, worker_id)
    }

    async fn lease_units(&self, request: &LeaseUnitsRequest) -> Result<Leased, LedgerError> {
        let (units, over, waves_of): (_, Vec<i64>, _) =
            in_transaction!(BEGIN_LEASE; self.store, work::lease, self.limits.lease, request)?;
        let jobs = self.end_jobs(&over).await;
        let ended = Ended { jobs, waves_of };
        Ok(Leased { units, ended })
    }

    async fn renew(&self, leases: &[Lease]) -> Result<Vec<RenewedLease>, LedgerError> {
        in_transaction!(BEGIN_LOSABLE; self.store, work::renew, self.limits.lease, leases)
    }

    async fn commit_outcomes(&self, commit: &Commit) -> Result<(), LedgerError> {
        self.write(Write::Commit(commit.clone())).await.map(drop)
    }

    async fn finish_unit(
        &self,
        lease: &Lease,
        lines: u64,
        decoded_bytes: u64,
    ) -> Result<Finished, LedgerError> {
        let finish = Finish {
            lease: lease.clone(),
            lines,
            decoded_bytes,
        };
        let over = self.write(Write::Finish(finish)).await?;
        Ok(self.finished(over).await)
    }

    async fn release_unit(
        &self,
        lease: &Lease,
        disposition: Disposition,
        reason: &str,
    ) -> Result<Finished, LedgerError> {
        let over: Over =
            in_transaction!(self.store, settle::release_unit, lease, disposition, reason)?;
        Ok(self.finished(over).await)
    }

    async fn errors(
        &self,
        job_id: i64,
        this_run: bool,
        after: ErrorCursor,
    ) -> Result<ErrorPage, LedgerError> {
        with_connection!(self.store, errors::list, job_id, this_run, after)
    }

    async fn quarantine(
        &self,
        job_id: i64,
        error_id: i64,
        after: QuarantineCursor,
    ) -> Result<QuarantinePage, LedgerError> {
        with_connection!(self.store, errors::quarantine, job_id, error_id, after)
    }
}

/// For a guarded write that must hit exactly one row.
fn one_row(rows: u64, otherwise: impl FnOnce() -> LedgerError) -> Result<(), LedgerError> {
    if rows == 1 { Ok(()) } else { Err(otherwise()) }
}

fn damaged(reason: impl Into<String>) -> LedgerError {
    StoreError::Damaged(reason.into()).into()
}
