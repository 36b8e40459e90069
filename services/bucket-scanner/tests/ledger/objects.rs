use bucket_scanner::ledger::{FoundObject, LedgerError, Page, Registered, StartJob};
use stoker_proto::common::v1::Source;
use stoker_proto::ledger::v1::{Disposition, JobState};

use crate::world::{World, commit, key_of, lease_of, modified, object, reload, start};

pub(crate) async fn odd_keys_come_back_as_they_were(world: World) {
    let long = format!("/data/{}/{}.ndjson", "p/".repeat(400), "n".repeat(1000));
    let keys = [
        "/a.json",
        "a.json",
        "//a.json",
        "/data/患 者's \"x\"%_\\.json",
        "a/",
        &long,
    ];
    let objects: Vec<_> = keys.iter().map(|key| object(key, 5)).collect();
    world.job_over(&objects).await;
    let worker = world.worker().await;
    let units = world.lease(worker, 10).await;
    let mut found: Vec<_> = units.iter().map(key_of).collect();
    let mut expected = keys.to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let object = units[0].object.clone().unwrap();
    assert_eq!(
        (object.bucket_name.as_str(), object.size, object.version),
        (":local", 5, 1)
    );
    assert_eq!(units[0].range.unwrap().end, 5);
    assert_eq!(
        object.last_modified.unwrap().seconds,
        modified(0).timestamp()
    );
    assert_eq!(object.file_type, i32::from(objects[0].file_type));
    assert_eq!(object.compression, i32::from(objects[0].compression));
}

pub(crate) async fn a_changed_object_gets_the_next_version(world: World) {
    let first = object("/data/a.ndjson", 100);
    let job = world.job_over(std::slice::from_ref(&first)).await;
    let worker = world.worker().await;
    let changes = [
        FoundObject {
            size: 101,
            ..first.clone()
        },
        FoundObject {
            etag: "e".to_owned(),
            ..first.clone()
        },
        FoundObject {
            last_modified: modified(1),
            ..first.clone()
        },
    ];
    for (version, changed) in (2..).zip(changes) {
        let old = world.lease_one(worker).await;
        world.start(&start()).await;
        let registered = world.scan(std::slice::from_ref(&changed)).await;
        assert_eq!(
            registered,
            Registered {
                new: 0,
                changed: 1,
                planned: 1,
                ..Registered::default()
            }
        );
        let lost = world
            .ledger
            .commit_outcomes(&commit(&old, 0..10))
            .await
            .unwrap_err();
        assert!(
            matches!(&lost, LedgerError::LeaseLost { reason, .. } if reason.contains("changed")),
            "{lost}"
        );
        assert_eq!(world.run(job).await.objects, 1);
        assert_eq!(world.ledger.unit_counts().await.unwrap().open, 1);
        let unit = world.lease_one(worker).await;
        assert_eq!(unit.object.as_ref().unwrap().version, version);
        world
            .ledger
            .release_unit(lease_of(&unit), Disposition::HandBack, "")
            .await
            .unwrap();
    }
    world.load_all().await;
    assert_eq!(world.state(job).await, JobState::Done);
}

pub(crate) async fn a_page_listed_again_changes_nothing(world: World) {
    let objects = [object("/data/a.ndjson", 100), object("/data/a.ndjson", 100)];
    let job = world.start(&start()).await;
    let scan = world.begin_scan().await;
    let first = world.register(&scan, &objects).await.unwrap();
    assert_eq!(
        first,
        Registered {
            new: 1,
            changed: 0,
            planned: 1,
            ..Registered::default()
        }
    );
    let again = world.register(&scan, &objects).await.unwrap();
    assert_eq!(again, Registered::default());
    let run = world.run(job).await;
    assert_eq!((run.objects, run.objects_unchanged), (1, 0));
}

