//! A reindex-driver as a service: its contract, and what its clients see.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use stoker_proto::common::v1::Target;
use stoker_proto::events::v1::JobStarted;
use stoker_proto::events::v1::event::Kind;
use stoker_proto::reindex::v1::reindex_service_client::ReindexServiceClient;
use stoker_proto::reindex::v1::{
    CancelRunRequest, GetRunRequest, ListFailuresRequest, ListRunsRequest, Method, PauseRunRequest,
    ResumeRunRequest, Run, RunSpec, RunState, StartRunRequest, WatchRunRequest,
};
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_shared::clock::SystemClock;
use stoker_shared::grpc::{self, Channel, GrpcClientConfig};
use stoker_shared::kafka::{Events, KafkaConfig, Listener};
use stoker_tests::services::Service;
use stoker_tests::stoker::Stoker;
use stoker_tests::{kafka, parts};
use tokio::time::timeout;
use tonic::Code;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_mins(1);

type Client = ReindexServiceClient<Channel>;

async fn sandbox(resources: u32, latency: Duration) -> Sandbox {
    stoker_shared::tls::install_crypto_provider();
    let config = SandboxConfig {
        synthetic: resources,
        latency,
        ..SandboxConfig::default()
    };
    Sandbox::start(config).await.unwrap()
}

async fn driver(settings: &[String]) -> Service {
    let service = Service::start("reindex-driver", settings).unwrap();
    service.page("/readyz").await.unwrap();
    service
}

fn client(service: &Service) -> Client {
    let config = GrpcClientConfig::to_port(service.grpc_port);
    ReindexServiceClient::new(grpc::connect(&config).unwrap())
}

fn spec(sandbox: &Sandbox) -> RunSpec {
    RunSpec {
        target: Some(Target {
            base_url: sandbox.base_url(),
            tenant: String::new(),
        }),
        method: Method::ClientDriven.into(),
        tstamp: "2021-01-01".to_owned(),
        concurrency: 2,
        batch: 20,
        ..RunSpec::default()
    }
}

async fn start(client: &mut Client, spec: RunSpec) -> (Run, bool) {
    let request = StartRunRequest { spec: Some(spec) };
    let answer = client.start_run(request).await.unwrap().into_inner();
    (answer.run.unwrap(), answer.goes_on)
}

async fn get(client: &mut Client, run_id: i64) -> Run {
    let answer = client.get_run(GetRunRequest { run_id }).await;
    answer.unwrap().into_inner().run.unwrap()
}

fn reindexed(run: &Run) -> u64 {
    run.progress.as_ref().map_or(0, |p| p.reindexed)
}

