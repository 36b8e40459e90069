//! The runs: what is to be reindexed, who is at it, how far it is.
//!
//! [`Runs`] has one implementation, compiled once for SQLite and once for PostgreSQL. Every write is one
//! transaction: where it dies before its commit, nothing of it happened; where it dies after, all of it did.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use stoker_proto::reindex::v1::{Failure, Run, RunSpec, RunState};
use stoker_shared::clock::SharedClock;
use stoker_shared::retry::Retry;
use stoker_shared::store::{PostgresOptions, StoreError, StoreFault, StoreUrl};

mod postgres;
mod sqlite;
mod text;

/// What the store of runs is opened with besides its URL.
#[derive(Debug, Clone)]
pub struct RunsOptions {
    /// For PostgreSQL.
    pub postgres: PostgresOptions,
    /// How long a run rests after the driver that had it died.
    pub lease: Duration,
}

/// Opens the store of runs; makes or updates its tables. Any number of processes may do so at once.
///
/// Died before the end: the tables are as they were. After: they are done.
pub async fn open(
    url: &StoreUrl,
    options: &RunsOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Runs>, RunsError> {
    match url {
        StoreUrl::Memory => sqlite::open(None, options, clock).await,
        StoreUrl::Sqlite(path) => sqlite::open(Some(path), options, clock).await,
        StoreUrl::Postgres(url) => postgres::open(url, options, clock).await,
    }
}

/// See the [module](self).
#[async_trait]
pub trait Runs: Debug + Send + Sync + 'static {
    // People.

    /// Starts a run; where one of the same target, tenant, method, types, URLs and force is unfinished (running,
    /// paused or stopped) goes on with that one, resuming it, with the concurrency, batch and latency of `spec`,
    /// unless `spec.tstamp` is given and differs. Answers the run and whether it had been there.
    ///
    /// Died before: nothing is started. After: a driver finds the run; starting again goes on with it.
    async fn start(&self, spec: &RunSpec) -> Result<(Run, bool), RunsError>;

    /// One run.
    async fn run(&self, run_id: i64) -> Result<Run, RunsError>;

    /// All runs, the newest first.
    async fn runs(&self) -> Result<Vec<Run>, RunsError>;

    /// Has a run wait, go on, or end; see `ReindexService`. One that has stopped forgets a job of HAPI that ended in
    /// vain or may never have been started, and has another started. Where it stands so already, nothing changes. Fails with
    /// [`RunsError::NotNow`] where it cannot. Its driver learns of it within a second.
    ///
    /// Died before or after: asking again does it, or finds it done.
    async fn steer(&self, run_id: i64, wish: Wish) -> Result<Run, RunsError>;

    /// Failures of a run, those after an index id, in order; at most so many.
    async fn failures(
        &self,
        run_id: i64,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Failure>, RunsError>;

    // Drivers.

    /// Takes a running run that nobody has, or whose driver gave no sign in time or is gone; of `only` unless that is
    /// empty. `driver` is a name as of [`stoker_shared::process::own`].
    ///
    /// Died before: the run waits. After: it waits until the lease expires.
    async fn take(&self, driver: &str, only: &[i64]) -> Result<Option<Taken>, RunsError>;

    /// Extends a lease, notes what can be seen of the run, and answers where people want it to stand. Fails with
    /// [`RunsError::LeaseLost`] where another driver has it, or nobody. May be repeated.
    async fn renew(&self, lease: &Lease, seen: &Seen) -> Result<RunState, RunsError>;

    /// Makes progress durable, extends the lease, and answers as [`Runs::renew`] does.
    ///
    /// Died before: what it covers is reindexed again by who takes the run next. After: it is not.
    async fn save(&self, lease: &Lease, save: &Save) -> Result<RunState, RunsError>;

    /// Notes what is known of HAPI's job; extends the lease.
    async fn save_job(&self, lease: &Lease, job: &HapiJob) -> Result<RunState, RunsError>;

    /// Ends a run that is done, or stops one that cannot go on: `state` is one of these. One that a person has
    /// cancelled meanwhile stays so, with the reason. Ends the lease.
    ///
    /// Died before: who takes the run next finds the same end. After: nothing is left to do.
    async fn finish(&self, lease: &Lease, state: RunState, reason: &str) -> Result<(), RunsError>;

    /// Gives a run back, so that another driver can take it at once.
    async fn release(&self, lease: &Lease) -> Result<(), RunsError>;
}

/// What a person wants of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To wait.
    Pause,
    /// To go on.
    Resume,
    /// To end.
    Cancel,
}

