//! The ledger of work: what is to be loaded, who is at it, what became of it.
//!
//! [`Ledger`] has one implementation, compiled once for SQLite and once for PostgreSQL (`steps/`).
//! Every write is one transaction: where it dies before its commit, nothing of it happened; where
//! it dies after, all of it did. Each write says below what its caller does next in both cases.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stoker_proto::common::v1::Target;
use stoker_proto::ledger::v1::{
    Disposition, Job, JobState, Lease, LeaseUnitsRequest, RegisterWorkerRequest, RenewedLease,
    SettledError, SourceStatus,
};
use stoker_shared::clock::SharedClock;
use stoker_shared::secret::Secret;
use stoker_shared::store::PostgresOptions;

mod adopt;
mod cut;
mod error;
mod look;
mod model;
mod postgres;
mod sqlite;
mod text;

pub use error::LedgerError;
pub use look::{JavaTool, LedgerLook, look};
pub use model::{
    Commit, Ended, EndedJob, ErrorCursor, ErrorPage, Finished, FinishedLoad, FoundObject, Issue,
    Kept, Leased, ObjectNews, Page, QuarantineCursor, QuarantinePage, Registered, Retried, Scan,
    StartJob, UnitCounts, is_over,
};
pub use stoker_shared::store::StoreUrl as LedgerUrl;

/// How often a unit is leased before it is parked.
pub const MAX_ATTEMPTS: u32 = 5;

/// What a ledger is opened with besides its URL.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// PostgreSQL: the schema that holds the tables; made when missing.
    pub schema: String,
    /// PostgreSQL: the user's password, when the URL holds none.
    pub password: Option<Secret>,
    /// PostgreSQL: the file that it was read from; what is in it later is used from then on.
    pub password_file: Option<PathBuf>,
    /// PostgreSQL: connections of this process, at most; 2 at least.
    pub connections: u32,
    /// How long a lease of a unit, and of a source being scanned, lasts unless renewed.
    pub lease: Duration,
    /// Larger objects that may be read from their middle become several units of at most so many
    /// bytes.
    pub unit_bytes: u64,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            schema: "fhirbucket".to_owned(),
            password: None,
            password_file: None,
            connections: 16,
            lease: Duration::from_mins(1),
            unit_bytes: 64 << 20,
        }
    }
}

