//! Large objects, shared by several workers.

use bucket_scanner::ledger::{FoundObject, LedgerError, Page, Retried};
use stoker_proto::common::v1::{Compression, FileType};
use stoker_proto::ledger::v1::{Disposition, JobState, LoadError, LoadErrorKind, Unit};

use crate::world::{World, commit, lease_of, object, rejecting, reload, start, uncompressed};

const MIB: u64 = 1 << 20;
/// More than three times the default size of a unit.
const LARGE: u64 = 200 * MIB;

fn ranges(units: &[Unit]) -> Vec<(u64, u64)> {
    let ranges = units.iter().map(|unit| unit.range.unwrap());
    let mut ranges: Vec<_> = ranges.map(|r| (r.start / MIB, r.end / MIB)).collect();
    ranges.sort_unstable();
    ranges
}

/// All units of the only object, in its order.
async fn lease_all(world: &World) -> Vec<Unit> {
    let worker = world.worker().await;
    let mut units = world.lease(worker, 100).await;
    units.sort_by_key(|unit| unit.range.unwrap().start);
    units
}

async fn finish(world: &World, unit: &Unit, lines: u64, decoded_bytes: u64) -> bool {
    let lease = lease_of(unit);
    let finished = world.ledger.finish_unit(lease, lines, decoded_bytes).await;
    finished.unwrap().load.is_some()
}

pub(crate) async fn a_large_object_is_shared(world: World) {
    let job = world
        .job_over(&[uncompressed("/data/a.ndjson", LARGE)])
        .await;
    let units = lease_all(&world).await;
    assert_eq!(ranges(&units), [(0, 50), (50, 100), (100, 150), (150, 200)]);
    let run = world.run(job).await;
    assert_eq!((run.objects, run.bytes), (1, LARGE));
    let some = commit(&units[1], 0..10 * MIB);
    world.ledger.commit_outcomes(&some).await.unwrap();
    world.finish(&units[3]).await.unwrap();
    let run = world.run(job).await;
    assert_eq!((run.objects_done, run.bytes_done), (0, 60 * MIB));
    // Units end one by one: a worker that dies leaves only its own.
    world.advance(61);
    let again = lease_all(&world).await;
    assert_eq!(ranges(&again), [(0, 50), (50, 100), (100, 150)]);
    assert_eq!(again[1].done[0].end, 10 * MIB);
    let small = uncompressed("/data/b.ndjson", 64 * MIB);
    world.start(&start()).await;
    assert_eq!(world.scan(&[small]).await.planned, 1);
    let whole = lease_all(&world).await;
    assert_eq!(ranges(&whole), [(0, 64)], "it is no larger than a unit");
}

pub(crate) async fn what_cannot_be_read_from_its_middle_stays_whole(world: World) {
    let json = FoundObject {
        file_type: FileType::Json,
        ..uncompressed("/data/d.json", LARGE)
    };
    let zstd = |key: &str, several_frames| FoundObject {
        compression: Compression::Zstd,
        several_frames,
        ..object(key, LARGE)
    };
    let objects = [
        object("/data/a.ndjson.gz", LARGE),
        zstd("/data/b.ndjson.zst", false),
        zstd("/data/c.ndjson.zst", true),
        json,
    ];
    world.job_over(&objects).await;
    let mut count = [0; 4];
    let worker = world.worker().await;
    loop {
        let units = world.lease(worker, 10).await;
        if units.is_empty() {
            break;
        }
        for unit in units {
            let key = crate::world::key_of(&unit);
            let place = objects.iter().position(|o| o.key == key).unwrap();
            count[place] += 1;
            world.finish(&unit).await.unwrap();
        }
    }
    assert_eq!(count, [1, 1, 4, 1]);
}

