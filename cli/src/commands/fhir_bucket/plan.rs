//! What the options and the files they name ask for, in Stoker's own terms.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bucket_scanner::config::{ConfiguredLoad, ObjectType, Sending as Interaction};
use bucket_scanner::ledger::LedgerUrl;
use stoker_proto::common::v1::{FileType, Target};
use stoker_proto::ledger::v1::{BucketPath, JobOptions, UnitLimit};
use stoker_shared::config::{self, Load};
use stoker_shared::object_store::S3Config;
use stoker_shared::pace::Choice;
use stoker_shared::properties::Properties;

use super::db::Database;
use super::fhir::FhirServer;
use super::given::{Given, SchemaStep};
use super::reindex;
use crate::Global;
use crate::commands::load::{Plan, Sending};
use crate::commands::reindex::Plan as ReindexPlan;
use crate::java::notes::Notes;
use crate::sources;

/// What the command does.
#[derive(Debug)]
pub(super) enum Work {
    /// Makes or updates the schema.
    Schema(Box<bucket_scanner::Config>),
    /// Reindexes the FHIR server, without a ledger.
    Reindex(Box<ReindexPlan>),
    /// Loads a folder once, without a ledger.
    Once(Box<Plan>),
    /// Scans, loads, or both, until it is told to stop.
    Keep(Box<Keeping>),
}

/// What is kept going.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) scanner: bucket_scanner::Config,
    pub(super) worker: loader_worker::Config,
    /// What is scanned and loaded.
    pub(super) loads: Vec<ConfiguredLoad>,
    /// Nothing is scanned: what the ledger knows is loaded.
    pub(super) no_scan: bool,
    /// Files of each type at a time; when empty, nothing is loaded here.
    pub(super) limits: Vec<UnitLimit>,
    pub(super) bucket_paths: Vec<BucketPath>,
}

// As in the Java tool.
const FHIR_REQUESTS: usize = 40;
const JSON_FILES: usize = 10;
const NDJSON_FILES: usize = 1;
const ENTRIES: usize = 100;
const SHUTDOWN: Duration = Duration::from_secs(130);
/// So often it looks whether it is time to scan.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);

/// What is being understood.
struct Reading<'g> {
    given: &'g Given,
    notes: &'g mut Notes,
    scanner: bucket_scanner::Config,
    worker: loader_worker::Config,
}

impl Work {
    /// Reads the files that are named; connects to nothing.
    pub(super) fn of(given: &Given, global: &Global, notes: &mut Notes) -> anyhow::Result<Self> {
        refuse_drive(given)?;
        for property in &given.jvm.ignored {
            notes.warn(format!("-D{property}: has no effect here"));
        }
        if let (Some(tstamp), None | Some(SchemaStep::Bootstrap)) =
            (&given.reindex.tstamp, given.schema_step)
        {
            let plan = reindex::plan(given, tstamp, global, notes)?;
            return Ok(Self::Reindex(Box::new(plan)));
        }
        given.reindex.warn_of_no_effect(notes);
        let section = |name| Load {
            file: global.config.clone(),
            ..Load::section(name)
        };
        let mut reading = Reading {
            given,
            notes,
            scanner: config::load(&section("bucket-scanner"))?,
            worker: config::load(&section("loader-worker"))?,
        };
        reading.scanner.sources.clear();
        if given.schema_step == Some(SchemaStep::Create) {
            reading.ledger()?;
            return Ok(Self::Schema(Box::new(reading.scanner)));
        }
        Ok(if given.immediate_local {
            Self::Once(Box::new(reading.once()?))
        } else {
            Self::Keep(Box::new(reading.keep()?))
        })
    }
}

/// It is work of its own kind, and not to be taken for a load.
fn refuse_drive(given: &Given) -> anyhow::Result<()> {
    match given.drive.first() {
        None => Ok(()),
        Some(option) => bail!(
            "{option}: interop and bench loads come with Stoker's load driver, which is not there yet; \
             leave the option out to load"
        ),
    }
}

