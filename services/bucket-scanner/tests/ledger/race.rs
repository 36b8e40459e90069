//! Everybody at once: workers, scanners, and people who start, cancel and retry.

use std::sync::Arc;
use std::time::Duration;

use bucket_scanner::ledger::{FoundObject, LedgerError, StartJob};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use stoker_proto::common::v1::{ByteRange, Target};
use stoker_proto::ledger::v1::{Disposition, JobOptions, JobState, Unit};

use crate::look::ask;
use crate::world::{World, commit, lease_of, modified, rejecting, start, uncompressed};

const OBJECTS: usize = 12;
const ROUNDS: usize = 60;

fn targets() -> [StartJob; 2] {
    let other = StartJob {
        target: Target {
            tenant: "b".to_owned(),
            ..start().target
        },
        options: JobOptions {
            recycle_after_ms: Some(3000),
            ..JobOptions::default()
        },
        ..start()
    };
    [start(), other]
}

/// What a rival may lawfully have done meanwhile.
fn may_happen<T>(result: Result<T, LedgerError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(
            LedgerError::LeaseLost { .. } | LedgerError::ScanLost { .. } | LedgerError::NotNow(_),
        ) => None,
        Err(e) => panic!("{e}"),
    }
}

async fn work(world: Arc<World>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let worker = world.worker().await;
    for _ in 0..ROUNDS {
        let units = world.lease(worker, 3).await;
        for unit in &units {
            end(&world, unit, rng.random_range(0..8)).await;
        }
        tokio::task::yield_now().await;
    }
}

async fn end(world: &World, unit: &Unit, choice: u32) {
    let ledger = &world.ledger;
    let size = unit.object.as_ref().unwrap().size;
    let mut refused = rejecting(unit, 0..10, &[0]);
    refused.header.begun = vec![ByteRange { start: 10, end: 20 }];
    may_happen(ledger.commit_outcomes(&refused).await);
    let dispositions = [
        Disposition::HandBack,
        Disposition::Retry,
        Disposition::Park,
        Disposition::Park,
    ];
    if let Some(how) = dispositions.get(choice as usize) {
        may_happen(ledger.release_unit(lease_of(unit), *how, "because").await);
    } else {
        may_happen(ledger.commit_outcomes(&commit(unit, 10..size)).await);
        may_happen(world.finish(unit).await);
    }
}

fn objects(rng: &mut StdRng) -> Vec<FoundObject> {
    // Of several waves, some of several units.
    let found = |n: usize| {
        let of = ["Organization", "Patient", "Encounter"];
        let key = format!("/data/{n}.{}.ndjson", of[n % of.len()]);
        let size = if n.is_multiple_of(4) { 130 << 20 } else { 100 };
        FoundObject {
            last_modified: modified(rng.random_range(0..2)),
            ..uncompressed(&key, size)
        }
    };
    (0..OBJECTS).map(found).collect()
}

async fn scan(world: Arc<World>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..ROUNDS {
        let Some(scan) = world.ledger.begin_scan(&[]).await.unwrap() else {
            tokio::task::yield_now().await;
            continue;
        };
        may_happen(world.register(&scan, &objects(&mut rng)).await);
        let failure = rng.random_bool(0.1).then_some("gone");
        may_happen(world.ledger.finish_scan(&scan, failure).await);
    }
}

async fn interfere(world: Arc<World>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..ROUNDS {
        let mut load = targets()[rng.random_range(0..2)].clone();
        match rng.random_range(0..9) {
            0 | 1 => {
                load.reload = rng.random_bool(0.2);
                world.start(&load).await;
            }
            2 => {
                let kept = world.ledger.keep_loaded(&load, Duration::ZERO).await;
                kept.unwrap();
            }
            3 => {
                let job = world.start(&load).await;
                world.ledger.cancel_job(job).await.unwrap();
            }
            6 => {
                world.ledger.recycle().await.unwrap();
            }
            4 | 5 => {
                let jobs = world.ledger.jobs().await.unwrap();
                may_happen(world.ledger.retry_job(jobs[0].job_id).await);
            }
            7 => world.ledger.fold_sums().await.unwrap(),
            _ => world.advance(7),
        }
        tokio::task::yield_now().await;
    }
}

