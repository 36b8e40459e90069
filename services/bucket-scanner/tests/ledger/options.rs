//! What holds for a job besides what names it.

use std::time::Duration;

use bucket_scanner::ledger::{FoundObject, Kept, Page, Scan, StartJob};
use stoker_proto::common::v1::{FileType, Source};
use stoker_proto::ledger::v1::{JobOptions, JobState};

use crate::world::{World, key_of, object, other, start};

fn json(key: &str) -> FoundObject {
    FoundObject {
        file_type: FileType::Json,
        ..object(key, 100)
    }
}

fn of_types(types: &[FileType]) -> StartJob {
    let options = JobOptions {
        file_types: types.iter().map(|of| (*of).into()).collect(),
        ..JobOptions::default()
    };
    StartJob { options, ..other() }
}

fn without_scan() -> StartJob {
    let options = JobOptions {
        no_scan: true,
        ..JobOptions::default()
    };
    StartJob { options, ..other() }
}

/// Plans all that is known, to the end of the scan; answers in how many parts, and how many loads.
async fn plan_known(world: &World, scan: &Scan) -> (u64, u64) {
    assert!(scan.known_only);
    let (mut parts, mut planned, mut after) = (0, 0, 0);
    loop {
        let part = world.ledger.register_known(scan, after).await.unwrap();
        planned += part.0.planned;
        let Some(next) = part.1 else { break };
        assert!(next > after);
        (parts, after) = (parts + 1, next);
    }
    world.ledger.finish_scan(scan, None).await.unwrap();
    (parts, planned)
}

pub(crate) async fn a_job_takes_only_its_file_types(world: World) {
    let objects = [json("/data/a.json"), object("/data/b.ndjson", 100)];
    let all = world.start(&start()).await;
    let some = world.start(&of_types(&[FileType::Ndjson])).await;
    let registered = world.scan(&objects).await;
    assert_eq!((registered.new, registered.planned), (2, 3));
    assert_eq!(world.total(all).await.objects, 2);
    assert_eq!(world.total(some).await.objects, 1);
    world.load_all().await;
    assert_eq!(world.state(some).await, JobState::Done);
    world.start(&of_types(&[FileType::Ndjson])).await;
    assert_eq!(world.scan(&objects).await.planned, 0);
    assert_eq!(world.run(some).await.objects_unchanged, 1);
    world
        .start(&of_types(&[FileType::Json, FileType::Ndjson]))
        .await;
    assert_eq!(world.scan(&objects).await.planned, 1);
    assert_eq!(world.total(some).await.objects, 2);
}

pub(crate) async fn what_no_job_takes_is_ignored_unless_it_is_known(world: World) {
    let ndjson = || object("/data/b.ndjson", 100);
    let job = world.start(&of_types(&[FileType::Ndjson])).await;
    let registered = world.scan(&[json("/data/a.json"), ndjson()]).await;
    assert_eq!((registered.new, registered.planned), (1, 1));
    assert_eq!(world.run(job).await.objects_ignored, 1);
    let known = async || world.ledger.sources().await.unwrap()[0].objects;
    assert_eq!(known().await, 1);
    world.load_all().await;

    // Once a job takes it, it is known, and stays so to a listing that is for the other only.
    let all = world.start(&start()).await;
    let registered = world.scan(&[json("/data/a.json"), ndjson()]).await;
    assert_eq!((registered.new, registered.planned), (1, 2));
    assert_eq!(known().await, 2);
    assert_eq!(world.run(all).await.objects_ignored, 0);
    world.load_all().await;
    world.start(&of_types(&[FileType::Ndjson])).await;
    let changed = FoundObject {
        size: 200,
        ..json("/data/a.json")
    };
    let registered = world.scan(&[changed, json("/data/c.json"), ndjson()]).await;
    let news = (registered.new, registered.changed, registered.planned);
    assert_eq!(news, (0, 1, 0));
    assert_eq!(world.run(job).await.objects_ignored, 2);
    assert_eq!(known().await, 2);
    // What a job had loaded counts for it as before, and what it changed into is loaded when it runs again.
    assert_eq!(world.total(all).await.objects_done, 2);
    world.start(&start()).await;
    let changed = FoundObject {
        size: 200,
        ..json("/data/a.json")
    };
    let registered = world.scan(&[changed, json("/data/c.json"), ndjson()]).await;
    assert_eq!((registered.new, registered.planned), (1, 2));
}

