//! Several drivers over one store.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use stoker_proto::reindex::v1::RunSpec;
use stoker_shared::clock::ManualClock;
use stoker_shared::store::StoreUrl;

use crate::world::{World, open, save, spec};

const RUNS: usize = 120;

/// Set for a process that a test has started: the store's URL and schema, with a blank between.
const RIVAL: &str = "STOKER_TEST_RIVAL";

pub(crate) async fn starts_at_once_start_one_run(world: &World, _test: &str) {
    let mut starting = Vec::new();
    for _ in 0..4 {
        let runs = world.again().await;
        starting.push(tokio::spawn(async move {
            runs.start(&spec()).await.unwrap().0.run_id
        }));
    }
    for started in starting {
        assert_eq!(started.await.unwrap(), 1);
    }
    assert_eq!(world.runs.runs().await.unwrap().len(), 1);
}

pub(crate) async fn two_processes_never_have_the_same_run(world: &World, test: &str) {
    if let Ok(store) = std::env::var(RIVAL) {
        return take_all(&store).await;
    }
    for number in 0..RUNS {
        let tstamp = format!("2020-01-01T00:00:{number:02}Z");
        world.start(&RunSpec { tstamp, ..spec() }).await;
    }
    let StoreUrl::Postgres(url) = &world.url else {
        return race(world, &world.url.to_string(), test);
    };
    race(world, url, test);
}

/// Runs this very test in two processes more, each of which takes what it can get.
fn race(world: &World, url: &str, test: &str) {
    let rivals = [1, 2].map(|_| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(RIVAL, format!("{url} {}", world.schema))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let mut all = Vec::new();
    for rival in rivals {
        let output = rival.wait_with_output().unwrap();
        assert!(output.status.success());
        let written = String::from_utf8(output.stdout).unwrap();
        let took = written
            .lines()
            .filter_map(|line| line.strip_prefix("took "));
        let took: Vec<i64> = took.map(|id| id.parse().unwrap()).collect();
        assert!(!took.is_empty(), "one of the two had no rival");
        all.extend(took);
    }
    let once: BTreeSet<i64> = all.iter().copied().collect();
    assert_eq!((all.len(), once.len()), (RUNS, RUNS));
}

async fn take_all(store: &str) {
    let (url, schema) = store.split_once(' ').unwrap();
    let start = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let clock = Arc::new(ManualClock::new(start));
    let runs = open(&url.parse().unwrap(), schema, clock).await.unwrap();
    let mut misses = 0;
    // A row that the rival has locked is passed over: only after several looks nothing is left.
    while misses < 5 {
        let Some(taken) = runs.take("rival", &[]).await.unwrap() else {
            misses += 1;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let mut out = std::io::stdout();
        writeln!(out, "\ntook {}", taken.lease.run_id).unwrap();
        runs.save(&taken.lease, &save(1, &[])).await.unwrap();
        // So that both have time to begin.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

pub(crate) async fn what_is_saved_outlives_the_process(world: &World, _test: &str) {
    let taken = world.driven().await;
    let saved = save(80, &[(7, 9)]);
    world.runs.save(&taken.lease, &saved).await.unwrap();
    let other = world.again().await;
    let run = other.run(taken.lease.run_id).await.unwrap();
    assert_eq!(run, world.runs.run(taken.lease.run_id).await.unwrap());
    assert!(other.take("other:2", &[]).await.unwrap().is_none());
    world.clock.advance(crate::world::LEASE);
    let next = other.take("other:2", &[]).await.unwrap().unwrap();
    assert_eq!(next.position, saved.position);
    let lost = world.runs.save(&taken.lease, &saved).await;
    assert!(crate::world::is_lost(&lost));
}
