//! Every metric that the services show is in `docs/metrics.md`, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use stoker_proto::backup::v1::RunState;
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_tests::fhir_database::{FhirDatabase, SchemaType};
use stoker_tests::kafka::Kafka;
use stoker_tests::remote_index::{INSTANCE, create_topic};
use stoker_tests::services::{Service, of_folder, until_done};
use stoker_tests::stoker::Stoker;
use stoker_tests::{parts, repository};

use crate::backup_seen::Backups;

const LIMIT: Duration = Duration::from_mins(1);

/// Metrics by name: the type and the labels of each.
type Shown = BTreeMap<String, (String, BTreeSet<String>)>;

/// The rows of the table below each heading of the page.
fn documented() -> BTreeMap<String, Shown> {
    let page = repository::root().join("docs/metrics.md");
    let mut tables: BTreeMap<String, Shown> = BTreeMap::new();
    let mut heading = String::new();
    for line in fs::read_to_string(page).unwrap().lines() {
        if let Some(text) = line.strip_prefix("## ") {
            text.clone_into(&mut heading);
        }
        if !line.starts_with("| `stoker_") {
            continue;
        }
        let cells: Vec<_> = line.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 6, "cells of {line}");
        let names = |cell: &str| -> BTreeSet<String> {
            let quoted = cell.split('`').skip(1).step_by(2);
            quoted.map(str::to_owned).collect()
        };
        let name = names(cells[0]).pop_first().unwrap();
        let row = (cells[1].trim().to_owned(), names(cells[2]));
        let table = tables.entry(heading.clone()).or_default();
        assert_eq!(table.insert(name.clone(), row), None, "{name} twice");
    }
    tables
}

/// What an OpenMetrics text holds.
fn shown(text: &str) -> Shown {
    let mut shown = Shown::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            family = match kind {
                // The name of the one series it has.
                "counter" => format!("{name}_total"),
                _ => name.to_owned(),
            };
            shown.insert(family.clone(), (kind.to_owned(), BTreeSet::new()));
        }
        let labels = line.split_once('{').and_then(|(_, l)| l.split_once('}'));
        if let Some((labels, _)) = labels.filter(|_| !line.starts_with('#')) {
            let names = labels.split(',').filter_map(|l| Some(l.split_once('=')?.0));
            // A bucket's bound is no label of the metric.
            let names = names.filter(|name| *name != "le").map(str::to_owned);
            shown.get_mut(&family).unwrap().1.extend(names);
        }
    }
    shown
}

/// One resource that a server takes and one input that it cannot take.
fn write_a_file(folder: &Path) {
    let lines = "{\"resourceType\":\"Patient\",\"id\":\"p\"}\n{\"resourceType\":\n";
    fs::write(folder.join("patients.ndjson"), lines).unwrap();
}

/// Loads a folder with a resource in it, and waits until the events of it have come round.
async fn load_something(scanner: &Service, worker: &Service) {
    for service in [scanner, worker] {
        until(service, "stoker_events_hearing 1").await;
    }
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    write_a_file(data.path());
    let request = of_folder(data.path(), sandbox.base_url());
    let mut client = scanner.jobs().await.unwrap();
    let started = client.start_job(request).await.unwrap();
    let job_id = started.into_inner().job.unwrap().job_id;
    until_done(&mut client, job_id, LIMIT).await.unwrap();
}

/// A reindex-driver that has done a run.
async fn reindexing(brokers: String) -> Service {
    let config = SandboxConfig {
        synthetic: 10,
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    let settings = ["runs.url=none".to_owned(), brokers];
    let service = Service::start("reindex-driver", &settings).unwrap();
    service.page("/readyz").await.unwrap();
    until(&service, "stoker_events_hearing 1").await;
    let (base, server) = (sandbox.base_url(), service.url());
    let run = ["reindex", "--to", &base, "--server", &server];
    let run = Stoker::new().unwrap().args(run).run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    service
}

/// A backup-agent that has made a backup and proven it.
async fn backing_up(brokers: String) -> Backups {
    let mut backups = Backups::start(&[brokers]).await;
    until(&backups.agent, "stoker_events_hearing 1").await;
    assert_eq!(backups.back_up().await, RunState::Done);
    let proven = "stoker_backup_recovery_seconds{source=\"fhir\"}";
    until(&backups.agent, proven).await;
    backups
}

/// A remote-indexer that holds partitions.
async fn indexing(kafka: &Kafka) -> Service {
    let database = FhirDatabase::fresh(SchemaType::Plain).await.unwrap();
    create_topic(&kafka.broker(), "index").await.unwrap();
    let settings = [
        format!("kafka.brokers={}", kafka.broker()),
        format!("database.url={}", database.url),
        format!("instance_identifier={INSTANCE}"),
        "topic.name=index".to_owned(),
    ];
    let service = Service::start("remote-indexer", &settings).unwrap();
    until(
        &service,
        "stoker_remote_indexer_lag_seconds{partition=\"7\"}",
    )
    .await;
    service
}

async fn until(service: &Service, sample: &str) {
    let deadline = Instant::now() + LIMIT;
    while !service.page("/metrics").await.unwrap().contains(sample) {
        assert!(Instant::now() < deadline, "no {sample}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// One of each service, which have done something.
pub(crate) struct Running {
    scanner: Service,
    worker: Service,
    driver: Service,
    indexer: Service,
    backups: Backups,
    _kafka: Kafka,
}

impl Running {
    pub(crate) async fn start() -> Self {
        stoker_shared::tls::install_crypto_provider();
        let kafka = Kafka::start().unwrap();
        let brokers = format!("kafka.brokers={}", kafka.broker());
        let ledger = format!("ledger={}", parts::fresh_database().await.unwrap());
        let scanner = Service::start("bucket-scanner", &[ledger, brokers.clone()]).unwrap();
        let url = format!("ledger.url={}", scanner.url());
        let worker = Service::start("loader-worker", &[url, brokers.clone()]).unwrap();
        load_something(&scanner, &worker).await;
        Self {
            driver: reindexing(brokers.clone()).await,
            backups: backing_up(brokers).await,
            indexer: indexing(&kafka).await,
            scanner,
            worker,
            _kafka: kafka,
        }
    }

    /// By name.
    pub(crate) fn services(&self) -> [(&'static str, &Service); 5] {
        [
            ("bucket-scanner", &self.scanner),
            ("loader-worker", &self.worker),
            ("reindex-driver", &self.driver),
            ("remote-indexer", &self.indexer),
            ("backup-agent", &self.backups.agent),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented_and_every_documented_one_is_there() {
    let _turn = parts::turn().await;
    let running = Running::start().await;
    let mut tables = documented();
    let events = tables
        .keys()
        .find(|heading| heading.starts_with("Events, of "));
    let events = events.unwrap().clone();
    let of_events = tables.remove(&events).unwrap();
    for (name, service) in running.services() {
        let mut expected = tables.remove(name).unwrap();
        if events.contains(name) {
            expected.extend(of_events.clone());
        }
        let found = shown(&service.page("/metrics").await.unwrap());
        assert_eq!(found, expected, "left: shown by {name}; right: documented");
    }
    assert_eq!(tables, BTreeMap::new(), "tables of no service");
}
