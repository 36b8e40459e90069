//! A backup: captured, committed, verified, proven; see the [module around](super).

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt as _;

use super::error::JobError;
use super::running::Running;
use super::runs::{Job, Started};
use super::source::Source;
use super::{Agent, AgentError};
use crate::catalog::{Task, Wish};
use crate::manifest::{Manifest, VERSION};
use crate::repository::{Draft, Repository};
use crate::store::Captured;

/// Seconds that a backup's name may be ahead, so that it is free.
const AHEAD: i64 = 600;

/// When a scheduled run was wanted, and what was due before when that was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: DateTime<Utc>,
    pub(super) last: DateTime<Utc>,
}

impl Agent {
    /// Begins a backup of a source.
    pub async fn start_backup(&self, source: &str) -> Result<Started, AgentError> {
        let source = self.source(source)?.clone();
        self.begin_backup(&source, None).await
    }

    /// The source of a name; where there is one only, it need not be named.
    pub(super) fn source(&self, name: &str) -> Result<&Source, AgentError> {
        let found = match name {
            "" if self.sources.len() == 1 => self.sources.values().next(),
            name => self.sources.get(name),
        };
        found.ok_or_else(|| {
            let known: Vec<&str> = self.sources.keys().map(String::as_str).collect();
            AgentError::NoSource {
                name: name.to_owned(),
                known: if known.is_empty() {
                    "the configuration has none (backup_agent.sources)".to_owned()
                } else {
                    format!("there are: {}", known.join(", "))
                },
            }
        })
    }

    pub(super) async fn begin_backup(
        &self,
        source: &Source,
        due: Option<Due>,
    ) -> Result<Started, AgentError> {
        let place = source.repository.place();
        let mut taken = source.repository.names().await?;
        taken.extend(self.catalog.under_way(&place).await?);
        let now = self.clock.now();
        let names = (0..AHEAD).map(|ahead| source.folder.at(now + TimeDelta::seconds(ahead)));
        let free = names.into_iter().find(|name| !taken.contains(name));
        let wish = Wish {
            source: source.name.clone(),
            task: Task::Backup,
            due: due.map(|due| due.at),
            last: due.map(|due| due.last),
            place,
            backup: free.unwrap_or_else(|| source.folder.at(now)),
        };
        let deadline = Some(source.settings.deadline);
        let attempts = source.settings.attempts;
        self.begin(&wish, deadline, |lost_before| {
            let source = source.clone();
            job(async move |agent, running| {
                not_too_often(lost_before, attempts)?;
                agent.back_up(&source, &running).await
            })
        })
        .await
    }

    async fn back_up(
        &self,
        source: &Source,
        running: &Running,
    ) -> Result<Option<String>, JobError> {
        let repository = &*source.repository;
        let manifest = if running.is_committed() {
            repository.manifest(&running.run.backup).await?
        } else {
            self.make_or_clean(source, running).await?
        };
        running.has_committed();
        self.note(repository, &manifest).await;
        if source.settings.verify && manifest.verified.is_none() {
            let verified = self.verify(repository, &manifest, None, running).await;
            verified.map_err(|e| of_committed(&manifest, "verified", e))?;
        }
        if source.settings.drill && manifest.proof.is_none() {
            let proven = self.prove(repository, &manifest, running).await;
            proven.map_err(|e| of_committed(&manifest, "proven", e))?;
        }
        let mut note = None;
        if source.settings.prune {
            running.phase("pruning");
            note = self.prune_after(source).await;
        }
        running.seen().send_replace(crate::catalog::Seen {
            phase: "done".to_owned(),
            bytes: manifest.stored_bytes(),
            total_bytes: Some(manifest.stored_bytes()),
        });
        Ok(note)
    }

    /// Takes away what is left of drafts that are over, also of a run that writes nothing now.
    pub(super) async fn clean(
        &self,
        repository: &dyn Repository,
        idle: &str,
    ) -> Result<(), AgentError> {
        let mut under_way = self.catalog.under_way(&repository.place()).await?;
        under_way.retain(|name| name != idle);
        for what in repository.clean(&under_way).await? {
            tracing::info!(place = repository.place(), "taken away: {what}");
        }
        self.tidy(repository).await;
        Ok(())
    }

