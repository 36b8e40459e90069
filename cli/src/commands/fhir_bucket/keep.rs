//! Scans and loads until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bucket_scanner::config::ConfiguredLoad;
use bucket_scanner::ledger::is_over;
use futures::StreamExt;
use loader_worker::ledger::Ledger;
use loader_worker::metrics::WorkerMetrics;
use loader_worker::stats::Stats;
use loader_worker::{OnTrouble, Worker, WorkerError};
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_proto::ledger::v1::{
    Job, JobState, ListJobsRequest, ListSourcesRequest, StartJobRequest,
};
use stoker_shared::clock::SystemClock;
use stoker_shared::grpc::Channel;
use stoker_shared::health::Readiness;
use stoker_shared::kafka::Events;
use stoker_shared::object_store::Stores;
use stoker_shared::service::{self, ServiceError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::plan::Keeping;
use crate::commands::jobs::sentence;
use crate::embedded::{Embedded, unexpected};

type Jobs = JobServiceClient<Channel>;

/// The worker of this process; none when it only scans.
type Working = Option<JoinHandle<Result<(), WorkerError>>>;

/// Runs until a signal; a second one ends it at once.
pub(super) async fn keep(keeping: Keeping) -> anyhow::Result<()> {
    let mut signals = service::signals().context("signals cannot be received; try again")?;
    let mut scanner = keeping.scanner.clone();
    if !keeping.no_scan {
        scanner.sources.clone_from(&keeping.loads);
    }
    let interval = scanner.scan_interval;
    let (mut embedded, scanner) = Embedded::open(scanner).await?;
    let mut jobs = embedded.jobs();
    let loads = if keeping.no_scan {
        known(&mut jobs, &keeping.loads).await?
    } else {
        keeping.loads.clone()
    };
    // Before the scanner runs, which would ask for a listing of its own.
    let job_ids = begin(&mut jobs, &loads, true).await?;
    embedded.scan(if keeping.no_scan {
        scanner.only_known()
    } else {
        scanner
    });
    tracing::info!(
        scans = !keeping.no_scan,
        loads = !keeping.limits.is_empty(),
        places = loads.len(),
        "working; stop it with SIGTERM or Ctrl-C"
    );
    let stop = CancellationToken::new();
    let mut worker = start_worker(&keeping, &embedded, job_ids, &stop);
    let known_only = if keeping.no_scan { &loads[..] } else { &[] };
    tokio::select! {
        end = end_of(&mut worker) => return end,
        error = embedded.failed() => return Err(error),
        () = begin_again(&mut jobs, known_only, interval) => {}
        signal = signals.next() => {
            tracing::info!(signal, "stopping: waiting for requests under way");
        }
    }
    stop.cancel();
    if worker.is_some() {
        tokio::select! {
            end = end_of(&mut worker) => end?,
            _ = signals.next() => return Err(ServiceError::Impatient.into()),
        }
    }
    embedded.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Without a scan, another process may have found the objects below another prefix of the bucket: what
/// is loaded is all that the ledger knows of it.
async fn known(jobs: &mut Jobs, loads: &[ConfiguredLoad]) -> anyhow::Result<Vec<ConfiguredLoad>> {
    let answer = jobs.list_sources(ListSourcesRequest {}).await;
    let sources = answer.map_err(sentence)?.into_inner().sources;
    let uris: Vec<String> = sources
        .into_iter()
        .filter_map(|status| Some(status.source?.uri))
        .collect();
    let mut all = Vec::new();
    for load in loads {
        let found = places_of(&load.uri, &uris);
        if found.is_empty() {
            tracing::warn!(
                source.uri = load.uri,
                "the ledger knows nothing of this place; run the same without --no-scan to scan it"
            );
            all.push(load.clone());
        }
        all.extend(found.into_iter().map(|uri| ConfiguredLoad {
            uri: uri.clone(),
            ..load.clone()
        }));
    }
    Ok(all)
}

/// The place itself, if it is known; else, of a bucket, all places in it that are.
fn places_of<'u>(uri: &str, known: &'u [String]) -> Vec<&'u String> {
    if let Some(itself) = known.iter().find(|known| *known == uri) {
        return vec![itself];
    }
    let Some(rest) = uri.strip_prefix("s3://") else {
        return Vec::new();
    };
    let bucket = rest.split('/').next().unwrap_or_default();
    let in_bucket = |known: &&String| {
        let rest = known.strip_prefix("s3://").unwrap_or_default();
        rest.split('/').next() == Some(bucket)
    };
    known.iter().filter(in_bucket).collect()
}

