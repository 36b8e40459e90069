//! `stoker load`: from files into a FHIR server, in one process.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::{Stream, StreamExt};
use loader_worker::ledger::Ledger;
use loader_worker::metrics::WorkerMetrics;
use loader_worker::stats::Stats;
use loader_worker::{OnTrouble, Worker, WorkerError};
use stoker_proto::common::v1::{Source, Target};
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_proto::ledger::v1::{Job, JobState, StartJobRequest, WatchJobRequest};
use stoker_shared::clock::{Clock, SystemClock};
use stoker_shared::fhir::FhirClient;
use stoker_shared::grpc::{self, Channel};
use stoker_shared::health::Readiness;
use stoker_shared::kafka::Events;
use stoker_shared::object_store::{Place, StoreError, Stores};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::jobs::sentence;
use crate::Global;
use crate::capabilities::capabilities;
use crate::embedded::Embedded;
use crate::output::{Output, one_sentence};
use crate::progress::Progress;
use crate::report::{Ending, Report};

mod args;
mod early;
mod gather;
mod remote;
mod report_file;

pub(super) use args::Plan;
pub use args::{LoadArgs, Sending};
pub(super) use report_file::ReportFile;

use args::plan;
use early::Early;
use gather::gather;

/// Said at the first signal: what is on the wire is awaited for up to `load.drain`.
const STOPPING: &str =
    "stopping: waiting for requests under way; press Ctrl-C again to stop at once";

/// Runs the command.
pub async fn run(args: LoadArgs, global: &Global, output: &Output) -> anyhow::Result<ExitCode> {
    let plan = plan(args, global)?;
    let progress = || Progress::start(global.quiet || global.json);
    match &plan.server {
        Some(scanner) => remote::run(&plan, scanner, SystemClock.now(), progress(), output).await,
        None => run_plan(&plan, progress, output).await,
    }
}

/// Does a load in this process.
pub(super) async fn run_plan(
    plan: &Plan,
    progress: impl FnOnce() -> Progress,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let started = SystemClock.now();
    check_target(&plan.worker, &plan.target, output).await?;
    // From here on a signal does not end the process, which has something to clean up.
    let signals = stoker_shared::service::signals()
        .context("signals cannot be received, so a load could not be stopped; try again")?;
    let file = plan.report.as_deref().map(ReportFile::begin).transpose()?;
    let mut load = Loading {
        embedded: Embedded::start(plan.scanner.clone()).await?,
        plan,
        stats: Arc::new(Stats::new(WorkerMetrics::default())),
        jobs: BTreeMap::new(),
        progress: progress(),
    };
    let early = load.run(signals, output).await?;
    load.progress.end();
    let client = load.embedded.jobs();
    let facts = gather(client, load.jobs, plan, &load.stats, started, early).await;
    load.embedded.stop().await;
    tell(&Report::new(facts), file, output)
}

async fn check_target(
    worker: &loader_worker::Config,
    target: &Target,
    output: &Output,
) -> anyhow::Result<()> {
    if Place::is_one(&target.base_url) {
        let place = Stores::new(worker.s3.clone()).place(&target.base_url)?;
        return match place.store().list().next().await {
            // A folder is made with the first file in it.
            None | Some(Ok(_) | Err(StoreError::NotFound { .. })) => Ok(()),
            Some(Err(e)) => Err(e.into()),
        };
    }
    let client = FhirClient::new(&worker.fhir, target, Arc::new(SystemClock))?;
    capabilities(&client, &target.base_url, output).await?;
    Ok(())
}

/// The file comes first: standard output may be a pipe that nobody reads any more.
fn tell(report: &Report, file: Option<ReportFile>, output: &Output) -> anyhow::Result<ExitCode> {
    let written = file.map_or(Ok(()), |file| file.write(report));
    output.result(report, || report.table())?;
    if let Some(reason) = report.reason() {
        output.say(&format!("error: {reason}"));
    }
    if report.ending() == Ending::Interrupted {
        output.say("interrupted: run the same command again to go on where it stopped");
    }
    for note in report.notes() {
        output.say(&format!("note: {note}"));
    }
    written?;
    Ok(ExitCode::from(report.ending().code()))
}

