//! HAPI FHIR: its own `$reindex` job, started once and followed to its end.
//!
//! HAPI starts a job for every request and cannot be asked for the jobs it has, so a request must not be repeated
//! unless it is certain that the one before started none. What happens where the process dies:
//!
//! - before the intent is written down (`asked`): nothing was sent; who takes the run next begins anew;
//! - between that and the id of the job being written down, the server may have a job or none. With HAPI's database,
//!   who takes the run next finds it there: a job for the same searches that was not there when the intent was
//!   written down. Only when there is none though the request cannot be under way any more, it is sent again. Without the
//!   database the run stops and a person decides: resuming it has the server asked anew;
//! - after that: who takes the run next follows the job.
//!
//! The same holds where a request was sent and no answer came.

use std::pin::pin;
use std::time::Duration;

use chrono::TimeDelta;
use stoker_proto::reindex::v1::{RunSpec, RunState};
use tokio::time::{Instant, sleep_until};

use crate::drive::{Drive, End};
use crate::hold::Hold;
use crate::runs::{HapiJob, RunsError, Seen, Taken};
use crate::server::Trouble;

mod jobs;
mod tries;

pub(crate) use jobs::Jobs;

use jobs::{Job, JobsError, State};
use tries::Tries;

/// HAPI itself looks at its jobs once in several seconds.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Longer than the server can take to act on a request once the client has given it up.
const SETTLED_AFTER: TimeDelta = TimeDelta::seconds(15);

/// Drives a run until its job is over, cannot go on, or is to be given back.
pub(crate) async fn drive(drive: &Drive, hold: Hold, taken: &Taken) -> Result<End, RunsError> {
    let spec = taken.run.spec.clone().unwrap_or_default();
    let jobs = match Jobs::of(&drive.hapi) {
        Ok(jobs) => jobs,
        Err(error) => return Ok(End::Stopped(error.to_string())),
    };
    let settings = &drive.settings;
    let mut following = Following {
        searches: searches(&spec),
        job: taken.job.clone(),
        seen: Seen::default(),
        asking: Tries::new(settings),
        looking: Tries::new(settings),
        drive,
        hold,
    };
    match following.run(jobs.as_ref()).await {
        Ok(end) | Err(Left::For(end)) => Ok(end),
        Err(Left::Runs(error)) => Err(error),
    }
}

/// What the job is to reindex; empty for everything.
fn searches(spec: &RunSpec) -> Vec<String> {
    let types = spec.resource_types.iter().map(|of| format!("{of}?"));
    spec.urls.iter().cloned().chain(types).collect()
}

struct Following<'d> {
    drive: &'d Drive,
    hold: Hold,
    searches: Vec<String>,
    job: HapiJob,
    seen: Seen,
    /// Requests for the job.
    asking: Tries,
    /// Looks into HAPI's database.
    looking: Tries,
}

/// Why nothing more is done.
enum Left {
    For(End),
    Runs(RunsError),
}

impl From<RunsError> for Left {
    fn from(error: RunsError) -> Self {
        Self::Runs(error)
    }
}

