//! Loads that are configured, and jobs that share a source.

use std::time::Duration;

use bucket_scanner::ledger::{
    FoundObject, Kept, LedgerError, MAX_ATTEMPTS, Page, Retried, StartJob,
};
use stoker_proto::common::v1::Interaction;
use stoker_proto::ledger::v1::{Disposition, JobState};

use crate::world::{World, commit, count, issue, lease_of, object, other, rejecting, start};

const AT_ONCE: Duration = Duration::ZERO;
const INTERVAL: Duration = Duration::from_mins(5);

async fn kept(world: &World, rest: Duration) -> Kept {
    world.ledger.keep_loaded(&start(), rest).await.unwrap()
}

/// Whether a listing is asked for.
async fn keep(world: &World, rest: Duration) -> bool {
    kept(world, rest).await != Kept::AsItWas
}

pub(crate) async fn a_configured_load_tells_each_run_that_it_begins_once(world: World) {
    let objects = [object("/data/a.ndjson", 100)];
    let Kept::Run(job) = kept(&world, AT_ONCE).await else {
        panic!("it is new");
    };
    assert_eq!(kept(&world, AT_ONCE).await, Kept::AsItWas);
    world.scan(&objects).await;
    // Another scanner, or this one after a restart.
    assert_eq!(kept(&world, AT_ONCE).await, Kept::Listing);
    world.scan(&objects).await;
    world.load_all().await;
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(kept(&world, AT_ONCE).await, Kept::Run(job));
}

pub(crate) async fn a_configured_load_leaves_a_cancelled_job_alone(world: World) {
    assert!(keep(&world, AT_ONCE).await);
    let job = world.ledger.jobs().await.unwrap()[0].job_id;
    world.scan(&[object("/data/a.ndjson", 100)]).await;
    world.ledger.cancel_job(job).await.unwrap();
    world.advance(10_000);
    assert!(!keep(&world, AT_ONCE).await);
    assert!(!keep(&world, INTERVAL).await);
    assert_eq!(world.state(job).await, JobState::Cancelled);
    assert!(world.ledger.begin_scan(&[]).await.unwrap().is_none());
    // A person may go on; then it is kept loaded again.
    world.start(&start()).await;
    world.scan(&[object("/data/a.ndjson", 100)]).await;
    world.load_all().await;
    assert_eq!(world.run(job).await.objects_done, 1);
    assert!(keep(&world, AT_ONCE).await);
}

pub(crate) async fn a_configured_load_leaves_parked_units_parked(world: World) {
    let objects = [object("/data/a.ndjson", 100), object("/data/b.ndjson", 100)];
    let job = world.job_over(&objects).await;
    let worker = world.worker().await;
    let units = world.lease(worker, 2).await;
    let park = Disposition::Park;
    for unit in &units {
        let parked = world
            .ledger
            .release_unit(lease_of(unit), park, "broken")
            .await;
        parked.unwrap();
    }
    assert_eq!(world.state(job).await, JobState::Done);
    for _ in 0..3 {
        world.advance(INTERVAL.as_secs());
        assert!(keep(&world, INTERVAL).await);
        world.scan(&objects).await;
        assert_eq!(world.state(job).await, JobState::Done);
        assert_eq!(world.lease(worker, 10).await, []);
    }
    assert_eq!(world.total(job).await.objects_parked, 2);
    assert_eq!(world.errors(job, false).await.len(), 2);
    // A changed one is another matter.
    let changed = FoundObject {
        etag: "e".to_owned(),
        ..objects[0].clone()
    };
    assert!(keep(&world, AT_ONCE).await);
    world.scan(&[changed.clone(), objects[1].clone()]).await;
    assert_eq!(world.lease(worker, 10).await.len(), 1);
    assert_eq!(world.total(job).await.objects_parked, 1);
    // A person takes up the rest, also of a job that runs.
    world.start(&start()).await;
    let unit = world.lease_one(worker).await;
    assert_eq!(unit.attempt, 1);
    assert_eq!(world.run(job).await.objects, 2);
}