/// Proof that a driver has a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The run.
    pub run_id: i64,
    /// Random.
    pub token: String,
}

/// A run that a driver has taken, with all it needs to go on.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The run.
    pub run: Run,
    /// To be shown with every write.
    pub lease: Lease,
    /// Client-driven: where it stands.
    pub position: Position,
    /// Client-driven: what waits to be tried again.
    pub waiting: Vec<SetAside>,
    /// HAPI: what is known of its job.
    pub job: HapiJob,
}

/// Where a client-driven run stands in the server's ascending index ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The server was asked for ids up to here; none: for nothing yet.
    pub frontier: Option<i64>,
    /// Spans of ids up to the frontier, first and last, in which some are neither confirmed nor set aside;
    /// ascending, apart from each other. Outside of them all are settled.
    pub open: Vec<(i64, i64)>,
}

/// A resource that is taken out of the row: to be tried again by itself, or given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its index id.
    pub index_id: i64,
    /// It is given up.
    pub failed: bool,
    /// How often it was tried by itself.
    pub attempts: u32,
    /// HTTP status of the last answer; 0 when there was none.
    pub http_status: u16,
    /// What the server said, or what became of the request.
    pub reason: String,
    /// When that was.
    pub time: DateTime<Utc>,
}

/// Counts of a run since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Confirmed by the server.
    pub reindexed: u64,
    /// Deleted or changed before their turn came.
    pub gone: u64,
    /// Requests sent and answered.
    pub requests: u64,
    /// Of these, those that failed.
    pub failed_requests: u64,
}

/// What can be seen of a run while it is worked on; nothing depends on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Resources there are, where the server tells.
    pub total: Option<u64>,
    /// Requests at a time.
    pub concurrency: u32,
    /// Resources to a request.
    pub batch: u32,
    /// Resources a second, of late.
    pub per_second: f64,
    /// Why it cannot go on for the time being; empty when all is well.
    pub trouble: String,
}

/// Progress to make durable.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Save {
    /// Where the run stands now.
    pub position: Position,
    /// Its counts now.
    pub counts: Counts,
    /// What was set aside since the last save, or again.
    pub set_aside: Vec<SetAside>,
    /// Ids that waited, and are reindexed or gone now.
    pub settled: Vec<i64>,
    /// What can be seen.
    pub seen: Seen,
}

/// What is known of HAPI's job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HapiJob {
    /// The server may have been asked for it: noted before it is.
    pub asked: Option<DateTime<Utc>>,
    /// Jobs of the kind that HAPI had before it was asked; empty where its table is not read, and once the id is known.
    pub there_before: Vec<String>,
    /// Its id; empty while the server has not told.
    pub job_id: String,
    /// Its state in the server's words; empty while it is not known.
    pub job_state: String,
    /// Resources it has reindexed, where that is known.
    pub reindexed: Option<u64>,
}

/// Why the store of runs did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// The database did not, or holds what it should not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such run.
    #[error("there is no run {0}; `stoker reindex list` lists those there are")]
    NotFound(i64),
    /// The run stands otherwise.
    #[error("run {run_id} {reason}")]
    NotNow {
        /// The run.
        run_id: i64,
        /// How it stands, and what to do.
        reason: String,
    },
    /// Another driver has the run now, or nobody.
    #[error("run {0} is no longer this driver's")]
    LeaseLost(i64),
}

impl From<sqlx::Error> for RunsError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl StoreFault for RunsError {
    fn store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }

    fn into_store(self) -> Result<StoreError, Self> {
        match self {
            Self::Store(error) => Ok(error),
            other => Err(other),
        }
    }
}

impl RunsError {
    /// Whether the same call may succeed later.
    pub fn retry(&self) -> Retry {
        self.store().map_or(Retry::Never, StoreError::retry)
    }
}
