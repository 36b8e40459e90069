use std::sync::Arc;
use std::time::Duration;

use bucket_scanner::ledger::{Commit, LedgerError, QuarantineCursor};
use bytes::Bytes;
use futures::future::join_all;
use stoker_proto::common::v1::ByteRange;
use stoker_proto::ledger::v1::{EntryOutcome, JobState, LoadErrorKind, OutcomeKind, Unit};
use tokio::time::timeout;

use crate::world::{World, commit, count, lease_of, object, outcome, rejecting};

async fn one_unit(world: &World) -> (i64, Unit) {
    let job = world.job_over(&[object("/data/a.ndjson", 1000)]).await;
    let worker = world.worker().await;
    (job, world.lease_one(worker).await)
}

pub(crate) async fn a_commit_keeps_everything(world: World) {
    let (job, unit) = one_unit(&world).await;
    let mut first = commit(&unit, 0..50);
    first.header.counts = vec![
        count("Patient", [1, 1, 1, 0]),
        count("Zebra", [1, 0, 0, 0]),
        count("", [0, 0, 0, 1]),
    ];
    first.header.requests = 4;
    first.header.retries = 1;
    first.outcomes = vec![
        outcome(OutcomeKind::Created, 0, None),
        EntryOutcome {
            resource_type: "Zebra".to_owned(),
            ..outcome(OutcomeKind::Created, 10, Some(1))
        },
        outcome(OutcomeKind::Rejected, 20, Some(2)),
        EntryOutcome {
            resource_type: String::new(),
            http_status: 0,
            ..outcome(OutcomeKind::InDoubt, 30, None)
        },
    ];
    first.quarantine = vec![
        (2, Bytes::from_static(b"abc")),
        (2, Bytes::from_static(b"de")),
    ];
    world.ledger.commit_outcomes(&first).await.unwrap();
    let mut second = commit(&unit, 50..60);
    second.header.counts = vec![count("Patient", [0, 5, 0, 0])];
    world.ledger.commit_outcomes(&second).await.unwrap();

    let run = world.run(job).await;
    assert_eq!(
        run.counts,
        [
            count("", [0, 0, 0, 1]),
            count("Patient", [1, 6, 1, 0]),
            count("Zebra", [1, 0, 0, 0]),
        ]
    );
    assert_eq!((run.requests, run.retries, run.bytes_done), (5, 1, 60));
    let errors = world.errors(job, true).await;
    assert_eq!(errors.len(), 2);
    let refused = &errors[0];
    assert_eq!(refused.kind(), LoadErrorKind::Rejected);
    let position = refused.position.unwrap();
    assert_eq!(
        (position.offset, position.length, position.line),
        (20, 10, 2)
    );
    assert_eq!(position.entry, Some(2));
    assert_eq!(
        (refused.resource_type.as_str(), refused.http_status),
        ("Patient", 422)
    );
    assert_eq!(refused.error_text, "no\u{fffd}good");
    assert_eq!(
        (
            refused.operation_outcome.as_ref(),
            refused.quarantined_bytes
        ),
        (&b"{}"[..], 5)
    );
    assert_eq!(
        (refused.version, refused.key.as_str()),
        (1, "/data/a.ndjson")
    );
    assert_eq!(errors[1].kind(), LoadErrorKind::InDoubt);
    assert_eq!((errors[1].http_status, errors[1].quarantined_bytes), (0, 0));
}

pub(crate) async fn long_names_are_cut(world: World) {
    let (job, unit) = one_unit(&world).await;
    let long = "é\0".repeat(5000);
    let mut commit = commit(&unit, 0..20);
    commit.header.counts = vec![count(&long, [1, 0, 1, 0])];
    for (kind, offset) in [(OutcomeKind::Created, 0), (OutcomeKind::Rejected, 10)] {
        commit.outcomes.push(EntryOutcome {
            resource_type: long.clone(),
            logical_id: long.clone(),
            ..outcome(kind, offset, None)
        });
    }
    world.ledger.commit_outcomes(&commit).await.unwrap();
    let counts = world.run(job).await.counts;
    assert_eq!(counts.len(), 1);
    assert!(long.starts_with(&counts[0].resource_type[..2]));
    assert_eq!((counts[0].created, counts[0].rejected), (1, 1));
    let errors = world.errors(job, true).await;
    assert_eq!(errors[0].resource_type, counts[0].resource_type);
    world.finish(&unit).await.unwrap();
    world.ledger.retry_job(job).await.unwrap();
    assert_eq!(world.run(job).await.counts[0].rejected, 0);
}