pub(crate) async fn what_is_known_is_loaded_without_a_listing(world: World) {
    let objects = [json("/data/a.json"), object("/data/b.ndjson", 100)];
    world.job_over(&objects).await;
    world.load_all().await;
    world.advance(60);
    let job = world.start(&without_scan()).await;
    let scan = world.begin_scan().await;
    assert_eq!(plan_known(&world, &scan).await, (1, 2));
    assert_eq!(world.state(job).await, JobState::Loading);
    world.load_all().await;
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(world.run(job).await.objects_done, 2);
    let listed = world.ledger.sources().await.unwrap()[0].last_scan.unwrap();
    assert_eq!(listed.seconds, 1_700_000_000, "nothing was listed since");
    // A second start finds nothing to do.
    world.start(&without_scan()).await;
    let scan = world.begin_scan().await;
    assert_eq!(plan_known(&world, &scan).await, (1, 0));
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(world.run(job).await.objects_unchanged, 2);
    // Nor is there anything to do where nothing is known.
    let source = Source {
        uri: "file:///elsewhere".to_owned(),
        ..start().source
    };
    let unknown = StartJob {
        source,
        ..without_scan()
    };
    let unknown = world.start(&unknown).await;
    let scan = world.begin_scan().await;
    assert_eq!(plan_known(&world, &scan).await, (0, 0));
    assert_eq!(world.state(unknown).await, JobState::Done);
}

pub(crate) async fn many_known_objects_are_planned_in_parts(world: World) {
    let (part, rest) = (Page::MAX_OBJECTS, 400);
    let objects: Vec<_> = (0..2 * part + rest)
        .map(|n| object(&format!("/data/{n}.ndjson"), 10))
        .collect();
    world.start(&start()).await;
    let scan = world.begin_scan().await;
    for page in objects.chunks(part) {
        world.register(&scan, page).await.unwrap();
    }
    world.ledger.finish_scan(&scan, None).await.unwrap();
    let job = world.start(&without_scan()).await;
    let scan = world.begin_scan().await;
    // One part, then the scanner dies: the next one finds it planned.
    let (first, after) = world.ledger.register_known(&scan, 0).await.unwrap();
    assert_eq!(first.planned, part as u64);
    assert!(after.is_some());
    world.advance(61);
    let scan = world.begin_scan().await;
    let planned = plan_known(&world, &scan).await;
    assert_eq!(planned, (3, (part + rest) as u64));
    assert_eq!(world.run(job).await.objects, objects.len() as u64);
}

pub(crate) async fn jobs_with_and_without_a_listing_share_a_source(world: World) {
    let known = object("/data/a.ndjson", 100);
    world.job_over(std::slice::from_ref(&known)).await;
    world.load_all().await;
    let listing = world.start(&start()).await;
    let job = world.start(&without_scan()).await;
    let scan = world.begin_scan().await;
    assert_eq!(plan_known(&world, &scan).await, (1, 1));
    assert_eq!(world.state(listing).await, JobState::Scanning);
    let scan = world.begin_scan().await;
    assert!(!scan.known_only);
    assert!(world.ledger.begin_scan(&[]).await.unwrap().is_none());
    // What the listing finds meanwhile becomes known, and is loaded by both.
    let found = [known, object("/data/b.ndjson", 100)];
    assert_eq!(world.register(&scan, &found).await.unwrap().planned, 2);
    let gone = world.ledger.finish_scan(&scan, Some("gone"));
    gone.await.unwrap();
    assert_eq!(world.state(listing).await, JobState::Failed);
    assert_eq!(world.state(job).await, JobState::Loading);
    world.load_all().await;
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(world.run(job).await.objects_done, 2);
}

pub(crate) async fn options_are_those_of_the_latest_start(world: World) {
    let objects = [object("/data/a.ndjson", 100)];
    world.job_over(&objects).await;
    let job = world.start(&without_scan()).await;
    let scan = world.begin_scan().await;
    // A listing is wanted now, and this is none.
    world.start(&other()).await;
    plan_known(&world, &scan).await;
    assert_eq!(world.state(job).await, JobState::Scanning);
    let scan = world.begin_scan().await;
    assert!(!scan.known_only);
    world.register(&scan, &objects).await.unwrap();
    // Nor does that listing answer who wants none.
    let known = without_scan();
    let kept = world.ledger.keep_loaded(&known, Duration::ZERO).await;
    assert_eq!(kept.unwrap(), Kept::AsItWas, "it waits for a scan already");
    world.ledger.finish_scan(&scan, None).await.unwrap();
    assert_eq!(world.state(job).await, JobState::Scanning);
    let scan = world.begin_scan().await;
    assert_eq!(plan_known(&world, &scan).await, (1, 0));
    let worker = world.worker().await;
    let units = world.lease(worker, 10).await;
    assert_eq!(units.iter().filter(|u| u.job_id == job).count(), 1);
    assert_eq!(key_of(&units[0]), "/data/a.ndjson");
}
