//! What can be set, and what holds when nothing is.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stoker_proto::common::v1::{FileType, Interaction, Source, Target};
use stoker_proto::ledger::v1::JobOptions;
use stoker_shared::config::{Faults, Settings};
use stoker_shared::kafka::KafkaConfig;
use stoker_shared::object_store::{S3Config, host_name};
use stoker_shared::secret::{self, Secret, SecretError};
use stoker_shared::service::{ServiceConfig, ServiceSettings};

use crate::ledger::{LedgerOptions, LedgerUrl, StartJob};
use crate::places::overwriting;
use crate::service::check;

/// Smaller units cost more than they bring.
const SMALLEST_UNIT_BYTES: u64 = 1 << 20;

/// The service's configuration; `config/bucket-scanner.yaml` shows all of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Ports, stop, logs.
    pub service: ServiceSettings,
    /// Where the ledger is kept: `sqlite:PATH`, `postgres://user@host/database`, or `none` for a
    /// ledger in memory that is gone with the process. The service needs one to be given.
    pub ledger: Option<LedgerUrl>,
    /// PostgreSQL: the schema that holds the ledger's tables; made when missing.
    pub ledger_schema: String,
    /// PostgreSQL: the password, when it is not part of the URL.
    pub ledger_password: Option<Secret>,
    /// PostgreSQL: file that holds the password.
    pub ledger_password_file: Option<PathBuf>,
    /// PostgreSQL: connections of this process, at most; 2 at least.
    pub ledger_connections: u32,
    /// How long a lease lasts unless it is renewed: so long work rests after a worker died.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Pause after a listing of a configured source, before the next; `0s` for ten times as long as
    /// the last one took, a minute at least.
    #[serde(with = "humantime_serde")]
    pub scan_interval: Duration,
    /// NDJSON objects above so many stored bytes, uncompressed or of several zstd frames, are loaded as several
    /// units of about that size, by several workers.
    pub unit_bytes: u64,
    /// Names of mounts shared by several hosts that this scanner can read, besides its own folders.
    pub shared_mounts: Vec<String>,
    /// Where it lists objects of `s3://` sources.
    pub s3: S3Config,
    /// Where events are announced and heard; without brokers nowhere.
    pub kafka: KafkaConfig,
    /// Loads to start without being asked, and to look for new objects of.
    pub sources: Vec<ConfiguredLoad>,
}

impl Default for Config {
    fn default() -> Self {
        let ledger = LedgerOptions::default();
        Self {
            service: ServiceSettings::on_port(7701),
            ledger: None,
            ledger_schema: ledger.schema,
            ledger_password: None,
            ledger_password_file: None,
            ledger_connections: ledger.connections,
            lease: ledger.lease,
            scan_interval: Duration::from_mins(5),
            unit_bytes: ledger.unit_bytes,
            shared_mounts: Vec::new(),
            s3: S3Config::default(),
            kafka: KafkaConfig::default(),
            sources: Vec::new(),
        }
    }
}

/// A source that is kept loaded into a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredLoad {
    /// Where the objects lie: `file:///absolute/path` or `s3://bucket/prefix`.
    pub uri: String,
    /// Name of the shared mount the folder lies on; without it, only workers on this host read it.
    #[serde(default)]
    pub shared_mount: Option<String>,
    /// Base URL of the FHIR server.
    pub base_url: String,
    /// Sent as `X-FHIR-TENANT-ID` when not empty.
    #[serde(default)]
    pub tenant: String,
    /// How resources are sent.
    #[serde(default)]
    pub interaction: Sending,
    /// Only objects of these types are loaded; of all types when empty.
    #[serde(default)]
    pub file_types: Vec<ObjectType>,
    /// An object is loaded again so long after it was loaded.
    #[serde(default, with = "humantime_serde::option")]
    pub recycle_after: Option<Duration>,
    /// The source is not listed: what the ledger knows of it is loaded.
    #[serde(default)]
    pub no_scan: bool,
    /// Objects are loaded in no order; without it, those that others refer to come first.
    #[serde(default)]
    pub unordered: bool,
}

/// What an object holds; see `stoker.common.v1.FileType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectType {
    /// One resource or Bundle.
    Json,
    /// A resource a line.
    Ndjson,
}

impl From<ObjectType> for FileType {
    fn from(of: ObjectType) -> Self {
        match of {
            ObjectType::Json => Self::Json,
            ObjectType::Ndjson => Self::Ndjson,
        }
    }
}

/// How resources are sent; see `stoker.common.v1.Interaction`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sending {
    /// With an id `PUT`, without one `POST`.
    #[default]
    Auto,
    /// Always `POST`.
    Create,
    /// Always `PUT`.
    Update,
}

impl ConfiguredLoad {
    /// The same as a person would ask for it.
    pub fn to_start(&self) -> StartJob {
        let reach = match &self.shared_mount {
            Some(mount) => mount.clone(),
            // A bucket can be read from anywhere.
            None if self.uri.starts_with("s3://") => String::new(),
            None => host_name(),
        };
        let interaction = match self.interaction {
            Sending::Auto => Interaction::Auto,
            Sending::Create => Interaction::Create,
            Sending::Update => Interaction::Update,
        };
        StartJob {
            source: Source {
                uri: self.uri.clone(),
                reach,
            },
            target: Target {
                base_url: self.base_url.clone(),
                tenant: self.tenant.clone(),
            },
            interaction,
            reload: false,
            options: self.options(),
        }
    }

