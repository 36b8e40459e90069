//! An idle worker is woken by what scanners announce on Kafka; it does not wait for its own next look.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _, PgConnection};
use stoker_proto::events::v1::event::Kind;
use stoker_proto::events::v1::{JobStarted, WaveEnded};
use stoker_proto::ledger::v1::{CancelJobRequest, ListSourcesRequest};
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_shared::clock::SystemClock;
use stoker_shared::kafka::{Events, KafkaConfig, Listener};
use stoker_tests::kafka::Kafka;
use stoker_tests::parts;
use stoker_tests::services::{Service, of_folder, until_done};
use tokio::time::timeout;

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

/// Listings of the scanner end only once the test lets go of the lock.
const LISTING_WAITS: &str = "CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS \
       $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$; \
     CREATE TRIGGER waits BEFORE UPDATE ON fhirbucket.jobs FOR EACH ROW \
       WHEN (OLD.state = 'scanning' AND NEW.state = 'loading') EXECUTE FUNCTION wait_for_the_test(); \
     SELECT pg_advisory_lock(1)";

/// The events of all, from now on.
async fn listens(kafka: &Kafka) -> Events {
    let config = KafkaConfig {
        brokers: vec![kafka.broker()],
        ..KafkaConfig::default()
    };
    let events = Events::connect(&config, "test", Arc::new(SystemClock)).unwrap();
    let deadline = Instant::now() + LIMIT;
    while !events.are_heard() {
        assert!(Instant::now() < deadline, "no events are heard");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    events
}

/// Waits for an event.
async fn until_told(listener: &mut Listener, kind: &Kind) {
    let told = async {
        while listener
            .next()
            .await
            .is_none_or(|heard| heard.event.kind.as_ref() != Some(kind))
        {}
    };
    timeout(LIMIT, told)
        .await
        .unwrap_or_else(|_| panic!("nobody announces {kind:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn waves_that_a_listing_or_a_parked_unit_ends_are_announced() {
    let _turn = parts::turn().await;
    stoker_shared::tls::install_crypto_provider();
    let kafka = Kafka::start().unwrap();
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let brokers = format!("kafka.brokers={}", kafka.broker());
    let database = parts::fresh_database().await.unwrap();
    let scanner = Service::start(
        "bucket-scanner",
        &[format!("ledger={database}"), brokers.clone()],
    )
    .unwrap();
    let mut jobs = scanner.jobs().await.unwrap();
    let settings = [format!("ledger.url={}", scanner.url()), brokers];
    let worker = Service::start("loader-worker", &settings).unwrap();
    for service in [&scanner, &worker] {
        until_it_hears(service).await;
    }
    let events = listens(&kafka).await;
    let mut told = events.listen();
    let mut conn = PgConnection::connect(&database).await.unwrap();
    conn.execute(LISTING_WAITS).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &str| fs::write(data.path().join(name), content).unwrap();
    put(
        "Organization.ndjson",
        "{\"resourceType\":\"Organization\",\"id\":\"o\"}\n",
    );
    put("Patient.ndjson.gz", "no gzip");
    put(
        "Observation.ndjson",
        "{\"resourceType\":\"Observation\",\"id\":\"a\",\"status\":\"final\",\"code\":{\"text\":\"x\"}}\n",
    );
    let request = of_folder(data.path(), sandbox.base_url());
    let started = jobs.start_job(request).await.unwrap().into_inner();
    let job_id = started.job.unwrap().job_id;
    let ended = Kind::WaveEnded(WaveEnded { job_id });
    // By its last unit, which helps nobody as long as the source is listed.
    until_told(&mut told, &ended).await;
    conn.execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    // By the end of the listing, and by what cannot be read.
    until_told(&mut told, &ended).await;
    until_told(&mut told, &ended).await;
    until_done(&mut jobs, job_id, LIMIT).await.unwrap();
    assert!(sandbox.read("Observation", "a").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_load_is_announced_once() {
    let _turn = parts::turn().await;
    stoker_shared::tls::install_crypto_provider();
    let kafka = Kafka::start().unwrap();
    let events = listens(&kafka).await;
    let mut told = events.listen();
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join("a.ndjson"), "{}\n").unwrap();
    let settings = [
        format!("ledger={}", parts::fresh_database().await.unwrap()),
        format!("kafka.brokers={}", kafka.broker()),
        format!("sources[0].uri=file://{}", data.path().display()),
        "sources[0].base_url=http://fhir".to_owned(),
    ];
    let mut scanner = Service::start("bucket-scanner", &settings).unwrap();
    let started = Kind::JobStarted(JobStarted { job_id: 1 });
    until_told(&mut told, &started).await;
    let listed = until_listed_after(&scanner, None).await;
    scanner.kill().unwrap();
    scanner.start_again().unwrap();
    until_listed_after(&scanner, listed).await;
    until_it_hears(&scanner).await;
    // What is told of one job is heard in its order.
    let mut jobs = scanner.jobs().await.unwrap();
    jobs.cancel_job(CancelJobRequest { job_id: 1 })
        .await
        .unwrap();
    let next = loop {
        let heard = timeout(LIMIT, told.next()).await.unwrap();
        let kind = heard.and_then(|heard| heard.event.kind.clone());
        if let Some(kind @ (Kind::JobStarted(_) | Kind::JobEnded(_))) = kind {
            break kind;
        }
    };
    assert!(matches!(next, Kind::JobEnded(_)), "{next:?}");
}

/// Seconds and nanoseconds.
type Listed = (i64, i32);

/// When the one source was last listed, once that is another time than `before`.
async fn until_listed_after(scanner: &Service, before: Option<Listed>) -> Option<Listed> {
    let mut jobs = scanner.jobs().await.unwrap();
    let deadline = Instant::now() + LIMIT;
    loop {
        let sources = jobs.list_sources(ListSourcesRequest {}).await.unwrap();
        let listed = sources
            .into_inner()
            .sources
            .first()
            .and_then(|s| s.last_scan)
            .map(|at| (at.seconds, at.nanos));
        if listed.is_some() && listed != before {
            return listed;
        }
        assert!(Instant::now() < deadline, "it is not listed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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
