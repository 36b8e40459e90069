//! What others refer to comes first; and which units a worker takes at all.

use bucket_scanner::ledger::{Ended, FoundObject, MAX_ATTEMPTS, StartJob};
use stoker_proto::common::v1::FileType;
use stoker_proto::ledger::v1::{
    BucketPath, Disposition, JobOptions, JobState, LeaseUnitsRequest, Unit, UnitLimit,
};

use crate::world::{World, key_of, lease_of, object, rejecting, reload, start};

fn json(key: &str) -> FoundObject {
    FoundObject {
        file_type: FileType::Json,
        ..object(key, 100)
    }
}

fn keys(units: &[Unit]) -> Vec<&str> {
    let mut keys: Vec<&str> = units.iter().map(key_of).collect();
    keys.sort_unstable();
    keys
}

/// Finishes units; answers whether the last said that a wave was over.
async fn finish(world: &World, units: &[Unit]) -> bool {
    let mut over = false;
    for unit in units {
        let finished = world.ledger.finish_unit(lease_of(unit), 1, 10).await;
        over = finished.unwrap().ended_wave_of.is_some();
    }
    over
}

/// Leases all that can be had, no lease having run out; that is as many units as were counted before.
async fn claim(world: &World, worker: i64) -> Vec<Unit> {
    let counted = world.ledger.unit_counts().await.unwrap();
    let units = world.lease(worker, 10).await;
    assert_eq!(units.len() as u64, counted.claimable, "{counted:?}");
    units
}

fn export() -> Vec<FoundObject> {
    vec![
        object("/data/Observation.000.ndjson", 100),
        object("/data/Observation.001.ndjson", 100),
        object("/data/Patient.000.ndjson", 100),
        object("/data/Organization.000.ndjson", 100),
        json("/data/hospitalInformation1.json"),
    ]
}

pub(crate) async fn waves_come_one_after_the_other(world: World) {
    let job = world.job_over(&export()).await;
    let (worker, another) = (world.worker().await, world.worker().await);
    let first = world.lease(worker, 1).await;
    assert_eq!(first.len(), 1);
    let second = world.lease(another, 10).await;
    assert_eq!(second.len(), 1, "the other one of the first wave");
    let mut both = vec![first[0].clone(), second[0].clone()];
    assert_eq!(
        keys(&both),
        [
            "/data/Organization.000.ndjson",
            "/data/hospitalInformation1.json"
        ]
    );
    assert_eq!(claim(&world, worker).await, []);
    assert!(!finish(&world, &first).await, "one is at work still");
    assert_eq!(claim(&world, worker).await, []);
    // Handed back it holds up the rest as before; so it does while its lease is out.
    let hand_back = Disposition::Later;
    let back = world
        .ledger
        .release_unit(lease_of(&second[0]), hand_back, "away");
    back.await.unwrap();
    assert_eq!(claim(&world, worker).await, []);
    world.advance(10);
    both = claim(&world, worker).await;
    assert_eq!(both.len(), 1);
    world.advance(100);
    both = world.lease(another, 10).await;
    assert_eq!(both.len(), 1);
    assert!(finish(&world, &both).await);
    let patients = claim(&world, worker).await;
    assert_eq!(keys(&patients), ["/data/Patient.000.ndjson"]);
    assert!(finish(&world, &patients).await);
    let last = claim(&world, worker).await;
    assert_eq!(last.len(), 2);
    assert!(!finish(&world, &last).await, "nothing waits");
    assert_eq!(world.state(job).await, JobState::Done);
}

pub(crate) async fn only_the_first_wave_is_loaded_while_the_source_is_listed(world: World) {
    let job = world.start(&start()).await;
    let scan = world.begin_scan().await;
    world.register(&scan, &export()[2..3]).await.unwrap();
    let worker = world.worker().await;
    assert_eq!(claim(&world, worker).await, [], "an organization may come");
    world.register(&scan, &export()).await.unwrap();
    let first = claim(&world, worker).await;
    assert_eq!(first.len(), 2);
    finish(&world, &first).await;
    assert_eq!(claim(&world, worker).await, []);
    world.ledger.finish_scan(&scan, None).await.unwrap();
    let patients = claim(&world, worker).await;
    assert_eq!(keys(&patients), ["/data/Patient.000.ndjson"]);
    // A listing after the first one holds nothing up, but what it finds goes first.
    world.start(&start()).await;
    assert_eq!(world.state(job).await, JobState::Scanning);
    finish(&world, &patients).await;
    let scan = world.begin_scan().await;
    let late = [object("/data/Location.ndjson", 100)];
    world.register(&scan, &late).await.unwrap();
    assert_eq!(
        keys(&claim(&world, worker).await),
        ["/data/Location.ndjson"]
    );
}

