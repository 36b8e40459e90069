//! Commits above 4 MiB take turns; other calls on the same connection do not.

use std::time::Duration;

use bucket_scanner::Config;
use futures::StreamExt;
use futures::stream;
use stoker_proto::ledger::v1::RenewLeasesRequest;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::{folder, parts, serve};

const SOON: Duration = Duration::from_secs(10);
/// Long enough for the server to have read what it will.
const SETTLED: Duration = Duration::from_millis(500);

#[tokio::test]
async fn leases_are_renewed_while_large_commits_wait() {
    let folder = folder();
    std::fs::write(folder.path().join("b.ndjson"), "{}\n{}\n").unwrap();
    std::fs::write(folder.path().join("c.ndjson"), "{}\n{}\n").unwrap();
    let mut service = serve(Config::default()).await;
    service.start(folder.path()).await;
    let units = service.lease(10_000).await;
    assert_eq!(units.len(), 3);
    let quarantine = [1 << 20; 8];

    // The first has its turn and stops before its last part; the others wait half read.
    let mut begun = parts(&units[0], &quarantine);
    let last = begun.pop().unwrap();
    let (go_on, gate) = oneshot::channel::<()>();
    let last = stream::once(async move {
        gate.await.unwrap();
        last
    });
    let first = stream::iter(begun).chain(last);
    let mut work = service.work.clone();
    let first = tokio::spawn(async move { work.commit_outcomes(first).await });
    tokio::time::sleep(SETTLED).await;
    let waiting: Vec<_> = units[1..]
        .iter()
        .map(|unit| {
            let commit = stream::iter(parts(unit, &quarantine));
            let mut work = service.work.clone();
            tokio::spawn(async move { work.commit_outcomes(commit).await })
        })
        .collect();
    tokio::time::sleep(SETTLED).await;

    let leases: Vec<_> = units.iter().filter_map(|unit| unit.lease.clone()).collect();
    let renewed = service.work.renew_leases(RenewLeasesRequest { leases });
    let renewed = timeout(SOON, renewed).await.unwrap().unwrap().into_inner();
    assert!(renewed.leases.iter().all(|lease| lease.lost.is_empty()));
    assert!(waiting.iter().all(|commit| !commit.is_finished()));

    go_on.send(()).unwrap();
    timeout(SOON, first).await.unwrap().unwrap().unwrap();
    for commit in waiting {
        timeout(SOON, commit).await.unwrap().unwrap().unwrap();
    }
}
