//! Creates that a killed worker had begun: each is named, whether or not the server holds it twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use stoker_proto::common::v1::Interaction;
use stoker_proto::ledger::v1::{ListErrorsRequest, LoadErrorKind, StartJobRequest};
use stoker_sandbox::{Fault, FaultRule, Sandbox, SandboxConfig};
use stoker_tests::gate::Gate;
use stoker_tests::parts;
use stoker_tests::services::{Service, of_folder, until_done};
use tempfile::TempDir;

const LINES: usize = 200;
const BATCH: usize = 5;
const CONCURRENCY: usize = 4;
/// Inputs that a worker may have begun and not committed, in requests: as many as it has on the wire and ready for it.
const IN_FLIGHT: usize = 2 * CONCURRENCY * BATCH;
const LIMIT: Duration = Duration::from_mins(2);

/// All lines are of one length.
fn line(n: usize) -> String {
    format!("{{\"resourceType\":\"Basic\",\"code\":{{\"text\":\"{n:04}\"}}}}\n")
}

/// A load under way: the worker reaches the scanner through a gate.
struct Load {
    ledger: String,
    scanner: Service,
    worker: Service,
    to_ledger: Gate,
    sandbox: Sandbox,
    job_id: i64,
    _data: TempDir,
}

impl Load {
    async fn start(fault: FaultRule) -> Self {
        let config = SandboxConfig {
            faults: vec![fault],
            ..SandboxConfig::default()
        };
        let sandbox = Sandbox::start(config).await.unwrap();
        let ledger = parts::fresh_database().await.unwrap();
        let settings = [format!("ledger={ledger}"), "lease=3s".to_owned()];
        let scanner = Service::start("bucket-scanner", &settings).unwrap();
        let mut jobs = scanner.jobs().await.unwrap();
        let at_scanner = format!("127.0.0.1:{}", scanner.grpc_port);
        let to_ledger = Gate::before(&at_scanner).await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let lines: String = (0..LINES).map(line).collect();
        fs::write(data.path().join("basic.ndjson"), lines).unwrap();
        let request = StartJobRequest {
            interaction: Interaction::Create.into(),
            ..of_folder(data.path(), sandbox.base_url())
        };
        let started = jobs.start_job(request).await.unwrap().into_inner();
        let settings = [
            format!("ledger.url=http://{}", to_ledger.address()),
            format!("load.batch={BATCH}"),
            format!("load.concurrency={CONCURRENCY}"),
        ];
        Self {
            ledger,
            scanner,
            worker: Service::start("loader-worker", &settings).unwrap(),
            to_ledger,
            sandbox,
            job_id: started.job.unwrap().job_id,
            _data: data,
        }
    }

    /// Whether a unit is so in the ledger.
    async fn a_unit_is(&self, so: &str) -> bool {
        let mut ledger = PgConnection::connect(&self.ledger).await.unwrap();
        let count = format!("SELECT COUNT(*) FROM fhirbucket.load_units WHERE {so}");
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(count))
            .fetch_one(&mut ledger)
            .await
            .unwrap();
        count > 0
    }

    /// How often the server holds each line.
    fn held(&self) -> BTreeMap<usize, usize> {
        let mut held = BTreeMap::new();
        for resource in self.sandbox.resources("Basic") {
            let n = resource["code"]["text"].as_str().unwrap().parse().unwrap();
            *held.entry(n).or_default() += 1;
        }
        held
    }

    async fn kill(&mut self) {
        self.worker.kill().unwrap();
        self.to_ledger.close();
        // Requests that it had sent may be on their way.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    /// Lets a worker end the load; answers the lines that the ledger names as repeated.
    async fn end(&mut self) -> BTreeSet<usize> {
        self.sandbox.faults().clear();
        self.to_ledger.open().await.unwrap();
        self.worker.start_again().unwrap();
        let mut jobs = self.scanner.jobs().await.unwrap();
        until_done(&mut jobs, self.job_id, LIMIT).await.unwrap();
        let request = ListErrorsRequest {
            job_id: self.job_id,
            this_run: false,
        };
        let mut errors = jobs.list_errors(request).await.unwrap().into_inner();
        let mut named = BTreeSet::new();
        let length = line(0).len();
        while let Some(error) = errors.message().await.unwrap() {
            assert_eq!(error.kind(), LoadErrorKind::Repeated, "{error:?}");
            let place = error.position.unwrap();
            let (start, end) = (place.offset, place.offset + place.length);
            let lines = usize::try_from(start).unwrap() / length
                ..usize::try_from(end).unwrap().div_ceil(length);
            named.extend(lines);
        }
        named
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A fault of every request of a method.
fn of_all(method: &str, fault: Fault) -> FaultRule {
    FaultRule {
        method: Some(method.to_owned()),
        ..FaultRule::new(fault)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_noted_was_not_sent_and_is_not_named() {
    let _turn = parts::turn().await;
    // The worker asks for the server's capabilities between its lease and its first note.
    let late = Fault::Delay(Duration::from_secs(3));
    let mut load = Load::start(of_all("GET", late)).await;
    until("a unit is leased", async || {
        load.a_unit_is("state = 'leased'").await
    })
    .await;
    load.to_ledger.close();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(load.sandbox.stats().requests > 0, "it knows the server");
    assert_eq!(load.held(), BTreeMap::new(), "and sends nothing");
    load.kill().await;

    assert_eq!(load.end().await, BTreeSet::new());
    assert_eq!(load.held(), (0..LINES).map(|n| (n, 1)).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_noted_and_did_not_arrive_is_named_and_arrives_once() {
    let _turn = parts::turn().await;
    let mut load = Load::start(of_all("POST", Fault::Hang)).await;
    until("some is noted", async || {
        load.a_unit_is("begun_ranges <> ''").await
    })
    .await;
    load.kill().await;
    assert_eq!(load.held(), BTreeMap::new());

    let named = load.end().await;
    assert!(!named.is_empty() && named.len() <= IN_FLIGHT, "{named:?}");
    assert_eq!(load.held(), (0..LINES).map(|n| (n, 1)).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_holds_twice_is_named() {
    let _turn = parts::turn().await;
    let late = Fault::Delay(Duration::from_secs(2));
    let mut load = Load::start(of_all("POST", late)).await;
    until("the server has taken some", async || {
        !load.held().is_empty()
    })
    .await;
    load.to_ledger.close();
    // What is on its way arrives; its answers come, and what would be next cannot be noted.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let arrived = load.held();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(load.held(), arrived, "nothing is sent that is not noted");
    load.kill().await;

    let named = load.end().await;
    let held = load.held();
    assert_eq!(held.len(), LINES, "none is missing");
    assert!(held.values().all(|times| *times <= 2), "{held:?}");
    let twice: BTreeSet<usize> = held
        .iter()
        .filter(|(_, times)| **times == 2)
        .map(|(n, _)| *n)
        .collect();
    assert_eq!(twice, arrived.keys().copied().collect());
    assert!(named.is_superset(&twice), "{twice:?} of {named:?}");
    assert!(named.len() <= IN_FLIGHT, "{named:?}");
}