pub(crate) async fn frames_are_looked_for_once_in_a_version(world: World) {
    let zstd = |key: &str, size| FoundObject {
        compression: Compression::Zstd,
        ..object(key, size)
    };
    let objects = [
        uncompressed("/data/a.ndjson", LARGE),
        zstd("/data/b.ndjson.zst", LARGE),
        zstd("/data/c.ndjson.zst", 64 * MIB),
        FoundObject {
            file_type: FileType::Json,
            ..zstd("/data/d.json.zst", LARGE)
        },
        zstd("/other/e.ndjson.zst", LARGE),
    ];
    let page = |objects: &[FoundObject]| Page {
        objects: objects.to_vec(),
        ..Page::default()
    };
    world.start(&start()).await;
    let scan = world.begin_scan().await;
    let look = async |objects: &[FoundObject]| {
        let look = world.ledger.worth_a_look(&scan, &page(objects)).await;
        look.unwrap()
    };
    assert_eq!(look(&objects).await, [1, 4], "nothing is known of them");
    let mut seen = objects.clone();
    seen[1].several_frames = true;
    world.register(&scan, &seen).await.unwrap();
    assert_eq!(look(&objects).await, [0; 0], "they are as they were");
    let mut changed = objects.clone();
    changed[4].size += 1;
    assert_eq!(look(&changed).await, [4]);
    world.register(&scan, &changed).await.unwrap();
    world.ledger.finish_scan(&scan, None).await.unwrap();
    world.start(&reload()).await;
    // What was seen of it holds as long as it is the same.
    world.scan(&objects[1..2]).await;
    let mut of_b = 0;
    loop {
        let units = lease_all(&world).await;
        if units.is_empty() {
            break;
        }
        for unit in units {
            of_b += usize::from(crate::world::key_of(&unit) == objects[1].key);
            world.finish(&unit).await.unwrap();
        }
    }
    assert_eq!(of_b, 4);
}

pub(crate) async fn a_load_ends_with_its_last_unit(world: World) {
    let job = world
        .job_over(&[uncompressed("/data/a.ndjson", LARGE)])
        .await;
    let units = lease_all(&world).await;
    for unit in &units[1..] {
        assert!(!finish(&world, unit, 5, 50 * MIB).await);
    }
    assert_eq!(world.run(job).await.objects_done, 0);
    let park = world
        .ledger
        .release_unit(lease_of(&units[0]), Disposition::Park, "broken");
    park.await.unwrap();
    assert_eq!(world.state(job).await, JobState::Done);
    let run = world.run(job).await;
    assert_eq!((run.objects_done, run.objects_parked), (0, 1));
    // Only what was set aside is taken up, by a start as by a retry.
    world.ledger.cancel_job(job).await.unwrap();
    world.start(&start()).await;
    world.scan(&[uncompressed("/data/a.ndjson", LARGE)]).await;
    let rest = lease_all(&world).await;
    assert_eq!(ranges(&rest), [(0, 50)]);
    world.ledger.cancel_job(job).await.unwrap();
    world.start(&start()).await;
    world.scan(&[uncompressed("/data/a.ndjson", LARGE)]).await;
    let rest = lease_all(&world).await;
    assert!(finish(&world, &rest[0], 5, 50 * MIB).await);
    let run = world.run(job).await;
    assert_eq!(
        (run.objects, run.objects_done, run.objects_parked),
        (1, 1, 0)
    );
    assert_eq!(run.bytes_done, LARGE);
}

fn place(error: &LoadError) -> (u64, u64, bool) {
    let position = error.position.unwrap();
    (position.offset, position.line, error.position_in_unit)
}

pub(crate) async fn places_count_over_the_whole_object(world: World) {
    let compressed = FoundObject {
        compression: Compression::Zstd,
        several_frames: true,
        ..object("/data/b.ndjson.zst", LARGE)
    };
    let plain = uncompressed("/data/a.ndjson", LARGE);
    for (found, decoded, base) in [(plain, 50 * MIB, 100 * MIB), (compressed, 1000, 2000)] {
        world.start(&start()).await;
        world.scan(std::slice::from_ref(&found)).await;
        let job = world.ledger.jobs().await.unwrap()[0].job_id;
        let units = lease_all(&world).await;
        // Line 2 of the third unit, and of the first.
        let refused = rejecting(&units[2], 0..100, &[20]);
        world.ledger.commit_outcomes(&refused).await.unwrap();
        let refused = rejecting(&units[0], 0..100, &[20]);
        world.ledger.commit_outcomes(&refused).await.unwrap();
        let errors: Vec<_> = world.errors(job, true).await;
        let errors: Vec<_> = errors.iter().filter(|e| e.key == found.key).collect();
        assert_eq!(place(errors[0]), (20, 2, false), "nothing comes before it");
        let known = if found.compression == Compression::None {
            base
        } else {
            0
        };
        assert_eq!(place(errors[1]), (known + 20, 2, true));
        finish(&world, &units[0], 7, decoded).await;
        assert_eq!(place(&world.errors(job, true).await.pop().unwrap()).1, 2);
        finish(&world, &units[1], 5, decoded).await;
        let last = world.errors(job, true).await.pop().unwrap();
        assert_eq!(place(&last), (base + 20, 14, false));
        finish(&world, &units[2], 9, decoded).await;
        finish(&world, &units[3], 9, decoded).await;
    }
}

