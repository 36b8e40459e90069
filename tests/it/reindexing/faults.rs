//! Faults on order: the run ends by itself, with all done that can be.

use std::collections::BTreeSet;
use std::time::Duration;

use stoker_proto::reindex::v1::{Failure, Method, Run, RunSpec, RunState};
use stoker_sandbox::{Fault, FaultRule};

use super::scene::{Scene, ended, failures, get, reindexed, start, until};

const RESOURCES: u32 = 3000;

fn rule(fault: Fault) -> FaultRule {
    FaultRule {
        path_contains: Some("$reindex".to_owned()),
        ..FaultRule::new(fault)
    }
}

async fn scene(settings: &[&str]) -> Scene {
    Scene::new(RESOURCES, Duration::ZERO, settings).await
}

fn spec(scene: &Scene) -> RunSpec {
    RunSpec {
        concurrency: 4,
        batch: 50,
        ..scene.spec(Method::ClientDriven)
    }
}

async fn drive(scene: &Scene) -> (Run, Vec<Failure>) {
    scene.drive(spec(scene)).await
}

/// All are done but so many that failed.
fn assert_done(scene: &Scene, run: &Run, failed: u64) {
    let stats = scene.stats();
    assert_eq!(run.state(), RunState::Done, "{run:#?}");
    assert_eq!(stats.missed, failed, "{stats:#?}");
    assert_eq!(reindexed(run), u64::from(RESOURCES) - failed, "{run:#?}");
    assert_eq!(run.progress.as_ref().unwrap().failed, failed, "{run:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_can_never_succeed_are_named_and_no_others_suffer() {
    let scene = scene(&[]).await;
    let bad: BTreeSet<u64> = [2, 700, 702, 3500, 6000].into();
    scene.faults(vec![FaultRule::new(Fault::ReindexFails {
        index_ids: bad.clone(),
        resources: BTreeSet::new(),
    })]);
    let (run, failures) = drive(&scene).await;
    assert_done(&scene, &run, 5);
    let named: BTreeSet<u64> = failures.iter().map(|f| f.index_id.unsigned_abs()).collect();
    assert_eq!(named, bad);
    for failure in &failures {
        assert_eq!((failure.http_status, failure.attempts), (500, 5));
        assert!(!failure.reason.is_empty());
    }
    // Each is alone after about 2·log2(50) requests, and is tried five times.
    let failed = run.progress.as_ref().unwrap().failed_requests;
    assert!(failed <= 5 * (1 + 6 + 5), "{run:#?}");
    assert_eq!(scene.stats().repeats, 0, "a list that fails does nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_passes_leaves_no_trace() {
    let passing = [
        rule(Fault::DropBeforeResponse),
        rule(Fault::DropAfterApply),
        rule(Fault::Status {
            code: 500,
            retry_after: None,
            body: None,
        }),
        rule(Fault::Status {
            code: 503,
            retry_after: Some(1),
            body: None,
        }),
        rule(Fault::Status {
            code: 200,
            retry_after: None,
            body: Some("<html>a proxy's word</html>".to_owned()),
        }),
    ];
    for fault in passing {
        let scene = scene(&[]).await;
        let name = format!("{fault:?}");
        scene.faults(vec![FaultRule {
            after: 10,
            times: Some(3),
            ..fault
        }]);
        let (run, failures) = drive(&scene).await;
        assert_eq!(failures, [], "{name}");
        assert_done(&scene, &run, 0);
        assert!(run.progress.unwrap().failed_requests >= 3, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_take_too_long_become_smaller() {
    let scene = scene(&["fhir.request_timeout=400ms"]).await;
    let mut slow = rule(Fault::Hang);
    slow.times = Some(3);
    scene.faults(vec![slow]);
    let (run, failures) = drive(&scene).await;
    assert_eq!(failures, []);
    assert_done(&scene, &run, 0);
    let sizes = scene.stats();
    assert_eq!(sizes.repeats, 0, "what hangs is not applied: {sizes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_names_fewer_is_looked_into() {
    for (fault, undone) in [
        (Fault::ReindexUntold(2), false),
        (Fault::ReindexUndone(2), true),
    ] {
        let scene = scene(&[]).await;
        scene.faults(vec![FaultRule {
            after: 5,
            times: Some(4),
            ..FaultRule::new(fault)
        }]);
        let (run, failures) = drive(&scene).await;
        assert_eq!(failures, [], "undone: {undone}");
        assert_done(&scene, &run, 0);
        let stats = scene.stats();
        assert!(stats.repeats <= 4 * 50, "undone: {undone}: {stats:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_for_and_fails_no_resource() {
    let scene = Scene::new(RESOURCES, Duration::from_millis(20), &[]).await;
    let driver = scene.driver().await;
    let run_id = start(&driver, spec(&scene)).await;
    until(&driver, run_id, |run| reindexed(run) > 500).await;
    scene.faults(vec![FaultRule::new(Fault::DropBeforeRead)]);
    // Far longer than five tries take.
    let troubled = until(&driver, run_id, |run| {
        let trouble = run.progress.as_ref().map(|p| p.trouble.as_str());
        trouble.is_some_and(|text| !text.is_empty())
    });
    let before = reindexed(&troubled.await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(reindexed(&get(&driver, run_id).await) <= before + 200);
    scene.faults(Vec::new());
    let run = ended(&driver, run_id).await;
    assert_eq!(failures(&driver, run_id).await, []);
    assert_done(&scene, &run, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_away_stops_the_run_and_it_can_be_resumed() {
    let scene = scene(&["reindex.give_up_after=1s"]).await;
    scene.faults(vec![FaultRule {
        after: 20,
        ..FaultRule::new(Fault::DropBeforeResponse)
    }]);
    let (run, _) = drive(&scene).await;
    assert_eq!(run.state(), RunState::Stopped, "{run:#?}");
    assert!(
        run.reason.contains("nothing has gone well for 1s"),
        "{run:#?}"
    );
    scene.faults(Vec::new());
    let (again, failures) = drive(&scene).await;
    assert_eq!((again.run_id, failures), (run.run_id, Vec::new()));
    assert_done(&scene, &again, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_refused_stop_the_run_at_once() {
    let scene = scene(&[]).await;
    scene.faults(vec![FaultRule::new(Fault::Status {
        code: 401,
        retry_after: None,
        body: None,
    })]);
    let (run, _) = drive(&scene).await;
    assert_eq!(run.state(), RunState::Stopped, "{run:#?}");
    assert!(run.reason.contains("credentials"), "{run:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_sets_the_pace() {
    let scene = scene(&[]).await;
    scene.faults(vec![rule(Fault::Throttle {
        requests_per_second: 40.0,
        retry_after: Some(1),
    })]);
    let (run, failures) = drive(&scene).await;
    assert_eq!(failures, []);
    assert_done(&scene, &run, 0);
    assert_eq!(scene.stats().repeats, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_eases_off_while_users_wait() {
    let settings = ["reindex.latency_probe=Patient?_count=1"];
    let scene = Scene::new(4 * RESOURCES, Duration::from_millis(40), &settings).await;
    let slow = FaultRule {
        method: Some("GET".to_owned()),
        path_contains: Some("Patient".to_owned()),
        ..FaultRule::new(Fault::Delay(Duration::from_millis(400)))
    };
    scene.faults(vec![slow]);
    let driver = scene.driver().await;
    let spec = RunSpec {
        concurrency: 16,
        batch: 5,
        max_server_latency_ms: Some(200),
        ..scene.spec(Method::ClientDriven)
    };
    let run_id = start(&driver, spec).await;
    let concurrency = |run: &Run| run.progress.as_ref().map(|p| p.concurrency);
    let eased = until(&driver, run_id, |run| concurrency(run) == Some(1)).await;
    let trouble = &eased.progress.as_ref().unwrap().trouble;
    assert!(trouble.starts_with("easing off"), "{trouble}");
    // A quick server gets all of it again.
    scene.faults(Vec::new());
    let back = until(&driver, run_id, |run| concurrency(run) > Some(2)).await;
    assert_eq!(back.progress.unwrap().trouble, "");
    let run = ended(&driver, run_id).await;
    assert_eq!((run.state(), scene.stats().missed), (RunState::Done, 0));
}