pub(crate) async fn what_is_set_aside_holds_nothing_up(world: World) {
    let job = world.job_over(&export()[1..4]).await;
    let worker = world.worker().await;
    let first = world.lease_one(worker).await;
    let refused = rejecting(&first, 0..50, &[20]);
    world.ledger.commit_outcomes(&refused).await.unwrap();
    let parked = world
        .ledger
        .release_unit(lease_of(&first), Disposition::Park, "broken");
    parked.await.unwrap();
    let patients = claim(&world, worker).await;
    assert_eq!(keys(&patients), ["/data/Patient.000.ndjson"]);
    // Taken up again it goes first again.
    world.ledger.retry_job(job).await.unwrap();
    finish(&world, &patients).await;
    let again = claim(&world, worker).await;
    assert_eq!(keys(&again), ["/data/Organization.000.ndjson"]);
    assert!(finish(&world, &again).await);
    assert_eq!(claim(&world, worker).await.len(), 1);
}

pub(crate) async fn a_wave_that_no_unit_ends_is_told(world: World) {
    let ended_waves = async |worker_id| {
        let request = LeaseUnitsRequest {
            worker_id,
            max_units: 1,
            ..LeaseUnitsRequest::default()
        };
        let leased = world.ledger.lease_units(&request).await.unwrap();
        (leased.units.len(), leased.ended.waves_of)
    };
    // By the end of the listing, when all of the first wave is done before.
    let job = world.start(&start()).await;
    let (worker, scan) = (world.worker().await, world.begin_scan().await);
    world.register(&scan, &export()[1..4]).await.unwrap();
    finish(&world, &claim(&world, worker).await).await;
    assert_eq!(claim(&world, worker).await, []);
    let ended = world.ledger.finish_scan(&scan, None).await.unwrap();
    assert_eq!((ended.jobs, ended.waves_of), (vec![], vec![job]));
    // By a unit that is set aside, and not by one that waits.
    for (disposition, waves) in [(Disposition::Later, None), (Disposition::Park, Some(job))] {
        world.advance(100);
        let unit = world.lease_one(worker).await;
        let released = world
            .ledger
            .release_unit(lease_of(&unit), disposition, "broken");
        assert_eq!(released.await.unwrap().ended_wave_of, waves);
    }
    // By one that is given up.
    world.start(&reload()).await;
    world.scan(&export()[1..4]).await;
    for _ in 0..MAX_ATTEMPTS {
        assert_eq!(ended_waves(worker).await, (1, vec![]));
        world.advance(61);
    }
    assert_eq!(ended_waves(worker).await, (0, vec![job]));
    world.load_all().await;
    // Not by a listing while one of the first wave is at work, nor where nothing waits.
    world.start(&reload()).await;
    let scan = world.begin_scan().await;
    world.register(&scan, &export()[1..4]).await.unwrap();
    let first = claim(&world, worker).await;
    let ended = world.ledger.finish_scan(&scan, None).await.unwrap();
    assert_eq!(ended, Ended::default());
    assert!(finish(&world, &first).await);
}

pub(crate) async fn an_unordered_job_has_no_waves(world: World) {
    let options = JobOptions {
        unordered: true,
        ..JobOptions::default()
    };
    let unordered = StartJob { options, ..start() };
    world.start(&unordered).await;
    let scan = world.begin_scan().await;
    world.register(&scan, &export()).await.unwrap();
    let worker = world.worker().await;
    let some = world.lease(worker, 3).await;
    assert_eq!(some.len(), 3, "while the source is listed");
    world.ledger.finish_scan(&scan, None).await.unwrap();
    world.advance(100);
    assert_eq!(world.lease(worker, 10).await.len(), 5, "expired ones, too");
    // Started again without, it has.
    world.advance(100);
    world.start(&start()).await;
    world.scan(&export()).await;
    assert_eq!(world.lease(worker, 10).await.len(), 2);
}

