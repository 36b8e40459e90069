//! The catalog: which backups there are, what is done to them and by whom, and what was due last.
//!
//! Of backups it is a copy: the repositories' manifests decide, and [`Catalog::rebuild`] makes it anew from them. Runs
//! and schedules are its own; without them, the next run of each schedule is the next that comes due.
//!
//! [`Catalog`] has one implementation, compiled once for SQLite and once for PostgreSQL. Every write is one transaction:
//! where it dies before its commit, nothing of it happened; where it dies after, all of it did.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use stoker_shared::clock::SharedClock;
use stoker_shared::retry::Retry;
use stoker_shared::store::{PostgresOptions, StoreError, StoreFault, StoreUrl};

mod notice;
mod postgres;
mod sqlite;
mod text;

use crate::manifest::{Manifest, Proof};
use crate::troubles::Trouble;

pub use notice::{Notice, Stage};

/// What the catalog is opened with besides its URL.
#[derive(Debug, Clone)]
pub struct CatalogOptions {
    /// For PostgreSQL.
    pub postgres: PostgresOptions,
    /// How long a run keeps others from starting after the agent that had it gave its last sign.
    pub lease: Duration,
}

/// Opens the catalog; makes or updates its tables. Any number of processes may do so at once.
///
/// Died before the end: the tables are as they were. After: they are done.
pub async fn open(
    url: &StoreUrl,
    options: &CatalogOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Catalog>, CatalogError> {
    match url {
        StoreUrl::Memory => sqlite::open(None, options, clock).await,
        StoreUrl::Sqlite(path) => sqlite::open(Some(path), options, clock).await,
        StoreUrl::Postgres(url) => postgres::open(url, options, clock).await,
    }
}

/// See the [module](self). A `source` that is empty stands for all.
#[async_trait]
pub trait Catalog: Debug + Send + Sync + 'static {
    // Backups.

    /// Where the catalog stands, to be asked before a repository is listed.
    async fn mark(&self) -> Result<Mark, CatalogError>;

    /// Makes what is known of a repository the same as what was found in it, but for what was noted since the mark. A
    /// backup that was deleted since may come back, until the next time.
    ///
    /// Died before: the catalog is as it was. After: doing it again changes nothing.
    async fn rebuild(
        &self,
        place: &str,
        since: Mark,
        found: &[Manifest],
    ) -> Result<(), CatalogError>;

    /// Notes a backup that was committed or amended.
    ///
    /// Died before: the next rebuild notes it. After: nothing is left to do. May be repeated.
    async fn note(&self, place: &str, manifest: &Manifest) -> Result<(), CatalogError>;

    /// Forgets a backup that was deleted; its proofs stay. May be repeated.
    async fn forget(&self, place: &str, name: &str) -> Result<(), CatalogError>;

    /// Backups, those begun last first.
    async fn backups(&self, source: &str) -> Result<Vec<Kept>, CatalogError>;

    /// All restores for proof, the newest first, at most so many.
    async fn proofs(&self, source: &str, limit: u32) -> Result<Vec<Proven>, CatalogError>;

    // Runs.

    /// Begins a run, unless one of the same source and task is under way, what was due has been done meanwhile, or
    /// another run writes a backup of this name. One whose agent gave no sign in time, or is certainly gone, is lost,
    /// and in no one's way. One that was given back is gone on with where a schedule wants it, and is over where a
    /// person wants another. `agent` is a name as of [`stoker_shared::process::own`]. All of it is one transaction, in
    /// which starts take turns.
    ///
    /// Died before: nothing has begun; what was due is still due. After: others wait until the lease expires, or the
    /// agent is seen to be gone; then the run is lost, and what was due is due again.
    async fn begin(&self, wish: &Wish, agent: &str) -> Result<Begun, CatalogError>;

    /// Extends a lease and notes how far the run is. Fails with [`CatalogError::LeaseLost`] where another run has begun
    /// instead: the run must stop, and commit nothing. May be repeated.
    async fn renew(&self, lease: &Lease, seen: &Seen) -> Result<(), CatalogError>;

    /// Ends a run, and with it what was due, unless it is given back: then it waits for another agent.
    ///
    /// Died before: the run is lost, and what was due is done again. After: it is over, or waits.
    async fn finish(&self, lease: &Lease, ended: &Ended) -> Result<(), CatalogError>;

    /// Finds runs lost whose agent is certainly gone, or gave no sign for twice the lease; answers them. May be repeated.
    async fn sweep(&self) -> Result<Vec<Run>, CatalogError>;

    /// A run by its number.
    async fn run(&self, run_id: i64) -> Result<Option<Run>, CatalogError>;

    /// Runs, the newest first, at most so many.
    async fn runs(&self, source: &str, limit: u32) -> Result<Vec<Run>, CatalogError>;

    /// Names of backups in a repository that running runs write or read: neither to be cleaned away nor deleted.
    async fn under_way(&self, place: &str) -> Result<Vec<String>, CatalogError>;

    // Schedules.

    /// When the last run of a schedule that is over was due. Where none is known, the schedule is new, and counts from
    /// now, which is noted.
    async fn last_due(&self, source: &str, task: Task) -> Result<DateTime<Utc>, CatalogError>;

    // Troubles, as far as they are told to others.

    /// Notes all that is wrong with a source now: what is new is to be told, and what is over.
    ///
    /// Died before: nothing is noted; the next look does. After: what is to be told outlives the process. May be
    /// repeated.
    async fn note_troubles(&self, source: &str, troubles: &[Trouble]) -> Result<(), CatalogError>;

    /// Claims the next notice of a source that is to be told, so that nobody else tells it before `hold` is over. With
    /// `repeat_after`, what lasts is told again so long after.
    ///
    /// Died before: others claim it. After: others do when the claim is over, whether it was told or not; it keeps its
    /// [`Notice::notice_id`].
    async fn claim_notice(
        &self,
        source: &str,
        repeat_after: Option<Duration>,
        hold: Duration,
    ) -> Result<Option<Notice>, CatalogError>;

    /// Notes that a notice was told. May be repeated.
    ///
    /// Died before: it is told once more. After: it is not.
    async fn told(&self, notice: &Notice) -> Result<(), CatalogError>;
}

