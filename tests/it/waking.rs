//! An idle worker is woken by what scanners announce on Kafka; it does not wait for its own next look.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_tests::kafka::Kafka;
use stoker_tests::parts;
use stoker_tests::services::{Service, of_folder, until_done};

const LIMIT: Duration = Duration::from_mins(1);
/// How long a worker that hears events waits for one before it looks by itself (`QUIET` of the worker).
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Each finds the worker just after a look that found nothing.
const LOADS: u32 = 8;
/// A type of each wave of so many: what refers waits until what it refers to is loaded.
const WAVES: [&str; 8] = [
    "Organization",
    "Location",
    "Medication",
    "PractitionerRole",
    "Patient",
    "Encounter",
    "Condition",
    "Observation",
];

async fn load(scanner: &Service, folder: &Path, n: u32, sandbox: &Sandbox) {
    let line = format!("{{\"resourceType\":\"Patient\",\"id\":\"p{n}\"}}\n");
    fs::write(folder.join(format!("{n}.ndjson")), line).unwrap();
    let request = of_folder(folder, sandbox.base_url());
    let mut jobs = scanner.jobs().await.unwrap();
    let started = jobs.start_job(request).await.unwrap().into_inner();
    let job_id = started.job.unwrap().job_id;
    until_done(&mut jobs, job_id, LIMIT).await.unwrap();
    assert!(sandbox.read("Patient", &format!("p{n}")).is_some());
}

async fn until_it_hears(service: &Service) {
    let deadline = Instant::now() + LIMIT;
    while !hears(service).await {
        assert!(Instant::now() < deadline, "it hears no events");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn hears(service: &Service) -> bool {
    let metrics = service.page("/metrics").await.unwrap();
    metrics
        .lines()
        .any(|line| line == "stoker_events_hearing 1")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_for_a_wave_is_woken_by_its_end() {
    let _turn = parts::turn().await;
    stoker_shared::tls::install_crypto_provider();
    let kafka = Kafka::start().unwrap();
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let brokers = format!("kafka.brokers={}", kafka.broker());
    let ledger = format!("ledger={}", parts::fresh_database().await.unwrap());
    let scanner = Service::start("bucket-scanner", &[ledger, brokers.clone()]).unwrap();
    let mut jobs = scanner.jobs().await.unwrap();
    let settings = [format!("ledger.url={}", scanner.url()), brokers];
    let worker = Service::start("loader-worker", &settings).unwrap();
    for service in [&scanner, &worker] {
        until_it_hears(service).await;
    }
    let data = tempfile::tempdir().unwrap();
    for kind in WAVES {
        let line = format!("{{\"resourceType\":\"{kind}\",\"id\":\"a\"}}\n");
        fs::write(data.path().join(format!("{kind}.ndjson")), line).unwrap();
    }
    let begun = Instant::now();
    let request = of_folder(data.path(), sandbox.base_url());
    let started = jobs.start_job(request).await.unwrap().into_inner();
    let job_id = started.job.unwrap().job_id;
    until_done(&mut jobs, job_id, LIMIT).await.unwrap();
    let took = begun.elapsed();
    assert!(hears(&worker).await, "it heard all the time");
    let by_looking = LOOK_AGAIN * u32::try_from(WAVES.len() - 1).unwrap();
    assert!(took < by_looking / 2, "{took:?}, {by_looking:?} by looking");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_one_scanner_starts_wakes_the_idle_worker_of_another() {
    let _turn = parts::turn().await;
    stoker_shared::tls::install_crypto_provider();
    let kafka = Kafka::start().unwrap();
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let brokers = format!("kafka.brokers={}", kafka.broker());
    let ledger = format!("ledger={}", parts::fresh_database().await.unwrap());
    let scanner = || Service::start("bucket-scanner", &[ledger.clone(), brokers.clone()]).unwrap();
    let (here, there) = (scanner(), scanner());
    here.jobs().await.unwrap();
    there.jobs().await.unwrap();
    let settings = [format!("ledger.url={}", there.url()), brokers.clone()];
    let worker = Service::start("loader-worker", &settings).unwrap();
    for service in [&here, &there, &worker] {
        until_it_hears(service).await;
    }
    let data = tempfile::tempdir().unwrap();
    // From here on the worker asks, finds nothing, and waits to be woken.
    load(&here, data.path(), 0, &sandbox).await;

    let begun = Instant::now();
    for n in 1..=LOADS {
        load(&here, data.path(), n, &sandbox).await;
    }
    let took = begun.elapsed();
    assert!(hears(&worker).await, "it heard all the time");
    // A worker that only looked by itself would take each load up at another look.
    let by_looking = LOOK_AGAIN * (LOADS - 1);
    assert!(took < by_looking / 2, "{took:?}, {by_looking:?} by looking");
}
