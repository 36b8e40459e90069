//! Proof that a backup can be restored: it is, into a throwaway server that is looked at and taken away.
//!
//! The server listens on a socket in its own folder and on no port, archives nothing, and sends nothing to anyone. Folder
//! and processes go when the drill ends, however it ends.
//!
//! Died at any time: the next drill with the same scratch folder, or [`clean`], ends the processes and takes all away.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stoker_shared::clock::SharedClock;
use tokio::sync::watch;

use crate::manifest::{Check, Manifest, Proof};
use crate::pgbackrest;
use crate::repository::Repository;
use crate::restore::{self, Places, Progress, RestoreError};
use crate::server::{self, Programs, ServerError, User};

mod checks;
mod settings;
pub(crate) mod throwaway;

pub use throwaway::clean;

use throwaway::Throwaway;

/// What to prove, and how.
#[derive(Debug, Clone)]
pub struct Order {
    /// The backup's name.
    pub backup: String,
    /// Where the throwaway folder is made: it takes as much room as the data, and the server's user must be able to
    /// enter it.
    pub scratch: PathBuf,
    /// The folder with the server's programs; none means that they are looked for.
    pub programs: Option<PathBuf>,
    /// Who runs the server; none means whom this process runs as, and `postgres` for root.
    pub user: Option<User>,
    /// A superuser of the database, such as `postgres`.
    pub role: String,
    /// How long the server may take to become consistent.
    pub patience: Duration,
    /// Settings of the throwaway server besides its own, such as `shared_preload_libraries`.
    pub settings: BTreeMap<String, String>,
    /// What else must hold.
    pub canaries: Vec<Canary>,
    /// How pgBackRest is run, where it keeps the backup.
    pub pgbackrest: pgbackrest::Program,
}

/// A question whose answer is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Its name, for people.
    pub name: String,
    /// The database.
    pub database: String,
    /// A query that answers one whole number, such as `SELECT count(*) FROM hfj_resource`.
    pub query: String,
    /// The least that it must answer.
    pub at_least: i64,
}

/// Why nothing was learnt of a backup, be it good or bad.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// It could not be restored for another reason than itself.
    #[error(transparent)]
    Restore(RestoreError),
    /// There is no server to be had.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The throwaway folder cannot be used.
    #[error("{folder}: cannot be used for a drill: {what}")]
    Scratch {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Restores a backup into a throwaway server and looks at it. What is wrong with the backup is told by the proof, which is
/// then not good; an error means that nothing was learnt.
pub async fn drill(
    repository: &dyn Repository,
    order: &Order,
    clock: &SharedClock,
    progress: &watch::Sender<Progress>,
) -> Result<Proof, DrillError> {
    let user = User::for_server(order.user)?;
    let scratch = order.scratch.clone();
    let throwaway = throwaway::on_disk(&order.scratch, move || {
        clean(&scratch)?;
        Throwaway::make(&scratch, user)
    })
    .await?;
    let mut seen = Seen {
        begun: Instant::now(),
        answered: None,
        checks: Vec::new(),
    };
    let looked = look(repository, order, &throwaway, &mut seen, progress).await;
    let recovery = seen.answered.unwrap_or_else(|| seen.begun.elapsed());
    throwaway::on_disk(&order.scratch, move || throwaway.take_away()).await?;
    looked?;
    Ok(Proof {
        at: clock.now(),
        good: seen.checks.iter().all(|check| check.good),
        recovery_ms: u64::try_from(recovery.as_millis()).unwrap_or(u64::MAX),
        checks: seen.checks,
    })
}

/// What was seen so far.
#[derive(Debug)]
struct Seen {
    begun: Instant,
    /// From then until the server answered.
    answered: Option<Duration>,
    checks: Vec<Check>,
}

impl Seen {
    fn add(&mut self, name: &str, outcome: Result<String, String>) {
        let good = outcome.is_ok();
        let (Ok(saw) | Err(saw)) = outcome;
        let name = name.to_owned();
        self.checks.push(Check { name, good, saw });
    }
}

/// Goes on as long as there is something to look at.
async fn look(
    repository: &dyn Repository,
    order: &Order,
    throwaway: &Throwaway,
    seen: &mut Seen,
    progress: &watch::Sender<Progress>,
) -> Result<(), DrillError> {
    let restoring = restore_order(order, throwaway);
    let restored = match restore::restore(repository, &restoring, progress).await {
        Ok(restored) => restored,
        Err(error) if error.is_of_backup() => {
            seen.add("restore", Err(error.to_string()));
            return Ok(());
        }
        Err(error) => return Err(DrillError::Restore(error)),
    };
    seen.add("restore", Ok(what_was_restored(&restored.backup)));
    let programs = Programs::find(order.programs.as_deref(), restored.major)?;
    settings::put(throwaway, &order.settings)?;
    progress.send_modify(|now| now.step = restore::Step::Starting);
    if !start(&programs, order, throwaway, seen).await? {
        return Ok(());
    }
    seen.add(
        "pg_amcheck",
        checks::amcheck(&programs, throwaway, &order.role).await,
    );
    seen.add("rows", checks::rows(throwaway, &order.role).await);
    for canary in &order.canaries {
        let outcome = checks::canary(throwaway, &order.role, canary).await;
        seen.add(&format!("canary {}", canary.name), outcome);
    }
    progress.send_modify(|now| now.step = restore::Step::Done);
    Ok(())
}

/// Whether the server answers.
async fn start(
    programs: &Programs,
    order: &Order,
    throwaway: &Throwaway,
    seen: &mut Seen,
) -> Result<bool, DrillError> {
    let (data, log) = (throwaway.data(), throwaway.log());
    let started = server::start(programs, &data, throwaway.user(), &log, order.patience).await;
    match started {
        Ok(at) => {
            seen.answered = Some(seen.begun.elapsed());
            let saw = at.map_or_else(
                || "it answers".to_owned(),
                |at| format!("consistent at {at}"),
            );
            seen.add("start", Ok(saw));
            Ok(true)
        }
        Err(error @ ServerError::NotStarted { .. }) => {
            seen.add("start", Err(error.to_string()));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn what_was_restored(backup: &Manifest) -> String {
    backup.elsewhere.as_ref().map_or_else(
        || format!("{} parts, each as the manifest says", backup.parts.len()),
        |set| format!("set {} of pgBackRest, as it was written", set.label),
    )
}

fn restore_order(order: &Order, throwaway: &Throwaway) -> restore::Order {
    restore::Order {
        backup: order.backup.clone(),
        into: throwaway.data(),
        tablespaces: Places::Below(throwaway.tablespaces()),
        owner: throwaway.user(),
        conf: None,
        overwrite: false,
        durable: false,
        start: None,
        pgbackrest: order.pgbackrest.clone(),
    }
}