pub(crate) async fn a_listing_may_take_longer_than_the_pause_between_two(world: World) {
    assert!(keep(&world, AT_ONCE).await);
    let job = world.ledger.jobs().await.unwrap()[0].job_id;
    let scan = world.begin_scan().await;
    for _ in 0..10 {
        world.advance(50);
        world.register(&scan, &[]).await.unwrap();
        assert!(!keep(&world, AT_ONCE).await, "it is being listed");
        assert!(!keep(&world, INTERVAL).await);
    }
    world.ledger.finish_scan(&scan, None).await.unwrap();
    assert_eq!(world.state(job).await, JobState::Done);
    world.advance(INTERVAL.as_secs() - 1);
    assert!(!keep(&world, INTERVAL).await);
    world.advance(1);
    assert!(keep(&world, INTERVAL).await);
    // A failure is seen, and does not keep the next listing from being made.
    let scan = world.begin_scan().await;
    world.advance(1000);
    assert!(!keep(&world, INTERVAL).await);
    let gone = world.ledger.finish_scan(&scan, Some("gone"));
    gone.await.unwrap();
    assert_eq!(world.state(job).await, JobState::Failed);
    assert!(!keep(&world, INTERVAL).await);
    world.advance(INTERVAL.as_secs());
    assert!(keep(&world, INTERVAL).await);
    world.scan(&[object("/data/a.ndjson", 100)]).await;
    assert_eq!(world.state(job).await, JobState::Loading);
    // Nor does a load that takes long.
    world.advance(INTERVAL.as_secs());
    assert!(keep(&world, INTERVAL).await);
    let found = [object("/data/a.ndjson", 100), object("/data/b.ndjson", 100)];
    assert_eq!(world.scan(&found).await.planned, 1);
}

pub(crate) async fn a_listing_tells_nothing_of_jobs_it_is_not_for(world: World) {
    let page = Page {
        objects: vec![object("/data/Organization.ndjson", 100)],
        ignored: 3,
        issues: vec![issue("/data/empty.json", "empty file")],
    };
    let first = world.start(&start()).await;
    let scan = world.begin_scan().await;
    world.ledger.register_page(&scan, &page).await.unwrap();
    world.ledger.finish_scan(&scan, None).await.unwrap();
    let seen = async |job: i64| {
        let run = world.run(job).await;
        (run.warnings, run.objects_ignored, run.objects_unchanged)
    };
    let second = world.start(&other()).await;
    let scan = world.begin_scan().await;
    assert_eq!(seen(first).await, (1, 3, 0));
    assert_eq!(world.errors(first, true).await.len(), 1);
    let third = world
        .start(&StartJob {
            interaction: Interaction::Create,
            ..start()
        })
        .await;
    let registered = world.ledger.register_page(&scan, &page).await.unwrap();
    assert_eq!(registered.planned, 2, "what is found is planned for all");
    assert_eq!(seen(first).await, (1, 3, 0));
    assert_eq!(seen(second).await, (1, 3, 0));
    assert_eq!(seen(third).await, (0, 0, 0), "its own listing comes");
    let worker = world.worker().await;
    for unit in world.lease(worker, 10).await {
        world.finish(&unit).await.unwrap();
    }
    assert_eq!(world.state(first).await, JobState::Done);
    world.ledger.finish_scan(&scan, None).await.unwrap();
    assert_eq!(world.state(second).await, JobState::Done);
    assert_eq!(world.state(third).await, JobState::Scanning);
    let scan = world.begin_scan().await;
    // A page listed twice, as after a scanner died, is told of once.
    world.ledger.register_page(&scan, &page).await.unwrap();
    world.ledger.leave_scan(&scan).await.unwrap();
    let scan = world.begin_scan().await;
    world.ledger.register_page(&scan, &page).await.unwrap();
    world.ledger.finish_scan(&scan, None).await.unwrap();
    for job in [first, second, third] {
        assert_eq!(seen(job).await, (1, 3, 0), "job {job}");
        assert_eq!(world.state(job).await, JobState::Done);
    }
}

pub(crate) async fn a_job_that_is_over_keeps_its_numbers(world: World) {
    let old = object("/data/a.ndjson", 100);
    let first = world.job_over(std::slice::from_ref(&old)).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    let refused = rejecting(&unit, 0..100, &[20]);
    world.ledger.commit_outcomes(&refused).await.unwrap();
    world.finish(&unit).await.unwrap();
    let before = world.job(first).await;

    let changed = [FoundObject {
        etag: "e".to_owned(),
        ..old
    }];
    let second = world.start(&other()).await;
    assert_eq!(world.scan(&changed).await.planned, 1);
    assert_eq!(world.job(first).await, before);
    assert_eq!(world.errors(first, true).await.len(), 1);
    // Its inputs are gone with the version they were of.
    let retried = world.ledger.retry_job(first).await.unwrap();
    assert_eq!(retried, Retried::default());
    assert_eq!(world.job(first).await, before);
    world.load_all().await;
    assert_eq!(world.state(second).await, JobState::Done);

    world.start(&start()).await;
    assert_eq!(world.scan(&changed).await.planned, 1);
    world.load_all().await;
    let total = world.total(first).await;
    assert_eq!((total.objects, total.objects_done), (1, 1));
    assert_eq!(total.counts, []);
    assert_eq!(world.errors(first, false).await, []);
}

