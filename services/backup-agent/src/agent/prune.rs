//! Retiring backups: decided by [`retention`], done one at a time, and not at all where something is unclear.
//!
//! Died before a backup's manifest goes: it is as it was. After: it is none, and the next run takes away the rest.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::backup::job;
use super::error::JobError;
use super::look;
use super::running::Running;
use super::source::Source;
use super::{Agent, AgentError};
use crate::catalog::{RunState, Task, Wish};
use crate::manifest::Manifest;
use crate::repository::RepositoryError;
use crate::retention::{self, Held, Plan, Rules};

/// Runs that are looked through for what is unclear.
const RUNS: u32 = 1000;

/// What became of the backups of a source in a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The source.
    pub source: String,
    /// The repository.
    pub place: String,
    /// What was decided; none where nothing may go.
    pub plan: Option<Plan>,
    /// All of them, as they were found.
    pub manifests: Vec<Manifest>,
    /// Those that were deleted, in order.
    pub deleted: Vec<String>,
    /// Why nothing goes, or why it stopped before its end; empty when all is well.
    pub refused: String,
}

impl Agent {
    /// Decides over the backups of a source, or of all, and deletes those that go where it is told to.
    pub async fn prune(&self, source: &str, apply: bool) -> Result<Vec<Pruned>, AgentError> {
        let mut done = Vec::new();
        for (source, place) in self.kept_at(source).await? {
            done.push(if apply {
                self.prune_run(&source, &place).await?
            } else {
                self.decide(&source, &place).await?
            });
        }
        Ok(done)
    }

    /// After a backup; answers what a person should know.
    pub(super) async fn prune_after(&self, source: &Source) -> Option<String> {
        let pruned = self
            .prune_run(&source.name, &source.repository.place())
            .await;
        let why = match pruned {
            Ok(pruned) if pruned.refused.is_empty() => return None,
            Ok(pruned) => pruned.refused,
            Err(error) => error.to_string(),
        };
        Some(format!("not pruned: {why}"))
    }

    /// Sources and the repositories that they have backups in, or would have.
    async fn kept_at(&self, source: &str) -> Result<BTreeSet<(String, String)>, AgentError> {
        let kept = self.backups(source).await?.into_iter();
        let mut all: BTreeSet<_> = kept
            .map(|kept| (kept.manifest.source, kept.place))
            .collect();
        if all.is_empty() && !source.is_empty() {
            let known = self.source(source)?;
            all.insert((known.name.clone(), known.repository.place()));
        }
        Ok(all)
    }

    /// Does it as a run of its own, which goes on when nobody waits for it.
    async fn prune_run(&self, source: &str, place: &str) -> Result<Pruned, AgentError> {
        let wish = Wish {
            source: source.to_owned(),
            task: Task::Prune,
            due: None,
            last: None,
            place: place.to_owned(),
            backup: String::new(),
        };
        let (told, hear) = oneshot::channel();
        let started = self.begin(&wish, None, |_| {
            job(async move |agent: Agent, running: Arc<Running>| {
                let pruned = agent.delete_those_that_go(&running).await?;
                let refused = Some(pruned.refused.clone()).filter(|why| !why.is_empty());
                // Nobody may wait for it.
                let _ = told.send(pruned);
                refused.map_or(Ok(None), |why| Err(JobError::Failed(why)))
            })
        });
        let started = started.await?;
        if let Ok(pruned) = hear.await {
            return Ok(pruned);
        }
        let ended = started.ended.await;
        let why = ended.map_or_else(
            |_| "another agent has its work".to_owned(),
            |run| run.reason,
        );
        Ok(Pruned {
            source: source.to_owned(),
            place: place.to_owned(),
            refused: why,
            ..Pruned::default()
        })
    }

    /// What is to become of each, as the repository says.
    async fn decide(&self, source: &str, place: &str) -> Result<Pruned, AgentError> {
        let repository = self.repository(place)?;
        let mut found = look::found(&*repository).await?;
        found.manifests.retain(|manifest| manifest.source == source);
        let mut pruned = Pruned {
            source: source.to_owned(),
            place: place.to_owned(),
            manifests: found.manifests,
            ..Pruned::default()
        };
        if !found.unusable.is_empty() {
            let each = found.unusable.iter().map(|unusable| &*unusable.reason);
            pruned.refused = format!(
                "what such a backup needs is not known, so nothing is deleted before that: {}",
                each.collect::<Vec<_>>().join("; ")
            );
        } else if let Some(why) = self.unclear(&pruned).await? {
            pruned.refused = why;
        } else {
            let held: Vec<Held> = pruned.manifests.iter().map(Held::from).collect();
            match retention::plan(self.rules(source), &held, self.clock.now()) {
                Ok(plan) => pruned.plan = Some(plan),
                Err(implausible) => pruned.refused = implausible.to_string(),
            }
        }
        Ok(pruned)
    }

    /// Why it is not certain which backups of a source there are.
    async fn unclear(&self, pruned: &Pruned) -> Result<Option<String>, AgentError> {
        self.sweep().await?;
        let runs = self.catalog.runs(&pruned.source, RUNS).await?;
        let is_there = |name: &str| pruned.manifests.iter().any(|m| m.name == name);
        let under_way = runs.iter().find(|run| {
            run.state == RunState::Running
                && !run.is_waiting()
                && matches!(run.task, Task::Backup | Task::Import)
                && run.place == pruned.place
                && !is_there(&run.backup)
        });
        Ok(under_way.map(|run| {
            format!(
                "run {} writes {}, so nothing is deleted before it is over",
                run.run_id, run.backup
            )
        }))
    }

    async fn delete_those_that_go(&self, running: &Running) -> Result<Pruned, JobError> {
        let (source, place) = (&running.run.source, &running.run.place);
        running.phase("deciding");
        let mut pruned = self.decide(source, place).await?;
        let going = pruned
            .plan
            .as_ref()
            .map_or(Vec::new(), |plan| plan.deletions.clone());
        for name in going {
            running.phase(&format!("deleting {name}"));
            if let Some(why) = self.delete(&name, &pruned, running).await? {
                pruned.refused = why;
                break;
            }
            pruned.deleted.push(name);
        }
        if !pruned.deleted.is_empty() {
            running.phase("taking away what is kept elsewhere");
            self.tidy(&*self.repository(place)?).await;
        }
        Ok(pruned)
    }

    /// Deletes a backup, unless something has changed since that was decided; answers what.
    async fn delete(
        &self,
        name: &str,
        pruned: &Pruned,
        running: &Running,
    ) -> Result<Option<String>, JobError> {
        let place = &pruned.place;
        let repository = self.repository(place)?;
        running.is_still_mine().await?;
        if self
            .catalog
            .under_way(place)
            .await?
            .iter()
            .any(|busy| busy == name)
        {
            return Ok(Some(format!(
                "{name} is in use by another run; prune again when that is over"
            )));
        }
        let decided = pruned
            .manifests
            .iter()
            .find(|manifest| manifest.name == name);
        match repository.manifest(name).await {
            Ok(now) if Some(&now) == decided => repository.delete(name).await?,
            Ok(_) => {
                return Ok(Some(format!(
                    "something new is known of {name}; prune again"
                )));
            }
            // Somebody was faster.
            Err(RepositoryError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.catalog.forget(place, name).await?;
        self.metrics.pruned(&pruned.source, 1);
        tracing::info!(place, backup = name, "deleted");
        Ok(None)
    }

    fn rules(&self, source: &str) -> &Rules {
        let source = self.sources.get(source);
        source.map_or(&self.config.backup.keep, |source| &source.settings.keep)
    }
}
