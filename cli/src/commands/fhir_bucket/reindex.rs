//! Reindexing, as the options of the Java tool ask for it.

use std::time::Duration;

use reindex_driver::Config;
use reindex_driver::config::{MOST_BATCH, MOST_CONCURRENCY};
use stoker_proto::common::v1::Target;
use stoker_proto::reindex::v1::{Method, RunSpec};
use stoker_shared::config::{self, Load};
use stoker_shared::store::StoreUrl;

use super::fhir::FhirServer;
use super::given::Given;
use crate::Global;
use crate::commands::reindex::{Plan, keep_runs_at};
use crate::embedded::data_folder;
use crate::java::notes::Notes;
use crate::java::options::{at_least_one, number};

// As in the Java tool.
const RESOURCE_COUNT: usize = 10;
const REQUESTS: usize = 1;
const SHUTDOWN: Duration = Duration::from_secs(130);

/// What the options that begin with `--reindex-` say. What is not given is none or false.
#[derive(Debug, Default, PartialEq)]
pub(super) struct GivenReindex {
    /// That it is given makes it a reindexing.
    pub(super) tstamp: Option<String>,
    resource_count: Option<usize>,
    requests: Option<usize>,
    client_driven: bool,
    start_with_index_id: Option<i64>,
    force: bool,
}

impl GivenReindex {
    /// Takes the option without `--reindex-`.
    pub(super) fn set(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        let whole = format!("--reindex-{name}");
        match name {
            "tstamp" => self.tstamp = Some(value.to_owned()),
            "resource-count" => self.resource_count = Some(at_least_one(&whole, value)? as usize),
            "concurrent-requests" => self.requests = Some(at_least_one(&whole, value)? as usize),
            "client-side-driven" => self.client_driven = value == "true",
            "start-with-index-id" => self.start_with_index_id = Some(number(&whole, value)?),
            _ => self.force = true,
        }
        Ok(())
    }

    fn spec(&self) -> RunSpec {
        let method = if self.client_driven {
            Method::ClientDriven
        } else {
            Method::ServerDriven
        };
        RunSpec {
            method: method.into(),
            force: self.force,
            start_with_index_id: self.start_with_index_id.filter(|_| self.client_driven),
            ..RunSpec::default()
        }
    }

    /// Says what has no effect in a load.
    pub(super) fn warn_of_no_effect(&self, notes: &mut Notes) {
        if *self != Self::default() {
            notes
                .warn("options that begin with --reindex- have no effect without --reindex-tstamp");
        }
    }
}

/// A reindexing at `tstamp`. It needs no tracking database, nor are its properties read.
pub(super) fn plan(
    given: &Given,
    tstamp: &str,
    global: &Global,
    notes: &mut Notes,
) -> anyhow::Result<Plan> {
    let load = Load {
        file: global.config.clone(),
        ..Load::section("reindex-driver")
    };
    let mut config: Config = config::load(&load)?;
    let fhir = config.fhir.clone();
    let server = FhirServer::read(&given.fhir_properties, &given.jvm, fhir, notes)?;
    let requests = requests(given, server.connections, notes);
    let batch = batch(given.reindex.resource_count, notes);
    warn_of_others(given, notes);
    config.fhir = server.config;
    let drain = given.shutdown_seconds.map(Duration::from_secs);
    config.reindex.drain = drain.unwrap_or(SHUTDOWN);
    let again = keep_runs(&mut config, notes);
    let target = Target {
        base_url: server.base_url,
        tenant: given.tenant.clone().unwrap_or_default(),
    };
    Ok(Plan {
        spec: RunSpec {
            target: Some(target),
            tstamp: tstamp.to_owned(),
            concurrency: u32::try_from(requests).unwrap_or(u32::MAX),
            batch: u32::try_from(batch).unwrap_or(u32::MAX),
            ..given.reindex.spec()
        },
        config,
        may_be_hapi: false,
        report: None,
        server: None,
        again,
    })
}

/// In the configured store, else the user's own; gives what to append to `stoker reindex list` to see it.
fn keep_runs(config: &mut Config, notes: &mut Notes) -> Option<String> {
    let url = match &config.runs.url {
        Some(url) => url.clone(),
        None => match data_folder() {
            Ok(folder) => StoreUrl::Sqlite(folder.join("reindex.sqlite")),
            Err(error) => {
                notes.warn(format!(
                    "{error}: how far it is cannot be written down, and a reindexing that is interrupted begins anew"
                ));
                StoreUrl::Memory
            }
        },
    };
    let again = (url != StoreUrl::Memory).then(|| format!(" --runs {url}"));
    keep_runs_at(config, url);
    again
}

/// No more than the FHIR client may send, and Stoker can.
fn requests(given: &Given, connections: Option<usize>, notes: &mut Notes) -> usize {
    let asked = given.reindex.requests.unwrap_or(REQUESTS);
    let limits = [
        (
            "--max-concurrent-fhir-requests",
            given.fhir_requests.filter(|n| *n > 0),
        ),
        ("pool.connections.max", connections),
        ("what Stoker sends at a time", Some(MOST_CONCURRENCY)),
    ];
    let mut requests = asked;
    for (what, most) in limits {
        if let Some(most) = most.filter(|most| *most < requests) {
            notes.warn(format!(
                "--reindex-concurrent-requests {asked} is more than {what} allows; it is {most}"
            ));
            requests = most;
        }
    }
    requests
}

fn batch(asked: Option<usize>, notes: &mut Notes) -> usize {
    let asked = asked.unwrap_or(RESOURCE_COUNT);
    if asked > MOST_BATCH {
        notes.info(format!(
            "--reindex-resource-count {asked} is clamped to {MOST_BATCH}"
        ));
    }
    asked.min(MOST_BATCH)
}

/// Nothing else is done beside a reindexing.
fn warn_of_others(given: &Given, notes: &mut Notes) {
    let reindex = &given.reindex;
    if reindex.start_with_index_id.is_some() && !reindex.client_driven {
        notes.warn(
            "--reindex-start-with-index-id has no effect without --reindex-client-side-driven",
        );
    }
    let loads = [
        ("--bootstrap-schema", given.schema_step.is_some()),
        ("--immediate-local", given.immediate_local),
        ("--scan-local-dir", given.scan_local_dir.is_some()),
        ("--bucket", !given.buckets.is_empty()),
        ("--target-bucket", given.target_bucket.is_some()),
    ];
    for (option, _) in loads.iter().filter(|(_, given)| *given) {
        notes.warn(format!(
            "{option} has no effect together with --reindex-tstamp: nothing is loaded"
        ));
    }
}