/// A load under way.
struct Loading<'p> {
    plan: &'p Plan,
    embedded: Embedded,
    stats: Arc<Stats>,
    /// As last heard of.
    jobs: BTreeMap<i64, Job>,
    progress: Progress,
}

/// A change of a job, or why there will be none.
type Change = Result<Job, String>;

impl Loading<'_> {
    /// Starts the jobs and a worker, waits for their end or for what ends them early; fails when
    /// nothing is started at all.
    async fn run(
        &mut self,
        signals: impl Stream<Item = &'static str> + Unpin,
        output: &Output,
    ) -> anyhow::Result<Option<Early>> {
        match self.start_jobs().await {
            Ok(()) => Ok(self.work(self.watch_jobs(), signals, output).await),
            Err(e) if self.jobs.is_empty() => Err(e),
            Err(e) => Ok(Some(Early::failed(one_sentence(&e)))),
        }
    }

    async fn start_jobs(&mut self) -> anyhow::Result<()> {
        let mut client = self.embedded.jobs();
        for source in &self.plan.sources {
            let job = start_job(&mut client, self.plan, source).await?;
            self.jobs.insert(job.job_id, job);
        }
        Ok(())
    }

    fn watch_jobs(&self) -> mpsc::Receiver<Change> {
        let (changes, news) = mpsc::channel(16);
        for &job_id in self.jobs.keys() {
            tokio::spawn(watch(self.embedded.jobs(), job_id, changes.clone()));
        }
        news
    }

    async fn work(
        &mut self,
        mut news: mpsc::Receiver<Change>,
        mut signals: impl Stream<Item = &'static str> + Unpin,
        output: &Output,
    ) -> Option<Early> {
        let stop = CancellationToken::new();
        let mut worker = self.start_worker(&stop);
        let early = loop {
            if self.jobs.values().all(|job| is_over(job.state())) {
                break None;
            }
            tokio::select! {
                Some(change) = news.recv() => match change {
                    Ok(job) => { self.jobs.insert(job.job_id, job); }
                    Err(reason) => break Some(Early::ledger_failed(reason)),
                },
                end = &mut worker => break Some(Early::of_worker(end, &self.jobs)),
                error = self.embedded.failed() => {
                    break Some(Early::ledger_failed(one_sentence(&error)));
                }
                Some(_) = signals.next() => {
                    self.progress.end();
                    output.say(STOPPING);
                    break Some(Early::interrupted("stopped by a signal"));
                }
            }
            self.progress.show(self.jobs.values());
        };
        stop.cancel();
        if !worker.is_finished() {
            tokio::select! {
                _ = &mut worker => {}
                Some(_) = signals.next() => {}
            }
        }
        early
    }

    fn start_worker(&self, stop: &CancellationToken) -> JoinHandle<Result<(), WorkerError>> {
        let worker = Worker {
            ledger: Ledger::new(self.embedded.channel()),
            settings: self.plan.worker.load.clone(),
            fhir: self.plan.worker.fhir.clone(),
            clock: Arc::new(SystemClock),
            stores: Stores::new(self.plan.worker.s3.clone()),
            // Who waits for news of this load is in this process.
            events: Events::none(),
            stats: Arc::clone(&self.stats),
            on_trouble: OnTrouble::End,
            reaches: self.plan.worker.shared_mounts.clone(),
            // What another interrupted load left open may be for another server.
            job_ids: self.jobs.keys().copied().collect(),
            limits: self.plan.limits.clone(),
            bucket_paths: Vec::new(),
            readiness: Readiness::default(),
        };
        tokio::spawn(worker.run(stop.clone()))
    }
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
        options: Some(plan.options.clone()),
    };
    let answer = client.start_job(request).await;
    let answer = answer.map_err(sentence)?;
    answer
        .into_inner()
        .job
        .context("the ledger did not name the job it started; this is a fault in Stoker, try again")
}