impl LedgerOptions {
    fn postgres(&self) -> PostgresOptions {
        PostgresOptions {
            schema: self.schema.clone(),
            password: self.password.clone(),
            password_file: self.password_file.clone(),
            connections: self.connections,
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
    /// A job that had ended begins a new run; with `reload` it begins every object anew. A running
    /// one is joined. Either way what was left unfinished is taken up, parked units too, with all
    /// attempts before it. The options are those of the latest start.
    /// Fails with [`LedgerError::NotNow`] where the target is a place that another source is written to.
    /// Died before: nothing is started. After: the scan loop finds the job; starting again joins.
    async fn start_job(&self, start: &StartJob) -> Result<i64, LedgerError>;

    /// The same for a load that is configured, not asked for: a job that was cancelled stays so,
    /// parked units stay parked, and a listing is asked for only when none is under way and the
    /// last one ended `interval` ago. Answers what it changed.
    ///
    /// Died before: nothing is started. After: the scan loop finds the job; the next call waits.
    async fn keep_loaded(&self, start: &StartJob, interval: Duration) -> Result<Kept, LedgerError>;

    /// One job with its counts.
    async fn job(&self, job_id: i64) -> Result<Job, LedgerError>;

    /// Where a job stands, without its counts: quick however large it is.
    async fn job_state(&self, job_id: i64) -> Result<JobState, LedgerError>;

    /// All jobs, the newest first.
    async fn jobs(&self) -> Result<Vec<Job>, LedgerError>;

    /// All sources, in the order they became known.
    async fn sources(&self) -> Result<Vec<SourceStatus>, LedgerError>;

    /// Takes rejected and doubtful inputs and parked units of a job up again; not those of an
    /// object that has changed since: starting the job loads its new version.
    ///
    /// Fails with [`LedgerError::NotNow`] for a cancelled job, and while a worker holds a unit
    /// that has such inputs. Died before: all errors are there still. After: their units are open;
    /// retrying again finds nothing more to do.
    async fn retry_job(&self, job_id: i64) -> Result<Retried, LedgerError>;

    /// Strikes errors of a job, at most 10 000, whose inputs `target` has since taken, and lowers the counts of
    /// rejected and doubtful inputs; answers how many were listed. Nothing is sent again for them. Fails with
    /// [`LedgerError::NotNow`] where the job loads into another target.
    ///
    /// Died before: they are listed still, and the caller, who has noted what was taken, asks again. After: they
    /// are gone; asking again finds nothing more to do.
    async fn settle_errors(
        &self,
        job_id: i64,
        target: &Target,
        errors: &[SettledError],
    ) -> Result<u64, LedgerError>;

    /// Ends a job, unless it is over: leases are rescinded, what is committed stays.
    ///
    /// Died before: the job runs on. After: its workers learn at their next write.
    async fn cancel_job(&self, job_id: i64) -> Result<(), LedgerError>;

    // The scanner.

    /// Takes a source that a job wants listed, or that jobs want planned from what is known of it, of
    /// those with reach `""` or one of `reaches`.
    ///
    /// Died before: the source waits. After: it waits until the leave expires.
    async fn begin_scan(&self, reaches: &[String]) -> Result<Option<Scan>, LedgerError>;

    /// The same, of the sources only that jobs want planned from what is known of them: for a process
    /// that lists nothing.
    async fn begin_known_scan(&self, reaches: &[String]) -> Result<Option<Scan>, LedgerError>;

    /// Places in a page of the objects that are new or have changed, and would be shared by workers if they were of
    /// several zstd frames: whether they are is to be found out before the page is registered. Only reads.
    async fn worth_a_look(&self, scan: &Scan, page: &Page) -> Result<Vec<usize>, LedgerError>;

    /// Renews the leave to scan, for what takes long between two pages. Fails with [`LedgerError::ScanLost`] once
    /// another scanner has it. May be repeated.
    async fn renew_scan(&self, scan: &Scan) -> Result<(), LedgerError>;

    /// Registers a page of a listing and plans its loads for every running job of the source:
    /// a new object has version 1, a changed one the next version, and what is known of an unchanged one stays; unfinished units of older versions
    /// are rescinded, of all jobs. Issues and counts go to the jobs that the listing is for. Also
    /// renews the leave.
    ///
    /// Died before: the next scan lists the page again. After: so it does, and finds it unchanged.
    async fn register_page(&self, scan: &Scan, page: &Page) -> Result<Registered, LedgerError>;

    /// Plans the loads of objects that are known of a scan's source, for the jobs that the scan is for:
    /// some that come after the object of this id (0 at first). Answers where to go on; none after the
    /// last. Also renews the leave.
    ///
    /// Died before: the next scan plans them. After: so it does, and finds them planned.
    async fn register_known(
        &self,
        scan: &Scan,
        after: i64,
    ) -> Result<(Registered, Option<i64>), LedgerError>;

    /// Plans the next version of objects that running jobs load again after some time
    /// (`JobOptions.recycle_after_ms`), where it has passed since they were loaded; answers how many.
    /// Other jobs of the source take an object's next version for what they have loaded, as long as
    /// its content is the same.
    ///
    /// Died before or after: what is due is found at the next call.
    async fn recycle(&self) -> Result<u64, LedgerError>;

    /// Ends a scan: jobs it was for go on to loading, or fail with `failure`; answers what is over by it, also waves
    /// that only the listing held up.
    ///
    /// Died before: the leave expires and the source is listed again. After: nothing is left to do.
    async fn finish_scan(&self, scan: &Scan, failure: Option<&str>) -> Result<Ended, LedgerError>;

    /// Gives a scan up half-way, so that another can begin at once.
    ///
    /// Died before: the leave expires. After: the source waits for a scanner.
    async fn leave_scan(&self, scan: &Scan) -> Result<(), LedgerError>;

    /// Makes few rows of the many that the counts of jobs are kept in; looks at a job are quick for it.
    ///
    /// Died before: the next call does it. After: nothing is left to do. The counts are the same.
    async fn fold_sums(&self) -> Result<(), LedgerError>;

    /// Units by state, for metrics.
    async fn unit_counts(&self) -> Result<UnitCounts, LedgerError>;

    // Workers: units.

    /// Marks workers stopped that gave no sign for 60 s; answers how many. May be repeated.
    async fn stop_silent_workers(&self) -> Result<u64, LedgerError>;

    /// Makes a worker known; answers its id. Marks silent ones stopped.
    ///
    /// Died before or after: the worker registers again, under another id.
    async fn register_worker(&self, worker: &RegisterWorkerRequest) -> Result<i64, LedgerError>;

    /// Notes that a worker is alive. Fails with [`LedgerError::NotFound`] where it is not known.
    async fn heartbeat(&self, worker_id: i64) -> Result<(), LedgerError>;

    /// Leases up to `max_units` units of running jobs (of `job_ids` only, unless that is empty) whose
    /// source has reach `""` or one of `reaches`: first those whose lease has expired, then open
    /// ones, of the jobs least at work; none of `held_unit_ids`, and no more than `limits` of a type,
    /// of objects in `bucket_paths` only. Does not wait. Fails with [`LedgerError::NotFound`] for a
    /// worker that is not known.
    ///
    /// Unless the job is unordered, a unit waits until all of a lower wave are done or set aside, and
    /// those above the first wave until the source is listed. What was begun under an earlier lease
    /// and is not done is noted as an error of kind `REPEATED`, once.
    ///
    /// Died before: the units wait. After: they wait until the leases expire. The call does not wait for
    /// PostgreSQL's disk: a server that fails may lose its last leases, and their units are open again.
    /// A commit that is durable has all leases before it durable.
    async fn lease_units(&self, request: &LeaseUnitsRequest) -> Result<Leased, LedgerError>;

    /// Extends leases; answers for each whether it still holds. May be repeated.
    async fn renew(&self, leases: &[Lease]) -> Result<Vec<RenewedLease>, LedgerError>;

    /// Makes outcomes durable; where more of the unit is done by them, its attempts count anew. Where
    /// all ranges of the header are committed already, the commit is a repeat and changes nothing; one
    /// without ranges is never known as a repeat.
    ///
    /// Died before: the inputs are sent again under the next lease. After: they are not; the worker
    /// that got no answer repeats the commit. Commits and ends of units that come while one is being
    /// written share the next transaction; each is answered after it, and none fails for another's sake.
    async fn commit_outcomes(&self, commit: &Commit) -> Result<(), LedgerError>;

    /// Ends a unit that was read to its end; with it its load, and its job, when they were waiting
    /// for nothing else; answers which of them ended. A repeat under the same lease changes nothing.
    ///
    /// Died before: the unit is leased again, has nothing to send, and is finished. After: a job that
    /// is over by it is ended at once, or by the next worker that finds no work.
    async fn finish_unit(
        &self,
        lease: &Lease,
        lines: u64,
        decoded_bytes: u64,
    ) -> Result<Finished, LedgerError>;

    /// Hands a unit back unfinished; answers what waited for nothing else.
    ///
    /// Died before: the lease expires, with the same effect as a retry. After: as with a unit that is
    /// finished.
    async fn release_unit(
        &self,
        lease: &Lease,
        disposition: Disposition,
        reason: &str,
    ) -> Result<Finished, LedgerError>;

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