pub(crate) async fn who_takes_only_expired_ones_gets_no_others(world: World) {
    let objects = [
        object("/data/a.ndjson", 100),
        object("/data/b.ndjson", 100),
        object("/data/c.ndjson", 100),
    ];
    world.job_over(&objects).await;
    let (gone, busy) = (world.worker().await, world.worker().await);
    let request = LeaseUnitsRequest {
        worker_id: busy,
        max_units: 10,
        only_expired: true,
        ..LeaseUnitsRequest::default()
    };
    let left = world.lease_one(gone).await;
    assert_eq!(lease(&world, request.clone()).await, []);
    world.advance(61);
    let taken = lease(&world, request.clone()).await;
    assert_eq!(keys(&taken), keys(std::slice::from_ref(&left)));
    assert_eq!(lease(&world, request).await, [], "it has one now");
    assert_eq!(world.lease(busy, 10).await.len(), 2, "the others are open");
}

async fn lease(world: &World, request: LeaseUnitsRequest) -> Vec<Unit> {
    world.ledger.lease_units(&request).await.unwrap().units
}

pub(crate) async fn a_worker_takes_only_types_it_has_room_for(world: World) {
    let objects = [
        json("/data/a.json"),
        json("/data/b.json"),
        json("/data/c.json"),
        json("/data/d.json"),
        object("/data/Patient.1.ndjson", 100),
        object("/data/Patient.2.ndjson", 100),
    ];
    world.job_over(&objects).await;
    let worker = world.worker().await;
    let limits = |json, ndjson| LeaseUnitsRequest {
        worker_id: worker,
        max_units: 3,
        limits: vec![
            UnitLimit {
                file_type: FileType::Json.into(),
                max_units: json,
            },
            UnitLimit {
                file_type: FileType::Ndjson.into(),
                max_units: ndjson,
            },
        ],
        ..LeaseUnitsRequest::default()
    };
    let some = lease(&world, limits(1, 1)).await;
    assert_eq!(some.len(), 2);
    assert_eq!(keys(&some)[0], "/data/Patient.1.ndjson");
    assert!(lease(&world, limits(0, 0)).await.is_empty());
    let only = LeaseUnitsRequest {
        limits: limits(2, 0).limits[..1].to_vec(),
        ..limits(0, 0)
    };
    world.advance(61);
    let jsons = lease(&world, only).await;
    assert_eq!(jsons.len(), 2, "one of them expired");
    assert!(keys(&jsons).iter().all(|key| !key.contains(".ndjson")));
    let most = lease(&world, limits(9, 9)).await;
    assert_eq!(most.len(), 3, "no more than of all types together");
    let rest = lease(&world, limits(9, 9)).await;
    assert_eq!(rest.len(), 1);
}

pub(crate) async fn a_worker_takes_only_places_it_names(world: World) {
    let objects = [
        object("/data/a/1.ndjson", 100),
        object("/data/a/b/2.ndjson", 100),
        object("/data/c/3.ndjson", 100),
        FoundObject {
            bucket_name: "bucket".to_owned(),
            ..object("4.ndjson", 100)
        },
    ];
    world.job_over(&objects).await;
    let worker = world.worker().await;
    let place = |bucket: &str, path: &str| BucketPath {
        bucket_name: bucket.to_owned(),
        bucket_path: path.to_owned(),
    };
    let at = |bucket_paths| LeaseUnitsRequest {
        worker_id: worker,
        max_units: 10,
        bucket_paths,
        ..LeaseUnitsRequest::default()
    };
    let nowhere = vec![place("bucket", "/data/a/"), place(":local", "/data/a")];
    assert!(lease(&world, at(nowhere)).await.is_empty());
    let one = lease(&world, at(vec![place(":local", "/data/a/")])).await;
    assert_eq!(keys(&one), ["/data/a/1.ndjson"]);
    let two = vec![place("bucket", "/"), place(":local", "/data/c/")];
    let two = lease(&world, at(two)).await;
    assert_eq!(keys(&two), ["/data/c/3.ndjson", "4.ndjson"]);
    world.advance(61);
    let expired = lease(&world, at(vec![place(":local", "/data/a/b/")])).await;
    assert_eq!(
        keys(&expired),
        ["/data/a/b/2.ndjson"],
        "no expired one of elsewhere"
    );
    assert_eq!(lease(&world, at(Vec::new())).await.len(), 3);
}
