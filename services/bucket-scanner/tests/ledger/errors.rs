use bucket_scanner::ledger::{LedgerError, Page, QuarantineCursor, Retried};
use bytes::Bytes;
use stoker_proto::ledger::v1::{Disposition, JobState, LoadErrorKind, OutcomeKind, QuarantinePart};

use crate::world::{
    World, count, issue, lease_of, object, outcome, rejecting, reload, start, unreadable,
};

pub(crate) async fn errors_are_listed_in_order(world: World) {
    let job = world.start(&start()).await;
    let scan = world.begin_scan().await;
    let page = Page {
        objects: vec![
            object("/data/a.ndjson", 5000),
            object("/data/b.ndjson", 5000),
        ],
        issues: (0..120)
            .map(|n| issue(&format!("/data/{n}"), "empty file"))
            .collect(),
        ..Page::default()
    };
    world.ledger.register_page(&scan, &page).await.unwrap();
    world.ledger.finish_scan(&scan, None).await.unwrap();
    let worker = world.worker().await;
    let units = world.lease(worker, 2).await;
    // The second half first: the order is that of the object, not of the commits.
    let late: Vec<u64> = (250..500).map(|n| n * 10).collect();
    let early: Vec<u64> = (0..250).map(|n| n * 10).collect();
    for unit in &units {
        world
            .ledger
            .commit_outcomes(&rejecting(unit, 2500..5000, &late))
            .await
            .unwrap();
        world
            .ledger
            .commit_outcomes(&rejecting(unit, 0..2500, &early))
            .await
            .unwrap();
    }
    world.finish(&units[0]).await.unwrap();
    world
        .ledger
        .release_unit(lease_of(&units[1]), Disposition::Park, "broken")
        .await
        .unwrap();
    let errors = world.errors(job, true).await;
    assert_eq!(errors.len(), 500 + 1 + 500 + 120);
    let offsets = |range: std::ops::Range<usize>| {
        errors[range]
            .iter()
            .map(|e| e.position.unwrap().offset)
            .collect::<Vec<_>>()
    };
    let all: Vec<u64> = (0..500).map(|n| n * 10).collect();
    assert_eq!(offsets(0..500), all);
    assert_eq!(errors[500].kind(), LoadErrorKind::Parked);
    assert_eq!(offsets(501..1001), all);
    assert!(
        errors[1001..]
            .iter()
            .all(|e| e.kind() == LoadErrorKind::Warning)
    );
    assert_eq!(errors[1001].key, "/data/0");
    assert_eq!(errors[1120].error_text, "empty file");
    // The next run has none of these but what its own scan finds.
    world.ledger.cancel_job(job).await.unwrap();
    world.start(&start()).await;
    world.scan(&page.objects).await;
    assert_eq!(
        world.errors(job, true).await.len(),
        500,
        "of the object that was parked"
    );
    assert_eq!(world.errors(job, false).await.len(), 1000);
}

pub(crate) async fn what_cannot_be_read_counts_as_parked(world: World) {
    let job = world.start(&start()).await;
    let page = Page {
        objects: vec![object("/data/a.ndjson", 100)],
        issues: vec![
            unreadable("/data/locked"),
            issue("/data/empty.json", "empty file"),
            unreadable("/data/dangling"),
        ],
        ..Page::default()
    };
    let scan = world.begin_scan().await;
    world.ledger.register_page(&scan, &page).await.unwrap();
    world.ledger.finish_scan(&scan, None).await.unwrap();
    let numbers = async |of_run: bool| {
        let job = world.job(job).await;
        let progress = if of_run { job.run } else { job.total }.unwrap();
        let parked = progress.objects_parked;
        (
            progress.objects,
            progress.objects_done,
            parked,
            progress.warnings,
        )
    };
    assert_eq!(numbers(true).await, (3, 0, 2, 1));
    world.load_all().await;
    assert_eq!(
        world.state(job).await,
        JobState::Done,
        "nothing waits for them"
    );
    assert_eq!(numbers(true).await, (3, 1, 2, 1));
    assert_eq!(numbers(false).await, (3, 1, 2, 1));
    let errors = world.errors(job, true).await;
    let (parked, warning) = (LoadErrorKind::Parked, LoadErrorKind::Warning);
    let kinds: Vec<_> = errors.iter().map(|e| (e.key.as_str(), e.kind())).collect();
    let expected = [
        ("/data/locked", parked),
        ("/data/empty.json", warning),
        ("/data/dangling", parked),
    ];
    assert_eq!(kinds, expected);
    assert!(
        errors
            .iter()
            .all(|e| e.error_id == 0 && e.position.is_none())
    );
    // There is no unit to take up; only another scan can tell whether they can be read now.
    let retried = world.ledger.retry_job(job).await.unwrap();
    assert_eq!(retried, Retried::default());
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(numbers(true).await, (3, 1, 2, 1));
    world.start(&start()).await;
    world
        .scan(&[
            object("/data/a.ndjson", 100),
            object("/data/locked/b.json", 9),
        ])
        .await;
    assert_eq!(numbers(true).await, (1, 0, 0, 0));
    world.load_all().await;
    assert_eq!(numbers(false).await, (2, 2, 0, 0));
    assert_eq!(world.errors(job, false).await, []);
}

async fn quarantine(world: &World, job: i64, error_id: i64) -> Vec<QuarantinePart> {
    let mut all = Vec::new();
    let mut after = Some(QuarantineCursor::START);
    while let Some(cursor) = after {
        let page = world
            .ledger
            .quarantine(job, error_id, cursor)
            .await
            .unwrap();
        assert!(page.parts.len() <= 16);
        all.extend(page.parts);
        after = page.next;
    }
    all
}

