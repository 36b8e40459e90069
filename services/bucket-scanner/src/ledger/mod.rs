//! The ledger of work: what is to be loaded, who is at it, what became of it.
//!
//! [`Ledger`] has one implementation, compiled once for SQLite and once for PostgreSQL (`steps/`).
//! Every write is one transaction: where it dies before its commit, nothing of it happened; where
//! it dies after, all of it did. Each write says below what its caller does next in both cases.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stoker_proto::ledger::v1::{
    Disposition, Job, Lease, LeaseUnitsRequest, RegisterWorkerRequest, RenewedLease, SourceStatus,
    Unit,
};
use stoker_shared::clock::SharedClock;
use stoker_shared::secret::Secret;

mod error;
mod model;
mod postgres;
mod sqlite;
mod text;
mod url;

pub use error::LedgerError;
pub use model::{
    Commit, ErrorCursor, ErrorPage, FoundObject, Issue, Page, QuarantineCursor, QuarantinePage,
    Registered, Retried, Scan, StartJob, UnitCounts, is_over,
};
pub use url::LedgerUrl;

/// How often a unit is leased before it is parked.
pub const MAX_ATTEMPTS: u32 = 5;

/// What a ledger is opened with besides its URL.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// PostgreSQL: the schema that holds the tables; made when missing.
    pub schema: String,
    /// PostgreSQL: the user's password, when the URL holds none.
    pub password: Option<Secret>,
    /// How long a lease of a unit, and of a source being scanned, lasts unless renewed.
    pub lease: Duration,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            schema: "fhirbucket".to_owned(),
            password: None,
            lease: Duration::from_mins(1),
        }
    }
}

