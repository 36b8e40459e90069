//! The schedules: what is due is begun, once.

use std::convert::Infallible;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::backup::Due;
use super::source::Source;
use super::{Agent, AgentError};
use crate::catalog::Task;
use crate::drill;
use crate::schedule::{Next, Timing};

/// The clock is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The catalog is asked at least this often what was due last: another agent may have moved it.
const ASK_EVERY: TimeDelta = TimeDelta::minutes(1);

/// What was left is taken away, and the repositories are read anew, this often.
const LOOK_AGAIN: Duration = Duration::from_mins(10);

/// Repositories that take longer to be read are not waited for.
const FIRST_LOOK: Duration = Duration::from_mins(1);

/// What cannot be begun is tried again after so long.
const AGAIN: TimeDelta = TimeDelta::seconds(15);

impl Agent {
    /// Begins what is due, until `shutdown`; then the runs of this process are drained.
    pub async fn work(&self, shutdown: CancellationToken) {
        let schedules = self.sources.values().flat_map(|source| {
            let tasks = [Task::Backup, Task::Drill].into_iter();
            tasks.filter_map(move |task| Some((source, task, source.timing(task)?)))
        });
        let schedules =
            schedules.map(|(source, task, timing)| self.keep_time(source, task, timing));
        // A repository that is away holds up nobody but those who need it.
        let all = async { tokio::join!(self.keep_tidy(), self.keep_watch(), join_all(schedules)) };
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = all => {}
        }
        self.drain().await;
    }

    /// Has the runs of this process end, and waits until they have: what is not committed is taken away, and what was
    /// due is given back.
    pub async fn drain(&self) {
        self.hands.drain().await;
    }

    /// Finds runs lost that nobody has any more.
    pub async fn sweep(&self) -> Result<(), AgentError> {
        for run in self.catalog.sweep().await? {
            self.told(&run);
        }
        Ok(())
    }

    /// Finds what processes left that have ended, and reads the repositories anew, now and then.
    async fn keep_tidy(&self) -> Infallible {
        loop {
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "runs that were lost are looked for again later");
            }
            for (place, repository) in &*self.repositories {
                if let Err(error) = self.clean(&**repository, "").await {
                    tracing::warn!(%error, place, "what was begun and left is taken away later");
                }
            }
            self.clean_scratch().await;
            // What fails is told there.
            let _ = self.look().await;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Takes away throwaway servers of processes that have ended.
    async fn clean_scratch(&self) {
        let scratch = self.config.drill.scratch.clone();
        let cleaned = tokio::task::spawn_blocking(move || drill::clean(&scratch)).await;
        match cleaned {
            Ok(Ok(folders)) => {
                for folder in folders {
                    tracing::info!(folder = %folder.display(), "taken away: a throwaway server");
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "a throwaway server is taken away later"),
            Err(error) => tracing::warn!(%error, "a throwaway server is taken away later"),
        }
    }

    async fn keep_watch(&self) -> Infallible {
        // A catalog that is new knows of no backup before that, and would have nobody believe that there are any.
        let _ = tokio::time::timeout(FIRST_LOOK, self.look_once()).await;
        self.watch.work().await
    }

    async fn keep_time(&self, source: &Source, task: Task, timing: Timing) -> Infallible {
        let mut ask = DateTime::<Utc>::MIN_UTC;
        loop {
            let now = self.clock.now();
            // A clock that was set back keeps nothing from being asked.
            if ask <= now || ask > now + ASK_EVERY {
                let until = self.begin_if_due(source, task, &timing).await;
                let until = until.unwrap_or_else(|error| {
                    tracing::warn!(%error, source = source.name, "what is due is not begun yet");
                    now + AGAIN
                });
                ask = until.min(now + ASK_EVERY);
            }
            tokio::select! {
                () = self.wake.notified() => ask = now,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Begins a run that is due; answers when to ask again.
    async fn begin_if_due(
        &self,
        source: &Source,
        task: Task,
        timing: &Timing,
    ) -> Result<DateTime<Utc>, AgentError> {
        let last = self.catalog.last_due(&source.name, task).await?;
        let now = self.clock.now();
        let due = match timing.next(&source.name, last, now) {
            Next::Start { due } => Due { at: due, last },
            Next::Wait { until } => return Ok(until),
            Next::Never => return Ok(DateTime::<Utc>::MAX_UTC),
        };
        let begun = match task {
            Task::Drill => self.begin_due_drill(source, due).await,
            _ => self.begin_backup(source, Some(due)).await,
        };
        match begun {
            // Its end wakes this loop; that of another agent's run is seen a little later.
            Ok(_) | Err(AgentError::Busy(_) | AgentError::Over) => Ok(now + AGAIN),
            Err(error) => Err(error),
        }
    }
}