pub(crate) async fn quarantine_comes_back_whole(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 5000)]).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    let mut commit = rejecting(&unit, 0..100, &[0, 10]);
    let chunk = |n: u8| Bytes::from(vec![n; 1000]);
    commit.quarantine.extend((0..40).map(|n| (1, chunk(n))));
    commit
        .outcomes
        .push(outcome(OutcomeKind::InDoubt, 20, None));
    world.ledger.commit_outcomes(&commit).await.unwrap();
    let errors = world.errors(job, false).await;
    assert_eq!(errors[1].quarantined_bytes, 40_008);
    let parts = quarantine(&world, job, 0).await;
    assert_eq!(parts.len(), 42);
    assert_eq!(
        (parts[0].data.as_ref(), parts[0].last),
        (&b"input 0"[..], true)
    );
    assert_eq!(parts[0].error_id, errors[0].error_id);
    let second: Vec<u8> = parts[1..].iter().flat_map(|p| p.data.to_vec()).collect();
    let expected: Vec<u8> = b"input 10"
        .iter()
        .copied()
        .chain((0..40).flat_map(|n| vec![n; 1000]))
        .collect();
    assert_eq!(second, expected);
    let last: Vec<bool> = parts[1..].iter().map(|p| p.last).collect();
    assert_eq!(last.iter().filter(|l| **l).count(), 1);
    assert!(last[40]);
    assert_eq!(
        quarantine(&world, job, errors[1].error_id).await,
        parts[1..]
    );
    assert_eq!(quarantine(&world, job, 12345).await, []);
}

pub(crate) async fn a_retry_takes_up_what_failed(world: World) {
    let objects = [
        object("/data/a.ndjson", 100),
        object("/data/b.ndjson", 100),
        object("/data/c.ndjson", 100),
    ];
    let job = world.job_over(&objects).await;
    let worker = world.worker().await;
    let units = world.lease(worker, 3).await;
    let mut commit = rejecting(&units[0], 0..100, &[20, 40]);
    commit.header.counts[0].in_doubt = 1;
    commit
        .outcomes
        .push(outcome(OutcomeKind::InDoubt, 60, None));
    world.ledger.commit_outcomes(&commit).await.unwrap();
    world.finish(&units[0]).await.unwrap();
    world
        .ledger
        .release_unit(lease_of(&units[1]), Disposition::Park, "broken")
        .await
        .unwrap();
    world.finish(&units[2]).await.unwrap();
    assert_eq!(world.state(job).await, JobState::Done);

    let retried = world.ledger.retry_job(job).await.unwrap();
    assert_eq!(
        retried,
        Retried {
            inputs: 3,
            units: 2
        }
    );
    assert_eq!(world.errors(job, false).await.len(), 0);
    assert_eq!(quarantine(&world, job, 0).await, []);
    let loading = world.job(job).await;
    assert_eq!((loading.state(), loading.ended), (JobState::Loading, None));
    let (run, total) = (loading.run.unwrap(), loading.total.unwrap());
    assert_eq!(
        (run.objects, run.objects_done, run.objects_parked),
        (2, 0, 0)
    );
    assert_eq!((total.objects, total.objects_done), (3, 1));
    assert_eq!(total.counts, [count("Patient", [0, 8, 0, 0])]);

    let units = world.lease(worker, 3).await;
    let done = |n: usize| {
        units[n]
            .done
            .iter()
            .map(|r| (r.start, r.end))
            .collect::<Vec<_>>()
    };
    assert_eq!(done(0), [(0, 20), (30, 40), (50, 60), (70, 100)]);
    assert_eq!(done(1), []);
    for unit in &units {
        assert_eq!(unit.attempt, 1);
        world.finish(unit).await.unwrap();
    }
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(
        world.ledger.retry_job(job).await.unwrap(),
        Retried::default()
    );
    assert_eq!(
        world.state(job).await,
        JobState::Done,
        "there was nothing to retry"
    );
}

pub(crate) async fn a_retry_waits_for_units_at_work(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    world
        .ledger
        .commit_outcomes(&rejecting(&unit, 0..50, &[20]))
        .await
        .unwrap();
    let refused = world.ledger.retry_job(job).await.unwrap_err();
    assert!(matches!(refused, LedgerError::NotNow(_)), "{refused}");
    assert_eq!(world.errors(job, false).await.len(), 1);
    world.advance(60);
    let retried = world.ledger.retry_job(job).await.unwrap();
    assert_eq!(
        retried,
        Retried {
            inputs: 1,
            units: 1
        }
    );
    let lost = world.finish(&unit).await.unwrap_err();
    assert!(matches!(lost, LedgerError::LeaseLost { .. }), "{lost}");
}

pub(crate) async fn errors_of_an_earlier_load_are_gone(world: World) {
    let objects = [object("/data/a.ndjson", 100)];
    let job = world.job_over(&objects).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    world
        .ledger
        .commit_outcomes(&rejecting(&unit, 0..50, &[20]))
        .await
        .unwrap();
    world.finish(&unit).await.unwrap();
    world.start(&start()).await;
    world.scan(&objects).await;
    assert_eq!(world.errors(job, true).await.len(), 0);
    assert_eq!(
        world.errors(job, false).await.len(),
        1,
        "the object's last load is that one"
    );
    world.start(&reload()).await;
    world.scan(&objects).await;
    assert_eq!(world.errors(job, false).await.len(), 0);
    assert_eq!(
        world.ledger.retry_job(job).await.unwrap(),
        Retried::default()
    );
}
