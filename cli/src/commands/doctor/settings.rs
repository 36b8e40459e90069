//! What is to be looked at: the configuration, and the flags laid over it.

use bucket_scanner::config::ConfiguredLoad;
use bucket_scanner::ledger::{LedgerOptions, LedgerUrl};
use remote_indexer::config::Draft;
use stoker_proto::common::v1::Target;
use stoker_shared::config::{self, Fault, Load};
use stoker_shared::fhir::FhirConfig;
use stoker_shared::grpc::GrpcClientConfig;
use stoker_shared::kafka::KafkaConfig;
use stoker_shared::object_store::S3Config;

use super::DoctorArgs;
use super::finding::Finding;
use super::sources::Named;
use crate::Global;
use crate::embedded::LedgerArgs;
use crate::output::one_sentence;

/// Where the doctor looks. A finding stands where it is clear already what is to be said.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) ledger: Result<(LedgerUrl, LedgerOptions), Finding>,
    /// Each with the name that it is shown under.
    pub(super) kafka: Vec<(&'static str, KafkaConfig)>,
    pub(super) sources: Vec<Named>,
    /// Of scanner and worker, once where they are the same.
    pub(super) s3: Vec<S3Config>,
    pub(super) targets: Vec<Target>,
    pub(super) fhir: Result<FhirConfig, Finding>,
    pub(super) server: Option<GrpcClientConfig>,
    /// None where it cannot be read.
    pub(super) driver: Option<reindex_driver::Config>,
    pub(super) indexer: Draft,
    /// None where it cannot be read.
    pub(super) agent: Option<backup_agent::Config>,
    /// Whether the configuration has no faults.
    pub(super) is_sound: bool,
}

impl Settings {
    /// Reads the configuration; answers also what is to be said of it.
    pub(super) fn gather(args: DoctorArgs, global: &Global) -> (Self, Vec<Finding>) {
        let Read {
            scanner,
            worker,
            driver,
            indexer,
            agent,
            findings,
        } = read(global);
        let is_sound = scanner.is_some()
            && worker.is_some()
            && driver.is_some()
            && indexer.is_some()
            && agent.is_some();
        let scanner = scanner.unwrap_or_default();
        let worker = worker.unwrap_or_default();
        let mut s3 = vec![
            args.s3.clone().over(scanner.s3.clone()),
            args.s3.over(worker.s3),
        ];
        s3.dedup();
        let targets = match args.to {
            Some(base_url) => vec![Target {
                base_url: base_url.trim_end_matches('/').to_owned(),
                tenant: args.fhir.tenant.clone().unwrap_or_default(),
            }],
            None => targets(&scanner.sources),
        };
        let ledger = if is_sound || args.ledger.ledger.is_some() {
            ledger(&args.ledger, &scanner)
        } else {
            Err(Finding::none("ledger", false, "", ""))
        };
        let fhir = args.fhir.over(worker.fhir);
        let settings = Self {
            ledger,
            sources: all_sources(args.source, &scanner.sources),
            kafka: distinct(scanner.kafka, worker.kafka),
            s3,
            targets,
            fhir: fhir.map_err(|e| Finding::error("FHIR server", one_sentence(&e))),
            server: args.server.config(),
            driver,
            indexer: indexer.unwrap_or_default(),
            agent,
            is_sound,
        };
        (settings, findings)
    }
}

/// The sections of the configuration that have no faults, and what is to be said of the whole.
struct Read {
    scanner: Option<bucket_scanner::Config>,
    worker: Option<loader_worker::Config>,
    driver: Option<reindex_driver::Config>,
    indexer: Option<Draft>,
    agent: Option<backup_agent::Config>,
    findings: Vec<Finding>,
}

fn read(global: &Global) -> Read {
    let section = |name| Load {
        file: global.config.clone(),
        ..Load::section(name)
    };
    let (scanner, worker) = (section("bucket-scanner"), section("loader-worker"));
    let file = config::file(&scanner);
    let scanner: Result<bucket_scanner::Config, _> = config::load(&scanner);
    let worker: Result<loader_worker::Config, _> = config::load(&worker);
    let driver: Result<reindex_driver::Config, _> = config::load(&section("reindex-driver"));
    let indexer: Result<Draft, _> = config::load(&section("remote-indexer"));
    let agent: Result<backup_agent::Config, _> = config::load(&section("backup-agent"));
    let faults = scanner.as_ref().err().into_iter();
    let faults = faults
        .chain(worker.as_ref().err())
        .chain(driver.as_ref().err())
        .chain(indexer.as_ref().err())
        .chain(agent.as_ref().err());
    let mut faults: Vec<&Fault> = faults.flat_map(|faults| &faults.0).collect();
    // A fault of the file as a whole is found once for each section.
    faults.dedup();
    let mut findings: Vec<Finding> = faults
        .into_iter()
        .map(|fault| {
            let to_do = "correct it; `stoker config check` says whether it is well";
            Finding::fail("configuration", fault, to_do)
        })
        .collect();
    if findings.is_empty() {
        let file = file.map_or_else(|| "no file".to_owned(), |f| f.display().to_string());
        findings.push(Finding::ok("configuration", format!("no faults ({file})")));
    }
    Read {
        scanner: scanner.ok(),
        worker: worker.ok(),
        driver: driver.ok(),
        indexer: indexer.ok(),
        agent: agent.ok(),
        findings,
    }
}

fn targets(loads: &[ConfiguredLoad]) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for load in loads {
        let mut target = load.to_start().target;
        let end = target.base_url.trim_end_matches('/').len();
        target.base_url.truncate(end);
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    targets
}

fn all_sources(given: Vec<String>, configured: &[ConfiguredLoad]) -> Vec<Named> {
    if given.is_empty() {
        let configured = configured.iter().map(|load| load.to_start().source);
        configured.map(Named::Configured).collect()
    } else {
        given.into_iter().map(Named::Given).collect()
    }
}

fn ledger(
    args: &LedgerArgs,
    scanner: &bucket_scanner::Config,
) -> Result<(LedgerUrl, LedgerOptions), Finding> {
    let found = || Ok((args.url_or(scanner)?, scanner.ledger_options()?));
    found().map_err(|e: anyhow::Error| Finding::error("ledger", one_sentence(&e)))
}

/// Those that name brokers, once where they are the same.
fn distinct(scanner: KafkaConfig, worker: KafkaConfig) -> Vec<(&'static str, KafkaConfig)> {
    let mut all = if scanner == worker {
        vec![("Kafka", scanner)]
    } else {
        vec![
            ("Kafka (bucket_scanner)", scanner),
            ("Kafka (loader_worker)", worker),
        ]
    };
    all.retain(|(_, config)| config.is_configured());
    all
}
