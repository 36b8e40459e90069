use std::collections::BTreeSet;
use std::sync::Arc;

use bucket_scanner::ledger::{LedgerError, MAX_ATTEMPTS, StartJob};
use stoker_proto::common::v1::{Source, Target};
use stoker_proto::ledger::v1::{Disposition, JobState, LeaseUnitsRequest, LoadErrorKind, Unit};

use crate::world::{World, commit, key_of, lease_of, object, start};

pub(crate) async fn leases_go_to_one_worker_each(world: World) {
    let objects: Vec<_> = (0..40)
        .map(|n| object(&format!("/data/{n}.json"), 10))
        .collect();
    world.job_over(&objects).await;
    let world = Arc::new(world);
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let worker = world.worker().await;
                let mut keys = Vec::new();
                loop {
                    let units = world.lease(worker, 3).await;
                    if units.is_empty() {
                        return keys;
                    }
                    keys.extend(units.iter().map(|u| key_of(u).to_owned()));
                }
            })
        })
        .collect();
    let mut taken = Vec::new();
    for worker in workers {
        taken.extend(worker.await.unwrap());
    }
    assert_eq!(taken.len(), 40, "none twice");
    assert_eq!(
        taken.iter().collect::<BTreeSet<_>>().len(),
        40,
        "none left out"
    );
}

pub(crate) async fn an_expired_lease_is_lost_only_once_taken(world: World) {
    world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let (slow, quick) = (world.worker().await, world.worker().await);
    let old = world.lease_one(slow).await;
    assert_eq!(old.lease_expiry.unwrap().seconds, 1_700_000_060);
    world.advance(59);
    assert_eq!(world.lease(quick, 1).await, []);
    world.advance(10);
    world
        .ledger
        .commit_outcomes(&commit(&old, 0..10))
        .await
        .unwrap();
    let new = world.lease_one(quick).await;
    assert_ne!(lease_of(&new).token, lease_of(&old).token);
    assert_eq!((new.attempt, new.done[0].end), (2, 10));
    let taken = |result: Result<(), LedgerError>| {
        let error = result.unwrap_err();
        let LedgerError::LeaseLost { reason, .. } = &error else {
            panic!("{error}")
        };
        assert!(reason.contains("another worker"), "{reason}");
    };
    taken(world.ledger.commit_outcomes(&commit(&old, 10..20)).await);
    taken(world.finish(&old).await);
    for disposition in [Disposition::HandBack, Disposition::Retry, Disposition::Park] {
        let released = world.ledger.release_unit(lease_of(&old), disposition, "x");
        taken(released.await.map(drop));
    }
    let renewed = world.ledger.renew(&[lease_of(&old).clone()]).await.unwrap();
    assert_eq!(renewed[0].lease_expiry, None);
    assert!(renewed[0].lost.contains("another worker"));
    world.finish(&new).await.unwrap();
}

async fn lease_holding(world: &World, worker_id: i64, held: &[&Unit]) -> Vec<Unit> {
    let request = LeaseUnitsRequest {
        worker_id,
        max_units: 10,
        held_unit_ids: held.iter().map(|u| lease_of(u).unit_id).collect(),
        ..LeaseUnitsRequest::default()
    };
    world.ledger.lease_units(&request).await.unwrap().units
}

pub(crate) async fn a_unit_still_held_is_not_offered_again(world: World) {
    let objects = [object("/data/a.ndjson", 100), object("/data/b.ndjson", 100)];
    let job = world.job_over(&objects).await;
    let (slow, quick) = (world.worker().await, world.worker().await);
    let (a, b) = (world.lease_one(slow).await, world.lease_one(slow).await);
    world.advance(61);
    assert_eq!(lease_holding(&world, slow, &[&a, &b]).await, []);
    let again = lease_holding(&world, slow, &[&a]).await;
    assert_eq!(again.len(), 1, "what it does not name, it may have");
    assert_eq!(key_of(&again[0]), key_of(&b));
    let renew = [lease_of(&a).clone()];
    let renewed = world.ledger.renew(&renew).await.unwrap();
    assert_eq!(renewed[0].lost, "", "nobody took it");
    world.advance(61);
    let taken = lease_holding(&world, quick, &[&b]).await;
    assert_eq!(taken.len(), 1);
    assert_eq!(key_of(&taken[0]), key_of(&a));
    let renewed = world.ledger.renew(&renew).await.unwrap();
    assert!(
        renewed[0].lost.contains("another worker"),
        "{}",
        renewed[0].lost
    );
    // Open again: anyone may have it, whatever they named when they asked.
    let handed_back = Disposition::HandBack;
    let lease = lease_of(&taken[0]);
    world
        .ledger
        .release_unit(lease, handed_back, "")
        .await
        .unwrap();
    assert_eq!(lease_holding(&world, slow, &[&a, &b]).await.len(), 1);
    assert_eq!(world.state(job).await, JobState::Loading);
}

