//! From a backup to a data folder that a server starts on.
//!
//! Nothing is touched before all is found fit: the folder is empty or may be overwritten, no server runs in it, tablespaces
//! have places. `global/pg_control`, without which no server starts, comes last, when every part had the size and SHA-256
//! of the manifest and all files are durable.
//!
//! Died at any time before that: the folder starts no server, and the same restore begun again clears and fills it. After:
//! the folder is whole.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::manifest::Manifest;
use crate::pgbackrest;
use crate::repository::Repository;
use crate::server::{self, Programs, User};

mod archive;
mod cluster;
mod content;
mod error;
mod files;
mod parts;
mod tablespaces;
mod target;
mod tree;

pub use cluster::steps_on_other_nodes;
pub use error::RestoreError;
pub use tablespaces::Places;

use content::Content;
use target::Target;

/// What to restore, and where to.
#[derive(Debug, Clone)]
pub struct Order {
    /// The backup's name.
    pub backup: String,
    /// The data folder, by its full path; made if it is not there, in a folder that is.
    pub into: PathBuf,
    /// Where tablespaces go.
    pub tablespaces: Places,
    /// Who is to own the files; none means whom this process runs as and, where that is root, `postgres` if there is
    /// such a user: no server runs as root. Another than oneself takes root.
    pub owner: Option<User>,
    /// A folder whose content is copied over the data folder's, such as Bitnami's `conf`.
    pub conf: Option<PathBuf>,
    /// Clears a folder that is not empty first. A folder in which a server runs is refused all the same.
    pub overwrite: bool,
    /// Makes all of it durable; of no use for what is thrown away.
    pub durable: bool,
    /// Starts the server.
    pub start: Option<Start>,
    /// How pgBackRest is run, where it keeps the backup.
    pub pgbackrest: pgbackrest::Program,
}

/// How to start the server of a restored folder.
#[derive(Debug, Clone)]
pub struct Start {
    /// The folder with its programs; none means that they are looked for.
    pub programs: Option<PathBuf>,
    /// How long it may take to become consistent.
    pub patience: Duration,
}

/// How far a restore is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// Stored bytes of the archives that were read.
    pub bytes: u64,
    /// Stored bytes of all archives.
    pub of: u64,
}

/// What a restore is at, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Step {
    /// Looking at the backup and the folder.
    #[default]
    Checking,
    /// Extracting this part.
    Extracting(String),
    /// Copying the configuration, making all durable, putting `pg_control` in its place.
    Finishing,
    /// Waiting for the server to be consistent and to answer.
    Starting,
    /// All is done.
    Done,
}

/// A folder that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What was restored.
    pub backup: Manifest,
    /// The server's major version, such as 15.
    pub major: u32,
    /// Where tablespaces lie, by their oid.
    pub tablespaces: Vec<(String, PathBuf)>,
    /// What came of the start; none where none was asked for.
    pub started: Option<Started>,
}

/// A server that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The log's position where the data became consistent, where its log says so.
    pub consistent_at: Option<String>,
    /// Where its log begins.
    pub log: PathBuf,
    /// Its configuration has it archive, and it does not until it is started anew: it needs another archive first, see
    /// [`server::start`].
    pub archives_later: bool,
}

/// Restores a backup; see the [module](self).
pub async fn restore(
    repository: &dyn Repository,
    order: &Order,
    progress: &watch::Sender<Progress>,
) -> Result<Restored, RestoreError> {
    let order = &Order {
        owner: order
            .owner
            .or_else(|| User::for_server(None).ok().flatten()),
        ..order.clone()
    };
    let backup = repository.manifest(&order.backup).await?;
    let content = Content::of(repository, &backup, &order.pgbackrest).await?;
    progress.send_modify(|now| now.of = content.bytes());
    let spaces = content.place(repository, &backup.name, &order.tablespaces);
    let spaces = Arc::new(spaces.await?);
    let target = Target::new(order, Arc::clone(&spaces));
    let target = on_disk(move || target.prepare()).await?;
    content
        .fill(repository, &backup.name, &target, progress)
        .await?;
    progress.send_modify(|now| now.step = Step::Finishing);
    let major = on_disk(move || target.complete()).await?;
    let started = start(order, major, progress).await?;
    progress.send_modify(|now| now.step = Step::Done);
    let tablespaces = spaces.list();
    Ok(Restored {
        backup,
        major,
        tablespaces,
        started,
    })
}

async fn start(
    order: &Order,
    major: u32,
    progress: &watch::Sender<Progress>,
) -> Result<Option<Started>, RestoreError> {
    let Some(start) = &order.start else {
        return Ok(None);
    };
    progress.send_modify(|now| now.step = Step::Starting);
    let programs = Programs::find(start.programs.as_deref(), major)?;
    let user = User::for_server(order.owner)?;
    let log = order.into.join("restored.log");
    let consistent_at = server::start(&programs, &order.into, user, &log, start.patience).await?;
    Ok(Some(Started {
        consistent_at,
        log,
        archives_later: server::is_archiving(&programs, &order.into, user).await,
    }))
}

/// Does what takes its time where it may.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(RestoreError::Stopped(e.to_string())))
}