    /// Where it comes to nothing, nothing of it is left.
    async fn make_or_clean(
        &self,
        source: &Source,
        running: &Running,
    ) -> Result<Manifest, JobError> {
        let repository = &*source.repository;
        running.phase("cleaning up");
        self.clean(repository, &running.run.backup).await?;
        let made = self.make(source, running).await;
        if made.is_err() {
            // The error that led here is the one to be told.
            if let Err(error) = self.clean(repository, &running.run.backup).await {
                tracing::warn!(%error,
                    "what was begun is not all taken away; the next run does it"
                );
            }
        }
        made
    }

    /// From the draft to the commit.
    async fn make(&self, source: &Source, running: &Running) -> Result<Manifest, JobError> {
        let name = &running.run.backup;
        let draft = source.repository.begin(name).await?;
        let written = self.write(source, &*draft, running).await;
        let manifest = match written {
            Ok(manifest) => manifest,
            Err(error) => {
                abandon(draft).await;
                return Err(error);
            }
        };
        running.phase("committing");
        // From here on it is seen to its end: in the repository it happens or does not.
        draft.commit(&manifest).await?;
        Ok(manifest)
    }

    /// All parts, and what the manifest says of them; the run is this agent's when this ends well.
    async fn write(
        &self,
        source: &Source,
        draft: &dyn Draft,
        running: &Running,
    ) -> Result<Manifest, JobError> {
        let started = self.clock.now();
        let address = format!("{}/{}", source.repository.place(), running.run.backup);
        let capturing = source.store.capture(&address, draft, running.seen());
        let captured = running.unless_stopped(capturing).await?;
        if captured.is_empty() {
            return Err(JobError::Failed(
                "the backup is empty, so it is not kept; look at what the source holds".to_owned(),
            ));
        }
        running.is_still_mine().await?;
        Ok(self.manifest(source, &running.run.backup, started, captured))
    }

    fn manifest(
        &self,
        source: &Source,
        name: &str,
        started: DateTime<Utc>,
        captured: Captured,
    ) -> Manifest {
        Manifest {
            manifest_version: VERSION,
            name: name.to_owned(),
            store: source.store.kind(),
            source: source.name.clone(),
            engine: source.store.engine().to_owned(),
            started,
            ended: self.clock.now(),
            parts: captured.parts,
            about: captured.about,
            elsewhere: captured.elsewhere,
            parent: None,
            verified: None,
            proof: None,
        }
    }

    /// Notes a backup in the catalog; where that cannot be, the next look at the repository does.
    pub(super) async fn note(&self, repository: &dyn Repository, manifest: &Manifest) {
        if let Err(error) = self.catalog.note(&repository.place(), manifest).await {
            tracing::warn!(%error, backup = manifest.name, "not noted in the catalog yet");
        }
    }
}

/// A run whose agents keep dying is not begun again and again.
pub(super) fn not_too_often(lost_before: u32, attempts: u32) -> Result<(), JobError> {
    if lost_before < attempts {
        return Ok(());
    }
    Err(JobError::Failed(format!(
        "{lost_before} agents that had it gave no sign any more, so it is not tried again before it is due again; see \
         why they ended: memory, disk, the system's log"
    )))
}

/// Work as a run takes it.
pub(super) fn job<F>(work: impl FnOnce(Agent, Arc<Running>) -> F + Send + 'static) -> Job
where
    F: Future<Output = Result<Option<String>, JobError>> + Send + 'static,
{
    Box::new(move |agent, running| work(agent, running).boxed())
}

async fn abandon(draft: Box<dyn Draft>) {
    if let Err(error) = draft.abandon().await {
        tracing::warn!(%error, "a draft is not all taken away; the next run does it");
    }
}

/// An error after the commit says that the backup is there.
fn of_committed(manifest: &Manifest, what: &str, error: JobError) -> JobError {
    match error {
        JobError::Failed(why) => JobError::Failed(format!(
            "the backup {} is there, but could not be {what}: {why}",
            manifest.name
        )),
        other => other,
    }
}