pub(crate) async fn a_unit_held_to_the_last_attempt_is_not_given_up(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let (slow, other) = (world.worker().await, world.worker().await);
    for _ in 1..MAX_ATTEMPTS {
        world.lease_one(slow).await;
        world.advance(61);
    }
    let unit = world.lease_one(slow).await;
    world.advance(61);
    assert_eq!(lease_holding(&world, slow, &[&unit]).await, []);
    assert_eq!(world.state(job).await, JobState::Loading);
    assert_eq!(lease_holding(&world, other, &[]).await, []);
    assert_eq!(world.run(job).await.objects_parked, 1);
    let lost = world.finish(&unit).await.unwrap_err();
    assert!(matches!(lost, LedgerError::LeaseLost { .. }), "{lost}");
}

pub(crate) async fn renewal_keeps_a_lease(world: World) {
    world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let (first, second) = (world.worker().await, world.worker().await);
    let unit = world.lease_one(first).await;
    for _ in 0..3 {
        world.advance(50);
        let renewed = world
            .ledger
            .renew(&[lease_of(&unit).clone()])
            .await
            .unwrap();
        let now = world.clock_seconds();
        assert_eq!(renewed[0].lease_expiry.unwrap().seconds, now + 60);
        assert_eq!(renewed[0].lost, "");
        assert_eq!(world.lease(second, 1).await, []);
    }
}

pub(crate) async fn a_unit_whose_server_is_away_waits_and_keeps_its_attempts(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let worker = world.worker().await;
    for _ in 0..2 * MAX_ATTEMPTS {
        let unit = world.lease_one(worker).await;
        assert_eq!(unit.attempt, 1);
        let later = Disposition::Later;
        let released = world.ledger.release_unit(lease_of(&unit), later, "away");
        released.await.unwrap();
        world.advance(9);
        assert_eq!(world.lease(worker, 1).await, []);
        world.advance(1);
    }
    assert_eq!(world.state(job).await, JobState::Loading);
}

pub(crate) async fn a_unit_handed_back_is_open_at_once(world: World) {
    world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let worker = world.worker().await;
    for _ in 0..2 * MAX_ATTEMPTS {
        let unit = world.lease_one(worker).await;
        assert_eq!(unit.attempt, 1);
        world
            .ledger
            .release_unit(lease_of(&unit), Disposition::HandBack, "")
            .await
            .unwrap();
    }
    let unit = world.lease_one(worker).await;
    let unspecified = Disposition::Unspecified;
    let refused = world
        .ledger
        .release_unit(lease_of(&unit), unspecified, "")
        .await;
    assert!(matches!(refused, Err(LedgerError::NotNow(_))));
}

pub(crate) async fn retries_wait_longer_each_time_and_end(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let worker = world.worker().await;
    for (attempt, pause) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        let unit = world.lease_one(worker).await;
        assert_eq!(unit.attempt, attempt);
        let lease = lease_of(&unit);
        world
            .ledger
            .release_unit(lease, Disposition::Retry, "disk\0error")
            .await
            .unwrap();
        world.advance(pause - 1);
        assert_eq!(world.lease(worker, 1).await, []);
        world.advance(1);
    }
    let last = world.lease_one(worker).await;
    world
        .ledger
        .release_unit(lease_of(&last), Disposition::Retry, "disk error")
        .await
        .unwrap();
    parked(&world, job, "given up after 5 attempts: disk error").await;
}

pub(crate) async fn a_unit_that_silences_workers_is_parked(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let worker = world.worker().await;
    for _ in 0..MAX_ATTEMPTS {
        world.lease_one(worker).await;
        world.advance(60);
    }
    assert_eq!(world.lease(worker, 1).await, []);
    parked(
        &world,
        job,
        "given up after 5 attempts: its worker fell silent while loading it",
    )
    .await;
}

pub(crate) async fn a_parked_unit_ends_the_job(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    world
        .ledger
        .release_unit(lease_of(&unit), Disposition::Park, "not gzip")
        .await
        .unwrap();
    parked(&world, job, "not gzip").await;
    // Loading again takes it up.
    world.start(&start()).await;
    world.scan(&[object("/data/a.ndjson", 100)]).await;
    let unit = world.lease_one(worker).await;
    assert_eq!(unit.attempt, 1);
    world.finish(&unit).await.unwrap();
    let run = world.run(job).await;
    assert_eq!(
        (run.objects, run.objects_done, run.objects_parked),
        (1, 1, 0)
    );
    assert_eq!(run.objects_unchanged, 0);
}

