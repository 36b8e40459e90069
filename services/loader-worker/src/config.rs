//! What can be set, and what holds when nothing is.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use stoker_shared::config::{Faults, Settings};
use stoker_shared::fhir::FhirConfig;
use stoker_shared::grpc::GrpcClientConfig;
use stoker_shared::kafka::KafkaConfig;
use stoker_shared::object_store::S3Config;
use stoker_shared::pace::{Axis, Bounds, Choice};
use stoker_shared::service::{ServiceConfig, ServiceSettings};

use crate::send::Patience;
use crate::worker::LAST_WORDS;

/// Most requests at a time that Stoker chooses by itself.
const MOST_CONCURRENCY: usize = 64;

/// Most resources to a batch that Stoker chooses by itself.
const MOST_BATCH: usize = 500;

/// How units are loaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadSettings {
    /// Resources to a batch Bundle: `auto` (what the server does best with) or a number; 1 sends each
    /// resource by itself.
    pub batch: Choice,
    /// Bytes of resources to a batch Bundle, about; a larger resource goes by itself. By itself a Bundle stays below
    /// the 1 MiB that nginx and other proxies take unless they are told otherwise.
    pub batch_bytes: usize,
    /// Requests to a FHIR server at a time: `auto` (what the server does best with) or a number.
    pub concurrency: Choice,
    /// Places that each entry of a Bundle of the user's takes among these requests, so that large ones
    /// are sent alone; a Bundle takes one at least, and all at most.
    pub bundle_cost_factor: f64,
    /// Entries to a transaction or batch Bundle of the user's: a larger one is broken up into several that mean
    /// the same, and is then no longer taken all or nothing. Not limited unless given; 100 where Bundles are
    /// written to a bucket or folder.
    pub max_bundle_entries: Option<usize>,
    /// Units worked on at a time: `auto` (as many as requests, 16 at most, of large ones as many as cores) or a
    /// number.
    pub units: Choice,
    /// Longest line or JSON file held in memory; a longer one is rejected by name.
    pub max_document_bytes: usize,
    /// Bytes of resources that are held at once on their way to servers, about: what all units of a
    /// worker share. A larger document takes all of it and goes alone.
    pub memory_bytes: usize,
    /// Tries of a request that keeps failing while others succeed.
    pub attempts: u32,
    /// How long a FHIR server may be away before the load stops.
    #[serde(with = "humantime_serde")]
    pub give_up_after: Duration,
    /// First pause before a request is repeated; later ones double.
    #[serde(with = "humantime_serde")]
    pub first_pause: Duration,
    /// Longest pause before a request is repeated.
    #[serde(with = "humantime_serde")]
    pub max_pause: Duration,
    /// How long in-flight requests may take to end when the service stops.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
}

impl Default for LoadSettings {
    fn default() -> Self {
        Self {
            batch: Choice::Auto,
            batch_bytes: 900 << 10,
            concurrency: Choice::Auto,
            bundle_cost_factor: 0.0,
            max_bundle_entries: None,
            units: Choice::Auto,
            max_document_bytes: 128 << 20,
            memory_bytes: 256 << 20,
            attempts: 5,
            give_up_after: Duration::from_mins(10),
            first_pause: Duration::from_millis(200),
            max_pause: Duration::from_secs(15),
            drain: Duration::from_secs(20),
        }
    }
}

impl LoadSettings {
    /// What Stoker may choose for a server, which takes batches or does not.
    pub(crate) fn bounds(&self, batches: bool) -> Bounds {
        Bounds {
            concurrency: self.concurrency.axis(4, MOST_CONCURRENCY),
            batch: if batches {
                self.batch.axis(50, MOST_BATCH)
            } else {
                Axis::fixed(1)
            },
        }
    }

    /// Requests at a time, at most.
    pub fn concurrency(&self) -> usize {
        self.concurrency.or(MOST_CONCURRENCY)
    }

    /// Entries to a Bundle of the user's, when they are limited.
    pub(crate) fn max_entries(&self) -> Option<NonZeroUsize> {
        self.max_bundle_entries.and_then(NonZeroUsize::new)
    }

    /// Units at a time.
    pub fn units(&self) -> usize {
        self.units.or(self.concurrency().min(16))
    }

