//! The whole service over gRPC: a folder is listed, handed out, recorded and watched.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod calls;
mod faults;
mod large_commits;
mod waiting;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bucket_scanner::{Config, Error, Scanner};
use bytes::Bytes;
use futures::StreamExt;
use stoker_proto::common::v1::{ByteRange, Interaction, Source, Target};
use stoker_proto::ledger::v1::commit_outcomes_request::Part;
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_proto::ledger::v1::work_service_client::WorkServiceClient;
use stoker_proto::ledger::v1::{
    CommitHeader, CommitOutcomesRequest, EntryOutcome, FinishUnitRequest, Job, JobState,
    LeaseUnitsRequest, ListErrorsRequest, OutcomeKind, OutcomeList, Position, QuarantineChunk,
    ReadQuarantineRequest, RegisterWorkerRequest, StartJobRequest, TypeCount, Unit,
    WatchJobRequest,
};
use stoker_shared::clock::SystemClock;
use stoker_shared::grpc::{self, Channel, GrpcConfig};
use stoker_shared::health::Metrics;
use stoker_shared::object_store::host_name;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) struct Service {
    pub(crate) jobs: JobServiceClient<Channel>,
    pub(crate) work: WorkServiceClient<Channel>,
    metrics: Metrics,
    pub(crate) stop: CancellationToken,
    pub(crate) ended: JoinHandle<Result<(), Error>>,
}

/// With a ledger in memory, unless the configuration names one.
pub(crate) async fn serve(mut config: Config) -> Service {
    config.ledger = config.ledger.or_else(|| "none".parse().ok());
    serve_with(Scanner::open(&config, Arc::new(SystemClock)).await.unwrap())
}

pub(crate) fn serve_with(scanner: Scanner) -> Service {
    let metrics = Metrics::default();
    scanner.metrics().register(&metrics);
    let stop = CancellationToken::new();
    let (channel, incoming) = grpc::in_process();
    let (routes, stopped) = (scanner.routes(), stop.clone());
    tokio::spawn(
        async move { grpc::serve(&GrpcConfig::default(), routes, incoming, stopped).await },
    );
    let stopped = stop.clone();
    let ended = tokio::spawn(async move { scanner.run(stopped).await });
    let jobs = JobServiceClient::new(channel.clone());
    Service {
        jobs,
        work: WorkServiceClient::new(channel),
        metrics,
        stop,
        ended,
    }
}

pub(crate) fn load(folder: &Path) -> StartJobRequest {
    StartJobRequest {
        source: Some(Source {
            uri: format!("file://{}/", folder.display()),
            reach: host_name(),
        }),
        target: Some(Target {
            base_url: "http://fhir/r4/".to_owned(),
            tenant: String::new(),
        }),
        interaction: Interaction::Auto.into(),
        reload: false,
        options: None,
    }
}

pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.ndjson", "{}\n{}\n");
    write("empty.json", "");
    write("notes.txt", "x");
    folder
}

impl Service {
    pub(crate) async fn start(&mut self, folder: &Path) -> Job {
        let started = self.jobs.start_job(load(folder)).await.unwrap();
        started.into_inner().job.unwrap()
    }

    pub(crate) async fn lease(&mut self, wait_ms: u32) -> Vec<Unit> {
        let request = self.lease_request(wait_ms).await;
        let answer = self.work.lease_units(request).await.unwrap();
        answer.into_inner().units
    }

    /// A worker's that is new.
    pub(crate) async fn lease_request(&mut self, wait_ms: u32) -> LeaseUnitsRequest {
        let worker = RegisterWorkerRequest {
            hostname: "h".to_owned(),
            ..Default::default()
        };
        let worker = self
            .work
            .register_worker(worker)
            .await
            .unwrap()
            .into_inner();
        assert_eq!((worker.lease_ms, worker.heartbeat_ms), (60_000, 5000));
        LeaseUnitsRequest {
            worker_id: worker.worker_id,
            max_units: 10,
            wait_ms,
            reaches: vec![host_name()],
            ..Default::default()
        }
    }

    /// The job as it ends.
    pub(crate) async fn end_of(&mut self, job_id: i64) -> Job {
        let watch = WatchJobRequest { job_id };
        let watched = self.jobs.watch_job(watch).await.unwrap().into_inner();
        let states: Vec<_> = watched.collect().await;
        states
            .into_iter()
            .next_back()
            .unwrap()
            .unwrap()
            .job
            .unwrap()
    }
}

