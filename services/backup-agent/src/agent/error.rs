//! What can keep a run from beginning, and what can end one.

use stoker_shared::retry::Retry;

use crate::catalog::{CatalogError, Run, Task};
use crate::repository::RepositoryError;
use crate::store::StoreError;

/// Why an agent did not begin what was asked for, or tell of it.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// What is asked for makes no sense.
    #[error("{0}")]
    Asked(String),
    /// There is no such source.
    #[error("no source is named {name:?}; {known}")]
    NoSource {
        /// The name given.
        name: String,
        /// Those there are.
        known: String,
    },
    /// There is no such backup.
    #[error("there is no backup {0}; `stoker backup list` shows those there are")]
    NoBackup(String),
    /// The backup's manifest cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// There is no such run.
    #[error("there is no run {0}; `stoker backup runs` shows those there are")]
    NoRun(i64),
    /// One of the kind is under way.
    #[error(
        "a {task} of {source_name} is under way: run {run_id}, by {agent}; wait for its end or cancel it",
        task = task_name(.0.task), source_name = .0.source, run_id = .0.run_id, agent = .0.agent
    )]
    Busy(Box<Run>),
    /// What was due has been done meanwhile.
    #[error("another agent has done it meanwhile")]
    Over,
    /// The run cannot be cancelled here.
    #[error("run {run_id} {why}")]
    NotHere {
        /// The run.
        run_id: i64,
        /// Why not.
        why: String,
    },
    /// The agent is about to end.
    #[error("the backup-agent is stopping; ask another, or wait until it is up again")]
    Stopping,
    /// The catalog did not do it.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The repository did not do it.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl AgentError {
    /// Whether the same may go well later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Catalog(error) => error.retry(),
            Self::Repository(error) => error.retry(),
            _ => Retry::Never,
        }
    }
}

/// A task in a word.
pub(crate) fn task_name(task: Task) -> &'static str {
    match task {
        Task::Backup => "backup",
        Task::Verify => "verification",
        Task::Drill => "drill",
        Task::Prune => "prune",
        Task::Restore => "restore",
        Task::Import => "import",
    }
}

/// What ends a run otherwise than well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JobError {
    /// It was told to stop.
    Stopped,
    /// A backup was found bad.
    Bad(String),
    /// Another reason.
    Failed(String),
}

impl From<StoreError> for JobError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Bad(text) => Self::Bad(text),
            StoreError::Failed(text) => Self::Failed(text),
        }
    }
}

impl From<RepositoryError> for JobError {
    fn from(error: RepositoryError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<CatalogError> for JobError {
    fn from(error: CatalogError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<AgentError> for JobError {
    fn from(error: AgentError) -> Self {
        Self::Failed(error.to_string())
    }
}