/// Where the catalog stood at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(i64);

/// A backup, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The repository.
    pub place: String,
    /// The backup.
    pub manifest: Manifest,
}

/// What a restore for proof has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proven {
    /// The repository.
    pub place: String,
    /// The backup's name.
    pub name: String,
    /// The proof.
    pub proof: Proof,
}

/// What runs do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Make a backup.
    Backup,
    /// Read one back.
    Verify,
    /// Restore one for proof.
    Drill,
    /// Delete those that are to go.
    Prune,
    /// Restore one.
    Restore,
    /// Take one in that was made by other means.
    Import,
}

impl Task {
    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        text::TASKS.iter().map(|(task, _)| *task)
    }

    /// In a word.
    pub fn name(self) -> &'static str {
        let found = text::TASKS.iter().find(|(task, _)| *task == self);
        found.map_or("", |(_, name)| name)
    }
}

/// A run that is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The source, as the configuration names it.
    pub source: String,
    /// What to do.
    pub task: Task,
    /// When the schedule wanted it; none where a person does.
    pub due: Option<DateTime<Utc>>,
    /// What [`Catalog::last_due`] was when that was decided; nothing begins where it is another by now. None is not
    /// looked at.
    pub last: Option<DateTime<Utc>>,
    /// The repository.
    pub place: String,
    /// The backup that it writes or reads; empty for none.
    pub backup: String,
}

/// What came of a wish.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// The run is the agent's.
    Yours {
        /// To be shown with every write.
        lease: Lease,
        /// As it has begun, or goes on.
        run: Box<Run>,
        /// The agent that had it before has committed its backup.
        is_committed: bool,
        /// How many runs for the same due time were lost before: whatever ends them may end this one.
        lost_before: u32,
    },
    /// One is under way.
    Busy(Box<Run>),
    /// Another agent has done what was due.
    Over,
    /// Another run writes a backup of this name to this repository.
    NameTaken,
}

/// Proof that an agent has a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The run: a higher number began later.
    pub run_id: i64,
    /// Random.
    pub token: String,
}

/// How far a run is; nothing depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What it is at, in a word or two.
    pub phase: String,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all, where that is known.
    pub total_bytes: Option<u64>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It did what it was to do.
    Done,
    /// It did, and a person should know this.
    Noted(String),
    /// It did not, for this reason.
    Failed(String),
    /// It did, and found a backup bad, as this says.
    FoundBad(String),
    /// Its agent was told to stop: what was due is still due, and another agent goes on with the run.
    GivenBack {
        /// What a person should know meanwhile.
        why: String,
        /// Its backup is there; what else was to be done is not.
        is_committed: bool,
    },
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Under way, or given back: see [`Run::is_waiting`].
    Running,
    /// Did what it was to do.
    Done,
    /// Did not; the reason says why.
    Failed,
    /// Its agent gave no sign any more.
    Lost,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Its number.
    pub run_id: i64,
    /// The source.
    pub source: String,
    /// What it does.
    pub task: Task,
    /// When the schedule wanted it.
    pub due: Option<DateTime<Utc>>,
    /// The repository.
    pub place: String,
    /// The backup that it writes or reads.
    pub backup: String,
    /// Who has or had it: `host:pid`; empty while it waits.
    pub agent: String,
    /// How it stands.
    pub state: RunState,
    /// Why it failed, was lost or waits; of one that is done, what a person should know.
    pub reason: String,
    /// It failed since a backup was found bad.
    pub found_bad: bool,
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub ended: Option<DateTime<Utc>>,
    /// What it is at, or was.
    pub phase: String,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all.
    pub total_bytes: Option<u64>,
}

impl Run {
    /// Whether an agent has given it back, and none has taken it up since.
    pub fn is_waiting(&self) -> bool {
        self.state == RunState::Running && self.agent.is_empty()
    }
}

/// Why a run failed that has left its backup without all that was to be done with it.
pub(crate) fn not_all_was_done(why: &str, backup: &str) -> String {
    format!(
        "{why}; the backup {backup} is there, but not all that was to be done with it is: `stoker backup verify {backup}`"
    )
}

/// Why the catalog did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The database did not, or holds what it should not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run is over, or was taken for lost.
    #[error(
        "run {0} is no longer this agent's: it gave no sign for too long and was taken for lost; the next one does its work"
    )]
    LeaseLost(i64),
}

impl From<sqlx::Error> for CatalogError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl StoreFault for CatalogError {
    fn store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::LeaseLost(_) => None,
        }
    }

    fn into_store(self) -> Result<StoreError, Self> {
        match self {
            Self::Store(error) => Ok(error),
            other @ Self::LeaseLost(_) => Err(other),
        }
    }
}

impl CatalogError {
    /// Whether the same call may succeed later.
    pub fn retry(&self) -> Retry {
        self.store().map_or(Retry::Never, StoreError::retry)
    }
}