impl Following<'_> {
    async fn run(&mut self, jobs: Option<&Jobs>) -> Result<End, Left> {
        if self.job.job_id.is_empty() {
            self.job.job_id = self.obtain(jobs).await?;
            self.job.there_before.clear();
            self.save().await?;
        }
        let id = self.job.job_id.clone();
        let Some(jobs) = jobs else {
            return Ok(End::DoneBut(format!(
                "the server has accepted the job {id}; its progress is not known: with reindex_driver.hapi.database it \
                 would be followed"
            )));
        };
        loop {
            match self.patiently(|| jobs.get(&id)).await? {
                None => {
                    return Ok(End::Stopped(format!(
                        "there is no job {id} in the table of reindex_driver.hapi.database; check that it is this \
                         server's database"
                    )));
                }
                Some(job) => {
                    self.note(&job).await?;
                    if let Some(end) = end(&id, &job) {
                        return Ok(end);
                    }
                }
            }
            self.rest(LOOK_EVERY).await?;
        }
    }

    /// The id of the job that does what the run asks for.
    async fn obtain(&mut self, jobs: Option<&Jobs>) -> Result<String, Left> {
        loop {
            if let Some(asked) = self.job.asked {
                let found = match jobs {
                    Some(jobs) => self.find(jobs).await?,
                    None => {
                        return Err(Left::For(End::Stopped(format!(
                            "the server was asked for its job at {asked:.0}, and whether it has started it is not \
                             known; if it has not, resume the run to have it asked again"
                        ))));
                    }
                };
                if let Some(id) = found {
                    return Ok(id);
                }
            }
            if let Some(jobs) = jobs {
                self.job.there_before = self.patiently(|| jobs.ids()).await?;
            }
            self.job.asked = Some(self.drive.clock.now());
            self.save().await?;
            if let Some(id) = self.ask().await? {
                return Ok(id);
            }
        }
    }

    /// Asks for the job; none where nothing came of it, or where that is not known and `asked` is left as it is.
    async fn ask(&mut self) -> Result<Option<String>, Left> {
        let (server, searches) = (self.drive.server.clone(), self.searches.clone());
        let asking = async move { server.start_job(&searches).await };
        // An answer that nobody waits for would be a job that nobody knows of.
        let trouble = match self.keeping(self.drive.settings.drain, asking).await? {
            Ok(id) => {
                self.asking.succeeded();
                return Ok(Some(id));
            }
            Err(trouble) => trouble,
        };
        if let Trouble::Hopeless { .. } = trouble {
            return Err(Left::For(End::Stopped(trouble.to_string())));
        }
        if trouble.is_refusal() {
            let reason = format!("the server refuses to start its job: {trouble}");
            return Err(Left::For(End::Stopped(reason)));
        }
        if trouble.cannot_have_acted() {
            self.job.asked = None;
            self.save().await?;
        }
        tracing::warn!(
            trouble = trouble.for_log(),
            "the server was asked for its job in vain"
        );
        let pause = self.asking.failed(trouble.pause());
        self.wait_out(trouble.to_string(), pause).await?;
        Ok(None)
    }

    /// The job that an earlier request has started; none when it has started none.
    async fn find(&mut self, jobs: &Jobs) -> Result<Option<String>, Left> {
        let (searches, before) = (self.searches.clone(), self.job.there_before.clone());
        loop {
            let found = self.patiently(|| jobs.new_one(&searches, &before)).await?;
            if found.is_some() || self.is_settled() {
                return Ok(found);
            }
            self.rest(LOOK_EVERY).await?;
        }
    }

    /// A request that was sent is not under way any more.
    fn is_settled(&self) -> bool {
        let longest = TimeDelta::from_std(self.drive.request_timeout).unwrap_or(TimeDelta::MAX);
        let since = |asked| self.drive.clock.now().signed_duration_since(asked);
        let longest = longest.checked_add(&SETTLED_AFTER);
        self.job
            .asked
            .is_none_or(|asked| longest.is_some_and(|longest| since(asked) > longest))
    }

    async fn note(&mut self, job: &Job) -> Result<(), Left> {
        self.seen.per_second = job.per_second.unwrap_or(0.0);
        let noted = HapiJob {
            job_state: job.state.clone(),
            reindexed: job.processed.or(self.job.reindexed),
            ..self.job.clone()
        };
        if noted != self.job {
            let more = noted
                .reindexed
                .unwrap_or(0)
                .saturating_sub(self.job.reindexed.unwrap_or(0));
            let metrics = &self.drive.metrics;
            metrics.reindexed(usize::try_from(more).unwrap_or(usize::MAX));
            self.job = noted;
            self.save().await?;
        }
        Ok(())
    }

    async fn save(&mut self) -> Result<(), Left> {
        self.written().await?;
        self.hold.save_job(self.job.clone());
        self.written().await
    }

    /// Waits for what is being written.
    async fn written(&mut self) -> Result<(), Left> {
        while self.hold.is_writing() {
            self.hold.written().await?;
        }
        Ok(())
    }

    /// Asks HAPI's database, again while it is away.
    async fn patiently<T, F>(&mut self, ask: impl Fn() -> F) -> Result<T, Left>
    where
        F: Future<Output = Result<T, JobsError>>,
    {
        loop {
            match self.keeping(Duration::ZERO, ask()).await? {
                Ok(answer) => {
                    self.looking.succeeded();
                    if !self.asking.are_failing() {
                        self.seen.trouble.clear();
                    }
                    return Ok(answer);
                }
                Err(error) if error.may_pass() => {
                    tracing::warn!(%error, "HAPI's database is away");
                    let pause = self.looking.failed(None);
                    self.wait_out(error.to_string(), pause).await?;
                }
                Err(error) => return Err(Left::For(End::Stopped(error.to_string()))),
            }
        }
    }

    /// Waits before the next try; ends the run's driving when there have been enough.
    async fn wait_out(&mut self, trouble: String, pause: Option<Duration>) -> Result<(), Left> {
        let Some(pause) = pause else {
            return Err(Left::For(End::Stopped(trouble)));
        };
        self.seen.trouble = trouble;
        self.rest(pause).await
    }

    async fn rest(&mut self, pause: Duration) -> Result<(), Left> {
        self.keeping(Duration::ZERO, tokio::time::sleep(pause))
            .await
    }

    /// Does something while the lease is kept; leaves it undone when the run is to be left, after `grace`.
    async fn keeping<T>(
        &mut self,
        grace: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Left> {
        let mut work = pin!(work);
        let mut leave_at = None;
        loop {
            let is_over =
                self.drive.shutdown.is_cancelled() || self.hold.wish() != RunState::Running;
            if is_over && leave_at.is_none() {
                leave_at = Some(Instant::now() + grace);
            }
            if leave_at.is_some_and(|at| Instant::now() >= at) {
                return Err(self.leave().await?);
            }
            if !self.hold.is_writing() && Instant::now() >= self.hold.due() {
                self.hold.renew(self.seen.clone());
            }
            let due = self.hold.due();
            let next = leave_at.map_or(due, |at| at.min(due));
            tokio::select! {
                done = &mut work => return Ok(done),
                written = self.hold.written() => written?,
                () = self.drive.told(leave_at.is_some()) => self.hold.hurry(),
                () = sleep_until(next), if !self.hold.is_writing() => {}
            }
        }
    }

    /// A run that is cancelled is left with a word about the job, which HAPI lets nobody cancel from outside.
    async fn leave(&mut self) -> Result<Left, Left> {
        self.written().await?;
        let id = &self.job.job_id;
        Ok(Left::For(match self.hold.wish() {
            RunState::Cancelled if !id.is_empty() => {
                End::Stopped(format!("the server's own job {id} is not cancelled by it"))
            }
            RunState::Cancelled if self.job.asked.is_some() => End::Stopped(
                "the server may have started its own job, which is not cancelled by it".to_owned(),
            ),
            _ => End::GivenBack,
        }))
    }
}

