//! Runs over a backup that is there: reading it back, restoring it for proof, restoring it.

use std::sync::Arc;
use std::time::Duration;

use super::backup::{Due, job, not_too_often};
use super::error::JobError;
use super::running::Running;
use super::runs::Started;
use super::source::Source;
use super::{Agent, AgentError, BackupName};
use crate::catalog::{Kept, Task, Wish};
use crate::manifest::{Manifest, Proof, Verified};
use crate::repository::Repository;
use crate::restore::Order;

impl Agent {
    /// Begins to read a backup back: all of it, or so many percent as samples.
    pub async fn start_verify(
        &self,
        wanted: &BackupName,
        sample_percent: Option<u32>,
    ) -> Result<Started, AgentError> {
        let kept = self.backup(wanted).await?;
        self.store_of(&kept.manifest)?;
        let repository = self.repository(&kept.place)?;
        let wish = wish(&kept, Task::Verify, None);
        self.begin(&wish, self.deadline(&kept), |_| {
            job(async move |agent: Agent, running: Arc<Running>| {
                let (repository, backup) = (&*repository, &kept.manifest);
                let verified = agent.verify(repository, backup, sample_percent, &running);
                verified.await.map(|()| None)
            })
        })
        .await
    }

    /// Begins to restore a backup for proof.
    pub async fn start_drill(&self, wanted: &BackupName) -> Result<Started, AgentError> {
        let kept = self.backup(wanted).await?;
        self.begin_drill(kept, None).await
    }

    /// Begins the drill that is due of a source: of its newest backup.
    pub(super) async fn begin_due_drill(
        &self,
        source: &Source,
        due: Due,
    ) -> Result<Started, AgentError> {
        let mut known = self.backups(&source.name).await?;
        if !known.is_empty() {
            return self
                .begin_drill(known.swap_remove(0), Some((due, source)))
                .await;
        }
        let wish = Wish {
            source: source.name.clone(),
            task: Task::Drill,
            due: Some(due.at),
            last: Some(due.last),
            place: source.repository.place(),
            backup: String::new(),
        };
        self.begin(&wish, None, |_| {
            job(async |_, _| {
                let why = "there is no backup that could be restored for proof; have one made";
                Err(JobError::Failed(why.to_owned()))
            })
        })
        .await
    }

    async fn begin_drill(
        &self,
        kept: Kept,
        due: Option<(Due, &Source)>,
    ) -> Result<Started, AgentError> {
        self.store_of(&kept.manifest)?;
        let repository = self.repository(&kept.place)?;
        let attempts = due.map_or(u32::MAX, |(_, source)| source.settings.attempts);
        let wish = wish(&kept, Task::Drill, due.map(|(due, _)| due));
        self.begin(&wish, self.deadline(&kept), |lost_before| {
            job(async move |agent: Agent, running: Arc<Running>| {
                not_too_often(lost_before, attempts)?;
                let proven = agent.prove(&*repository, &kept.manifest, &running);
                proven.await.map(|()| None)
            })
        })
        .await
    }

    /// Begins to restore a backup. `order.backup` is of no account.
    pub async fn start_restore(
        &self,
        wanted: &BackupName,
        order: Order,
    ) -> Result<Started, AgentError> {
        let kept = self.backup(wanted).await?;
        let store = self.store_of(&kept.manifest)?;
        let repository = self.repository(&kept.place)?;
        let wish = wish(&kept, Task::Restore, None);
        let order = Order {
            backup: kept.manifest.name,
            ..order
        };
        self.begin(&wish, None, |_| {
            job(async move |_, running: Arc<Running>| {
                let restoring = store.restore(&*repository, &order, running.seen());
                running.unless_stopped(restoring).await.map(Some)
            })
        })
        .await
    }

    /// Reads a backup back, and notes in its manifest what was found.
    pub(super) async fn verify(
        &self,
        repository: &dyn Repository,
        backup: &Manifest,
        sample_percent: Option<u32>,
        running: &Running,
    ) -> Result<(), JobError> {
        running.phase("reading back");
        let store = self.store_of(backup)?;
        let reading = store.verify(repository, backup, sample_percent, running.seen());
        let problem = match running.unless_stopped(reading).await {
            Ok(()) => String::new(),
            Err(JobError::Bad(problem)) => problem,
            Err(other) => return Err(other),
        };
        let verified = Verified {
            at: self.clock.now(),
            full: sample_percent.is_none(),
            good: problem.is_empty(),
            problem: problem.clone(),
        };
        let note = |manifest: &mut Manifest| {
            // Samples that show nothing say less than what was learnt from all of it.
            let learnt = manifest.verified.as_ref().is_some_and(|known| known.full);
            if verified.full || !verified.good || !learnt {
                manifest.verified = Some(verified.clone());
            }
        };
        let amended = repository.amend(&backup.name, &note).await?;
        self.note(repository, &amended).await;
        if problem.is_empty() {
            return Ok(());
        }
        Err(JobError::Bad(format!("{} is bad: {problem}", backup.name)))
    }

    /// Restores a backup for proof, and notes the proof in its manifest. A good one has read all of it.
    pub(super) async fn prove(
        &self,
        repository: &dyn Repository,
        backup: &Manifest,
        running: &Running,
    ) -> Result<(), JobError> {
        running.phase("restoring for proof");
        let store = self.store_of(backup)?;
        let drilling = store.drill(repository, &backup.name, running.seen());
        let proof = running.unless_stopped(drilling).await?;
        let note = |manifest: &mut Manifest| {
            manifest.proof = Some(proof.clone());
            if proof.good {
                manifest.verified = Some(Verified {
                    at: proof.at,
                    full: true,
                    good: true,
                    problem: String::new(),
                });
            }
        };
        let amended = repository.amend(&backup.name, &note).await?;
        self.note(repository, &amended).await;
        if proof.good {
            return Ok(());
        }
        Err(JobError::Bad(format!(
            "{} is not proven: {}",
            backup.name,
            problems(&proof)
        )))
    }

    /// How long work on a backup may take.
    fn deadline(&self, kept: &Kept) -> Option<Duration> {
        let source = self.sources.get(&kept.manifest.source);
        source.map(|source| source.settings.deadline)
    }
}

fn problems(proof: &Proof) -> String {
    let bad = proof.checks.iter().filter(|check| !check.good);
    let bad: Vec<String> = bad
        .map(|check| format!("{}: {}", check.name, check.saw))
        .collect();
    bad.join("; ")
}

fn wish(kept: &Kept, task: Task, due: Option<Due>) -> Wish {
    Wish {
        source: kept.manifest.source.clone(),
        task,
        due: due.map(|due| due.at),
        last: due.map(|due| due.last),
        place: kept.place.clone(),
        backup: kept.manifest.name.clone(),
    }
}