pub(crate) fn parts(unit: &Unit, quarantine: &[usize]) -> Vec<CommitOutcomesRequest> {
    let header = CommitHeader {
        lease: unit.lease.clone(),
        done: vec![ByteRange { start: 0, end: 6 }],
        counts: vec![TypeCount {
            updated: 1,
            rejected: 1,
            ..Default::default()
        }],
        requests: 2,
        ..Default::default()
    };
    let outcome = EntryOutcome {
        position: Some(Position {
            offset: 3,
            length: 2,
            line: 1,
            entry: None,
        }),
        kind: OutcomeKind::Rejected.into(),
        error_text: "no".to_owned(),
        ..Default::default()
    };
    let chunk = |size: &usize| QuarantineChunk {
        outcome_index: 0,
        data: Bytes::from(vec![7; *size]),
    };
    std::iter::once(Part::Header(header))
        .chain([Part::Outcomes(OutcomeList {
            outcomes: vec![outcome],
        })])
        .chain(quarantine.iter().map(chunk).map(Part::Quarantine))
        .map(|part| CommitOutcomesRequest { part: Some(part) })
        .collect()
}

#[tokio::test]
async fn a_folder_is_loaded_from_start_to_end() {
    let folder = folder();
    let mut service = serve(Config::default()).await;
    let job = service.start(folder.path()).await;
    assert_eq!(
        job.source.unwrap().uri,
        format!("file://{}", folder.path().display())
    );
    assert_eq!(job.target.unwrap().base_url, "http://fhir/r4");
    let watch = WatchJobRequest { job_id: job.job_id };
    let watched = service.jobs.watch_job(watch).await.unwrap().into_inner();

    let units = service.lease(10_000).await;
    assert_eq!(units.len(), 1);
    let unit = &units[0];
    assert!(unit.object.as_ref().unwrap().key.ends_with("/a.ndjson"));
    // Above 4 MiB: received alone.
    let quarantine = [1 << 20; 6];
    for _ in 0..2 {
        let commit = futures::stream::iter(parts(unit, &quarantine));
        service.work.commit_outcomes(commit).await.unwrap();
    }
    let finish = FinishUnitRequest {
        lease: unit.lease.clone(),
        lines: 2,
        decoded_bytes: 6,
    };
    service.work.finish_unit(finish.clone()).await.unwrap();
    service.work.finish_unit(finish).await.unwrap();

    let states: Vec<Job> = watched
        .map(|answer| answer.unwrap().job.unwrap())
        .collect()
        .await;
    let last = states.last().unwrap();
    assert_eq!(last.state(), JobState::Done);
    let run = last.run.as_ref().unwrap();
    assert_eq!(
        (
            run.objects,
            run.objects_done,
            run.objects_ignored,
            run.warnings
        ),
        (1, 1, 1, 1)
    );
    assert_eq!(
        (run.counts[0].updated, run.counts[0].rejected, run.requests),
        (1, 1, 2)
    );

    let errors = ListErrorsRequest {
        job_id: job.job_id,
        this_run: true,
    };
    let errors = service.jobs.list_errors(errors).await.unwrap().into_inner();
    let errors: Vec<_> = errors.map(Result::unwrap).collect().await;
    let texts: Vec<_> = errors.iter().map(|e| e.error_text.as_str()).collect();
    assert_eq!(texts, ["no", "empty file, nothing to load"]);
    let read = ReadQuarantineRequest {
        job_id: job.job_id,
        error_id: 0,
    };
    let read = service
        .jobs
        .read_quarantine(read)
        .await
        .unwrap()
        .into_inner();
    let read: Vec<_> = read.map(Result::unwrap).collect().await;
    assert_eq!(
        read.iter().map(|part| part.data.len()).sum::<usize>(),
        6 << 20
    );
    assert!(read.last().unwrap().last);
    let metrics = service.metrics.to_text().unwrap();
    for line in [
        "stoker_bucket_scanner_commits_total 2",
        "stoker_bucket_scanner_objects_total{change=\"new\"} 2",
        "stoker_bucket_scanner_scans_total{result=\"listed\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_fails_its_job() {
    let mut service = serve(Config::default()).await;
    let job = service.start(Path::new("/no/such/folder")).await;
    let last = service.end_of(job.job_id).await;
    assert_eq!(last.state(), JobState::Failed);
    assert!(
        last.reason.contains("/no/such/folder: not found"),
        "{}",
        last.reason
    );
}

#[tokio::test]
async fn configured_sources_are_loaded_and_looked_at_again() {
    let folder = folder();
    let uri = format!("file://{}", folder.path().display());
    let source = serde_json::json!({"uri": uri, "base_url": "http://fhir/r4"});
    let config = Config {
        sources: vec![serde_json::from_value(source).unwrap()],
        scan_interval: Duration::from_secs(1),
        ..Config::default()
    };
    let mut service = serve(config).await;
    assert_eq!(service.lease(10_000).await.len(), 1);
    std::fs::write(folder.path().join("later.ndjson.gz"), "x").unwrap();
    let later = service.lease(10_000).await;
    assert!(
        later[0]
            .object
            .as_ref()
            .unwrap()
            .key
            .ends_with("/later.ndjson.gz")
    );
}

#[tokio::test]
async fn a_ledger_must_be_named() {
    let error = Scanner::open(&Config::default(), Arc::new(SystemClock))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoLedger), "{error}");
}