/// What must be none of, whatever came first.
const NEVER: [(&str, &str); 7] = [
    (
        "units at work of a job that is over",
        "SELECT CAST(COUNT(*) AS TEXT) FROM load_units u JOIN jobs j ON j.job_id = u.job_id \
         WHERE (u.state = 'leased' AND j.state IN ('done', 'cancelled')) OR (u.state = 'open' AND j.state = 'done')",
    ),
    (
        "units at work of a load that counts no more",
        "SELECT CAST(COUNT(*) AS TEXT) FROM load_units u \
         JOIN resource_bundle_loads l ON l.resource_bundle_load_id = u.resource_bundle_load_id \
         JOIN resource_bundles b ON b.resource_bundle_id = l.resource_bundle_id \
         WHERE u.state IN ('open', 'leased', 'parked', 'cancelled') \
           AND NOT (l.latest AND l.version >= b.content_version)",
    ),
    (
        "loads whose units do not add up to the object",
        "SELECT CAST(COUNT(*) AS TEXT) FROM resource_bundle_loads l \
         JOIN resource_bundles b ON b.resource_bundle_id = l.resource_bundle_id \
         WHERE l.latest AND l.version >= b.content_version AND b.object_size <> \
           (SELECT COALESCE(SUM(u.range_end - u.range_start), 0) FROM load_units u \
            WHERE u.resource_bundle_load_id = l.resource_bundle_load_id)",
    ),
    (
        "loads that are complete and have an unfinished unit, or the other way round",
        "SELECT CAST(COUNT(*) AS TEXT) FROM resource_bundle_loads l \
         WHERE (l.load_completed IS NULL) <> EXISTS (SELECT 1 FROM load_units u \
           WHERE u.resource_bundle_load_id = l.resource_bundle_load_id AND u.state <> 'done')",
    ),
    (
        "counts of errors that differ from the errors",
        "SELECT CAST(COUNT(*) AS TEXT) FROM load_counts c WHERE c.rejected <> \
           (SELECT COUNT(*) FROM resource_bundle_errors e \
            WHERE e.resource_bundle_load_id = c.resource_bundle_load_id \
              AND e.resource_type = c.resource_type)",
    ),
    (
        "sums of jobs that differ from what they are sums of",
        "SELECT CAST(COUNT(*) AS TEXT) FROM (SELECT job_id, run, resource_type \
           FROM (SELECT 1 AS n, k.* FROM job_sums k \
             UNION ALL SELECT -1 AS n, c.* FROM job_sums_counted c) AS together \
           GROUP BY job_id, run, resource_type \
           HAVING SUM(n * objects) <> 0 OR SUM(n * objects_done) <> 0 OR SUM(n * requests) <> 0 \
             OR SUM(n * retries) <> 0 OR SUM(n * bytes) <> 0 OR SUM(n * bytes_done) <> 0 \
             OR SUM(n * created) <> 0 OR SUM(n * updated) <> 0 OR SUM(n * rejected) <> 0 \
             OR SUM(n * in_doubt) <> 0) AS differing",
    ),
    // PostgreSQL does not check these by itself: `docs/adr/0007-references-not-checked.md`.
    (
        "rows that refer to none",
        "SELECT CAST((SELECT COUNT(*) FROM resource_bundles b WHERE \
             NOT EXISTS (SELECT 1 FROM sources s WHERE s.source_id = b.source_id) OR NOT EXISTS \
             (SELECT 1 FROM bucket_paths p WHERE p.bucket_path_id = b.bucket_path_id)) \
           + (SELECT COUNT(*) FROM resource_bundle_loads l WHERE \
             NOT EXISTS (SELECT 1 FROM jobs j WHERE j.job_id = l.job_id) OR NOT EXISTS \
             (SELECT 1 FROM resource_bundles b \
               WHERE b.resource_bundle_id = l.resource_bundle_id)) \
           + (SELECT COUNT(*) FROM load_units u WHERE \
             NOT EXISTS (SELECT 1 FROM jobs j WHERE j.job_id = u.job_id) OR NOT EXISTS \
             (SELECT 1 FROM resource_bundle_loads l \
               WHERE l.resource_bundle_load_id = u.resource_bundle_load_id)) \
           + (SELECT COUNT(*) FROM (SELECT loader_instance_id FROM resource_bundle_loads \
               UNION ALL SELECT loader_instance_id FROM load_units) AS w \
             WHERE w.loader_instance_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM loader_instances i \
               WHERE i.loader_instance_id = w.loader_instance_id)) \
           + (SELECT COUNT(*) FROM logical_resources r WHERE NOT EXISTS \
             (SELECT 1 FROM resource_types t WHERE t.resource_type_id = r.resource_type_id) \
             OR NOT EXISTS (SELECT 1 FROM resource_bundle_loads l \
               WHERE l.resource_bundle_load_id = r.resource_bundle_load_id)) AS TEXT)",
    ),
];

pub(crate) async fn everybody_at_once_breaks_nothing(world: World) {
    let world = Arc::new(world);
    for load in targets() {
        world.start(&load).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..3 {
        tasks.spawn(work(Arc::clone(&world), seed));
        tasks.spawn(interfere(Arc::clone(&world), 100 + seed));
    }
    for seed in 0..2 {
        tasks.spawn(scan(Arc::clone(&world), 200 + seed));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    for (what, sql) in NEVER {
        assert_eq!(ask(&world, sql).await, "0", "{what}");
    }
    // Whatever state that left, both loads can be brought to their end.
    let last = objects(&mut StdRng::seed_from_u64(1000));
    world.advance(1000);
    for load in targets() {
        let options = JobOptions::default();
        world.start(&StartJob { options, ..load }).await;
    }
    while let Some(scan) = world.ledger.begin_scan(&[]).await.unwrap() {
        world.register(&scan, &last).await.unwrap();
        world.ledger.finish_scan(&scan, None).await.unwrap();
    }
    world.load_all().await;
    for job in world.ledger.jobs().await.unwrap() {
        assert_eq!(job.state(), JobState::Done, "{job:?}");
        let total = job.total.unwrap();
        assert_eq!(total.objects, OBJECTS as u64);
        assert_eq!(total.objects_done, OBJECTS as u64);
    }
}
