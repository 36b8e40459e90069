//! Commits above 4 MiB take turns; other calls on the same connection do not.

use std::time::Duration;

use bucket_scanner::Config;
use futures::{Stream, StreamExt, stream};
use stoker_proto::ledger::v1::RenewLeasesRequest;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::{folder, parts, serve};

const SOON: Duration = Duration::from_secs(30);
/// A header, the outcomes, and a part for each of 5 MiB: with the last of them the server has to
/// have read, or to wait for its turn with, more than 4 MiB.
const ABOVE_SMALL: usize = 2 + 5;

/// The parts, and how many of them the connection has taken: it takes one more only when the server
/// has read most of those before.
fn counted<T>(parts: Vec<T>) -> (impl Stream<Item = T>, watch::Receiver<usize>) {
    let (taken, count) = watch::channel(0);
    let parts = stream::iter(parts).inspect(move |_| taken.send_modify(|n| *n += 1));
    (parts, count)
}

async fn reaches(mut count: watch::Receiver<usize>, parts: usize) {
    let reached = count.wait_for(|taken| *taken >= parts);
    timeout(SOON, reached).await.unwrap().unwrap();
}

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
    let (begun, taken) = counted(begun);
    let first = begun.chain(last);
    let mut work = service.work.clone();
    let first = tokio::spawn(async move { work.commit_outcomes(first).await });
    reaches(taken, 2 + quarantine.len() - 1).await;
    let mut waiting = Vec::new();
    for unit in &units[1..] {
        let (commit, taken) = counted(parts(unit, &quarantine));
        let mut work = service.work.clone();
        waiting.push(tokio::spawn(
            async move { work.commit_outcomes(commit).await },
        ));
        reaches(taken, ABOVE_SMALL).await;
    }

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
