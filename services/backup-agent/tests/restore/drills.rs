//! Drills say which backups can be restored, and leave nothing behind.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backup_agent::drill::{self, Canary, Order};
use backup_agent::manifest::Proof;
use stoker_shared::clock::{SharedClock, SystemClock};

use crate::kills::processes_of;
use crate::world::{BACKUP, ROWS, World, progress};

pub(crate) fn drill_order(folder: &Path) -> Order {
    Order {
        backup: BACKUP.to_owned(),
        scratch: folder.join("scratch"),
        programs: None,
        user: None,
        role: "postgres".to_owned(),
        patience: Duration::from_mins(1),
        settings: BTreeMap::new(),
        canaries: Vec::new(),
        pgbackrest: backup_agent::pgbackrest::Program::default(),
    }
}

fn canary(query: &str, at_least: i64) -> Canary {
    Canary {
        name: "kept".to_owned(),
        database: "postgres".to_owned(),
        query: query.to_owned(),
        at_least,
    }
}

async fn drill(world: &World, canaries: Vec<Canary>) -> Proof {
    let order = Order {
        canaries,
        ..drill_order(world.folder.path())
    };
    let clock: SharedClock = Arc::new(SystemClock);
    let proof = drill::drill(&*world.repository, &order, &clock, &progress())
        .await
        .unwrap();
    nothing_is_left(world);
    proof
}

fn nothing_is_left(world: &World) {
    let scratch = world.path("scratch");
    // One that is given up as it ends takes away the rest in a thread of its own.
    let begun = Instant::now();
    loop {
        let files = std::fs::read_dir(&scratch).unwrap().count();
        let processes = processes_of(&scratch).len();
        if (files, processes) == (0, 0) {
            return;
        }
        let waited = begun.elapsed();
        assert!(
            waited < Duration::from_secs(10),
            "{files} files, {processes} processes are left"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_backup_is_proven() {
    let world = World::new(true).await;
    let count = "SELECT count(*) FROM far";
    let proof = drill(&world, vec![canary(count, ROWS)]).await;
    assert!(proof.good, "{proof:#?}");
    assert!(proof.recovery_ms > 0);
    let names: Vec<_> = proof
        .checks
        .iter()
        .map(|check| check.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["restore", "start", "pg_amcheck", "rows", "canary kept"]
    );
    assert!(
        proof.checks[1].saw.starts_with("consistent at 0/"),
        "{proof:#?}"
    );
    assert!(proof.checks[2].saw.contains("are sound"), "{proof:#?}");
    let rows = &proof.checks[3].saw;
    assert!(
        rows.contains(&format!("postgres: {} rows in 2 tables", 2 * ROWS)),
        "{rows}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_is_silent_is_told() {
    let world = World::new(false).await;
    let few = canary("SELECT count(*) FROM kept", ROWS + 1);
    let none = canary("SELECT count(*) FROM lost", 1);
    let secret = canary("SELECT what FROM kept LIMIT 1", 1);
    let proof = drill(&world, vec![few, none, secret]).await;
    assert!(!proof.good);
    let bad: Vec<_> = proof.checks.iter().filter(|check| !check.good).collect();
    assert_eq!(bad.len(), 3, "{proof:#?}");
    assert_eq!(bad[0].saw, "20000, at least 20001 expected");
    assert_eq!(bad[1].saw, "the query fails with SQLSTATE 42P01");
    assert_eq!(bad[2].saw, "the query answers no whole number");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_not_proven() {
    let world = World::new(false).await;
    world.damage("base.tar", |bytes| bytes / 2);
    let proof = drill(&world, Vec::new()).await;
    assert!(!proof.good, "{proof:#?}");
    assert_eq!(proof.checks.len(), 1);
    assert!(proof.checks[0].saw.contains("base.tar"), "{proof:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_is_given_up_leaves_nothing() {
    let world = World::new(false).await;
    let order = drill_order(world.folder.path());
    let clock: SharedClock = Arc::new(SystemClock);
    for millis in [50, 200, 600, 1000] {
        let progress = progress();
        let drilling = drill::drill(&*world.repository, &order, &clock, &progress);
        let _ = tokio::time::timeout(Duration::from_millis(millis), drilling).await;
        nothing_is_left(&world);
    }
}
