//! `stoker load`: from files into a FHIR server, in one process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use loader_worker::ledger::Ledger;
use loader_worker::metrics::WorkerMetrics;
use loader_worker::send::Stop;
use loader_worker::stats::Stats;
use loader_worker::{OnTrouble, Worker, WorkerError};
use stoker_proto::common::v1::{Source, Target};
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_proto::ledger::v1::{
    Job, JobState, ListErrorsRequest, StartJobRequest, WatchJobRequest,
};
use stoker_shared::clock::{Clock, SystemClock};
use stoker_shared::fhir::{FhirClient, FhirConfig};
use stoker_shared::grpc::Channel;
use stoker_shared::health::Readiness;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::Global;
use crate::embedded::Embedded;
use crate::output::{Output, one_sentence};
use crate::progress::Progress;
use crate::report::{Ending, Facts, MAX_PROBLEMS, Report};

mod args;

pub use args::{LoadArgs, Sending};

use args::{Plan, plan};

/// How long the server may take to say that it is a FHIR server.
const TARGET_WAIT: Duration = Duration::from_secs(5);

/// Runs the command.
pub async fn run(args: LoadArgs, global: &Global, output: &Output) -> anyhow::Result<ExitCode> {
    let started = SystemClock.now();
    let plan = plan(args, global)?;
    check_target(&plan.worker.fhir, &plan.target).await?;
    if let Some(path) = &plan.report {
        // Found out now, not after hours of loading.
        std::fs::write(unfinished(path), "").with_context(|| cannot_write(path))?;
    }
    let embedded = Embedded::start(plan.scanner.clone()).await?;
    let stats = Arc::new(Stats::new(WorkerMetrics::default()));
    let facts = load(
        &plan,
        embedded,
        &stats,
        started,
        Progress::start(global.quiet || global.json),
    )
    .await?;
    let report = Report::new(facts);
    output.result(&report, || report.table())?;
    if let Some(path) = &plan.report {
        write_report(path, &report)?;
    }
    if let Some(reason) = report.reason() {
        output.say(&format!("error: {reason}"));
    }
    if report.ending() == Ending::Interrupted {
        output.say("interrupted: run the same command again to go on where it stopped");
    }
    Ok(ExitCode::from(report.ending().code()))
}

async fn check_target(fhir: &FhirConfig, target: &Target) -> anyhow::Result<()> {
    let client = FhirClient::new(fhir, target, Arc::new(SystemClock))?;
    client.capabilities(TARGET_WAIT).await?;
    Ok(())
}

/// Starts the jobs and a worker, waits for their end or for what ends them early, and gathers the facts.
async fn load(
    plan: &Plan,
    mut embedded: Embedded,
    stats: &Arc<Stats>,
    started: DateTime<Utc>,
    mut progress: Progress,
) -> anyhow::Result<Facts> {
    let mut client = embedded.jobs();
    let mut jobs = BTreeMap::new();
    let (changes, mut news) = mpsc::channel(16);
    for source in &plan.sources {
        let job = start_job(&mut client, plan, source).await?;
        tokio::spawn(watch(client.clone(), job.job_id, changes.clone()));
        jobs.insert(job.job_id, job);
    }
    drop(changes);
    let stop = CancellationToken::new();
    let job_ids = jobs.keys().copied().collect();
    let mut worker = start_worker(plan, job_ids, &embedded, stats, &stop);
    let mut signals = stoker_shared::service::signals()?;
    let early = loop {
        if jobs.values().all(|job| is_over(job.state())) {
            break None;
        }
        tokio::select! {
            Some(change) = news.recv() => match change {
                Ok(job) => { jobs.insert(job.job_id, job); }
                Err(reason) => break Some(Early::ledger_failed(reason)),
            },
            end = &mut worker => break Some(why_ended(end, &jobs)),
            error = embedded.failed() => break Some(Early::ledger_failed(one_sentence(&error))),
            Some(_) = signals.next() => break Some(Early::interrupted("stopped by a signal")),
        }
        progress.show(jobs.values());
    };
    stop.cancel();
    if !worker.is_finished() {
        tokio::select! {
            _ = &mut worker => {}
            Some(_) = signals.next() => {}
        }
    }
    progress.end();
    let facts = gather(client, jobs, plan, stats, started, early).await;
    embedded.stop().await;
    facts
}

async fn start_job(
    client: &mut JobServiceClient<Channel>,
    plan: &Plan,
    source: &Source,
) -> anyhow::Result<Job> {
    let request = StartJobRequest {
        source: Some(source.clone()),
        target: Some(plan.target.clone()),
        interaction: plan.sending.interaction().into(),
        reload: plan.reload,
    };
    let response = client.start_job(request).await.map_err(message)?;
    response
        .into_inner()
        .job
        .context("the ledger did not name the job it started")
}

/// Why a load ends before its jobs do.
struct Early {
    ending: Ending,
    reason: String,
    /// The ledger can still be asked what was done.
    ledger_works: bool,
}

impl Early {
    fn interrupted(reason: impl Into<String>) -> Self {
        Self {
            ending: Ending::Interrupted,
            reason: reason.into(),
            ledger_works: true,
        }
    }

    fn failed(reason: impl Into<String>) -> Self {
        Self {
            ending: Ending::Failed,
            ..Self::interrupted(reason)
        }
    }

    fn ledger_failed(reason: impl Into<String>) -> Self {
        Self {
            ledger_works: false,
            ..Self::failed(reason)
        }
    }
}

