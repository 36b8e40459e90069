//! Several drivers over one store in PostgreSQL.

use std::time::Duration;

use stoker_proto::reindex::v1::{Method, RunSpec, RunState};
use stoker_tests::parts;

use super::scene::{Scene, ended, failures, get, reindexed, start, until};

#[tokio::test(flavor = "multi_thread")]
async fn another_driver_goes_on_where_one_was_killed_or_hangs() {
    let database = parts::fresh_database().await.unwrap();
    let scene = Scene::new(20_000, Duration::from_millis(20), &["runs.lease=1s"]).await;
    let scene = scene.with(format!("runs.url={database}"));
    let mut drivers = [scene.driver().await, scene.driver().await];
    let spec = RunSpec {
        concurrency: 4,
        batch: 20,
        ..scene.spec(Method::ClientDriven)
    };
    let run_id = start(&drivers[0], spec).await;
    let run = until(&drivers[0], run_id, |run| reindexed(run) > 500).await;
    let holder = |driver: &stoker_tests::services::Service, of: &str| {
        of.ends_with(&format!(":{}", driver.pid()))
    };
    let first = usize::from(!holder(&drivers[0], &run.driver));
    assert!(holder(&drivers[first], &run.driver), "{run:#?}");
    // One that hangs is a case for the lease: it is there, and gives no sign.
    drivers[first].signal("STOP").unwrap();
    let other = 1 - first;
    let taken = until(&drivers[other], run_id, |run| {
        holder(&drivers[other], &run.driver)
    })
    .await;
    assert_eq!(taken.state(), RunState::Running);
    until(&drivers[other], run_id, |run| reindexed(run) > 5000).await;
    drivers[first].signal("CONT").unwrap();
    until(&drivers[other], run_id, |run| reindexed(run) > 10_000).await;
    let run = get(&drivers[other], run_id).await;
    assert!(
        holder(&drivers[other], &run.driver),
        "it was not taken back"
    );
    drivers[other].kill().unwrap();
    let run = ended(&drivers[first], run_id).await;
    assert_eq!(run.state(), RunState::Done, "{run:#?}");
    assert_eq!(reindexed(&run), 20_000, "{run:#?}");
    let stats = scene.stats();
    assert_eq!(stats.missed, 0, "{stats:#?}");
    assert!(stats.repeats <= 2 * (4 + 1) * 20, "{stats:#?}");
}

/// SIGTERM to one after the other, as an upgrade does it.
#[tokio::test(flavor = "multi_thread")]
async fn drivers_that_are_restarted_in_turn_miss_and_repeat_nothing() {
    let _turn = parts::turn().await;
    let database = parts::fresh_database().await.unwrap();
    let scene = Scene::new(20_000, Duration::from_millis(20), &[]).await;
    let scene = scene.with(format!("runs.url={database}"));
    let mut drivers = [scene.driver().await, scene.driver().await];
    let spec = RunSpec {
        concurrency: 4,
        batch: 20,
        ..scene.spec(Method::ClientDriven)
    };
    let run_id = start(&drivers[0], spec).await;
    for restart in 1..=4 {
        let [next, other] = [restart % 2, (restart + 1) % 2];
        let from = 3_000 * restart as u64;
        until(&drivers[other], run_id, |run| reindexed(run) > from).await;
        assert_eq!(drivers[next].stop().await.unwrap(), Some(0));
        drivers[next].upgrade().unwrap();
        drivers[next].page("/readyz").await.unwrap();
    }
    let run = ended(&drivers[0], run_id).await;
    assert_eq!(run.state(), RunState::Done, "{run:#?}");
    assert_eq!(failures(&drivers[0], run_id).await, []);
    let stats = scene.stats();
    assert_eq!((stats.missed, stats.repeats), (0, 0), "{stats:#?}");
}
