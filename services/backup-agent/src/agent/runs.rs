//! How a run begins, is held, and ends.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use stoker_proto::events::v1::BackupChanged;
use stoker_proto::events::v1::event::Kind;
use stoker_shared::process;
use tokio::sync::oneshot;

use super::error::{JobError, task_name};
use super::running::{Running, Why};
use super::{Agent, AgentError};
use crate::catalog::{Begun, CatalogError, Ended, Run, RunState, Seen, Wish, not_all_was_done};
use crate::control::spelled;

/// What a run does; answers what a person should know of it.
pub(super) type Job = Box<
    dyn FnOnce(Agent, Arc<Running>) -> BoxFuture<'static, Result<Option<String>, JobError>> + Send,
>;

/// A run that was begun.
#[derive(Debug)]
pub struct Started {
    /// As it was begun.
    pub run: Run,
    /// How it ended; gone where it was lost.
    pub ended: oneshot::Receiver<Run>,
}

impl Agent {
    /// Begins a run in the catalog, and its work beside. `deadline` is how long it may take.
    pub(super) async fn begin(
        &self,
        wish: &Wish,
        deadline: Option<Duration>,
        job: impl FnOnce(u32) -> Job + Send,
    ) -> Result<Started, AgentError> {
        if self.hands.is_stopping() {
            return Err(AgentError::Stopping);
        }
        let begun = self.catalog.begin(wish, &process::own()).await?;
        let (lease, run, is_committed, lost_before) = match begun {
            Begun::Yours {
                lease,
                run,
                is_committed,
                lost_before,
            } => (lease, *run, is_committed, lost_before),
            Begun::Busy(run) => return Err(AgentError::Busy(run)),
            Begun::Over => return Err(AgentError::Over),
            Begun::NameTaken => {
                return Err(AgentError::Asked(format!(
                    "a backup {} is being written to {}; try again",
                    wish.backup, wish.place
                )));
            }
        };
        let length = self.config.catalog.lease;
        let running = Running::new(run.clone(), lease, length, Arc::clone(&self.catalog));
        let running = Arc::new(running);
        if is_committed {
            running.has_committed();
        }
        self.hands.take(&running);
        let (over, ended) = oneshot::channel();
        let (agent, job) = (self.clone(), job(lost_before));
        self.hands.tasks.spawn(async move {
            let run = agent.see_through(running, deadline, job).await;
            if let Some(run) = run {
                // Nobody may wait for it.
                let _ = over.send(run);
            }
        });
        Ok(Started { run, ended })
    }

    /// Does the work under the lease, and writes down what came of it; none where the run was lost.
    async fn see_through(
        &self,
        running: Arc<Running>,
        deadline: Option<Duration>,
        job: Job,
    ) -> Option<Run> {
        self.told(&running.run);
        // A task of its own, so that a panic ends no more than it.
        let mut work = tokio::spawn(job(self.clone(), Arc::clone(&running)));
        let overdue = async {
            match deadline {
                Some(deadline) => tokio::time::sleep(deadline).await,
                None => std::future::pending().await,
            }
            running.stop(Why::Overdue);
            std::future::pending::<()>().await;
        };
        let keeping = async {
            running.keep().await;
            std::future::pending::<()>().await;
        };
        let done = tokio::select! {
            done = &mut work => done,
            () = overdue => return None,
            () = keeping => return None,
        };
        let done = done.unwrap_or_else(|panicked| {
            Err(JobError::Failed(format!("a fault in Stoker: {panicked}")))
        });
        let run = self.finished(&running, done, deadline).await;
        self.hands.leave(running.run.run_id);
        running.is_over();
        self.wake.notify_waiters();
        run
    }

    async fn finished(
        &self,
        running: &Running,
        done: Result<Option<String>, JobError>,
        deadline: Option<Duration>,
    ) -> Option<Run> {
        let ended = ended(running, done, deadline)?;
        match running.finish(&ended).await {
            Ok(()) => {}
            Err(CatalogError::LeaseLost(_)) => {
                tracing::warn!(run_id = running.run.run_id, "another agent has its work");
                return None;
            }
            Err(error) => {
                tracing::error!(%error, run_id = running.run.run_id, "the run's end is not written down");
                return None;
            }
        }
        let run = over(running, &ended, self.clock.now());
        self.told(&run);
        Some(run)
    }

    /// Runs of a source, or of all, the newest first.
    pub async fn runs(&self, source: &str, limit: u32) -> Result<Vec<Run>, AgentError> {
        Ok(self.catalog.runs(source, limit).await?)
    }

