//! A load that running services do: begun from here, and followed.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use loader_worker::metrics::WorkerMetrics;
use loader_worker::stats::Stats;
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_shared::grpc::{self, GrpcClientConfig};
use tokio::sync::mpsc;

use super::args::Plan;
use super::early::Early;
use super::gather::gather;
use super::report_file::ReportFile;
use super::{is_over, start_job, tell, watch};
use crate::output::Output;
use crate::progress::Progress;
use crate::report::Report;

/// Starts the plan's jobs at the scanner, follows them to their end, and tells what became of them.
pub(super) async fn run(
    plan: &Plan,
    scanner: &GrpcClientConfig,
    started: DateTime<Utc>,
    mut progress: Progress,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let mut client = JobServiceClient::new(grpc::connect(scanner)?);
    let mut signals = stoker_shared::service::signals()
        .context("signals cannot be received, so following could not be stopped; try again")?;
    let file = plan.report.as_deref().map(ReportFile::begin).transpose()?;
    let mut jobs = BTreeMap::new();
    for source in &plan.sources {
        let job = start_job(&mut client, plan, source).await?;
        jobs.insert(job.job_id, job);
    }
    let (changes, mut news) = mpsc::channel(16);
    for &job_id in jobs.keys() {
        tokio::spawn(watch(client.clone(), job_id, changes.clone()));
    }
    drop(changes);
    let early = loop {
        if jobs.values().all(|job| is_over(job.state())) {
            break None;
        }
        tokio::select! {
            Some(change) = news.recv() => match change {
                Ok(job) => { jobs.insert(job.job_id, job); }
                Err(reason) => break Some(Early::ledger_failed(reason)),
            },
            Some(_) = signals.next() => {
                let left = "no longer followed; the services go on with it (stoker jobs --server)";
                break Some(Early::interrupted(left));
            }
        }
        progress.show(jobs.values());
    };
    progress.end();
    // Only who sends can measure how long answers take.
    let unmeasured = Stats::new(WorkerMetrics::default());
    let facts = gather(client, jobs, plan, &unmeasured, started, early).await;
    tell(&Report::new(facts), file, output)
}
