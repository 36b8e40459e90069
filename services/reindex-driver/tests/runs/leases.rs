use std::time::Duration;

use reindex_driver::runs::{HapiJob, Seen};
use stoker_proto::reindex::v1::{RunSpec, RunState};

use crate::world::{LEASE, World, is_lost, save, spec};

const MOMENT: Duration = Duration::from_millis(1);

fn forced() -> RunSpec {
    RunSpec {
        force: true,
        ..spec()
    }
}

pub(crate) async fn one_driver_has_a_run(world: &World) {
    let first = world.start(&spec()).await;
    let second = world.start(&forced()).await;
    let one = world.take().await.unwrap();
    let two = world.take().await.unwrap();
    assert_eq!((one.lease.run_id, two.lease.run_id), (first, second));
    assert_ne!(one.lease.token, two.lease.token);
    assert!(world.take().await.is_none());
    assert_eq!(one.run.driver, "host:1");
}

pub(crate) async fn a_driver_may_want_some_runs_only(world: &World) {
    world.start(&spec()).await;
    let second = world.start(&forced()).await;
    let none = world.runs.take("host:1", &[77]).await.unwrap();
    assert!(none.is_none());
    let some = world.runs.take("host:1", &[77, second]).await.unwrap();
    assert_eq!(some.unwrap().lease.run_id, second);
    let again = world.runs.take("host:1", &[77, second]).await.unwrap();
    assert!(again.is_none());
}

pub(crate) async fn a_silent_driver_loses_the_run_and_changes_nothing_more(world: &World) {
    let lost = world.driven().await;
    world.clock.advance(LEASE.checked_sub(MOMENT).unwrap());
    assert!(world.take().await.is_none(), "a moment too early");
    world.clock.advance(MOMENT);
    let next = world.runs.take("other:2", &[]).await.unwrap().unwrap();
    let before = world.runs.run(next.lease.run_id).await.unwrap();
    let (runs, lease) = (&world.runs, &lost.lease);
    assert!(is_lost(&runs.renew(lease, &Seen::default()).await));
    assert!(is_lost(&runs.save(lease, &save(99, &[])).await));
    assert!(is_lost(&runs.save_job(lease, &HapiJob::default()).await));
    assert!(is_lost(&runs.finish(lease, RunState::Done, "").await));
    assert!(is_lost(&runs.release(lease).await));
    assert_eq!(runs.run(next.lease.run_id).await.unwrap(), before);
    assert_eq!(before.driver, "other:2");
    let renewed = runs.renew(&next.lease, &Seen::default()).await.unwrap();
    assert_eq!(renewed, RunState::Running);
}

pub(crate) async fn an_expired_lease_holds_until_somebody_takes_the_run(world: &World) {
    let taken = world.driven().await;
    world.clock.advance(LEASE * 3);
    world.runs.save(&taken.lease, &save(9, &[])).await.unwrap();
    assert!(world.take().await.is_none(), "the save has extended it");
    world.clock.advance(LEASE.checked_sub(MOMENT).unwrap());
    let job = HapiJob::default();
    world.runs.save_job(&taken.lease, &job).await.unwrap();
    world.clock.advance(LEASE.checked_sub(MOMENT).unwrap());
    let seen = Seen::default();
    world.runs.renew(&taken.lease, &seen).await.unwrap();
    world.clock.advance(LEASE.checked_sub(MOMENT).unwrap());
    assert!(world.take().await.is_none());
}

pub(crate) async fn a_run_that_is_given_back_is_taken_at_once(world: &World) {
    let first = world.driven().await;
    world.runs.release(&first.lease).await.unwrap();
    let second = world.take().await.unwrap();
    assert_eq!(second.lease.run_id, first.lease.run_id);
    assert_ne!(second.lease.token, first.lease.token);
    assert!(is_lost(&world.runs.release(&first.lease).await));
    let done = world.runs.finish(&second.lease, RunState::Done, "").await;
    done.unwrap();
    assert!(world.take().await.is_none());
}

pub(crate) async fn a_driver_is_shown_while_it_is_there(world: &World) {
    let taken = world.driven().await;
    let run_id = taken.lease.run_id;
    world.runs.save(&taken.lease, &save(9, &[])).await.unwrap();
    let driven = world.runs.run(run_id).await.unwrap();
    assert_eq!(driven.driver, "host:1");
    let progress = driven.progress.unwrap();
    assert_eq!((progress.concurrency, progress.batch), (8, 500));
    assert!((progress.per_second - 12.5).abs() < 1e-9);
    assert_eq!(progress.trouble, "busy");
    let unknown = Seen {
        total: None,
        ..Seen::default()
    };
    world.runs.renew(&taken.lease, &unknown).await.unwrap();
    let progress = world.runs.run(run_id).await.unwrap().progress.unwrap();
    assert_eq!(progress.total, Some(1000), "it was told before");
    assert_eq!(progress.trouble, "");
    world.runs.save(&taken.lease, &save(9, &[])).await.unwrap();

    world.clock.advance(LEASE);
    let silent = world.runs.run(run_id).await.unwrap();
    assert_eq!(silent.driver, "");
    let progress = silent.progress.unwrap();
    assert_eq!((progress.concurrency, progress.batch), (0, 0));
    assert_eq!(progress.trouble, "");
    assert_eq!((progress.total, progress.reindexed), (Some(1000), 40));
}
