use bucket_scanner::ledger::{
    Ended, EndedJob, LedgerError, MAX_ATTEMPTS, Page, StartJob, UnitCounts,
};
use stoker_proto::common::v1::Target;
use stoker_proto::ledger::v1::{Disposition, JobState, LeaseUnitsRequest, Unit};

use crate::world::{World, commit, issue, lease_of, object, reload, start};

pub(crate) async fn a_job_goes_from_scanning_to_done(world: World) {
    let job = world.start(&start()).await;
    assert_eq!(world.state(job).await, JobState::Scanning);
    let scan = world.begin_scan().await;
    assert_eq!(scan.source, start().source);
    let page = Page {
        objects: vec![
            object("/data/Organization.1.ndjson", 100),
            object("/data/Organization.2.ndjson", 50),
        ],
        ignored: 3,
        issues: vec![issue("/data/c.ndjson", "empty file, nothing to load")],
    };
    let registered = world.ledger.register_page(&scan, &page).await.unwrap();
    assert_eq!((registered.new, registered.planned), (2, 2));
    // Work can be had before the listing ends, and the job does not end before it.
    let worker = world.worker().await;
    let first = world.lease_one(worker).await;
    world.finish(&first).await.unwrap();
    let second = world.lease_one(worker).await;
    world
        .ledger
        .commit_outcomes(&commit(&second, 0..25))
        .await
        .unwrap();
    let run = world.run(job).await;
    assert_eq!(
        (run.objects, run.objects_done, run.bytes, run.bytes_done),
        (2, 1, 150, 125)
    );
    assert_eq!((run.warnings, run.objects_ignored, run.requests), (1, 3, 1));
    world.finish(&second).await.unwrap();
    assert_eq!(world.state(job).await, JobState::Scanning);
    world.advance(1);
    world.ledger.finish_scan(&scan, None).await.unwrap();
    let done = world.job(job).await;
    assert_eq!(done.state(), JobState::Done);
    assert_eq!(
        done.ended.unwrap().seconds - done.started.unwrap().seconds,
        1
    );
    assert_eq!(done.run.unwrap().bytes_done, 150);
    assert_eq!(
        world
            .ledger
            .begin_scan(&[])
            .await
            .unwrap()
            .map(|s| s.source_id),
        None
    );
}

pub(crate) async fn whoever_ends_a_job_is_told(world: World) {
    // Of the first wave, which does not wait for the end of the listing.
    let objects = [object("/data/Organization.ndjson", 100)];
    let worker_id = world.worker().await;
    let finish = async |unit: &Unit| {
        let finished = world.ledger.finish_unit(lease_of(unit), 1, 10).await;
        finished.unwrap().ended_job
    };
    // By its last unit, when it is listed before.
    let job_id = world.job_over(&objects).await;
    let state = JobState::Done;
    let done = EndedJob { job_id, state };
    let unit = world.lease_one(worker_id).await;
    assert_eq!(finish(&unit).await, Some(done));
    // By its listing, when its units are done before; and once only.
    world.start(&reload()).await;
    let scan = world.begin_scan().await;
    world.register(&scan, &objects).await.unwrap();
    let unit = world.lease_one(worker_id).await;
    assert_eq!(finish(&unit).await, None);
    let ended = world.ledger.finish_scan(&scan, None).await.unwrap();
    assert_eq!(ended.jobs, [done]);
    world.start(&reload()).await;
    let scan = world.begin_scan().await;
    world.register(&scan, &objects).await.unwrap();
    let ended = world.ledger.finish_scan(&scan, None).await.unwrap();
    assert_eq!(ended, Ended::default());
    // By a unit that is set aside.
    let unit = world.lease_one(worker_id).await;
    let park = Disposition::Park;
    let parked = world.ledger.release_unit(lease_of(&unit), park, "broken");
    assert_eq!(parked.await.unwrap().ended_job, Some(done));
    // By a worker that finds no work, and that no other will do any.
    world.start(&reload()).await;
    world.scan(&objects).await;
    for _ in 0..MAX_ATTEMPTS {
        world.lease_one(worker_id).await;
        world.advance(61);
    }
    let request = LeaseUnitsRequest {
        worker_id,
        max_units: 1,
        ..LeaseUnitsRequest::default()
    };
    let leased = world.ledger.lease_units(&request).await.unwrap();
    assert_eq!((leased.units, leased.ended.jobs), (vec![], vec![done]));
    // By a listing that fails.
    world.start(&reload()).await;
    let scan = world.begin_scan().await;
    let state = JobState::Failed;
    let failed = world.ledger.finish_scan(&scan, Some("gone")).await;
    assert_eq!(failed.unwrap().jobs, [EndedJob { job_id, state }]);
}