pub(crate) async fn a_changed_object_is_new_for_every_running_job(world: World) {
    let old = object("/data/a.ndjson", 100);
    let parked = world.job_over(std::slice::from_ref(&old)).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    let park = Disposition::Park;
    let done = world.ledger.release_unit(lease_of(&unit), park, "broken");
    done.await.unwrap();
    let running = world.start(&other()).await;
    world.scan(std::slice::from_ref(&old)).await;
    let held = world.lease_one(worker).await;
    let create = StartJob {
        interaction: Interaction::Create,
        ..start()
    };
    world.start(&create).await;
    let changed = [FoundObject {
        etag: "e".to_owned(),
        ..old
    }];
    assert_eq!(world.scan(&changed).await.planned, 2);
    let lost = world.finish(&held).await.unwrap_err();
    assert!(
        matches!(&lost, LedgerError::LeaseLost { reason, .. } if reason.contains("changed")),
        "{lost}"
    );
    let units = world.lease(worker, 10).await;
    assert_eq!(units.len(), 2);
    for unit in &units {
        assert_eq!(unit.object.as_ref().unwrap().version, 2);
        world.finish(unit).await.unwrap();
    }
    let total = world.total(running).await;
    assert_eq!((total.objects, total.objects_done), (1, 1));
    // What was set aside cannot be taken up by a retry any more; a start loads the new version.
    assert_eq!(world.total(parked).await.objects_parked, 0);
    let retried = world.ledger.retry_job(parked).await.unwrap();
    assert_eq!(retried, Retried::default());
    world.start(&start()).await;
    assert_eq!(world.scan(&changed).await.planned, 1);
    world.load_all().await;
    let total = world.total(parked).await;
    assert_eq!((total.objects, total.objects_done), (1, 1));
}

pub(crate) async fn a_unit_that_gets_on_is_never_given_up(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 1000)]).await;
    let worker = world.worker().await;
    for round in 0..u64::from(3 * MAX_ATTEMPTS) {
        let unit = world.lease_one(worker).await;
        assert_eq!(unit.attempt, if round == 0 { 1 } else { 2 });
        let mut next = commit(&unit, round * 10..round * 10 + 10);
        next.header.counts = vec![count("Patient", [0, 1, 0, 0])];
        world.ledger.commit_outcomes(&next).await.unwrap();
        world.advance(60);
    }
    // What is committed already is no progress.
    for attempt in 2..=MAX_ATTEMPTS {
        let unit = world.lease_one(worker).await;
        assert_eq!(unit.attempt, attempt);
        let repeat = commit(&unit, 0..10);
        world.ledger.commit_outcomes(&repeat).await.unwrap();
        world.advance(60);
    }
    assert_eq!(world.lease(worker, 1).await, []);
    assert_eq!(world.run(job).await.objects_parked, 1);
}

pub(crate) async fn a_start_gives_all_attempts_anew(world: World) {
    let objects = [object("/data/a.ndjson", 100), object("/data/b.ndjson", 100)];
    world.job_over(&objects).await;
    let worker = world.worker().await;
    for _ in 1..MAX_ATTEMPTS {
        assert_eq!(world.lease(worker, 2).await.len(), 2);
        world.advance(60);
    }
    let last = world.lease(worker, 2).await;
    assert_eq!((last[0].attempt, last[1].attempt), (5, 5));
    world.advance(60);
    world.start(&start()).await;
    let again = world.lease(worker, 2).await;
    assert_eq!(again.len(), 2);
    for unit in &again {
        assert_eq!(unit.attempt, 2);
        let lease = lease_of(unit);
        let retry = world.ledger.release_unit(lease, Disposition::Retry, "x");
        retry.await.unwrap();
    }
    assert_eq!(world.lease(worker, 2).await, [], "there is a pause");
    world.start(&start()).await;
    let again = world.lease(worker, 2).await;
    assert_eq!((again[0].attempt, again[1].attempt), (1, 1));
}