async fn parked(world: &World, job: i64, reason: &str) {
    assert_eq!(world.state(job).await, JobState::Done);
    let run = world.run(job).await;
    assert_eq!(
        (run.objects, run.objects_done, run.objects_parked),
        (1, 0, 1)
    );
    let errors = world.errors(job, true).await;
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].kind(), LoadErrorKind::Parked);
    assert_eq!((errors[0].error_id, errors[0].position), (0, None));
    assert_eq!(
        (errors[0].key.as_str(), errors[0].error_text.as_str()),
        ("/data/a.ndjson", reason)
    );
    assert_eq!(world.ledger.unit_counts().await.unwrap().parked, 1);
}

pub(crate) async fn units_go_only_where_they_can_be_read(world: World) {
    let source = Source {
        reach: "host-a".to_owned(),
        ..start().source
    };
    world.start(&StartJob { source, ..start() }).await;
    let own = ["host-a".to_owned()];
    let scan = world.ledger.begin_scan(&own).await.unwrap().unwrap();
    world
        .register(&scan, &[object("/data/Organization.ndjson", 100)])
        .await
        .unwrap();
    let worker = world.worker().await;
    let as_host = |host: &str| LeaseUnitsRequest {
        worker_id: worker,
        max_units: 1,
        reaches: vec![host.to_owned()],
        ..LeaseUnitsRequest::default()
    };
    let elsewhere = world
        .ledger
        .lease_units(&as_host("host-b"))
        .await
        .unwrap()
        .units;
    assert_eq!(elsewhere, []);
    let units = world
        .ledger
        .lease_units(&as_host("host-a"))
        .await
        .unwrap()
        .units;
    assert_eq!(units[0].source.as_ref().unwrap().reach, "host-a");
}

pub(crate) async fn a_worker_may_work_for_named_jobs_only(world: World) {
    let first = world.start(&start()).await;
    let elsewhere = Target {
        base_url: "http://elsewhere/fhir".to_owned(),
        ..start().target
    };
    let target = StartJob {
        target: elsewhere,
        ..start()
    };
    let second = world.start(&target).await;
    world.scan(&[object("/data/a.ndjson", 100)]).await;
    let of_jobs = |job_ids: Vec<i64>| LeaseUnitsRequest {
        max_units: 10,
        job_ids,
        ..LeaseUnitsRequest::default()
    };
    let worker_id = world.worker().await;
    let mut request = of_jobs(vec![second]);
    request.worker_id = worker_id;
    let units = world.ledger.lease_units(&request).await.unwrap().units;
    assert_eq!(units.iter().map(|u| u.job_id).collect::<Vec<_>>(), [second]);
    request.job_ids.clear();
    let rest = world.ledger.lease_units(&request).await.unwrap().units;
    assert_eq!(rest.iter().map(|u| u.job_id).collect::<Vec<_>>(), [first]);
}

pub(crate) async fn a_small_job_is_not_held_up(world: World) {
    let many: Vec<_> = (0..10)
        .map(|n| object(&format!("/data/{n}.json"), 10))
        .collect();
    let big = world.job_over(&many).await;
    let source = Source {
        uri: "file:///small".to_owned(),
        ..start().source
    };
    let small = world.start(&StartJob { source, ..start() }).await;
    world.scan(&[object("/small/a.json", 10)]).await;
    let worker = world.worker().await;
    let jobs = |units: Vec<Unit>| units.iter().map(|u| u.job_id).collect::<Vec<_>>();
    assert_eq!(jobs(world.lease(worker, 2).await), [big, big]);
    assert_eq!(jobs(world.lease(worker, 2).await), [small, big]);
}

pub(crate) async fn silent_workers_are_known(world: World) {
    let first = world.worker().await;
    world.advance(30);
    world.ledger.heartbeat(first).await.unwrap();
    world.advance(59);
    assert_eq!(world.ledger.stop_silent_workers().await.unwrap(), 0);
    world.advance(2);
    let second = world.worker().await;
    assert_ne!(first, second);
    let stopped = world.ledger.stop_silent_workers().await.unwrap();
    assert_eq!(stopped, 0, "the registration has stopped the first");
    // It was only slow.
    world.ledger.heartbeat(first).await.unwrap();
    world.advance(60);
    assert_eq!(world.ledger.stop_silent_workers().await.unwrap(), 2);
    assert_eq!(world.ledger.stop_silent_workers().await.unwrap(), 0);
}

pub(crate) async fn an_unknown_worker_is_told_to_register(world: World) {
    world.job_over(&[object("/data/a.ndjson", 100)]).await;
    for max_units in [0, 1] {
        let request = LeaseUnitsRequest {
            worker_id: 7,
            max_units,
            ..LeaseUnitsRequest::default()
        };
        let error = world.ledger.lease_units(&request).await.unwrap_err();
        let unknown = matches!(error, LedgerError::NotFound { what: "worker", .. });
        assert!(unknown, "{error}");
        let text = "worker 7 is not known here; register again";
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(world.ledger.unit_counts().await.unwrap().open, 1);
}