pub(crate) async fn a_second_load_finds_nothing_to_do(world: World) {
    let objects = [object("/data/a.ndjson", 100), object("/data/b.ndjson", 50)];
    let job = world.job_over(&objects).await;
    world.load_all().await;
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(world.start(&start()).await, job);
    assert_eq!(world.job(job).await.ended, None);
    world.scan(&objects).await;
    let again = world.job(job).await;
    assert_eq!(again.state(), JobState::Done);
    let (run, total) = (again.run.unwrap(), again.total.unwrap());
    assert_eq!((run.objects, run.objects_unchanged), (0, 2));
    assert_eq!((total.objects, total.objects_done), (2, 2));
}

pub(crate) async fn reload_loads_all_again(world: World) {
    let objects = [object("/data/a.ndjson", 100), object("/data/b.ndjson", 50)];
    let job = world.job_over(&objects).await;
    world.load_all().await;
    world.start(&reload()).await;
    assert_eq!(world.scan(&objects).await.planned, 2);
    world.load_all().await;
    let done = world.job(job).await;
    assert_eq!(done.state(), JobState::Done);
    let (run, total) = (done.run.unwrap(), done.total.unwrap());
    assert_eq!(
        (run.objects, run.objects_done, run.objects_unchanged),
        (2, 2, 0)
    );
    assert_eq!(
        (total.objects, total.objects_done, total.bytes),
        (2, 2, 150)
    );
    // A load after it is no reload.
    world.start(&start()).await;
    assert_eq!(world.scan(&objects).await.planned, 0);
}

pub(crate) async fn a_running_job_is_joined(world: World) {
    let objects = [object("/data/a.ndjson", 100)];
    let job = world.job_over(&objects).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    let started = world.job(job).await.started;
    world.advance(10);
    assert_eq!(world.start(&start()).await, job);
    let joined = world.job(job).await;
    assert_eq!(
        (joined.state(), joined.started),
        (JobState::Scanning, started)
    );
    let more = [object("/data/a.ndjson", 100), object("/data/b.ndjson", 50)];
    let registered = world.scan(&more).await;
    assert_eq!((registered.new, registered.planned), (1, 1));
    world.finish(&unit).await.unwrap();
    let run = world.run(job).await;
    assert_eq!(
        (run.objects, run.objects_done, run.objects_unchanged),
        (2, 1, 0)
    );
}

pub(crate) async fn a_start_during_a_scan_asks_for_another(world: World) {
    let job = world.start(&start()).await;
    let scan = world.begin_scan().await;
    world.start(&start()).await;
    world.ledger.finish_scan(&scan, None).await.unwrap();
    assert_eq!(world.state(job).await, JobState::Scanning);
    world.scan(&[]).await;
    assert_eq!(world.state(job).await, JobState::Done);
}

pub(crate) async fn another_target_is_another_job(world: World) {
    let objects = [object("/data/a.ndjson", 100)];
    let first = world.job_over(&objects).await;
    world.load_all().await;
    let other = StartJob {
        target: Target {
            tenant: "b".to_owned(),
            ..start().target
        },
        ..start()
    };
    let second = world.start(&other).await;
    assert_ne!(first, second);
    let registered = world.scan(&objects).await;
    assert_eq!((registered.new, registered.planned), (0, 1));
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    assert_eq!(unit.job_id, second);
    assert_eq!(unit.target.unwrap().tenant, "b");
    let jobs = world.ledger.jobs().await.unwrap();
    assert_eq!(
        jobs.iter().map(|j| j.job_id).collect::<Vec<_>>(),
        [second, first]
    );
}