pub(crate) async fn a_repeated_commit_changes_nothing(world: World) {
    let (job, unit) = one_unit(&world).await;
    let first = rejecting(&unit, 0..50, &[20]);
    world.ledger.commit_outcomes(&first).await.unwrap();
    let before = world.job(job).await;
    world.ledger.commit_outcomes(&first).await.unwrap();
    assert_eq!(world.job(job).await, before);
    assert_eq!(world.errors(job, false).await.len(), 1);
    world.finish(&unit).await.unwrap();
    let before = world.job(job).await;
    world.finish(&unit).await.unwrap();
    assert_eq!(world.job(job).await, before);
}

pub(crate) async fn a_lost_lease_commits_nothing(world: World) {
    let (job, mut unit) = one_unit(&world).await;
    unit.lease.as_mut().unwrap().token.push('x');
    let lost = world
        .ledger
        .commit_outcomes(&rejecting(&unit, 0..50, &[20]))
        .await
        .unwrap_err();
    assert!(matches!(lost, LedgerError::LeaseLost { .. }), "{lost}");
    let nowhere = world
        .ledger
        .commit_outcomes(&Commit::default())
        .await
        .unwrap_err();
    assert!(
        matches!(nowhere, LedgerError::LeaseLost { .. }),
        "{nowhere}"
    );
    let run = world.run(job).await;
    assert_eq!((run.counts.len(), run.requests, run.bytes_done), (0, 0, 0));
    assert_eq!(world.errors(job, false).await.len(), 0);
}

pub(crate) async fn contradictory_commits_are_refused(world: World) {
    let (job, unit) = one_unit(&world).await;
    let good = rejecting(&unit, 0..50, &[20]);
    let spoil: [fn(&mut Commit); 5] = [
        |c| c.header.done[0].end = 0,
        |c| c.outcomes[0].kind = 0,
        |c| c.outcomes[0].position = None,
        |c| c.quarantine[0].0 = 1,
        |c| c.outcomes[0].kind = OutcomeKind::Created.into(),
    ];
    for spoil in spoil {
        let mut bad = good.clone();
        spoil(&mut bad);
        let refused = world.ledger.commit_outcomes(&bad).await.unwrap_err();
        assert!(
            matches!(refused, LedgerError::BadCommit { .. }),
            "{refused}"
        );
    }
    assert_eq!(world.run(job).await.requests, 0);
    world.ledger.commit_outcomes(&good).await.unwrap();
}

pub(crate) async fn done_ranges_reach_the_next_worker(world: World) {
    let (_, unit) = one_unit(&world).await;
    for range in [0..10, 30..40, 10..20] {
        world
            .ledger
            .commit_outcomes(&commit(&unit, range))
            .await
            .unwrap();
    }
    world.advance(60);
    let next = world.worker().await;
    let unit = world.lease_one(next).await;
    let ranges = [
        ByteRange { start: 0, end: 20 },
        ByteRange { start: 30, end: 40 },
    ];
    assert_eq!(unit.done, ranges);
}

pub(crate) async fn the_last_unit_ends_load_and_job(world: World) {
    let job = world
        .job_over(&[object("/data/a.json", 10), object("/data/b.json", 10)])
        .await;
    let worker = world.worker().await;
    let units = world.lease(worker, 2).await;
    world.finish(&units[0]).await.unwrap();
    assert_eq!(world.state(job).await, JobState::Loading);
    world.finish(&units[1]).await.unwrap();
    assert_eq!(world.state(job).await, JobState::Done);
    let late = world
        .ledger
        .commit_outcomes(&commit(&units[0], 0..10))
        .await
        .unwrap_err();
    assert!(
        matches!(&late, LedgerError::LeaseLost { reason, .. } if reason.contains("finished")),
        "{late}"
    );
}

