//! Scanner and workers as processes of their own, over gRPC, on a ledger in PostgreSQL.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stoker_proto::common::v1::{Interaction, Source, Target};
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_proto::ledger::v1::{GetJobRequest, Job, JobState, ListErrorsRequest, StartJobRequest};
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_shared::grpc::{self, Channel, GrpcClientConfig};
use stoker_shared::object_store::host_name;
use stoker_tests::parts;
use stoker_tests::stoker::stoker_bin;

const RESOURCES: usize = 2000;

/// A service's process, killed when dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Service {
    fn start(name: &str, settings: &[String]) -> Self {
        let program = stoker_bin().unwrap().with_file_name(name);
        let mut command = Command::new(&program);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap_or_else(|e| panic!("{}: {e}; run `make test`", program.display())))
    }

    /// Asks it to stop and waits; answers its exit code.
    async fn terminate(mut self) -> Option<i32> {
        let id = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("still running 30 s after SIGTERM");
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// What a service's HTTP port answers, once it does.
async fn page(port: u16, path: &str) -> String {
    let url = format!("http://127.0.0.1:{port}{path}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match client.get(&url).send().await {
            Ok(response) if response.status() == 200 => return response.text().await.unwrap(),
            answer => assert!(Instant::now() < deadline, "{url}: {answer:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn start_scanner() -> (Service, u16) {
    let port = free_port();
    let settings = [
        format!("service.grpc.listen=127.0.0.1:{port}"),
        format!("service.http_listen=127.0.0.1:{}", free_port()),
        format!("ledger={}", parts::fresh_database().await.unwrap()),
        "lease=3s".to_owned(),
    ];
    (Service::start("bucket-scanner", &settings), port)
}

fn start_worker(scanner: u16, http_port: u16) -> Service {
    let settings = [
        format!("service.grpc.listen=127.0.0.1:{}", free_port()),
        format!("service.http_listen=127.0.0.1:{http_port}"),
        format!("ledger.url=http://127.0.0.1:{scanner}"),
        "load.batch=20".to_owned(),
        "load.concurrency=4".to_owned(),
    ];
    Service::start("loader-worker", &settings)
}

async fn jobs(port: u16) -> JobServiceClient<Channel> {
    let config = GrpcClientConfig::to_port(port);
    let client = JobServiceClient::new(grpc::connect(&config).unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let request = stoker_proto::ledger::v1::ListJobsRequest {};
        match client.clone().list_jobs(request).await {
            Ok(_) => return client,
            Err(e) => assert!(
                Instant::now() < deadline,
                "the scanner does not answer: {e}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn write_files(folder: &Path) {
    for file in 0..20 {
        let mut lines = String::new();
        for n in 0..RESOURCES / 20 {
            writeln!(
                lines,
                "{{\"resourceType\":\"Patient\",\"id\":\"f{file}-{n}\"}}"
            )
            .unwrap();
        }
        fs::write(folder.join(format!("{file}.ndjson")), lines).unwrap();
    }
}

async fn wait_until_done(client: &mut JobServiceClient<Channel>, job_id: i64) -> Job {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let job = client
            .get_job(GetJobRequest { job_id })
            .await
            .unwrap()
            .into_inner()
            .job
            .unwrap();
        if job.state() == JobState::Done {
            return job;
        }
        assert!(Instant::now() < deadline, "not done in a minute: {job:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_killed_worker_loses_nothing_and_all_stop_when_told() {
    stoker_shared::tls::install_crypto_provider();
    let config = SandboxConfig {
        latency: Duration::from_millis(30),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    write_files(data.path());
    let (scanner, port) = start_scanner().await;
    let http = [free_port(), free_port(), free_port()];
    let workers = http.map(|http| start_worker(port, http));
    let mut client = jobs(port).await;
    let request = StartJobRequest {
        source: Some(Source {
            uri: format!("file://{}", data.path().display()),
            reach: host_name(),
        }),
        target: Some(Target {
            base_url: sandbox.base_url(),
            tenant: String::new(),
        }),
        interaction: Interaction::Auto.into(),
        reload: false,
    };
    let job = client
        .start_job(request)
        .await
        .unwrap()
        .into_inner()
        .job
        .unwrap();
    while sandbox.stats().versions_written < 300 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    page(http[1], "/readyz").await;
    let metrics = page(http[1], "/metrics").await;
    assert!(
        metrics.contains("stoker_loader_worker_requests_total"),
        "{metrics}"
    );
    let [mut killed, second, third] = workers;
    killed.0.kill().unwrap();
    let job = wait_until_done(&mut client, job.job_id).await;

    assert_eq!(
        sandbox.resources("Patient").len(),
        RESOURCES,
        "nothing is missing"
    );
    let in_flight = 4 * 4 * 20;
    let written = sandbox.stats().versions_written;
    assert!(
        written <= (RESOURCES + in_flight) as u64,
        "{written} written"
    );
    let run = job.run.unwrap();
    assert_eq!(
        (run.objects, run.objects_done, run.objects_parked),
        (20, 20, 0)
    );
    let counted: u64 = run.counts.iter().map(|c| c.created + c.updated).sum();
    assert_eq!(counted, RESOURCES as u64, "each resource is counted once");
    let request = ListErrorsRequest {
        job_id: job.job_id,
        this_run: false,
    };
    let errors = client
        .list_errors(request)
        .await
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap();
    assert_eq!(errors, None);

    for service in [second, third, scanner] {
        assert_eq!(service.terminate().await, Some(0));
    }
}
