//! A million resources, and drivers that are killed.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use stoker_proto::reindex::v1::{Method, RunSpec, RunState};
use stoker_tests::parts;

use super::scene::{Scene, ended, reindexed, start};

const MILLION: u32 = 1_000_000;
const CONCURRENCY: u32 = 8;
const BATCH: u32 = 200;

fn spec(scene: &Scene) -> RunSpec {
    RunSpec {
        concurrency: CONCURRENCY,
        batch: BATCH,
        ..scene.spec(Method::ClientDriven)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_a_million_is_reindexed_once() {
    let _turn = parts::turn().await;
    let scene = Scene::new(MILLION, Duration::ZERO, &[]).await;
    let (run, failures) = scene.drive(spec(&scene)).await;
    assert_eq!((run.state(), failures), (RunState::Done, Vec::new()));
    let stats = scene.stats();
    assert_eq!((stats.missed, stats.repeats), (0, 0), "{stats:#?}");
    assert_eq!(stats.forced, 0, "{stats:#?}");
    let progress = run.progress.unwrap();
    assert_eq!(progress.reindexed, u64::from(MILLION));
    assert_eq!(progress.total, Some(u64::from(MILLION)));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_none_is_missed_and_little_repeated() {
    const KILLS: u32 = 20;
    let _turn = parts::turn().await;
    let scene = Scene::new(MILLION, Duration::from_millis(5), &[]).await;
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut driver = scene.driver().await;
    let run_id = start(&driver, spec(&scene)).await;
    let mut longest = Duration::ZERO;
    for kill in 1..=KILLS {
        // Spread over the whole run, however fast it is.
        let progress = u64::from(MILLION / (KILLS + 1) * kill);
        let limit = Instant::now() + Duration::from_mins(2);
        while scene.stats().indexed < progress {
            assert!(Instant::now() < limit, "seed {seed}: {:#?}", scene.stats());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_micros(rng.random_range(0..50_000))).await;
        driver.kill().unwrap();
        // What was on the wire comes to its end.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let calls = scene.stats().list_calls;
        let begun = Instant::now();
        driver.start_again().unwrap();
        while scene.stats().list_calls == calls {
            assert!(begun.elapsed() < Duration::from_mins(1), "seed {seed}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        longest = longest.max(begun.elapsed());
    }
    let run = ended(&driver, run_id).await;
    let stats = scene.stats();
    assert_eq!(run.state(), RunState::Done, "seed {seed}: {run:#?}");
    assert_eq!(stats.missed, 0, "seed {seed}: {stats:#?}");
    assert_eq!(reindexed(&run), u64::from(MILLION), "seed {seed}");
    // Places on the wire, and a quarter as many answers that are being written down.
    let in_flight = u64::from((CONCURRENCY + CONCURRENCY / 4) * BATCH);
    let most = u64::from(KILLS) * in_flight;
    assert!(stats.repeats <= most, "seed {seed}: {stats:#?}");
    assert!(longest < Duration::from_secs(2), "seed {seed}: {longest:?}");
}