async fn until(client: &mut Client, run_id: i64, holds: impl Fn(&Run) -> bool) -> Run {
    let deadline = Instant::now() + LIMIT;
    loop {
        let run = get(client, run_id).await;
        if holds(&run) {
            return run;
        }
        assert!(Instant::now() < deadline, "{run:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_started_watched_and_listed() {
    let sandbox = sandbox(300, Duration::from_millis(50)).await;
    let service = driver(&["runs.url=none".to_owned()]).await;
    let mut client = client(&service);
    let (run, goes_on) = start(&mut client, spec(&sandbox)).await;
    assert!(!goes_on);
    let (same, goes_on) = start(&mut client, spec(&sandbox)).await;
    assert!(goes_on && same.run_id == run.run_id, "one run for one wish");

    let request = WatchRunRequest { run_id: run.run_id };
    let mut changes = client.watch_run(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(change) = changes.message().await.unwrap() {
        seen.push(change.run.unwrap());
    }
    assert!(seen.len() > 2, "{seen:#?}");
    assert!(
        seen.windows(2)
            .all(|w| w[0] != w[1] && reindexed(&w[0]) <= reindexed(&w[1])),
        "{seen:#?}"
    );
    let last = seen.last().unwrap();
    assert_eq!((last.state(), reindexed(last)), (RunState::Done, 300));
    assert!(last.ended.is_some() && last.driver.is_empty(), "{last:#?}");
    let stats = sandbox.reindex_stats();
    assert_eq!((stats.distinct, stats.repeats), (300, 0), "{stats:#?}");

    let answer = client.list_runs(ListRunsRequest {}).await.unwrap();
    assert_eq!(answer.into_inner().runs.first(), Some(last));
    let (next, goes_on) = start(&mut client, spec(&sandbox)).await;
    assert!(
        !goes_on && next.run_id > run.run_id,
        "one that is done is over"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_steered_as_far_as_that_makes_sense() {
    let sandbox = sandbox(4000, Duration::from_millis(50)).await;
    let service = driver(&["runs.url=none".to_owned()]).await;
    let mut client = client(&service);
    let (run, _) = start(&mut client, spec(&sandbox)).await;
    let run_id = run.run_id;
    until(&mut client, run_id, |run| reindexed(run) > 0).await;
    let paused = client.pause_run(PauseRunRequest { run_id }).await.unwrap();
    let paused = paused.into_inner().run.unwrap();
    assert_eq!(paused.state(), RunState::Paused);
    client.pause_run(PauseRunRequest { run_id }).await.unwrap();
    let resumed = client.resume_run(ResumeRunRequest { run_id }).await;
    let resumed = resumed.unwrap().into_inner().run.unwrap();
    assert_eq!(resumed.state(), RunState::Running);
    let before = reindexed(&resumed);
    until(&mut client, run_id, |run| reindexed(run) > before).await;
    let cancelled = client.cancel_run(CancelRunRequest { run_id }).await;
    let cancelled = cancelled.unwrap().into_inner().run.unwrap();
    assert_eq!(cancelled.state(), RunState::Cancelled);
    let refused = client.resume_run(ResumeRunRequest { run_id }).await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    let refused = client.pause_run(PauseRunRequest { run_id }).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("run 1"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_by_its_code() {
    let sandbox = sandbox(1, Duration::ZERO).await;
    let service = driver(&["runs.url=none".to_owned()]).await;
    let mut client = client(&service);
    let spoil: [fn(&mut RunSpec); 4] = [
        |spec| spec.target = None,
        |spec| spec.tstamp = "tomorrow".to_owned(),
        |spec| spec.batch = 1001,
        |spec| spec.method = 0,
    ];
    for spoil in spoil {
        let mut spec = spec(&sandbox);
        spoil(&mut spec);
        let request = StartRunRequest { spec: Some(spec) };
        let refused = client.start_run(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let run_id = 7;
    let mut refused = vec![
        client.get_run(GetRunRequest { run_id }).await.unwrap_err(),
        client
            .pause_run(PauseRunRequest { run_id })
            .await
            .unwrap_err(),
        client
            .cancel_run(CancelRunRequest { run_id })
            .await
            .unwrap_err(),
        client
            .watch_run(WatchRunRequest { run_id })
            .await
            .unwrap_err(),
    ];
    let request = ListFailuresRequest {
        run_id,
        ..ListFailuresRequest::default()
    };
    refused.push(client.list_failures(request).await.unwrap_err());
    for refused in refused {
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
        assert!(
            refused.message().contains("stoker reindex list"),
            "{refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_follows_a_run_that_another_driver_takes_over() {
    let _turn = parts::turn().await;
    let sandbox = sandbox(1200, Duration::from_millis(100)).await;
    let store = parts::fresh_database().await.unwrap();
    let settings = [format!("runs.url={store}"), "runs.lease=1s".to_owned()];
    let mut first = driver(&settings).await;
    let mut asked = client(&first);
    let (run, _) = start(&mut asked, spec(&sandbox)).await;
    let has_it = |run: &Run| run.driver.ends_with(&first.pid().to_string());
    until(&mut asked, run.run_id, |run| {
        has_it(run) && reindexed(run) > 0
    })
    .await;

    let second = driver(&settings).await;
    let (base, server, user) = (sandbox.base_url(), second.url(), Stoker::new().unwrap());
    let line = format!(
        "reindex --to {base} --tstamp 2021-01-01 --client-driven --concurrency 2 --batch 20 --server {server} --json"
    );
    let command = user.args(line.split_whitespace()).run();
    let killing = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        first.kill().unwrap();
    };
    let (run, ()) = tokio::join!(command, killing);
    let run = run.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["run"]["run_id"], 1, "{report:#}");
    assert_eq!(report["run"]["state"], "done", "{report:#}");
    let stats = sandbox.reindex_stats();
    assert_eq!(stats.missed, 0, "{stats:#?}");
    assert!(
        stats.repeats <= 2 * 20,
        "more than was in flight: {stats:#?}"
    );
}

/// Announces until it is heard: what is announced before a consumer has found the topic's end may be missed.
async fn until_heard(events: &Events, listener: &mut Listener) {
    let announcing = async {
        loop {
            // By the key of the run, for its partition.
            events.announce("reindex/1", Kind::JobStarted(JobStarted { job_id: 0 }));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let heard = async {
        tokio::select! {
            () = announcing => unreachable!("it announces for ever"),
            _ = listener.next() => {}
        }
    };
    timeout(LIMIT, heard).await.unwrap();
}

/// The next event about a run that says it stands so; gives how many it says are reindexed.
async fn announced(listener: &mut Listener, state: RunState) -> u64 {
    let about = async {
        loop {
            let heard = listener.next().await;
            let kind = heard.and_then(|heard| heard.event.kind.clone());
            if let Some(Kind::ReindexChanged(changed)) = kind
                && changed.state == state.as_str_name()
            {
                assert_eq!(changed.run_id, 1);
                return changed.reindexed;
            }
        }
    };
    let heard = timeout(LIMIT, about).await;
    heard.unwrap_or_else(|_| panic!("nobody says {}", state.as_str_name()))
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_hears_of_each_start_pause_and_end() {
    let sandbox = sandbox(600, Duration::from_millis(100)).await;
    let kafka = kafka::shared().await.unwrap();
    let topic = format!("reindex-{}", Uuid::new_v4().simple());
    let config = KafkaConfig {
        brokers: vec![kafka.broker()],
        events_topic: topic.clone(),
        ..KafkaConfig::default()
    };
    let settings = [
        "runs.url=none".to_owned(),
        format!("kafka.brokers={}", kafka.broker()),
        format!("kafka.events_topic={topic}"),
    ];
    let service = driver(&settings).await;
    let events = Events::connect(&config, "test", Arc::new(SystemClock)).unwrap();
    let mut listener = events.listen();
    until_heard(&events, &mut listener).await;
    let mut client = client(&service);
    let (run, _) = start(&mut client, spec(&sandbox)).await;
    let run_id = run.run_id;
    announced(&mut listener, RunState::Running).await;
    until(&mut client, run_id, |run| reindexed(run) > 0).await;
    client.pause_run(PauseRunRequest { run_id }).await.unwrap();
    let at_rest = announced(&mut listener, RunState::Paused).await;
    assert!(at_rest > 0 && at_rest < 600, "{at_rest}");
    client
        .resume_run(ResumeRunRequest { run_id })
        .await
        .unwrap();
    announced(&mut listener, RunState::Running).await;
    let done = announced(&mut listener, RunState::Done).await;
    assert_eq!(done, 600);
}