    /// A run by its number.
    pub async fn run(&self, run_id: i64) -> Result<Run, AgentError> {
        let run = self.catalog.run(run_id).await?;
        run.ok_or(AgentError::NoRun(run_id))
    }

    /// Has a run of this process end, and waits until it has.
    pub async fn cancel(&self, run_id: i64) -> Result<Run, AgentError> {
        let not_here = |why: String| AgentError::NotHere { run_id, why };
        let Some(running) = self.hands.get(run_id) else {
            let run = self.run(run_id).await?;
            return Err(not_here(match run.state {
                _ if run.is_waiting() => {
                    "waits for an agent to go on with it; cancel it once one does".to_owned()
                }
                RunState::Running => format!("is of {}; ask that agent to cancel it", run.agent),
                _ => "is over already".to_owned(),
            }));
        };
        running.stop(Why::Cancelled);
        running.over().await;
        self.run(run_id).await
    }

    /// A run has begun or is over.
    pub(super) fn told(&self, run: &Run) {
        let state = spelled(run.state).as_str_name();
        let (source, task) = (run.source.as_str(), task_name(run.task));
        let (run_id, backup, reason) = (run.run_id, &run.backup, &run.reason);
        match run.state {
            RunState::Failed | RunState::Lost => {
                tracing::error!(run_id, source, task, backup, "failed: {reason}");
            }
            _ => tracing::info!(run_id, source, task, backup, state, "{reason}"),
        }
        let changed = BackupChanged {
            run_id,
            source: run.source.clone(),
            task: crate::control::spelled_task(run.task)
                .as_str_name()
                .to_owned(),
            state: state.to_owned(),
            backup: backup.clone(),
            bytes: run.bytes,
        };
        let key = format!("backup/{source}");
        self.events.announce(&key, Kind::BackupChanged(changed));
        self.metrics.run_ended(run);
        self.watch.nudge();
    }
}

/// How it is written down; not at all where it is another's by now.
fn ended(
    running: &Running,
    done: Result<Option<String>, JobError>,
    deadline: Option<Duration>,
) -> Option<Ended> {
    Some(match (done, running.why()) {
        (_, Some(Why::LeaseLost)) => {
            let run_id = running.run.run_id;
            tracing::warn!(
                run_id,
                "the run was taken for lost; another agent does its work"
            );
            return None;
        }
        (Ok(None), _) => Ended::Done,
        (Ok(Some(note)), _) => Ended::Noted(note),
        (Err(JobError::Bad(what)), _) => Ended::FoundBad(what),
        (Err(JobError::Failed(why)), _) => Ended::Failed(why),
        (Err(JobError::Stopped), why) => stopped(running, why, deadline),
    })
}

/// What was due is over once its backup is there: it is not made twice.
fn stopped(running: &Running, why: Option<Why>, deadline: Option<Duration>) -> Ended {
    let is_committed = running.is_committed();
    let why = match why {
        Some(Why::Cancelled) => "it was cancelled".to_owned(),
        Some(Why::Overdue) => format!(
            "it was given up, since it took longer than its deadline of {}",
            humantime::format_duration(deadline.unwrap_or_default())
        ),
        _ if running.run.due.is_some() => {
            let why = "its agent was stopped; what was due is done by the next one".to_owned();
            return Ended::GivenBack { why, is_committed };
        }
        _ if is_committed => "its agent was stopped".to_owned(),
        _ => "its agent was stopped before its end; begin it again".to_owned(),
    };
    if is_committed {
        Ended::Failed(not_all_was_done(&why, &running.run.backup))
    } else {
        Ended::Failed(why)
    }
}

fn over(running: &Running, ended: &Ended, now: DateTime<Utc>) -> Run {
    let Seen {
        phase,
        bytes,
        total_bytes,
    } = running.seen().borrow().clone();
    let (state, reason) = match ended {
        Ended::Done => (RunState::Done, ""),
        Ended::Noted(note) => (RunState::Done, note.as_str()),
        Ended::Failed(why) | Ended::FoundBad(why) => (RunState::Failed, why.as_str()),
        Ended::GivenBack { why, .. } => {
            return Run {
                agent: String::new(),
                reason: why.clone(),
                ..running.run.clone()
            };
        }
    };
    Run {
        state,
        reason: reason.to_owned(),
        found_bad: matches!(ended, Ended::FoundBad(_)),
        ended: Some(now),
        phase,
        bytes,
        total_bytes,
        ..running.run.clone()
    }
}
