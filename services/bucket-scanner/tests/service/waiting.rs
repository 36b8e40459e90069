//! Calls that wait, and what ends their wait.

use std::sync::Arc;
use std::time::Duration;

use bucket_scanner::{Config, Scanner};
use futures::StreamExt;
use stoker_proto::ledger::v1::WatchJobRequest;
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