pub(crate) async fn errors_of_a_shared_object_come_in_its_order(world: World) {
    let job = world
        .job_over(&[uncompressed("/data/a.ndjson", LARGE)])
        .await;
    let units = lease_all(&world).await;
    // More than a page, and of two units with the same places in them.
    let places: Vec<u64> = (0..150).map(|n| n * 10).collect();
    for unit in [&units[2], &units[1]] {
        let refused = rejecting(unit, 0..2000, &places);
        world.ledger.commit_outcomes(&refused).await.unwrap();
    }
    let park = world
        .ledger
        .release_unit(lease_of(&units[2]), Disposition::Park, "broken");
    park.await.unwrap();
    let errors = world.errors(job, true).await;
    assert_eq!(errors.len(), 301);
    assert_eq!(
        errors[150].kind(),
        LoadErrorKind::Parked,
        "before its inputs"
    );
    let offsets: Vec<u64> = errors
        .iter()
        .filter_map(|e| Some(e.position?.offset))
        .collect();
    let of = |base: u64| places.iter().map(move |place| base + place);
    let expected: Vec<u64> = of(50 * MIB).chain(of(100 * MIB)).collect();
    assert_eq!(offsets, expected);
    let mut after = Some(bucket_scanner::ledger::QuarantineCursor::START);
    let mut parts = Vec::new();
    while let Some(cursor) = after {
        let page = world.ledger.quarantine(job, 0, cursor).await.unwrap();
        parts.extend(page.parts.into_iter().map(|part| part.error_id));
        after = page.next;
    }
    let listed: Vec<i64> = errors
        .iter()
        .map(|e| e.error_id)
        .filter(|id| *id > 0)
        .collect();
    assert_eq!(parts, listed, "quarantine comes in the same order");
}

pub(crate) async fn a_retry_opens_only_units_with_errors(world: World) {
    let job = world
        .job_over(&[uncompressed("/data/a.ndjson", LARGE)])
        .await;
    let units = lease_all(&world).await;
    let refused = rejecting(&units[2], 0..100, &[20, 40]);
    world.ledger.commit_outcomes(&refused).await.unwrap();
    for unit in &units {
        finish(&world, unit, 10, 50 * MIB).await;
    }
    assert_eq!(world.state(job).await, JobState::Done);
    let retried = world.ledger.retry_job(job).await.unwrap();
    let expected = Retried {
        inputs: 2,
        units: 1,
    };
    assert_eq!(retried, expected);
    let run = world.run(job).await;
    assert_eq!((run.objects, run.objects_done), (1, 0));
    let again = lease_all(&world).await;
    assert_eq!(ranges(&again), [(100, 150)]);
    let done: Vec<_> = again[0].done.iter().map(|r| (r.start, r.end)).collect();
    assert_eq!(done, [(0, 20), (30, 40), (50, 100)]);
    assert!(finish(&world, &again[0], 10, 50 * MIB).await);
    assert_eq!(world.state(job).await, JobState::Done);
}

pub(crate) async fn a_changed_object_ends_all_its_units(world: World) {
    let job = world
        .job_over(&[uncompressed("/data/a.ndjson", LARGE)])
        .await;
    let units = lease_all(&world).await;
    finish(&world, &units[0], 10, 50 * MIB).await;
    world.start(&start()).await;
    let grown = uncompressed("/data/a.ndjson", LARGE + 4);
    assert_eq!(world.scan(&[grown]).await.planned, 1);
    for unit in &units[1..] {
        let lost = world.finish(unit).await.unwrap_err();
        assert!(matches!(lost, LedgerError::LeaseLost { .. }), "{lost}");
    }
    let anew = lease_all(&world).await;
    assert_eq!(anew.len(), 4);
    assert_eq!(anew[0].object.as_ref().unwrap().version, 2);
    for unit in &anew {
        finish(&world, unit, 10, 50 * MIB).await;
    }
    let total = world.total(job).await;
    assert_eq!((total.objects, total.objects_done), (1, 1));
    assert_eq!(total.bytes_done, LARGE + 4);
}
