use bucket_scanner::ledger::{LedgerError, Retried};
use stoker_proto::common::v1::Target;
use stoker_proto::ledger::v1::{LoadError, OutcomeKind, SettledError};

use crate::world::{World, count, lease_of, object, outcome, rejecting, start};

fn named(error: &LoadError) -> SettledError {
    SettledError {
        error_id: error.error_id,
        time: error.time,
    }
}

/// A job over one finished object with two inputs refused and one in doubt; its errors.
async fn with_errors(world: &World) -> (i64, Vec<LoadError>) {
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    let mut commit = rejecting(&unit, 0..100, &[20, 40]);
    commit.header.counts[0].in_doubt = 1;
    commit
        .outcomes
        .push(outcome(OutcomeKind::InDoubt, 60, None));
    world.ledger.commit_outcomes(&commit).await.unwrap();
    world.finish(&unit).await.unwrap();
    let errors = world.errors(job, false).await;
    assert_eq!(errors.len(), 3);
    (job, errors)
}

pub(crate) async fn what_was_taken_is_struck_once(world: World) {
    let (job, errors) = with_errors(&world).await;
    let target = start().target;
    let taken = [named(&errors[0]), named(&errors[2])];
    let settle = async || world.ledger.settle_errors(job, &target, &taken).await;
    assert_eq!(settle().await.unwrap(), 2);
    assert_eq!(world.errors(job, false).await, errors[1..2]);
    let counts = [count("Patient", [0, 8, 1, 0])];
    assert_eq!(world.total(job).await.counts, counts);
    // Whoever died before the answer asks again.
    assert_eq!(settle().await.unwrap(), 0);
    assert_eq!(world.errors(job, false).await, errors[1..2]);
    assert_eq!(world.total(job).await.counts, counts);

    // A retry of the job sends only the one that is left.
    let retried = world.ledger.retry_job(job).await.unwrap();
    assert_eq!(
        retried,
        Retried {
            inputs: 1,
            units: 1
        }
    );
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    let done: Vec<_> = unit.done.iter().map(|r| (r.start, r.end)).collect();
    assert_eq!(done, [(0, 40), (50, 100)]);
}

pub(crate) async fn what_is_of_another_ledger_is_not_struck(world: World) {
    let (job, errors) = with_errors(&world).await;
    let target = start().target;
    let mut other_time = named(&errors[0]);
    other_time.time.as_mut().unwrap().nanos += 1000;
    let no_time = SettledError {
        time: None,
        ..named(&errors[1])
    };
    let unknown = SettledError {
        error_id: 12345,
        ..named(&errors[2])
    };
    let others = [other_time, no_time, unknown];
    let settled = world.ledger.settle_errors(job, &target, &others).await;
    assert_eq!(settled.unwrap(), 0);

    let all: Vec<_> = errors.iter().map(named).collect();
    let elsewhere = Target {
        tenant: "b".to_owned(),
        ..target.clone()
    };
    let refused = world.ledger.settle_errors(job, &elsewhere, &all).await;
    assert!(
        matches!(&refused, Err(LedgerError::NotNow(why)) if why.contains("http://fhir/a")),
        "{refused:?}"
    );
    let unknown = world.ledger.settle_errors(job + 1, &target, &all).await;
    assert!(
        matches!(unknown, Err(LedgerError::NotFound { .. })),
        "{unknown:?}"
    );
    assert_eq!(world.errors(job, false).await, errors);
    assert_eq!(
        world.total(job).await.counts,
        [count("Patient", [0, 8, 2, 1])]
    );
}

pub(crate) async fn what_was_taken_may_be_struck_while_the_rest_is_loaded(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    let first = rejecting(&unit, 0..50, &[20]);
    world.ledger.commit_outcomes(&first).await.unwrap();
    let errors = world.errors(job, false).await;
    let taken: Vec<_> = errors.iter().map(named).collect();
    let target = start().target;
    let settled = world.ledger.settle_errors(job, &target, &taken).await;
    assert_eq!(settled.unwrap(), 1);
    let rest = rejecting(&unit, 50..100, &[60]);
    world.ledger.commit_outcomes(&rest).await.unwrap();
    let finished = world.ledger.finish_unit(lease_of(&unit), 10, 100).await;
    let load = finished.unwrap().load.unwrap();
    assert_eq!((load.loaded, load.rejected), (8, 1));
    assert_eq!(world.errors(job, false).await.len(), 1);
}