    fn options(&self) -> JobOptions {
        let file_types = self.file_types.iter().map(|of| FileType::from(*of).into());
        let recycle = self.recycle_after.map(|after| after.as_millis());
        JobOptions {
            file_types: file_types.collect(),
            recycle_after_ms: recycle.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            no_scan: self.no_scan,
            unordered: self.unordered,
        }
    }
}

impl Config {
    /// How the ledger is opened. Fails when the password cannot be read.
    pub fn ledger_options(&self) -> Result<LedgerOptions, SecretError> {
        let file = self.ledger_password_file.as_deref();
        Ok(LedgerOptions {
            schema: self.ledger_schema.clone(),
            password: secret::resolve("ledger_password", self.ledger_password.as_ref(), file)?,
            password_file: self.ledger_password_file.clone(),
            connections: self.ledger_connections,
            lease: self.lease,
            unit_bytes: self.unit_bytes,
        })
    }

    /// What this scanner can list: its own host's folders and the shared mounts.
    pub fn reaches(&self) -> Vec<String> {
        let mut reaches = vec![host_name()];
        reaches.extend(self.shared_mounts.iter().cloned());
        reaches
    }
}

impl ServiceConfig for Config {
    fn service(&self) -> &ServiceSettings {
        &self.service
    }
}

impl Settings for Config {
    fn validate(&self, faults: &mut Faults) {
        if self.lease < Duration::from_secs(1) {
            faults.add("lease", "must be 1s or more");
        }
        if !self.scan_interval.is_zero() && self.scan_interval < Duration::from_secs(1) {
            faults.add("scan_interval", "must be 1s or more, or 0s");
        }
        if self.unit_bytes < SMALLEST_UNIT_BYTES {
            faults.add("unit_bytes", "must be 1048576 (1 MiB) or more");
        }
        if self.ledger_password.is_some() && self.ledger_password_file.is_some() {
            faults.add(
                "ledger_password",
                "must not be given with ledger_password_file",
            );
        }
        self.s3.validate("s3", faults);
        self.kafka.validate("kafka", faults);
        let reaches = self.reaches();
        let mut before: Vec<StartJob> = Vec::new();
        for (number, load) in self.sources.iter().enumerate() {
            let mut start = load.to_start();
            let wrong = check(&mut start, &reaches).err();
            let mut same = before
                .iter()
                .filter(|b| b.target.base_url == start.target.base_url);
            let met = || same.find_map(|other| overwriting(&start, &other.source));
            if let Some(problem) = wrong.or_else(met) {
                faults.add(&format!("sources.{number}"), problem);
            }
            before.push(start);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use stoker_shared::config::{self, ConfigFaults, Load};

    use super::*;

    fn read(text: &str) -> Result<Config, ConfigFaults> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bucket-scanner.yaml");
        std::fs::write(&file, text).unwrap();
        config::load(&Load {
            file: Some(file),
            section: "bucket_scanner".to_owned(),
            overrides: Vec::new(),
            environment: BTreeMap::new(),
            folder: folder.path().to_owned(),
        })
    }

    #[test]
    fn the_sample_shows_every_key_with_its_default() {
        let sample = include_str!("../../../config/bucket-scanner.yaml");
        let found = serde_json::to_value(read(sample).unwrap()).unwrap();
        let ledger = Some("sqlite:ledger.sqlite".parse().unwrap());
        let expected = Config {
            ledger,
            ..Config::default()
        };
        assert_eq!(found, serde_json::to_value(expected).unwrap());
        for key in found.as_object().unwrap().keys() {
            assert!(
                sample.contains(&format!("{key}:")),
                "{key} is not in the sample"
            );
        }
    }

    #[test]
    fn a_configured_load_can_say_all_that_a_person_can() {
        let config = read(
            "bucket_scanner: {shared_mounts: [nas], sources: [{uri: 'file:///in', \
             shared_mount: nas, base_url: 'http://fhir/x', tenant: t, interaction: create, \
             file_types: [ndjson], recycle_after: 1h, no_scan: true, unordered: true}]}",
        );
        let start = config.unwrap().sources[0].to_start();
        assert_eq!(
            (start.source.reach.as_str(), start.target.tenant.as_str()),
            ("nas", "t")
        );
        assert_eq!(start.interaction, Interaction::Create);
        let options = JobOptions {
            file_types: vec![FileType::Ndjson.into()],
            recycle_after_ms: Some(3_600_000),
            no_scan: true,
            unordered: true,
        };
        assert_eq!(start.options, options);
    }

    #[test]
    fn sources_that_could_overwrite_each_other_are_refused() {
        let sources = |second: &str| {
            read(&format!(
                "bucket_scanner: {{sources: [{{uri: 's3://a', base_url: 's3://out/p/'}}, \
                 {{uri: 's3://b', base_url: '{second}'}}]}}"
            ))
        };
        let text = sources("s3://out/p").unwrap_err().to_string();
        for part in ["sources.1", "s3://a", "s3://b", "a place of its own"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(sources("s3://out/q").is_ok());
    }

    #[test]
    fn faults_are_all_named() {
        let text = read(
            "bucket_scanner: {lease: 0s, scan_interval: 10ms, unit_bytes: 5, ledger: 'mysql://x', sources: \
             [{uri: 'file:///in', base_url: 'ftp://x'}]}",
        );
        let text = text.unwrap_err().to_string();
        for key in [
            "lease",
            "scan_interval",
            "unit_bytes",
            "ledger",
            "sources.0",
        ] {
            assert!(
                text.contains(&format!("bucket_scanner.{key}")),
                "{key}: {text}"
            );
        }
    }
}