/// Passes on a job's changes until its end.
async fn watch(
    mut client: JobServiceClient<Channel>,
    job_id: i64,
    changes: mpsc::Sender<Result<Job, String>>,
) {
    loop {
        let result = async {
            let request = WatchJobRequest { job_id };
            let mut stream = client.watch_job(request).await?.into_inner();
            while let Some(change) = stream.message().await? {
                let Some(job) = change.job else { continue };
                if changes.send(Ok(job)).await.is_err() {
                    break;
                }
            }
            Ok::<_, tonic::Status>(())
        };
        match result.await {
            Ok(()) => return,
            // The worker finds out whether the ledger stays away.
            Err(status) if status.code() == Code::Unavailable => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(status) => {
                let _ = changes.send(Err(status.message().to_owned())).await;
                return;
            }
        }
    }
}

fn start_worker(
    plan: &Plan,
    job_ids: Vec<i64>,
    embedded: &Embedded,
    stats: &Arc<Stats>,
    stop: &CancellationToken,
) -> JoinHandle<Result<(), WorkerError>> {
    let worker = Worker {
        ledger: Ledger::new(embedded.channel()),
        settings: plan.worker.load.clone(),
        fhir: plan.worker.fhir.clone(),
        clock: Arc::new(SystemClock),
        stats: Arc::clone(stats),
        on_trouble: OnTrouble::End,
        reaches: plan.worker.shared_mounts.clone(),
        // What another interrupted load left open may be for another server.
        job_ids,
        readiness: Readiness::default(),
    };
    tokio::spawn(worker.run(stop.clone()))
}

/// A server or a ledger lost in the middle can be gone on with; what never worked is a failure.
fn why_ended(
    end: Result<Result<(), WorkerError>, tokio::task::JoinError>,
    jobs: &BTreeMap<i64, Job>,
) -> Early {
    let error = match end {
        Ok(Ok(())) => return Early::interrupted("the worker stopped"),
        Ok(Err(error)) => error,
        Err(panic) => return Early::failed(panic.to_string()),
    };
    let some_loaded = jobs
        .values()
        .filter_map(|job| job.run.as_ref())
        .any(|run| run.counts.iter().any(|c| c.created + c.updated > 0));
    let reason = error.to_string();
    match error {
        WorkerError::Stopped(Stop::Lost { .. }) => Early::interrupted(reason),
        WorkerError::Stopped(_) | WorkerError::Target(_) if some_loaded => {
            Early::interrupted(reason)
        }
        WorkerError::Ledger(fault) if fault.may_pass() => Early {
            ending: Ending::Interrupted,
            ..Early::ledger_failed(reason)
        },
        WorkerError::Ledger(_) => Early::ledger_failed(reason),
        WorkerError::Stopped(_) | WorkerError::Target(_) | WorkerError::Panicked(_) => {
            Early::failed(reason)
        }
    }
}

async fn gather(
    mut client: JobServiceClient<Channel>,
    mut jobs: BTreeMap<i64, Job>,
    plan: &Plan,
    stats: &Stats,
    started: DateTime<Utc>,
    early: Option<Early>,
) -> anyhow::Result<Facts> {
    let mut problems = Vec::new();
    let mut problems_total = 0;
    let ledger_works = early.as_ref().is_none_or(|early| early.ledger_works);
    let mut early = early.map(|early| (early.ending, early.reason));
    // A ledger that has failed is not asked again: its last word is what is known.
    for (job_id, job) in jobs.iter_mut().filter(|_| ledger_works) {
        let request = stoker_proto::ledger::v1::GetJobRequest { job_id: *job_id };
        let now = client.get_job(request).await.map_err(message)?.into_inner();
        *job = now.job.unwrap_or_default();
        let request = ListErrorsRequest {
            job_id: *job_id,
            this_run: true,
        };
        let mut errors = client
            .list_errors(request)
            .await
            .map_err(message)?
            .into_inner();
        while let Some(error) = errors.message().await.map_err(message)? {
            problems_total += 1;
            if problems.len() < MAX_PROBLEMS {
                problems.push(error);
            }
        }
        if early.is_none() {
            early = match job.state() {
                JobState::Failed => Some((Ending::Failed, job.reason.clone())),
                JobState::Cancelled => {
                    Some((Ending::Interrupted, "the job was cancelled".to_owned()))
                }
                _ => None,
            };
        }
    }
    Ok(Facts {
        jobs: jobs.into_values().collect(),
        problems,
        problems_total,
        latency: stats.latency(),
        started,
        ended: SystemClock.now(),
        target: plan.target.clone(),
        interaction: plan.sending.name(),
        early,
    })
}

fn is_over(state: JobState) -> bool {
    matches!(
        state,
        JobState::Done | JobState::Failed | JobState::Cancelled
    )
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function of map_err"
)]
fn message(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!(status.message().to_owned())
}

/// Written first, so that a reader never sees half a report.
fn unfinished(report: &Path) -> PathBuf {
    report.with_extension("json.unfinished")
}

fn cannot_write(report: &Path) -> String {
    format!(
        "{}: the report cannot be written; name another file",
        report.display()
    )
}

fn write_report(path: &Path, report: &Report) -> anyhow::Result<()> {
    let text = serde_json::to_vec_pretty(report)?;
    std::fs::write(unfinished(path), text).with_context(|| cannot_write(path))?;
    std::fs::rename(unfinished(path), path).with_context(|| cannot_write(path))
}
