use reindex_driver::runs::{RunsError, Seen, Wish};
use stoker_proto::reindex::v1::RunState;
use stoker_shared::store::columns::timestamp;

use crate::world::{World, is_lost, save, spec};

pub(crate) async fn people_have_runs_wait_go_on_and_end(world: &World) {
    use RunState::{Cancelled, Done, Paused, Running, Stopped};
    for (stands, wish, expected) in [
        (Running, Wish::Pause, Some(Paused)),
        (Running, Wish::Resume, Some(Running)),
        (Running, Wish::Cancel, Some(Cancelled)),
        (Paused, Wish::Pause, Some(Paused)),
        (Paused, Wish::Resume, Some(Running)),
        (Paused, Wish::Cancel, Some(Cancelled)),
        (Stopped, Wish::Pause, None),
        (Stopped, Wish::Resume, Some(Running)),
        (Stopped, Wish::Cancel, Some(Cancelled)),
        (Done, Wish::Pause, None),
        (Done, Wish::Resume, None),
        (Done, Wish::Cancel, None),
        (Cancelled, Wish::Pause, None),
        (Cancelled, Wish::Resume, None),
        (Cancelled, Wish::Cancel, Some(Cancelled)),
    ] {
        let run_id = run_that(world, stands).await;
        let answer = world.runs.steer(run_id, wish).await;
        match (answer, expected) {
            (Ok(run), Some(state)) => assert_eq!(run.state(), state, "{stands:?} {wish:?}"),
            (Err(RunsError::NotNow { run_id: of, .. }), None) => assert_eq!(of, run_id),
            (answer, _) => panic!("{stands:?} {wish:?}: {answer:?}"),
        }
        let after = world.runs.run(run_id).await.unwrap();
        assert_eq!(after.state(), expected.unwrap_or(stands));
        let is_over = matches!(after.state(), Done | Stopped | Cancelled);
        assert_eq!(after.ended.is_some(), is_over, "{after:?}");
        end(world, run_id).await;
    }
}

/// A run that stands so and that nobody has.
async fn run_that(world: &World, stands: RunState) -> i64 {
    let run_id = world.start(&spec()).await;
    match stands {
        RunState::Paused => drop(world.runs.steer(run_id, Wish::Pause).await.unwrap()),
        RunState::Cancelled => drop(world.runs.steer(run_id, Wish::Cancel).await.unwrap()),
        RunState::Done | RunState::Stopped => {
            let taken = world.take().await.unwrap();
            let finished = world.runs.finish(&taken.lease, stands, "why").await;
            finished.unwrap();
        }
        _ => {}
    }
    run_id
}

/// So that the next start is another run.
async fn end(world: &World, run_id: i64) {
    match world.runs.steer(run_id, Wish::Cancel).await {
        Ok(_) | Err(RunsError::NotNow { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

pub(crate) async fn a_driver_hears_of_wishes_and_may_still_save(world: &World) {
    let taken = world.driven().await;
    let (run_id, lease) = (taken.lease.run_id, &taken.lease);
    let renewed = world.runs.renew(lease, &Seen::default()).await.unwrap();
    assert_eq!(renewed, RunState::Running);
    world.runs.steer(run_id, Wish::Pause).await.unwrap();
    let renewed = world.runs.renew(lease, &Seen::default()).await.unwrap();
    assert_eq!(renewed, RunState::Paused);
    let saved = world.runs.save(lease, &save(40, &[])).await.unwrap();
    assert_eq!(saved, RunState::Paused, "what was on the wire is kept");
    world.runs.release(lease).await.unwrap();
    assert!(world.take().await.is_none(), "nobody drives what waits");
    world.runs.steer(run_id, Wish::Resume).await.unwrap();
    let again = world.take().await.unwrap();
    assert_eq!(again.position.frontier, Some(40));
}

pub(crate) async fn what_was_cancelled_stays_so(world: &World) {
    let taken = world.driven().await;
    let cancelled = world.runs.steer(taken.lease.run_id, Wish::Cancel).await;
    let ended = cancelled.unwrap().ended;
    assert_eq!(ended, Some(timestamp(world.now().naive_utc())));
    world.clock.advance(std::time::Duration::from_secs(3));
    let saved = world.runs.save(&taken.lease, &save(9, &[])).await.unwrap();
    assert_eq!(saved, RunState::Cancelled);
    let finished = world.runs.finish(&taken.lease, RunState::Done, "all").await;
    finished.unwrap();
    let run = world.runs.run(taken.lease.run_id).await.unwrap();
    assert_eq!((run.state(), run.ended), (RunState::Cancelled, ended));
    assert_eq!(run.reason, "all");
    assert_eq!(run.progress.unwrap().reindexed, 40);
}

pub(crate) async fn a_run_that_stopped_goes_on_where_it_was(world: &World) {
    let taken = world.driven().await;
    let (run_id, lease) = (taken.lease.run_id, &taken.lease);
    world
        .runs
        .save(lease, &save(70, &[(60, 65)]))
        .await
        .unwrap();
    let stop = world.runs.finish(lease, RunState::Stopped, "no disk").await;
    stop.unwrap();
    assert!(is_lost(&world.runs.release(lease).await), "it is over");
    assert!(world.take().await.is_none());
    let stopped = world.runs.run(run_id).await.unwrap();
    assert_eq!(stopped.reason, "no disk");
    let refused = world.runs.steer(run_id, Wish::Pause).await.unwrap_err();
    assert!(refused.to_string().contains("no disk"), "{refused}");
    let resumed = world.runs.steer(run_id, Wish::Resume).await.unwrap();
    assert_eq!((resumed.reason.as_str(), resumed.ended), ("", None));
    let again = world.take().await.unwrap();
    assert_eq!(again.position, save(70, &[(60, 65)]).position);
}