/// Passes on a job's changes until its end.
async fn watch(mut client: JobServiceClient<Channel>, job_id: i64, changes: mpsc::Sender<Change>) {
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
            Err(status) if grpc::is_gone(&status) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(status) => {
                let _ = changes.send(Err(status.message().to_owned())).await;
                return;
            }
        }
    }
}

fn is_over(state: JobState) -> bool {
    matches!(
        state,
        JobState::Done | JobState::Failed | JobState::Cancelled
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bucket_scanner::ledger::LedgerUrl;
    use stoker_proto::ledger::v1::JobOptions;

    use super::*;
    use crate::sources;

    fn plan(folder: &Path) -> Plan {
        let config = bucket_scanner::Config {
            ledger: Some(LedgerUrl::Memory),
            ..bucket_scanner::Config::default()
        };
        Plan {
            sources: vec![sources::parse(folder.to_str().unwrap(), None).unwrap()],
            target: Target {
                base_url: "http://127.0.0.1:9/fhir".to_owned(),
                tenant: String::new(),
            },
            sending: Sending::Auto,
            reload: false,
            options: JobOptions::default(),
            limits: Vec::new(),
            scanner: config,
            worker: loader_worker::Config::default(),
            report: None,
            server: None,
            ledger_again: None,
        }
    }

    async fn loading(plan: &Plan) -> Loading<'_> {
        Loading {
            plan,
            embedded: Embedded::start(plan.scanner.clone()).await.unwrap(),
            stats: Arc::new(Stats::new(WorkerMetrics::default())),
            jobs: BTreeMap::new(),
            progress: Progress::Silent,
        }
    }

    async fn report(load: Loading<'_>, early: Option<Early>) -> serde_json::Value {
        let (client, started) = (load.embedded.jobs(), SystemClock.now());
        let facts = gather(client, load.jobs, load.plan, &load.stats, started, early).await;
        serde_json::to_value(Report::new(facts)).unwrap()
    }

    #[tokio::test]
    async fn a_source_that_cannot_be_started_is_told_with_what_is_known_of_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan(folder.path());
        let mut elsewhere = plan.sources[0].clone();
        "elsewhere".clone_into(&mut elsewhere.reach);
        plan.sources.push(elsewhere);
        let mut load = loading(&plan).await;
        let output = Output::new(&global());
        let early = load.run(futures::stream::pending(), &output).await;
        let report = report(load, early.unwrap()).await;
        assert_eq!(report["result"], "failed", "{report:#}");
        assert_eq!(report["exit_code"], 1);
        let reason = report["reason"].as_str().unwrap();
        assert!(reason.contains("elsewhere"), "{reason}");
        assert_eq!(report["sources"].as_array().unwrap().len(), 1);

        plan.sources.remove(0);
        let mut load = loading(&plan).await;
        let nothing = load.run(futures::stream::pending(), &output).await;
        assert!(nothing.is_err(), "nothing was begun: {nothing:?}");
    }

    #[tokio::test]
    async fn a_ledger_that_fails_at_the_end_is_told_with_what_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(folder.path());
        for (early, result, first) in [
            (None, "failed", "the counts are incomplete"),
            (
                Some(Early::interrupted("stopped by a signal")),
                "interrupted",
                "stopped by a signal",
            ),
        ] {
            let mut load = loading(&plan).await;
            load.start_jobs().await.unwrap();
            let other = loading(&plan).await.embedded;
            // Another ledger, in memory and empty: it knows nothing of the job.
            std::mem::replace(&mut load.embedded, other).stop().await;
            let report = report(load, early).await;
            assert_eq!(report["result"], result, "{report:#}");
            let reason = report["reason"].as_str().unwrap();
            assert!(reason.starts_with(first), "{reason}");
            assert!(reason.contains("the ledger failed"), "{reason}");
            assert_eq!(report["sources"][0]["job_id"], 1);
        }
    }

    fn global() -> Global {
        Global {
            config: None,
            json: true,
            verbose: 0,
            quiet: true,
        }
    }
}
