//! What must not be sent twice, and was about to be sent when its worker died.

use std::ops::Range;

use bucket_scanner::ledger::{Commit, LedgerError, Retried};
use stoker_proto::common::v1::ByteRange;
use stoker_proto::ledger::v1::{CommitHeader, JobState, LoadErrorKind, Unit};

use crate::world::{World, commit, object, rejecting};

fn begins(unit: &Unit, ranges: &[Range<u64>]) -> Commit {
    let begun = ranges.iter().map(|range| ByteRange {
        start: range.start,
        end: range.end,
    });
    let header = CommitHeader {
        lease: unit.lease.clone(),
        begun: begun.collect(),
        ..CommitHeader::default()
    };
    Commit {
        header,
        ..Commit::default()
    }
}

fn begun(unit: &Unit) -> Vec<(u64, u64)> {
    unit.begun.iter().map(|r| (r.start, r.end)).collect()
}

/// Where inputs may have been sent twice.
async fn repeated(world: &World, job: i64) -> Vec<(u64, u64)> {
    let errors = world.errors(job, false).await;
    let repeated = errors
        .iter()
        .filter(|e| e.kind() == LoadErrorKind::Repeated);
    let places = repeated.map(|error| {
        assert!(error.error_text.contains("sent again"), "{error:?}");
        assert_eq!(error.quarantined_bytes, 0);
        let position = error.position.unwrap();
        (position.offset, position.offset + position.length)
    });
    places.collect()
}

pub(crate) async fn what_was_begun_is_told_once(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    assert_eq!(begun(&unit), []);
    let ledger = &world.ledger;
    for _ in 0..2 {
        // Also as a repeat, when its answer got lost.
        let two = begins(&unit, &[0..20, 40..60]);
        ledger.commit_outcomes(&two).await.unwrap();
    }
    ledger.commit_outcomes(&commit(&unit, 0..20)).await.unwrap();
    assert_eq!(repeated(&world, job).await, []);
    world.advance(60);
    let unit = world.lease_one(worker).await;
    assert_eq!(begun(&unit), [(40, 60)], "the other is done");
    assert_eq!(repeated(&world, job).await, [(40, 60)]);
    // It dies again, before and after it has begun the same and more.
    world.advance(60);
    let unit = world.lease_one(worker).await;
    assert_eq!(begun(&unit), [(40, 60)]);
    assert_eq!(repeated(&world, job).await, [(40, 60)]);
    let more = begins(&unit, &[40..60, 80..90]);
    ledger.commit_outcomes(&more).await.unwrap();
    world.advance(60);
    let unit = world.lease_one(worker).await;
    assert_eq!(begun(&unit), [(40, 60), (80, 90)]);
    assert_eq!(repeated(&world, job).await, [(40, 60), (80, 90)]);
    let empty = begins(&unit, std::slice::from_ref(&(5..5)));
    let refused = ledger.commit_outcomes(&empty).await.unwrap_err();
    assert!(
        matches!(refused, LedgerError::BadCommit { .. }),
        "{refused}"
    );
    // Under a lost lease nothing is begun.
    world.advance(60);
    let next = world.lease_one(worker).await;
    let late = ledger
        .commit_outcomes(&begins(&unit, std::slice::from_ref(&(90..100))))
        .await;
    assert!(
        matches!(late, Err(LedgerError::LeaseLost { .. })),
        "{late:?}"
    );
    assert_eq!(begun(&next), [(40, 60), (80, 90)]);
}

pub(crate) async fn what_is_done_was_not_sent_twice(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    let ledger = &world.ledger;
    ledger
        .commit_outcomes(&begins(&unit, std::slice::from_ref(&(0..50))))
        .await
        .unwrap();
    // One commit may end what was begun and begin the next.
    let mut both = commit(&unit, 0..50);
    both.header.begun = vec![ByteRange {
        start: 50,
        end: 100,
    }];
    ledger.commit_outcomes(&both).await.unwrap();
    ledger
        .commit_outcomes(&commit(&unit, 50..100))
        .await
        .unwrap();
    world.advance(60);
    let unit = world.lease_one(worker).await;
    assert_eq!(begun(&unit), []);
    world.finish(&unit).await.unwrap();
    assert_eq!(world.errors(job, false).await, []);
}

pub(crate) async fn what_was_repeated_is_no_failure(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    let ledger = &world.ledger;
    ledger
        .commit_outcomes(&begins(&unit, std::slice::from_ref(&(40..60))))
        .await
        .unwrap();
    world.advance(60);
    let unit = world.lease_one(worker).await;
    ledger
        .commit_outcomes(&rejecting(&unit, 0..100, &[50]))
        .await
        .unwrap();
    world.finish(&unit).await.unwrap();
    assert_eq!(world.state(job).await, JobState::Done);
    let counts = world.total(job).await.counts;
    assert_eq!((counts[0].updated, counts[0].rejected), (9, 1));
    // A retry takes up what was refused, and leaves the note.
    let retried = ledger.retry_job(job).await.unwrap();
    let one = Retried {
        inputs: 1,
        units: 1,
    };
    assert_eq!(retried, one);
    assert_eq!(repeated(&world, job).await, [(40, 60)]);
    let unit = world.lease_one(worker).await;
    assert_eq!(begun(&unit), [], "it was done");
    ledger
        .commit_outcomes(&commit(&unit, 50..60))
        .await
        .unwrap();
    world.finish(&unit).await.unwrap();
    assert_eq!(ledger.retry_job(job).await.unwrap(), Retried::default());
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(world.errors(job, true).await.len(), 1);
}