/// Starts the jobs; gives their numbers. Without a scan, one that is being loaded is left as it is: its
/// options are those of the process that scans for it. One that waits for a listing would wait for ever
/// when that process is gone, so at the start it is begun anew from what is known; a process that is
/// there asks for its listing again.
async fn begin(
    jobs: &mut Jobs,
    loads: &[ConfiguredLoad],
    at_the_start: bool,
) -> anyhow::Result<Vec<i64>> {
    let existing = if loads.iter().any(|load| load.no_scan) {
        let answer = jobs.list_jobs(ListJobsRequest {}).await;
        answer.map_err(sentence)?.into_inner().jobs
    } else {
        Vec::new()
    };
    let mut job_ids = Vec::new();
    for load in loads {
        let start = load.to_start();
        let same = |job: &&Job| {
            job.source.as_ref() == Some(&start.source)
                && job.target.as_ref() == Some(&start.target)
                && job.interaction() == start.interaction
        };
        let goes_on = |job: &&Job| {
            let waits = at_the_start && job.state() == JobState::Scanning;
            !(waits || is_over(job.state()))
        };
        if let Some(job) = existing.iter().find(same).filter(goes_on) {
            job_ids.push(job.job_id);
            continue;
        }
        let request = StartJobRequest {
            source: Some(start.source),
            target: Some(start.target),
            interaction: start.interaction.into(),
            reload: false,
            options: Some(start.options),
        };
        let answer = jobs.start_job(request).await.map_err(sentence)?;
        job_ids.push(answer.into_inner().job.unwrap_or_default().job_id);
    }
    Ok(job_ids)
}

/// Has what others have found meanwhile loaded, again and again. For a process that scans itself
/// there is nothing to do.
async fn begin_again(jobs: &mut Jobs, loads: &[ConfiguredLoad], interval: Duration) {
    while !loads.is_empty() {
        tokio::time::sleep(interval.max(Duration::from_secs(5))).await;
        if let Err(error) = begin(jobs, loads, false).await {
            tracing::warn!(error = format!("{error:#}"), "the ledger is away");
        }
    }
    std::future::pending::<()>().await;
}

fn start_worker(
    keeping: &Keeping,
    embedded: &Embedded,
    job_ids: Vec<i64>,
    stop: &CancellationToken,
) -> Working {
    if keeping.limits.is_empty() {
        return None;
    }
    let config = &keeping.worker;
    let worker = Worker {
        ledger: Ledger::new(embedded.channel()),
        stores: Stores::new(config.s3.clone()),
        events: Events::none(),
        settings: config.load.clone(),
        fhir: config.fhir.clone(),
        clock: Arc::new(SystemClock),
        stats: Arc::new(Stats::new(WorkerMetrics::default())),
        on_trouble: OnTrouble::GoOn,
        reaches: config.shared_mounts.clone(),
        job_ids,
        limits: keeping.limits.clone(),
        bucket_paths: keeping.bucket_paths.clone(),
        readiness: Readiness::default(),
    };
    Some(tokio::spawn(worker.run(stop.clone())))
}

/// Waits for the worker's end; for ever when there is none.
async fn end_of(worker: &mut Working) -> anyhow::Result<()> {
    match worker {
        Some(working) => Ok(working.await.map_err(unexpected)??),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_a_bucket_are_found_whatever_their_prefix() {
        let known = ["s3://a/in/", "s3://ab", "s3://a", "file:///a", "s3://a/b"].map(str::to_owned);
        let found = |uri| places_of(uri, &known);
        assert_eq!(found("s3://a"), ["s3://a"]);
        assert_eq!(found("s3://a/other"), ["s3://a/in/", "s3://a", "s3://a/b"]);
        assert_eq!(found("file:///a"), ["file:///a"]);
        assert!(found("s3://c").is_empty() && found("file:///b").is_empty());
    }
}