/// How a job in this state ends the run, if it does.
fn end(id: &str, job: &Job) -> Option<End> {
    let said = job.said();
    match job.is() {
        State::UnderWay => None,
        State::Completed if said.is_empty() && job.errors == 0 => Some(End::Done),
        State::Completed => Some(End::DoneBut(format!(
            "the server's job {id} is completed, with {} errors on its way: {said}",
            job.errors
        ))),
        State::Failed => Some(End::Stopped(format!(
            "the server's job {id} has failed: {said}; resume the run to have another started"
        ))),
        State::Cancelled => Some(End::Stopped(format!(
            "the server's job {id} was cancelled there; resume the run to have another started"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: &str, error: &str) -> Job {
        Job {
            state: state.to_owned(),
            error: Some(error.to_owned()),
            ..Job::default()
        }
    }

    #[test]
    fn types_are_searches_of_all_their_resources() {
        let spec = RunSpec {
            resource_types: vec!["Patient".to_owned()],
            urls: vec!["Account?status=active".to_owned()],
            ..RunSpec::default()
        };
        assert_eq!(searches(&spec), ["Account?status=active", "Patient?"]);
        assert!(searches(&RunSpec::default()).is_empty());
    }

    #[test]
    fn a_job_ends_the_run_as_it_ended() {
        for state in ["QUEUED", "IN_PROGRESS", "FINALIZE", "ERRORED"] {
            assert_eq!(end("7", &job(state, "")), None, "{state}");
        }
        assert_eq!(end("7", &job("COMPLETED", "")), Some(End::Done));
        let with_errors = Job {
            errors: 3,
            ..job("COMPLETED", "odd")
        };
        let Some(End::DoneBut(told)) = end("7", &with_errors) else {
            panic!("{with_errors:?}");
        };
        assert!(told.contains("3 errors") && told.contains("odd"), "{told}");
        for (state, words) in [("FAILED", "has failed: no"), ("CANCELLED", "was cancelled")] {
            let Some(End::Stopped(told)) = end("7", &job(state, "no")) else {
                panic!("{state}");
            };
            assert!(told.contains(words), "{told}");
        }
    }
}
