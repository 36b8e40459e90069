//! Objects loaded again some time after they were loaded.

use bucket_scanner::ledger::{FoundObject, StartJob};
use stoker_proto::ledger::v1::{JobOptions, JobState};

use crate::world::{World, lease_of, object, other, start};

const AFTER_S: u64 = 3600;

fn recycling(after_s: u64) -> StartJob {
    let options = JobOptions {
        recycle_after_ms: Some(after_s * 1000),
        ..JobOptions::default()
    };
    StartJob { options, ..start() }
}

async fn recycle(world: &World) -> u64 {
    world.ledger.recycle().await.unwrap()
}

pub(crate) async fn an_object_is_loaded_again_after_its_time(world: World) {
    let objects = [object("/data/a.ndjson", 100), object("/data/b.ndjson", 100)];
    let job = world.start(&recycling(AFTER_S)).await;
    world.scan(&objects).await;
    let worker = world.worker().await;
    for version in 1..4 {
        assert_eq!(recycle(&world).await, 0, "nothing is loaded yet");
        let units = world.lease(worker, 10).await;
        assert_eq!(units.len(), 2);
        for unit in &units {
            assert_eq!(unit.object.as_ref().unwrap().version, version);
            assert_eq!(unit.done, []);
            world.finish(unit).await.unwrap();
        }
        assert_eq!(world.lease(worker, 10).await, []);
        assert_eq!(world.state(job).await, JobState::Loading, "it goes on");
        let total = world.total(job).await;
        assert_eq!((total.objects, total.objects_done), (2, 2));
        world.advance(AFTER_S - 1);
        assert_eq!(recycle(&world).await, 0);
        world.advance(1);
        assert_eq!(recycle(&world).await, 2);
    }
    // A listing that shows the same content plans nothing more.
    world.start(&recycling(AFTER_S)).await;
    assert_eq!(world.scan(&objects).await.planned, 0);
    // What is set aside waits for a person.
    let units = world.lease(worker, 10).await;
    let park = stoker_proto::ledger::v1::Disposition::Park;
    for unit in &units {
        let parked = world.ledger.release_unit(lease_of(unit), park, "broken");
        parked.await.unwrap();
    }
    world.advance(2 * AFTER_S);
    assert_eq!(recycle(&world).await, 0);
}

pub(crate) async fn other_jobs_do_not_load_again(world: World) {
    let old = object("/data/a.ndjson", 100);
    let objects = std::slice::from_ref(&old);
    world.start(&recycling(AFTER_S)).await;
    let second = world.start(&other()).await;
    world.scan(objects).await;
    let worker = world.worker().await;
    let units = world.lease(worker, 10).await;
    let (of_second, mut of_first): (Vec<_>, Vec<_>) =
        units.into_iter().partition(|unit| unit.job_id == second);
    world.finish(&of_first.remove(0)).await.unwrap();
    world.advance(AFTER_S);
    assert_eq!(recycle(&world).await, 1);
    // A unit at work on the version before goes on; so does one that is leased again.
    assert_eq!(of_second.len(), 1);
    let again = world.lease(worker, 10).await;
    assert_eq!(again.len(), 2);
    for unit in &again {
        let version = unit.object.as_ref().unwrap().version;
        assert_eq!(version, if unit.job_id == second { 1 } else { 2 });
        world.finish(unit).await.unwrap();
    }
    assert_eq!(world.state(second).await, JobState::Done);
    // What it has loaded is what is there.
    world.start(&other()).await;
    assert_eq!(world.scan(objects).await.planned, 0);
    assert_eq!(world.run(second).await.objects_unchanged, 1);
    // A change is one for everybody.
    world.start(&other()).await;
    let changed = FoundObject {
        etag: "e".to_owned(),
        ..old
    };
    assert_eq!(world.scan(&[changed]).await.planned, 2);
    let units = world.lease(worker, 10).await;
    let versions: Vec<u32> = units
        .iter()
        .map(|unit| unit.object.as_ref().unwrap().version)
        .collect();
    assert_eq!(versions, [3, 3]);
}

pub(crate) async fn recycling_ends_with_its_job(world: World) {
    let objects = [object("/data/a.ndjson", 100)];
    let job = world.start(&recycling(0)).await;
    world.scan(&objects).await;
    world.load_all().await;
    assert_eq!(recycle(&world).await, 1, "at once");
    world.load_all().await;
    world.ledger.cancel_job(job).await.unwrap();
    assert_eq!(recycle(&world).await, 0);
    // Started without, it ends as others do.
    world.start(&start()).await;
    world.scan(&objects).await;
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(recycle(&world).await, 0);
    world.start(&recycling(0)).await;
    assert_eq!(recycle(&world).await, 1, "what an earlier run loaded, too");
}

pub(crate) async fn many_objects_are_recycled_in_parts(world: World) {
    let objects: Vec<_> = (0..1100)
        .map(|n| object(&format!("/data/{n}.ndjson"), 10))
        .collect();
    world.start(&recycling(AFTER_S)).await;
    let scan = world.begin_scan().await;
    for page in objects.chunks(500) {
        world.register(&scan, page).await.unwrap();
    }
    world.ledger.finish_scan(&scan, None).await.unwrap();
    let worker = world.worker().await;
    for unit in world.lease(worker, 1000).await {
        world.finish(&unit).await.unwrap();
    }
    world.advance(AFTER_S);
    assert_eq!(recycle(&world).await, 1000);
    assert_eq!(recycle(&world).await, 0);
    assert_eq!(world.ledger.unit_counts().await.unwrap().open, 1100);
}