pub(crate) async fn empty_objects_are_known_but_not_loaded(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 0)]).await;
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(world.run(job).await.objects, 0);
    assert_eq!(world.ledger.sources().await.unwrap()[0].objects, 1);
    world.start(&start()).await;
    assert_eq!(world.scan(&[object("/data/a.ndjson", 7)]).await.planned, 1);
}

pub(crate) async fn an_object_emptied_ends_the_wait_for_it(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 7)]).await;
    world.start(&start()).await;
    world.scan(&[object("/data/a.ndjson", 0)]).await;
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(world.total(job).await.objects, 0);
}

pub(crate) async fn objects_that_vanished_are_not_loaded_again(world: World) {
    let (a, b) = (object("/data/a.ndjson", 100), object("/data/b.ndjson", 50));
    let job = world.job_over(&[a.clone(), b]).await;
    world.load_all().await;
    world.start(&reload()).await;
    assert_eq!(world.scan(&[a]).await.planned, 1);
    assert_eq!(world.run(job).await.objects, 1);
    assert_eq!(world.total(job).await.objects, 2);
}

pub(crate) async fn a_full_page_is_registered(world: World) {
    let key = |n: usize| format!("/data/{}/{n}.ndjson", n % 50);
    let objects: Vec<_> = (0..Page::MAX_OBJECTS)
        .map(|n| object(&key(n), 10))
        .collect();
    let all = objects.len() as u64;
    let job = world.start(&start()).await;
    let registered = world.scan(&objects).await;
    assert_eq!(
        registered,
        Registered {
            new: all,
            changed: 0,
            planned: all,
            ..Registered::default()
        }
    );
    let changed: Vec<_> = objects
        .iter()
        .map(|o| FoundObject {
            size: 11,
            ..o.clone()
        })
        .collect();
    world.start(&start()).await;
    assert_eq!(
        world.scan(&changed).await,
        Registered {
            new: 0,
            changed: all,
            planned: all,
            ..Registered::default()
        }
    );
    assert_eq!(world.run(job).await.bytes, 11 * all);
}

pub(crate) async fn a_source_has_one_scanner_at_a_time(world: World) {
    let job = world.start(&start()).await;
    let first = world.begin_scan().await;
    assert!(world.ledger.begin_scan(&[]).await.unwrap().is_none());
    world.advance(59);
    world.register(&first, &[]).await.unwrap();
    world.advance(59);
    assert!(
        world.ledger.begin_scan(&[]).await.unwrap().is_none(),
        "a page renews the leave"
    );
    world.ledger.renew_scan(&first).await.unwrap();
    world.advance(59);
    assert!(world.ledger.begin_scan(&[]).await.unwrap().is_none());
    world.advance(1);
    let second = world.begin_scan().await;
    let lost = world.ledger.renew_scan(&first).await.unwrap_err();
    assert!(matches!(lost, LedgerError::ScanLost { .. }), "{lost}");
    let lost = world
        .register(&first, &[object("/data/a.ndjson", 1)])
        .await
        .unwrap_err();
    assert!(matches!(lost, LedgerError::ScanLost { .. }), "{lost}");
    let lost = world.ledger.finish_scan(&first, None).await.unwrap_err();
    assert!(matches!(lost, LedgerError::ScanLost { .. }), "{lost}");
    assert_eq!(world.run(job).await.objects, 0);
    world.ledger.leave_scan(&second).await.unwrap();
    let third = world.begin_scan().await;
    world.ledger.finish_scan(&third, None).await.unwrap();
    assert_eq!(world.state(job).await, JobState::Done);
}

pub(crate) async fn a_scanner_takes_only_what_it_can_read(world: World) {
    let source = Source {
        reach: "host-a".to_owned(),
        ..start().source
    };
    world.start(&StartJob { source, ..start() }).await;
    let others = ["host-b".to_owned()];
    assert!(world.ledger.begin_scan(&others).await.unwrap().is_none());
    let own = ["host-b".to_owned(), "host-a".to_owned()];
    let scan = world.ledger.begin_scan(&own).await.unwrap().unwrap();
    assert_eq!(scan.source.reach, "host-a");
}
