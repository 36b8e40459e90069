//! Scanner and workers as processes of their own, over gRPC, on a ledger in PostgreSQL.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use stoker_proto::ledger::v1::ListErrorsRequest;
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_tests::parts;
use stoker_tests::services::{Service, of_folder, until_done};

const FILES: usize = 20;
const RESOURCES_OF_A_FILE: usize = 100;
const RESOURCES: usize = FILES * RESOURCES_OF_A_FILE;

// What each worker is told.
const BATCH: usize = 5;
const CONCURRENCY: usize = 4;
const UNITS: usize = 4;

/// Resources that a killed worker may have sent and not committed. Of each unit that it holds these are requests on the
/// wire, and fewer than as many that are answered while a commit gathers and is made.
const IN_FLIGHT: usize = UNITS * 2 * CONCURRENCY * BATCH;

async fn start_scanner() -> Service {
    let settings = [
        format!("ledger={}", parts::fresh_database().await.unwrap()),
        // So long a busy machine may keep a worker from renewing; a lease that is lost repeats more.
        "lease=10s".to_owned(),
    ];
    Service::start("bucket-scanner", &settings).unwrap()
}

fn start_worker(scanner: &Service) -> Service {
    let settings = [
        format!("ledger.url={}", scanner.url()),
        format!("load.batch={BATCH}"),
        format!("load.concurrency={CONCURRENCY}"),
        format!("load.units={UNITS}"),
    ];
    Service::start("loader-worker", &settings).unwrap()
}

fn write_files(folder: &Path) {
    for file in 0..FILES {
        let mut lines = String::new();
        for n in 0..RESOURCES_OF_A_FILE {
            writeln!(
                lines,
                "{{\"resourceType\":\"Patient\",\"id\":\"f{file}-{n}\"}}"
            )
            .unwrap();
        }
        fs::write(folder.join(format!("{file}.ndjson")), lines).unwrap();
    }
}

#[tokio::test]
async fn a_killed_worker_loses_nothing_and_all_stop_when_told() {
    let _turn = parts::turn().await;
    stoker_shared::tls::install_crypto_provider();
    let config = SandboxConfig {
        latency: Duration::from_millis(30),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    write_files(data.path());
    let scanner = start_scanner().await;
    let [mut killed, second, third] = [(); 3].map(|()| start_worker(&scanner));
    let mut client = scanner.jobs().await.unwrap();
    let request = of_folder(data.path(), sandbox.base_url());
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
    second.page("/readyz").await.unwrap();
    let metrics = second.page("/metrics").await.unwrap();
    assert!(
        metrics.contains("stoker_loader_worker_requests_total"),
        "{metrics}"
    );
    killed.kill().unwrap();
    let limit = Duration::from_mins(1);
    let job = until_done(&mut client, job.job_id, limit).await.unwrap();

    assert_eq!(
        sandbox.resources("Patient").len(),
        RESOURCES,
        "nothing is missing"
    );
    let written = sandbox.stats().versions_written;
    let most = (RESOURCES + IN_FLIGHT) as u64;
    assert!(written <= most, "{written} written, {most} at most");
    let run = job.run.unwrap();
    assert_eq!(
        (run.objects, run.objects_done, run.objects_parked),
        (FILES as u64, FILES as u64, 0)
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
        assert_eq!(service.terminate().await.unwrap(), Some(0));
    }
}
