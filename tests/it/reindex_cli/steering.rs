//! Runs that are interrupted, gone on with, and steered from another terminal.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::scene::Scene;

/// Slow enough to be met in the middle.
const SLOWLY: [&str; 5] = ["--client-driven", "--concurrency", "2", "--batch", "20"];

#[tokio::test]
async fn a_run_that_is_stopped_goes_on_where_it_was() {
    for method in [&SLOWLY[..], &SLOWLY[1..]] {
        let scene = Scene::slow(600).await;
        let running = scene.start(method);
        scene.until_indexed(100).await;
        running.signal("INT");
        assert_eq!(running.end().await, Some(3), "interrupted");
        let before = scene.sandbox.reindex_stats().indexed;
        assert!(before < 600, "it was met in the middle");
        let shown = scene.json(&["show", "1"]).await;
        assert_eq!(shown["state"], "running", "{shown:#}");
        assert_eq!(shown["driver"], "", "{shown:#}");
        assert_eq!(
            shown["progress"]["reindexed"], before,
            "all is written down"
        );
        let list = scene.asked(&["list"]).await;
        assert!(list.stdout.contains("waiting"), "{list:#?}");

        let run = scene.reindex(method).await;
        assert_eq!(run.code, 0, "{run:#?}");
        assert!(run.stderr.contains("going on with run 1"), "{run:#?}");
        let stats = scene.sandbox.reindex_stats();
        assert_eq!((stats.distinct, stats.repeats), (600, 0), "{stats:#?}");
    }
}

#[tokio::test]
async fn a_run_that_is_killed_goes_on_soon_and_repeats_only_what_was_in_flight() {
    let scene = Scene::slow(600).await;
    let running = scene.start(&SLOWLY);
    scene.until_indexed(100).await;
    running.signal("KILL");
    assert_eq!(running.end().await, None);
    let calls = scene.sandbox.reindex_stats().list_calls;
    let again = scene.start(&SLOWLY);
    let started = Instant::now();
    while scene.sandbox.reindex_stats().list_calls == calls {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "it does not go on"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(again.end().await, Some(0));
    let stats = scene.sandbox.reindex_stats();
    assert_eq!(stats.missed, 0, "{stats:#?}");
    assert!(
        stats.repeats <= 2 * 20,
        "more than was in flight: {stats:#?}"
    );
}

#[tokio::test]
async fn a_run_is_paused_resumed_and_cancelled_from_another_terminal() {
    let scene = Scene::slow(4000).await;
    let running = scene.start(&SLOWLY);
    scene.until_indexed(40).await;
    assert_eq!(scene.json(&["pause", "1"]).await["state"], "paused");
    let at_rest = until_at_rest(&scene).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.sandbox.reindex_stats().indexed, at_rest, "paused");

    assert_eq!(scene.json(&["resume", "1"]).await["state"], "running");
    scene.until_indexed(at_rest + 40).await;
    assert_eq!(scene.json(&["cancel", "1"]).await["state"], "cancelled");
    assert_eq!(running.end().await, Some(1), "it did not come to its end");
    let late = scene.asked(&["resume", "1"]).await;
    assert_eq!(late.code, 1, "{late:#?}");
    assert!(late.stderr.contains("run 1"), "{late:#?}");
    let shown = scene.json(&["show", "1"]).await;
    let indexed = scene.sandbox.reindex_stats().indexed;
    assert_eq!(shown["progress"]["reindexed"], indexed, "{shown:#}");
    let anew = scene.json(&["list"]).await;
    assert_eq!(anew.as_array().map(Vec::len), Some(1), "{anew:#}");
}

/// How many are reindexed when nothing is on the wire any more.
async fn until_at_rest(scene: &Scene) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut last = 0;
    loop {
        let now = scene.sandbox.reindex_stats().indexed;
        if now == last {
            return now;
        }
        assert!(Instant::now() < deadline, "it goes on");
        last = now;
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
}

#[tokio::test]
async fn watching_shows_a_run_to_its_end() {
    let scene = Scene::slow(400).await;
    let running = scene.start(&SLOWLY);
    scene.until_indexed(20).await;
    let watched = scene.asked(&["watch", "1", "--json"]).await;
    assert_eq!(watched.code, 0, "{watched:#?}");
    let lines = watched.stdout.lines();
    let lines: Vec<Value> = lines.map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(lines.len() > 1, "{watched:#?}");
    assert_eq!(lines[0]["state"], "running", "{lines:#?}");
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["state"], &last["progress"]["reindexed"]),
        (&"done".into(), &400.into())
    );
    assert_eq!(running.end().await, Some(0));
}