/// Opens a ledger; makes or updates its tables. Any number of processes may do so at once.
pub async fn open(
    url: &LedgerUrl,
    options: &LedgerOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Ledger>, LedgerError> {
    match url {
        LedgerUrl::Memory => sqlite::open(None, options, clock).await,
        LedgerUrl::Sqlite(path) => sqlite::open(Some(path), options, clock).await,
        LedgerUrl::Postgres(url) => postgres::open(url, options, clock).await,
    }
}

/// See the [module](self).
#[async_trait]
pub trait Ledger: Debug + Send + Sync + 'static {
    // People: jobs.

    /// Starts a job, or goes on with the one of the same source, target, tenant and interaction;
    /// asks for a scan of its source. Answers its id.
    ///
    /// A job that had ended begins a new run and takes up what it had left unfinished; with
    /// `reload` it begins every object anew instead. A running one is joined.
    /// Died before: nothing is started. After: the scan loop finds the job; starting again joins.
    async fn start_job(&self, start: &StartJob) -> Result<i64, LedgerError>;

    /// One job with its counts.
    async fn job(&self, job_id: i64) -> Result<Job, LedgerError>;

    /// All jobs, the newest first.
    async fn jobs(&self) -> Result<Vec<Job>, LedgerError>;

    /// All sources, in the order they became known.
    async fn sources(&self) -> Result<Vec<SourceStatus>, LedgerError>;

    /// Takes rejected and doubtful inputs and parked units of a job up again.
    ///
    /// Fails with [`LedgerError::NotNow`] for a cancelled job, and while a worker holds a unit
    /// that has such inputs. Died before: all errors are there still. After: their units are open;
    /// retrying again finds nothing more to do.
    async fn retry_job(&self, job_id: i64) -> Result<Retried, LedgerError>;

    /// Ends a job, unless it is over: leases are rescinded, what is committed stays.
    ///
    /// Died before: the job runs on. After: its workers learn at their next write.
    async fn cancel_job(&self, job_id: i64) -> Result<(), LedgerError>;

    // The scanner.

    /// Takes a source that a job wants listed, of those with reach `""` or one of `reaches`.
    ///
    /// Died before: the source waits. After: it waits until the leave expires.
    async fn begin_scan(&self, reaches: &[String]) -> Result<Option<Scan>, LedgerError>;

    /// Registers a page of a listing and plans its loads for every running job of the source:
    /// a new object has version 1, a changed one the next version; units of older versions are
    /// rescinded. Also renews the leave.
    ///
    /// Died before: the next scan lists the page again. After: so it does, and finds it unchanged.
    async fn register_page(&self, scan: &Scan, page: &Page) -> Result<Registered, LedgerError>;

    /// Ends a scan: jobs it was for go on to loading, or fail with `failure`.
    ///
    /// Died before: the leave expires and the source is listed again. After: nothing is left to do.
    async fn finish_scan(&self, scan: &Scan, failure: Option<&str>) -> Result<(), LedgerError>;

    /// Gives a scan up half-way, so that another can begin at once.
    ///
    /// Died before: the leave expires. After: the source waits for a scanner.
    async fn leave_scan(&self, scan: &Scan) -> Result<(), LedgerError>;

    /// Units by state, for metrics.
    async fn unit_counts(&self) -> Result<UnitCounts, LedgerError>;

    // Workers: units.

    /// Makes a worker known; answers its id. Marks workers stopped that gave no sign for 60 s.
    ///
    /// Died before or after: the worker registers again, under another id.
    async fn register_worker(&self, worker: &RegisterWorkerRequest) -> Result<i64, LedgerError>;

    /// Notes that a worker is alive.
    async fn heartbeat(&self, worker_id: i64) -> Result<(), LedgerError>;

    /// Leases up to `max_units` units of running jobs (of `job_ids` only, unless that is empty) whose
    /// source has reach `""` or one of `reaches`: first those whose lease has expired, then open
    /// ones, of the jobs least at work; none of `held_unit_ids`. Does not wait.
    ///
    /// Died before: the units wait. After: they wait until the leases expire.
    async fn lease_units(&self, request: &LeaseUnitsRequest) -> Result<Vec<Unit>, LedgerError>;

    /// Extends leases; answers for each whether it still holds. May be repeated.
    async fn renew(&self, leases: &[Lease]) -> Result<Vec<RenewedLease>, LedgerError>;

    /// Makes outcomes durable. Where all ranges of the header are committed already, the commit is
    /// a repeat and changes nothing; one without ranges is never known as a repeat.
    ///
    /// Died before: the inputs are sent again under the next lease. After: they are not; the worker
    /// that got no answer repeats the commit.
    async fn commit_outcomes(&self, commit: &Commit) -> Result<(), LedgerError>;

    /// Ends a unit that was read to its end; with it its load, and its job, when they were waiting
    /// for nothing else. A repeat under the same lease changes nothing.
    ///
    /// Died before: the unit is leased again, has nothing to send, and is finished. After: nothing
    /// is left to do.
    async fn finish_unit(
        &self,
        lease: &Lease,
        lines: u64,
        decoded_bytes: u64,
    ) -> Result<(), LedgerError>;

    /// Hands a unit back unfinished.
    ///
    /// Died before: the lease expires, with the same effect as a retry. After: nothing is left to do.
    async fn release_unit(
        &self,
        lease: &Lease,
        disposition: Disposition,
        reason: &str,
    ) -> Result<(), LedgerError>;

    // People: what went wrong.

    /// A page of a job's errors: inputs and parked objects in the order of object and position,
    /// then what the last scan saw and did not plan. Only the latest load of an object counts.
    async fn errors(
        &self,
        job_id: i64,
        this_run: bool,
        after: ErrorCursor,
    ) -> Result<ErrorPage, LedgerError>;

    /// A page of quarantined bytes, of one error or (0) of all of a job's, in the order of
    /// [`Ledger::errors`]; at most 16 MiB.
    async fn quarantine(
        &self,
        job_id: i64,
        error_id: i64,
        after: QuarantineCursor,
    ) -> Result<QuarantinePage, LedgerError>;
}
