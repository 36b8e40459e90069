//! Calls that wait, and what ends their wait.

use std::sync::Arc;
use std::time::Duration;

use bucket_scanner::{Config, Scanner};
use futures::StreamExt;
use stoker_proto::ledger::v1::{FinishUnitRequest, JobOptions, Unit, WatchJobRequest};
use stoker_shared::clock::SystemClock;
use tokio::time::timeout;
use tonic::Code;

use crate::{folder, load, serve_with};

const SOON: Duration = Duration::from_secs(30);

/// That never looks again by itself within a test: only being woken helps.
async fn asleep() -> Scanner {
    let config = Config {
        ledger: Some("none".parse().unwrap()),
        ..Config::default()
    };
    let scanner = Scanner::open(&config, Arc::new(SystemClock)).await.unwrap();
    scanner.look_again_every(Duration::from_hours(1))
}

#[tokio::test]
async fn a_waiting_worker_is_woken_by_new_work() {
    let folder = folder();
    let mut service = serve_with(asleep().await);
    assert!(service.lease(0).await.is_empty());
    let request = service.lease_request(60_000).await;
    let mut work = service.work.clone();
    let waiting = tokio::spawn(async move { work.lease_units(request).await });
    // Whether the call waits already or not, it is to see what is planned now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = service.jobs.start_job(load(folder.path())).await;
    started.unwrap();
    let leased = timeout(SOON, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(leased.into_inner().units.len(), 1);
}

#[tokio::test]
async fn a_stop_ends_calls_that_wait() {
    let mut service = serve_with(asleep().await);
    let folder = folder();
    let job_id = service.start(folder.path()).await.job_id;
    assert_eq!(service.lease(10_000).await.len(), 1);
    let watch = service
        .jobs
        .watch_job(WatchJobRequest { job_id })
        .await
        .unwrap();
    let request = service.lease_request(60_000).await;
    let mut work = service.work.clone();
    let waiting = tokio::spawn(async move { work.lease_units(request).await });
    let stop = service.stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.cancel();
    });
    let watching = watch
        .into_inner()
        .filter_map(|answer| async { answer.err() });
    let faults: Vec<_> = timeout(SOON, watching.collect()).await.unwrap();
    assert_eq!(faults[0].code(), Code::Unavailable);
    let leased = timeout(SOON, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(leased.into_inner().units, []);
    service.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_of_a_wave_wakes_who_waits() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["Patient.ndjson", "Organization.ndjson"] {
        std::fs::write(folder.path().join(name), "{}\n").unwrap();
    }
    let mut service = serve_with(asleep().await);
    service.start(folder.path()).await;
    let key = |unit: &Unit| unit.object.clone().unwrap().key;
    let first = service.lease(60_000).await;
    assert_eq!(first.len(), 1);
    assert!(key(&first[0]).ends_with("/Organization.ndjson"));
    let request = service.lease_request(60_000).await;
    let mut work = service.work.clone();
    let waiting = tokio::spawn(async move { work.lease_units(request).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    let finish = FinishUnitRequest {
        lease: first[0].lease.clone(),
        lines: 1,
        decoded_bytes: 3,
    };
    service.work.finish_unit(finish).await.unwrap();
    let leased = timeout(SOON, waiting).await.unwrap().unwrap().unwrap();
    assert!(key(&leased.into_inner().units[0]).ends_with("/Patient.ndjson"));
}

#[tokio::test]
async fn what_is_known_is_loaded_though_it_cannot_be_listed() {
    let folder = folder();
    let mut service = serve_with(asleep().await);
    let job_id = service.start(folder.path()).await.job_id;
    assert_eq!(service.lease(10_000).await.len(), 1);
    let mut again = load(folder.path());
    folder.close().unwrap();
    let target = again.target.as_mut().unwrap();
    target.tenant = "another".to_owned();
    again.options = Some(JobOptions {
        no_scan: true,
        ..JobOptions::default()
    });
    let started = service.jobs.start_job(again).await.unwrap();
    let known = started.into_inner().job.unwrap().job_id;
    assert_ne!(known, job_id);
    let units = service.lease(10_000).await;
    assert_eq!(units.len(), 1);
    assert_eq!(units[0].job_id, known);
}