pub(crate) async fn a_cancelled_job_stops_and_can_be_taken_up(world: World) {
    let objects = [object("/data/a.ndjson", 100), object("/data/b.ndjson", 50)];
    let job = world.job_over(&objects).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    world
        .ledger
        .commit_outcomes(&commit(&unit, 0..30))
        .await
        .unwrap();
    world.ledger.cancel_job(job).await.unwrap();
    let cancelled = world.job(job).await;
    assert_eq!(cancelled.state(), JobState::Cancelled);
    assert!(cancelled.ended.is_some());
    let lost = world.finish(&unit).await.unwrap_err();
    assert!(matches!(&lost, LedgerError::LeaseLost { reason, .. } if reason.contains("cancelled")));
    assert_eq!(world.lease(worker, 10).await.len(), 0);
    assert_eq!(
        world.ledger.unit_counts().await.unwrap(),
        UnitCounts::default()
    );
    let refused = world.ledger.retry_job(job).await.unwrap_err();
    assert!(matches!(refused, LedgerError::NotNow(_)), "{refused}");

    world.start(&start()).await;
    world.scan(&objects).await;
    let units = world.lease(worker, 10).await;
    let done: Vec<_> = units.iter().map(|u| u.done.len()).collect();
    assert_eq!(done, [1, 0], "what was committed stays");
    for unit in &units {
        assert_eq!(unit.attempt, 1);
        world.finish(unit).await.unwrap();
    }
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(world.run(job).await.objects_done, 2);
    world.ledger.cancel_job(job).await.unwrap();
    assert_eq!(world.state(job).await, JobState::Done, "it is over already");
}

pub(crate) async fn a_failed_listing_fails_the_job_and_keeps_what_was_found(world: World) {
    let job = world.start(&start()).await;
    let scan = world.begin_scan().await;
    world
        .register(&scan, &[object("/data/a.ndjson", 100)])
        .await
        .unwrap();
    let worker = world.worker().await;
    world
        .ledger
        .finish_scan(&scan, Some("/data: permission denied"))
        .await
        .unwrap();
    let failed = world.job(job).await;
    assert_eq!(failed.state(), JobState::Failed);
    assert_eq!(failed.reason, "/data: permission denied");
    assert_eq!(world.lease(worker, 10).await.len(), 0);
    assert_eq!(world.ledger.sources().await.unwrap()[0].last_scan, None);
    world.start(&start()).await;
    world.scan(&[object("/data/a.ndjson", 100)]).await;
    world.load_all().await;
    let done = world.job(job).await;
    assert_eq!((done.state(), done.reason.as_str()), (JobState::Done, ""));
    assert_eq!(done.run.unwrap().objects_done, 1);
}

pub(crate) async fn an_unfinished_reload_starts_anew(world: World) {
    let objects = [object("/data/a.ndjson", 100)];
    let job = world.job_over(&objects).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    world
        .ledger
        .commit_outcomes(&commit(&unit, 0..30))
        .await
        .unwrap();
    world.ledger.cancel_job(job).await.unwrap();
    world.start(&reload()).await;
    world.scan(&objects).await;
    let anew = world.lease_one(worker).await;
    assert_ne!(lease_of(&anew).unit_id, lease_of(&unit).unit_id);
    assert_eq!(anew.done.len(), 0);
    world.finish(&anew).await.unwrap();
    let total = world.total(job).await;
    assert_eq!((total.objects, total.objects_done), (1, 1));
    assert_eq!(world.state(job).await, JobState::Done);
}

pub(crate) async fn unknown_jobs_are_told(world: World) {
    let missing = |e: LedgerError| matches!(e, LedgerError::NotFound { what: "job", id: 7 });
    assert!(missing(world.ledger.job(7).await.unwrap_err()));
    assert!(missing(world.ledger.cancel_job(7).await.unwrap_err()));
    assert!(missing(world.ledger.retry_job(7).await.unwrap_err()));
    let start = bucket_scanner::ledger::ErrorCursor::START;
    assert!(missing(
        world.ledger.errors(7, false, start).await.unwrap_err()
    ));
    let beat = world.ledger.heartbeat(7).await.unwrap_err();
    assert!(matches!(
        beat,
        LedgerError::NotFound {
            what: "worker",
            id: 7
        }
    ));
}

pub(crate) async fn sources_show_their_last_scan(world: World) {
    world.start(&start()).await;
    assert_eq!(world.ledger.sources().await.unwrap()[0].last_scan, None);
    world.advance(5);
    world.scan(&[object("/data/a.ndjson", 100)]).await;
    let sources = world.ledger.sources().await.unwrap();
    assert_eq!(sources.len(), 1);
    assert_eq!(sources[0].source, Some(start().source));
    assert_eq!(sources[0].last_scan.unwrap().seconds, 1_700_000_005);
    assert_eq!(sources[0].objects, 1);
}