impl Reading<'_> {
    /// One walk over a folder. The tracking database is not used, nor are its properties read.
    fn once(mut self) -> anyhow::Result<Plan> {
        let given = self.given;
        let Some(folder) = &given.scan_local_dir else {
            bail!("--immediate-local loads a folder; name it with --scan-local-dir");
        };
        let target = self.target()?;
        self.loading();
        self.scanner.ledger = Some(LedgerUrl::Memory);
        let source = sources::parse(folder, None)?;
        let file_types = self.file_types()?.into_iter().map(FileType::from);
        let options = JobOptions {
            file_types: file_types.map(Into::into).collect(),
            ..JobOptions::default()
        };
        let or_default =
            |count: Option<usize>, default| count.filter(|n| *n > 0).unwrap_or(default);
        Ok(Plan {
            sources: vec![source],
            target,
            sending: Sending::Create,
            reload: false,
            options,
            limits: limits(
                or_default(given.json_files, JSON_FILES),
                or_default(given.ndjson_files, NDJSON_FILES),
            ),
            scanner: self.scanner,
            worker: self.worker,
            report: None,
            server: None,
            ledger_again: None,
        })
    }

    fn keep(mut self) -> anyhow::Result<Keeping> {
        let given = self.given;
        self.ledger()?;
        let uris = self.places()?;
        let target = self.target()?;
        self.loading();
        if given.incremental || given.incremental_exact {
            self.notes.info(
                "a file is always gone on with exactly where its outcomes are recorded; --incremental and \
                 --incremental-exact add nothing to that",
            );
        }
        let limits = limits(
            given.json_files.unwrap_or(JSON_FILES),
            given.ndjson_files.unwrap_or(NDJSON_FILES),
        );
        if limits.is_empty() && given.no_scan {
            bail!("there is nothing to do: --no-scan, and files of neither type are to be loaded");
        }
        self.scanner.scan_interval = match given.scan_interval_ms {
            None => Duration::from_mins(5),
            Some(ms) => u64::try_from(ms).map_or(Duration::ZERO, |ms| {
                Duration::from_millis(ms).max(SHORTEST_INTERVAL)
            }),
        };
        let file_types = self.file_types_to_scan()?;
        // Who loads some objects only must not wait for others, which perhaps nobody loads.
        let unordered = limits.len() < 2 || !given.bucket_paths.is_empty();
        // Two buckets may hold the same key.
        let apart = given.target_bucket.is_some() && uris.len() > 1;
        let load = |uri: String| ConfiguredLoad {
            base_url: match uri.split('/').nth(2) {
                Some(bucket) if apart => format!("{}/{bucket}", target.base_url),
                _ => target.base_url.clone(),
            },
            uri,
            shared_mount: None,
            tenant: target.tenant.clone(),
            interaction: Interaction::Create,
            file_types: file_types.clone(),
            recycle_after: given.recycle_seconds.map(Duration::from_secs),
            no_scan: given.no_scan,
            unordered,
        };
        Ok(Keeping {
            loads: uris.into_iter().map(load).collect(),
            scanner: self.scanner,
            worker: self.worker,
            no_scan: given.no_scan,
            limits,
            bucket_paths: given.bucket_paths.clone(),
        })
    }

    /// The tracking database.
    fn ledger(&mut self) -> anyhow::Result<()> {
        let database = Database::of(self.given, self.notes)?;
        let scanner = &mut self.scanner;
        scanner.ledger = Some(database.url);
        scanner.ledger_schema = database.schema;
        scanner.ledger_password = database.password;
        scanner.ledger_password_file = None;
        scanner.ledger_connections = database.connections.unwrap_or(scanner.ledger_connections);
        Ok(())
    }

    /// The folder, or else the buckets.
    fn places(&mut self) -> anyhow::Result<Vec<String>> {
        let given = self.given;
        let named_in_file = self.object_store()?;
        if let Some(folder) = &given.scan_local_dir {
            if !given.buckets.is_empty() {
                self.notes
                    .warn("--bucket has no effect together with --scan-local-dir");
            }
            return Ok(vec![sources::parse(folder, None)?.uri]);
        }
        let mut buckets = given.buckets.clone();
        if let (true, Some(bucket)) = (buckets.is_empty(), named_in_file) {
            self.notes.info(format!(
                "cos.bucket.name={bucket} counts, since no --bucket is given"
            ));
            buckets.push(bucket);
        }
        if buckets.is_empty() {
            bail!(
                "nothing to load is named; give --bucket with --cos-properties, or --scan-local-dir"
            );
        }
        let prefix = given.path_prefix.as_deref().unwrap_or_default();
        let uri = |bucket: &String| match prefix {
            "" => format!("s3://{bucket}"),
            prefix => format!("s3://{bucket}/{prefix}"),
        };
        Ok(buckets.iter().map(uri).collect())
    }

    /// Lays `--cos-properties` over the settings; gives the bucket that is named there.
    fn object_store(&mut self) -> anyhow::Result<Option<String>> {
        let mut bucket = None;
        let mut s3 = self.worker.s3.clone();
        for file in &self.given.cos_properties {
            let over = S3Config {
                properties_file: Some(file.clone()),
                ..s3
            };
            s3 = over.resolved().context("--cos-properties")?;
            let properties = Properties::read(file).context("--cos-properties")?;
            let named = properties.get("cos.bucket.name").map(str::trim);
            bucket = named
                .filter(|n| !n.is_empty())
                .map(str::to_owned)
                .or(bucket);
            let says = properties.get("cos.credential.ibm").map(str::trim);
            if says.unwrap_or_default().is_empty() {
                let kind = if s3.iam_api_key.is_some() {
                    "an API key of IBM Cloud"
                } else {
                    "a pair of S3 keys"
                };
                self.notes.info(format!(
                    "cos.credential.ibm is not given: by its endpoint, the object store is asked with {kind}"
                ));
            }
        }
        self.scanner.s3 = s3.clone();
        self.worker.s3 = s3;
        Ok(bucket)
    }

    /// The FHIR server, or the place where Bundles are written that are broken up.
    fn target(&mut self) -> anyhow::Result<Target> {
        let given = self.given;
        let load = &mut self.worker.load;
        if let Some(bucket) = &given.target_bucket {
            load.max_bundle_entries = Some(given.max_resources_per_bundle.unwrap_or(ENTRIES));
            let prefix = given.target_prefix.as_deref().unwrap_or_default();
            let base_url = match prefix.trim_matches('/') {
                "" => format!("s3://{bucket}"),
                prefix => format!("s3://{bucket}/{prefix}"),
            };
            return Ok(Target {
                base_url,
                tenant: String::new(),
            });
        }
        load.max_bundle_entries = given.max_resources_per_bundle.or(load.max_bundle_entries);
        let fhir = self.worker.fhir.clone();
        let server = FhirServer::read(&given.fhir_properties, &given.jvm, fhir, self.notes)?;
        self.worker.fhir = server.config;
        let requests = match given.fhir_requests {
            Some(0) => {
                self.notes.info(format!(
                    "--max-concurrent-fhir-requests 0 is taken for its default, {FHIR_REQUESTS}: none \
                     would mean that nothing is ever sent"
                ));
                FHIR_REQUESTS
            }
            given => given.unwrap_or(FHIR_REQUESTS),
        };
        let requests = requests.min(server.connections.unwrap_or(usize::MAX));
        load_with(&mut self.worker, requests);
        Ok(Target {
            base_url: server.base_url,
            tenant: given.tenant.clone().unwrap_or_default(),
        })
    }

    /// How it is loaded, whatever the target.
    fn loading(&mut self) {
        let given = self.given;
        let load = &mut self.worker.load;
        load.drain = given.shutdown_seconds.map_or(SHUTDOWN, Duration::from_secs);
        if let Some(factor) = given.bundle_cost_factor {
            load.bundle_cost_factor = factor;
        } else {
            self.notes.info(
                "a Bundle counts as one of --max-concurrent-fhir-requests, however many entries it has; \
                 --bundle-cost-factor changes that",
            );
        }
    }

    fn file_types(&mut self) -> anyhow::Result<Vec<ObjectType>> {
        let given = &self.given.file_types;
        let types = given.iter().filter_map(|of| match of {
            FileType::Json => Some(ObjectType::Json),
            FileType::Ndjson => Some(ObjectType::Ndjson),
            FileType::Unspecified => None,
        });
        let types: Vec<_> = types.collect();
        if types.is_empty() && !given.is_empty() {
            bail!(
                "--file-type UNKNOWN: files that are neither JSON nor NDJSON cannot be loaded; give one of these"
            );
        }
        Ok(types)
    }

    /// Without a scan, all that was scanned unless a type is given.
    fn file_types_to_scan(&mut self) -> anyhow::Result<Vec<ObjectType>> {
        let types = self.file_types()?;
        if self.given.no_scan || !types.is_empty() {
            return Ok(types);
        }
        self.notes
            .info("--file-type is not given: NDJSON files are scanned, and no JSON files");
        Ok(vec![ObjectType::Ndjson])
    }
}

fn load_with(worker: &mut loader_worker::Config, requests: usize) {
    if let Some(requests) = NonZeroUsize::new(requests) {
        worker.load.concurrency = Choice::Fixed(requests);
    }
}

/// None of a type whose number is 0.
fn limits(json_files: usize, ndjson_files: usize) -> Vec<UnitLimit> {
    let limits = [
        (FileType::Json, json_files),
        (FileType::Ndjson, ndjson_files),
    ];
    let limits = limits.into_iter().filter(|(_, files)| *files > 0);
    let limits = limits.map(|(file_type, files)| UnitLimit {
        file_type: file_type.into(),
        max_units: u32::try_from(files).unwrap_or(u32::MAX),
    });
    limits.collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
