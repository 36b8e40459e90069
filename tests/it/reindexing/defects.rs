//! What the Java fhir-bucket does wrong when it drives a reindexing (`spec/fhir-bucket.md` §17), one test each.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use stoker_proto::reindex::v1::{Method, RunSpec, RunState};
use stoker_sandbox::{Fault, FaultRule};

use super::scene::{Scene, reindexed};

fn client_driven(scene: &Scene) -> RunSpec {
    RunSpec {
        concurrency: 4,
        batch: 20,
        ..scene.spec(Method::ClientDriven)
    }
}

/// D13: it forces always.
#[tokio::test(flavor = "multi_thread")]
async fn force_is_sent_only_when_asked_for() {
    let scene = Scene::new(500, Duration::ZERO, &[]).await;
    let first = scene.drive(client_driven(&scene)).await;
    assert_eq!(first.0.state(), RunState::Done);
    let second = scene.drive(client_driven(&scene)).await;
    assert_eq!(second.0.state(), RunState::Done);
    let stats = scene.stats();
    assert_eq!((stats.indexed, stats.forced), (1000, 0), "{stats:#?}");
    assert_eq!(stats.unchanged, 500, "the server saves itself the work");
    let forced = RunSpec {
        force: true,
        ..client_driven(&scene)
    };
    scene.drive(forced).await;
    assert_eq!(scene.stats().forced, 500);
}

/// D16: it asks for ids again and again without a pause while that fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_fails_is_not_asked_for_in_a_hurry() {
    let settings = ["reindex.first_pause=200ms", "reindex.max_pause=1s"];
    let scene = Scene::new(500, Duration::ZERO, &settings).await;
    scene.faults(vec![FaultRule {
        path_contains: Some("$retrieve-index".to_owned()),
        times: Some(5),
        ..FaultRule::new(Fault::Status {
            code: 500,
            retry_after: None,
            body: None,
        })
    }]);
    let begun = Instant::now();
    let (run, failures) = scene.drive(client_driven(&scene)).await;
    assert_eq!((run.state(), failures), (RunState::Done, Vec::new()));
    assert_eq!(scene.stats().missed, 0);
    // 0.2, 0.4, 0.8, 1 and 1 s, each shortened by half at most.
    let least = Duration::from_millis(1700);
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
}

/// D18: it believes the first `Reindex complete`, which calls also get while others have the last resources.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_believed_when_all_else_has_ended() {
    let scene = Scene::new(400, Duration::from_millis(30), &[]).await;
    scene.faults(vec![FaultRule {
        after: 3,
        times: Some(1),
        ..FaultRule::new(Fault::ReindexComplete)
    }]);
    let spec = RunSpec {
        concurrency: 4,
        batch: 10,
        ..scene.spec(Method::ServerDriven)
    };
    let (run, _) = scene.drive(spec).await;
    assert_eq!(run.state(), RunState::Done, "{run:#?}");
    let stats = scene.stats();
    assert_eq!((stats.missed, stats.repeats), (0, 0), "{stats:#?}");
    assert_eq!(reindexed(&run), 400);
}

/// The Java tool goes on for ever where the server fails at what it picks.
#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_the_server_cannot_get_past_ends_the_run_with_the_reason() {
    let scene = Scene::new(400, Duration::ZERO, &[]).await;
    scene.faults(vec![FaultRule::new(Fault::ReindexFails {
        index_ids: BTreeSet::from([300]),
        resources: BTreeSet::new(),
    })]);
    let spec = RunSpec {
        concurrency: 2,
        batch: 10,
        ..scene.spec(Method::ServerDriven)
    };
    let (run, _) = scene.drive(spec).await;
    assert_eq!(run.state(), RunState::Stopped, "{run:#?}");
    assert!(run.reason.contains("--client-driven"), "{run:#?}");
}

/// The last page of ids is asked for once more when all else is done.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_page_is_believed_the_second_time() {
    let scene = Scene::new(2500, Duration::ZERO, &[]).await;
    scene.faults(vec![FaultRule {
        path_contains: Some("$retrieve-index".to_owned()),
        after: 1,
        times: Some(1),
        ..FaultRule::new(Fault::Status {
            code: 200,
            retry_after: None,
            body: Some(r#"{"resourceType":"Parameters"}"#.to_owned()),
        })
    }]);
    let (run, _) = scene.drive(client_driven(&scene)).await;
    assert_eq!(run.state(), RunState::Done, "{run:#?}");
    assert_eq!(scene.stats().missed, 0, "{:#?}", scene.stats());
}

/// Its last words name the id to start with; so may ours be told.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_may_start_with_an_index_id() {
    let scene = Scene::new(500, Duration::ZERO, &[]).await;
    let spec = RunSpec {
        start_with_index_id: Some(402),
        ..client_driven(&scene)
    };
    let (run, _) = scene.drive(spec).await;
    assert_eq!(run.state(), RunState::Done, "{run:#?}");
    assert_eq!((reindexed(&run), scene.stats().missed), (300, 200));
}
