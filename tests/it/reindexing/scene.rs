//! A server with resources, and drivers that share a store of runs.

use std::time::{Duration, Instant};

use stoker_proto::common::v1::Target;
use stoker_proto::reindex::v1::reindex_service_client::ReindexServiceClient;
use stoker_proto::reindex::v1::{
    Failure, GetRunRequest, ListFailuresRequest, Method, Run, RunSpec, RunState, StartRunRequest,
};
use stoker_sandbox::{FaultRule, ReindexStats, Sandbox, SandboxConfig};
use stoker_shared::grpc::{self, Channel, GrpcClientConfig};
use stoker_tests::services::Service;
use tempfile::TempDir;

/// After all that is synthetic was written.
pub(super) const TSTAMP: &str = "2021-01-01";

const LIMIT: Duration = Duration::from_mins(5);

pub(super) struct Scene {
    pub(super) sandbox: Sandbox,
    settings: Vec<String>,
    _folder: TempDir,
}

impl Scene {
    /// Runs are kept in a file.
    pub(super) async fn new(resources: u32, latency: Duration, settings: &[&str]) -> Self {
        stoker_shared::tls::install_crypto_provider();
        let config = SandboxConfig {
            synthetic: resources,
            latency,
            ..SandboxConfig::default()
        };
        let folder = TempDir::new().unwrap();
        let runs = folder.path().join("runs.sqlite");
        let mut all = vec![
            format!("runs.url=sqlite:{}", runs.display()),
            "reindex.first_pause=20ms".to_owned(),
            "reindex.max_pause=200ms".to_owned(),
        ];
        all.extend(settings.iter().map(ToString::to_string));
        Self {
            sandbox: Sandbox::start(config).await.unwrap(),
            settings: all,
            _folder: folder,
        }
    }

    /// Keeps runs there instead.
    pub(super) fn with(mut self, setting: String) -> Self {
        self.settings.push(setting);
        self
    }

    pub(super) fn faults(&self, rules: Vec<FaultRule>) {
        self.sandbox.faults().set(rules).unwrap();
    }

    pub(super) fn stats(&self) -> ReindexStats {
        self.sandbox.reindex_stats()
    }

    /// A driver that is ready.
    pub(super) async fn driver(&self) -> Service {
        let driver = Service::start("reindex-driver", &self.settings).unwrap();
        driver.page("/readyz").await.unwrap();
        driver
    }

    pub(super) fn spec(&self, method: Method) -> RunSpec {
        RunSpec {
            target: Some(Target {
                base_url: self.sandbox.base_url(),
                tenant: String::new(),
            }),
            method: method.into(),
            tstamp: TSTAMP.to_owned(),
            ..RunSpec::default()
        }
    }

    /// Drives a run to where it stands no longer for running.
    pub(super) async fn drive(&self, spec: RunSpec) -> (Run, Vec<Failure>) {
        let driver = self.driver().await;
        let run_id = start(&driver, spec).await;
        let run = ended(&driver, run_id).await;
        let failures = failures(&driver, run_id).await;
        assert_eq!(driver.terminate().await.unwrap(), Some(0));
        (run, failures)
    }
}

fn client(driver: &Service) -> ReindexServiceClient<Channel> {
    let config = GrpcClientConfig::to_port(driver.grpc_port);
    ReindexServiceClient::new(grpc::connect(&config).unwrap())
}

pub(super) async fn start(driver: &Service, spec: RunSpec) -> i64 {
    let request = StartRunRequest { spec: Some(spec) };
    let answer = client(driver).start_run(request).await.unwrap();
    answer.into_inner().run.unwrap().run_id
}

pub(super) async fn get(driver: &Service, run_id: i64) -> Run {
    let answer = client(driver).get_run(GetRunRequest { run_id }).await;
    answer.unwrap().into_inner().run.unwrap()
}

pub(super) async fn failures(driver: &Service, run_id: i64) -> Vec<Failure> {
    let request = ListFailuresRequest {
        run_id,
        after_index_id: 0,
        limit: 0,
    };
    let answer = client(driver).list_failures(request).await.unwrap();
    answer.into_inner().failures
}

/// Waits until a run is no longer running.
pub(super) async fn ended(driver: &Service, run_id: i64) -> Run {
    until(driver, run_id, |run| run.state() != RunState::Running).await
}

pub(super) async fn until(driver: &Service, run_id: i64, holds: impl Fn(&Run) -> bool) -> Run {
    let deadline = Instant::now() + LIMIT;
    loop {
        let run = get(driver, run_id).await;
        if holds(&run) {
            return run;
        }
        let over = run.state() != RunState::Running;
        assert!(!over && Instant::now() < deadline, "{run:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) fn reindexed(run: &Run) -> u64 {
    run.progress.as_ref().map_or(0, |p| p.reindexed)
}