    /// Requests of one unit that may be sent and not yet committed, at most. However fast the server is, the wire
    /// stays busy while a disk takes its time for a commit, and commits are few. Of a slow server fewer are answered
    /// before they are committed, unless the ledger is away.
    pub(crate) fn window(&self) -> usize {
        8 * self.concurrency()
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            attempts: self.attempts,
            give_up_after: self.give_up_after,
            first_pause: self.first_pause,
            max_pause: self.max_pause,
        }
    }
}

/// The service's configuration; `config/loader-worker.yaml` shows all of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Ports, stop, logs.
    pub service: ServiceSettings,
    /// The bucket-scanner that serves the ledger.
    pub ledger: GrpcClientConfig,
    /// Names of mounts shared by several hosts that this worker can read, besides its own folders.
    pub shared_mounts: Vec<String>,
    /// Where it reads objects of `s3://` sources.
    pub s3: S3Config,
    /// Where events are announced and heard; without brokers nowhere.
    pub kafka: KafkaConfig,
    /// How it talks to FHIR servers.
    pub fhir: FhirConfig,
    /// How it loads.
    pub load: LoadSettings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            service: ServiceSettings::on_port(7702),
            ledger: GrpcClientConfig::to_port(7701),
            shared_mounts: Vec::new(),
            s3: S3Config::default(),
            kafka: KafkaConfig::default(),
            fhir: FhirConfig::default(),
            load: LoadSettings::default(),
        }
    }
}

impl ServiceConfig for Config {
    fn service(&self) -> &ServiceSettings {
        &self.service
    }
}

impl Settings for Config {
    fn validate(&self, faults: &mut Faults) {
        let load = &self.load;
        for (key, bytes) in [
            ("load.batch_bytes", load.batch_bytes),
            ("load.max_document_bytes", load.max_document_bytes),
            ("load.memory_bytes", load.memory_bytes),
        ] {
            if bytes < 1024 {
                faults.add(key, "must be 1024 or more");
            }
        }
        self.s3.validate("s3", faults);
        self.kafka.validate("kafka", faults);
        if !load.bundle_cost_factor.is_finite() || load.bundle_cost_factor < 0.0 {
            faults.add("load.bundle_cost_factor", "must be 0 or more");
        }
        if load.max_bundle_entries == Some(0) {
            faults.add("load.max_bundle_entries", "must be 1 or more");
        }
        if load.attempts == 0 {
            faults.add("load.attempts", "must be 1 or more");
        }
        if load.first_pause > load.max_pause {
            faults.add("load.first_pause", "must not be longer than load.max_pause");
        }
        if load.drain + LAST_WORDS >= self.service.shutdown_deadline {
            faults.add(
                "load.drain",
                "must be shorter than service.shutdown_deadline by more than 5s, which hand everything back",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use stoker_shared::config::{self, Load};

    use super::*;

    fn read(text: &str) -> Result<Config, config::ConfigFaults> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("loader-worker.yaml");
        std::fs::write(&file, text).unwrap();
        config::load(&Load {
            file: Some(file),
            section: "loader_worker".to_owned(),
            overrides: Vec::new(),
            environment: std::collections::BTreeMap::new(),
            folder: folder.path().to_owned(),
        })
    }

    #[test]
    fn the_sample_shows_every_key_with_its_default() {
        let sample = include_str!("../../../config/loader-worker.yaml");
        let found = serde_json::to_value(read(sample).unwrap()).unwrap();
        assert_eq!(found, serde_json::to_value(Config::default()).unwrap());
        for key in found["load"].as_object().unwrap().keys() {
            assert!(
                sample.contains(&format!("{key}:")),
                "{key} is not in the sample"
            );
        }
    }

    #[test]
    fn choices_are_auto_or_a_number() {
        let config = read("loader_worker: {load: {batch: 7, concurrency: auto}}").unwrap();
        let bounds = config.load.bounds(true);
        assert_eq!(bounds.batch, Axis::fixed(7));
        assert_eq!(bounds.concurrency, Axis::auto(4, 1, 64));
        let faults = read("loader_worker: {load: {batch: 0, concurrency: many, attempts: 0}}");
        let text = faults.unwrap_err().to_string();
        for key in ["load.batch", "load.concurrency", "load.attempts"] {
            assert!(text.contains(key), "{text}");
        }
    }
}