pub(crate) async fn many_units_end_at_once(world: World) {
    let objects: Vec<_> = (0..60)
        .map(|n| object(&format!("/data/{n}.json"), 10))
        .collect();
    let job = world.job_over(&objects).await;
    let worker = world.worker().await;
    let units = world.lease(worker, 60).await;
    let world = Arc::new(world);
    let ends: Vec<_> = units
        .into_iter()
        .map(|unit| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let mut commit = commit(&unit, 0..10);
                commit.header.counts = vec![count("Patient", [1, 0, 0, 0])];
                commit.outcomes = vec![EntryOutcome {
                    resource_type: "Unheard".to_owned(),
                    ..outcome(OutcomeKind::Created, 0, None)
                }];
                world.ledger.commit_outcomes(&commit).await.unwrap();
                world
                    .ledger
                    .finish_unit(lease_of(&unit), 1, 10)
                    .await
                    .unwrap();
            })
        })
        .collect();
    for end in ends {
        end.await.unwrap();
    }
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(
        world.run(job).await.counts,
        [count("Patient", [60, 0, 0, 0])]
    );
}

/// Every third is good, every third under a lease that is lost, every third contradicts itself.
pub(crate) async fn of_commits_at_once_each_is_answered_for_itself(world: World) {
    let objects: Vec<_> = (0..60)
        .map(|n| object(&format!("/data/{n}.json"), 1000))
        .collect();
    let job = world.job_over(&objects).await;
    let worker = world.worker().await;
    let units = world.lease(worker, 60).await;
    let commits = units.iter().enumerate().map(|(n, unit)| {
        let mut commit = rejecting(unit, 0..100, &[20, 40]);
        for (offset, (_, data)) in [20, 40].into_iter().zip(&mut commit.quarantine) {
            *data = Bytes::from(format!("{} {offset}", lease_of(unit).unit_id));
        }
        match n % 3 {
            0 => {}
            1 => commit.header.lease.as_mut().unwrap().token.push('x'),
            _ => commit.outcomes[0].position = None,
        }
        let ledger = Arc::clone(&world.ledger);
        async move { (n % 3, ledger.commit_outcomes(&commit).await) }
    });
    for (kind, answer) in join_all(commits).await {
        match (kind, answer) {
            (0, Ok(()))
            | (1, Err(LedgerError::LeaseLost { .. }))
            | (2, Err(LedgerError::BadCommit { .. })) => {}
            (kind, answer) => panic!("{kind}: {answer:?}"),
        }
    }
    let run = world.run(job).await;
    assert_eq!((run.requests, run.bytes_done), (20, 2000));
    assert_eq!(run.counts, [count("Patient", [0, 160, 40, 0])]);
    let errors = world.errors(job, true).await;
    assert_eq!(errors.len(), 40);
    for error in errors {
        // What is kept for an error is its own input.
        let after = QuarantineCursor::START;
        let kept = world.ledger.quarantine(job, error.error_id, after).await;
        let kept = String::from_utf8(kept.unwrap().parts[0].data.to_vec()).unwrap();
        let offset = error.position.unwrap().offset;
        let unit = units
            .iter()
            .find(|unit| unit.object.as_ref().unwrap().key == error.key);
        let unit_id = lease_of(unit.unwrap()).unit_id;
        assert_eq!(kept, format!("{unit_id} {offset}"));
    }
}

pub(crate) async fn commits_of_one_unit_at_once_add_up(world: World) {
    let (job, unit) = one_unit(&world).await;
    // Each range twice: the second is a repeat, whichever comes first.
    let ranges = (0..40).map(|n| {
        let start = n / 2 * 50;
        let ledger = Arc::clone(&world.ledger);
        let commit = rejecting(&unit, start..start + 50, &[start]);
        async move { ledger.commit_outcomes(&commit).await }
    });
    for answer in join_all(ranges).await {
        answer.unwrap();
    }
    let finishes = (0..3).map(|_| world.finish(&unit));
    for answer in join_all(finishes).await {
        answer.unwrap();
    }
    let run = world.run(job).await;
    assert_eq!((run.requests, run.objects_done), (20, 1));
    assert_eq!(run.counts, [count("Patient", [0, 80, 20, 0])]);
    assert_eq!(world.errors(job, true).await.len(), 20);
    assert_eq!(world.state(job).await, JobState::Done);
}

pub(crate) async fn a_caller_that_goes_away_harms_nobody(world: World) {
    let (job, unit) = one_unit(&world).await;
    let commit = rejecting(&unit, 0..50, &[20]);
    let gone = timeout(Duration::ZERO, world.ledger.commit_outcomes(&commit)).await;
    assert!(gone.is_err(), "{gone:?}");
    // Whether it was written or not, it counts once when it is repeated.
    world.ledger.commit_outcomes(&commit).await.unwrap();
    assert_eq!(world.run(job).await.requests, 1);
    assert_eq!(world.errors(job, true).await.len(), 1);
}
