use reindex_driver::runs::{RunsError, Wish};
use stoker_proto::common::v1::Target;
use stoker_proto::reindex::v1::{Method, RunSpec, RunState};
use stoker_shared::store::columns::timestamp;

use crate::world::{World, spec};

pub(crate) async fn a_run_starts_and_is_shown(world: &World) {
    let (run, goes_on) = world.runs.start(&spec()).await.unwrap();
    assert!(!goes_on);
    assert_eq!((run.run_id, run.state()), (1, RunState::Running));
    assert_eq!(run.started, Some(timestamp(world.now().naive_utc())));
    assert_eq!((run.ended, run.reason.as_str()), (None, ""));
    let expected = RunSpec {
        tstamp: "2023-11-14T22:13:20Z".to_owned(),
        ..spec()
    };
    assert_eq!(run.spec, Some(expected));
    let progress = run.progress.clone().unwrap();
    assert_eq!((progress.checkpoint, progress.frontier), (None, None));
    assert_eq!(world.runs.run(1).await.unwrap(), run);

    let hapi = RunSpec {
        method: Method::HapiJob.into(),
        ..spec()
    };
    let (second, _) = world.runs.start(&hapi).await.unwrap();
    assert_eq!(second.spec, Some(hapi), "HAPI knows no such time");
    assert_eq!(world.runs.runs().await.unwrap(), [second, run]);
}

pub(crate) async fn starting_again_goes_on(world: &World) {
    let run_id = world.start(&spec()).await;
    let tuned = RunSpec {
        concurrency: 9,
        batch: 0,
        max_server_latency_ms: None,
        start_with_index_id: Some(700),
        resource_types: vec!["Account".to_owned(), "Patient".to_owned()],
        ..spec()
    };
    let taken = world.take().await.unwrap();
    let stop = world
        .runs
        .finish(&taken.lease, RunState::Stopped, "full")
        .await;
    stop.unwrap();
    for wish in [None, Some(Wish::Pause), None] {
        if let Some(wish) = wish {
            world.runs.steer(run_id, wish).await.unwrap();
        }
        let (run, goes_on) = world.runs.start(&tuned).await.unwrap();
        assert!(goes_on);
        assert_eq!((run.run_id, run.state()), (run_id, RunState::Running));
        assert_eq!((run.reason.as_str(), run.ended), ("", None));
        let kept = run.spec.unwrap();
        assert_eq!((kept.concurrency, kept.batch), (9, 0));
        assert_eq!(kept.max_server_latency_ms, None);
        assert_eq!(kept.tstamp, "2023-11-14T22:13:20Z");
        assert_eq!(kept.start_with_index_id, Some(5), "where it began");
    }
    let from_below = RunSpec {
        start_with_index_id: None,
        ..spec()
    };
    assert!(
        !world.runs.start(&from_below).await.unwrap().1,
        "it would leave out what is below 5"
    );
    let same_time = RunSpec {
        tstamp: "2023-11-14T22:13:20Z".to_owned(),
        ..spec()
    };
    assert!(world.runs.start(&same_time).await.unwrap().1);
}

pub(crate) async fn what_differs_is_another_run(world: &World) {
    let target = |base_url: &str, tenant: &str| {
        Some(Target {
            base_url: base_url.to_owned(),
            tenant: tenant.to_owned(),
        })
    };
    let mut numbers = Vec::new();
    for other in [
        spec(),
        RunSpec {
            tstamp: "2020-01-01".to_owned(),
            ..spec()
        },
        RunSpec {
            force: true,
            ..spec()
        },
        RunSpec {
            resource_types: Vec::new(),
            ..spec()
        },
        RunSpec {
            method: Method::ServerDriven.into(),
            ..spec()
        },
        RunSpec {
            urls: vec!["Patient?active=true".to_owned()],
            ..spec()
        },
        RunSpec {
            target: target("http://fhir/b", "t"),
            ..spec()
        },
        RunSpec {
            target: target("http://fhir/a", ""),
            ..spec()
        },
    ] {
        numbers.push(world.start(&other).await);
    }
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    let (newest, goes_on) = world.runs.start(&spec()).await.unwrap();
    assert_eq!((newest.run_id, goes_on), (2, true), "of any time");
}

pub(crate) async fn a_run_that_is_over_is_not_gone_on_with(world: &World) {
    let taken = world.driven().await;
    let done = world.runs.finish(&taken.lease, RunState::Done, "").await;
    done.unwrap();
    let second = world.start(&spec()).await;
    world.runs.steer(second, Wish::Cancel).await.unwrap();
    let third = world.start(&spec()).await;
    assert_eq!((second, third), (2, 3));
}

pub(crate) async fn nothing_is_there_at_first(world: &World) {
    assert!(world.runs.runs().await.unwrap().is_empty());
    assert!(world.take().await.is_none());
    let missing = |error: RunsError| matches!(error, RunsError::NotFound(7));
    assert!(missing(world.runs.run(7).await.unwrap_err()));
    assert!(missing(world.runs.steer(7, Wish::Pause).await.unwrap_err()));
    assert!(missing(world.runs.failures(7, 0, 9).await.unwrap_err()));
}
