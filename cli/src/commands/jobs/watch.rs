//! Jobs as they go: one until it is over, or all of a scanner.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use stoker_proto::ledger::v1::{Job, JobState, ListJobsRequest, WatchJobRequest};
use stoker_shared::clock::{Clock as _, SystemClock};
use stoker_shared::grpc;
use tonic::Status;

use super::show::{Sums, to_json};
use super::{Client, sentence};
use crate::output::Output;
use crate::report::state_name;

/// Between two attempts to reach a scanner that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// Asking for all jobs takes at most this part of the time.
const COUNTING_SHARE: u32 = 20;

/// How a stream of changes ended.
enum Seen {
    /// The job is over.
    End(Box<Job>),
    /// Nobody reads what is written.
    Unread,
    /// Before the job was over.
    Broken(Status),
}

/// Writes a line at each change; answers the exit code that says how the job ended.
pub(super) async fn watch(
    mut client: Client,
    job_id: i64,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let mut last = None;
    let mut is_away = false;
    loop {
        match follow(&mut client, job_id, &mut last, output).await? {
            Seen::End(job) => return Ok(code(&job)),
            Seen::Unread => return Ok(ExitCode::SUCCESS),
            // Once it was there it may come back: it stops for an update, or another takes its place.
            Seen::Broken(status) if last.is_some() && grpc::is_gone(&status) => {
                if !is_away {
                    output.say("the bucket-scanner is away; the job is followed once it is back");
                }
                is_away = true;
                tokio::time::sleep(PAUSE).await;
            }
            Seen::Broken(status) => return Err(sentence(status)),
        }
    }
}

async fn follow(
    client: &mut Client,
    job_id: i64,
    last: &mut Option<Job>,
    output: &Output,
) -> anyhow::Result<Seen> {
    let mut changes = match client.watch_job(WatchJobRequest { job_id }).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Ok(Seen::Broken(status)),
    };
    loop {
        let job = match changes.message().await {
            Ok(Some(change)) => change.job.unwrap_or_default(),
            Ok(None) => bail!("the ledger tells no more of job {job_id}; watch it again"),
            Err(status) => return Ok(Seen::Broken(status)),
        };
        if last.as_ref() != Some(&job) && !Output::line(&shown(&job, output))? {
            return Ok(Seen::Unread);
        }
        if is_over(job.state()) {
            return Ok(Seen::End(Box::new(job)));
        }
        *last = Some(job);
    }
}

/// Writes a line at each change of any job, until a signal comes or nobody reads them any more.
pub(super) async fn watch_all(mut client: Client, output: &Output) -> anyhow::Result<ExitCode> {
    let mut signals = stoker_shared::service::signals()
        .context("signals cannot be received, so it could not be stopped; try again")?;
    let mut last: Option<BTreeMap<i64, Job>> = None;
    loop {
        let asked = Instant::now();
        match client.list_jobs(ListJobsRequest {}).await {
            Ok(answer) => {
                let jobs = answer.into_inner().jobs.into_iter();
                let jobs: BTreeMap<i64, Job> = jobs.map(|job| (job.job_id, job)).collect();
                for job in changed(&jobs, last.as_ref()) {
                    if !Output::line(&shown(job, output))? {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                last = Some(jobs);
            }
            Err(status) if last.is_some() && grpc::is_gone(&status) => {}
            Err(status) => return Err(sentence(status)),
        }
        // Counting all jobs of a large ledger is work: most of the time is left to others.
        let pause = PAUSE.max(asked.elapsed() * COUNTING_SHARE);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = signals.next() => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// At first those that are not over, later those that are not as they were.
fn changed<'j>(
    jobs: &'j BTreeMap<i64, Job>,
    last: Option<&BTreeMap<i64, Job>>,
) -> impl Iterator<Item = &'j Job> {
    jobs.values().filter(move |job| match last {
        None => !is_over(job.state()),
        Some(last) => last.get(&job.job_id) != Some(job),
    })
}

fn is_over(state: JobState) -> bool {
    matches!(
        state,
        JobState::Done | JobState::Failed | JobState::Cancelled
    )
}

fn shown(job: &Job, output: &Output) -> String {
    if output.is_json() {
        return to_json(job).to_string();
    }
    let run = job.run.clone().unwrap_or_default();
    let sums = Sums::of(&run);
    let reason = match job.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    format!(
        "{}  job {}  {:<9}  {} of {} files, {} unreadable; {} resources loaded, {} rejected, {} in doubt{reason}",
        SystemClock.now().format("%FT%TZ"),
        job.job_id,
        state_name(job.state()),
        run.objects_done,
        run.objects,
        run.objects_parked,
        sums.loaded,
        sums.rejected,
        sums.in_doubt,
    )
}

/// As `stoker load` would end.
fn code(job: &Job) -> ExitCode {
    let run = job.run.clone().unwrap_or_default();
    let sums = Sums::of(&run);
    match job.state() {
        JobState::Done if sums.rejected + sums.in_doubt + run.objects_parked > 0 => {
            ExitCode::from(2)
        }
        JobState::Done => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
