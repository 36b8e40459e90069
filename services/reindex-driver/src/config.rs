//! What can be set, and what holds when nothing is.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use stoker_shared::config::{Faults, Settings};
use stoker_shared::fhir::FhirConfig;
use stoker_shared::kafka::KafkaConfig;
use stoker_shared::pace::{Bounds, Choice};
use stoker_shared::postgres::PostgresUrl;
use stoker_shared::secret::{self, Secret, SecretError};
use stoker_shared::service::{ServiceConfig, ServiceSettings};
use stoker_shared::store::{PostgresOptions, StoreUrl};

use crate::runs::RunsOptions;

/// Most requests at a time: what LinuxForHealth was tested with (`seeds/001`).
pub const MOST_CONCURRENCY: usize = 200;

/// Most resources to a request: what LinuxForHealth takes (`spec/fhir-schema.md` §7.1).
pub const MOST_BATCH: usize = 1000;

/// For what is done to be written down after the drain.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(5);

/// The service's configuration; `config/reindex-driver.yaml` shows all of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Ports, stop, logs.
    pub service: ServiceSettings,
    /// Where runs are kept.
    pub runs: RunsSettings,
    /// Where events are announced; without brokers nowhere.
    pub kafka: KafkaConfig,
    /// How it talks to FHIR servers.
    pub fhir: FhirConfig,
    /// How it reindexes.
    pub reindex: ReindexSettings,
    /// Where the state of HAPI FHIR's own jobs is read.
    pub hapi: HapiSettings,
}

/// Where runs are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunsSettings {
    /// `sqlite:PATH`, `postgres://user@host/database`, or `none` for runs that are gone with the process. The
    /// service needs it to be given.
    pub url: Option<StoreUrl>,
    /// PostgreSQL: the schema that holds the tables; made when missing.
    pub schema: String,
    /// PostgreSQL: the password, when it is not part of the URL.
    pub password: Option<Secret>,
    /// PostgreSQL: file that holds the password.
    pub password_file: Option<PathBuf>,
    /// PostgreSQL: connections of this process, at most; 2 at least.
    pub connections: u32,
    /// How long a run rests after the driver that had it died.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
}

/// How it reindexes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReindexSettings {
    /// Runs worked on at a time.
    pub runs_at_a_time: usize,
    /// Requests at a time of a run that does not say: `auto` (what the server does best with) or a number.
    pub concurrency: Choice,
    /// Resources to a request of a run that does not say: `auto` or a number, 1000 at most.
    pub batch: Choice,
    /// Tries of a resource that keeps failing by itself.
    pub attempts: u32,
    /// How long a FHIR server may be away, or fail everything, before a run stops.
    #[serde(with = "humantime_serde")]
    pub give_up_after: Duration,
    /// First pause before something is tried again; later ones double.
    #[serde(with = "humantime_serde")]
    pub first_pause: Duration,
    /// Longest pause before something is tried again.
    #[serde(with = "humantime_serde")]
    pub max_pause: Duration,
    /// Resources that wait to be tried again by themselves, at most; more are asked for only when some are done.
    pub most_waiting: usize,
    /// Eases off while a read takes the server longer; no limit unless given.
    #[serde(with = "humantime_serde::option")]
    pub max_server_latency: Option<Duration>,
    /// What is read for it, below the base URL.
    pub latency_probe: String,
    /// How long requests on the wire may take to end when the service stops.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
}

/// Where the state of HAPI FHIR's own jobs is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HapiSettings {
    /// HAPI's database, `postgres://user@host:5432/database`; without it its jobs are started and not followed.
    pub database: Option<PostgresUrl>,
    /// The schema that holds HAPI's tables.
    pub schema: String,
    /// The password, when it is not part of the URL.
    pub password: Option<Secret>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            service: ServiceSettings::on_port(7703),
            runs: RunsSettings::default(),
            kafka: KafkaConfig::default(),
            fhir: FhirConfig::default(),
            reindex: ReindexSettings::default(),
            hapi: HapiSettings::default(),
        }
    }
}

impl Default for RunsSettings {
    fn default() -> Self {
        Self {
            url: None,
            schema: "stoker_reindex".to_owned(),
            password: None,
            password_file: None,
            connections: 4,
            lease: Duration::from_secs(15),
        }
    }
}

impl RunsSettings {
    /// How the store is opened. Fails when the password cannot be read.
    pub fn options(&self) -> Result<RunsOptions, SecretError> {
        Ok(RunsOptions {
            postgres: PostgresOptions {
                schema: self.schema.clone(),
                password: self.password()?,
                password_file: self.password_file.clone(),
                connections: self.connections,
            },
            lease: self.lease,
        })
    }

    /// The password, wherever it is given.
    pub fn password(&self) -> Result<Option<Secret>, SecretError> {
        secret::resolve(
            "runs.password",
            self.password.as_ref(),
            self.password_file.as_deref(),
        )
    }
}

impl Default for ReindexSettings {
    fn default() -> Self {
        Self {
            runs_at_a_time: 4,
            concurrency: Choice::Auto,
            batch: Choice::Auto,
            attempts: 5,
            give_up_after: Duration::from_mins(10),
            first_pause: Duration::from_millis(200),
            max_pause: Duration::from_secs(15),
            most_waiting: 10_000,
            max_server_latency: None,
            latency_probe: "Patient?_count=1".to_owned(),
            drain: Duration::from_secs(20),
        }
    }
}

impl ReindexSettings {
    /// What may be chosen for a run.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            concurrency: self.concurrency.axis(4, MOST_CONCURRENCY),
            batch: self.batch.axis(50, MOST_BATCH),
        }
    }
}

impl Default for HapiSettings {
    fn default() -> Self {
        Self {
            database: None,
            schema: "public".to_owned(),
            password: None,
            password_file: None,
        }
    }
}

impl HapiSettings {
    /// The password, wherever it is given.
    pub fn password(&self) -> Result<Option<Secret>, SecretError> {
        secret::resolve(
            "hapi.password",
            self.password.as_ref(),
            self.password_file.as_deref(),
        )
    }
}

impl ServiceConfig for Config {
    fn service(&self) -> &ServiceSettings {
        &self.service
    }
}

impl Settings for Config {
    fn validate(&self, faults: &mut Faults) {
        let reindex = &self.reindex;
        self.kafka.validate("kafka", faults);
        for (key, password) in [
            ("runs.password_file", self.runs.password()),
            ("hapi.password_file", self.hapi.password()),
        ] {
            if let Err(error) = password {
                faults.add(key, error.to_string());
            }
        }
        if self.runs.connections < 2 {
            faults.add("runs.connections", "must be 2 or more");
        }
        if self.runs.lease < Duration::from_secs(1) {
            faults.add("runs.lease", "must be 1s or more");
        }
        for (key, number) in [
            ("reindex.runs_at_a_time", reindex.runs_at_a_time),
            ("reindex.most_waiting", reindex.most_waiting),
        ] {
            if number == 0 {
                faults.add(key, "must be 1 or more");
            }
        }
        if reindex.attempts == 0 {
            faults.add("reindex.attempts", "must be 1 or more");
        }
        for (key, choice, most) in [
            ("reindex.concurrency", reindex.concurrency, MOST_CONCURRENCY),
            ("reindex.batch", reindex.batch, MOST_BATCH),
        ] {
            if choice.or(most) > most {
                faults.add(key, format!("must be {most} or less"));
            }
        }
        if reindex.first_pause > reindex.max_pause {
            faults.add(
                "reindex.first_pause",
                "must not be longer than reindex.max_pause",
            );
        }
        if reindex.drain + LAST_WORDS >= self.service.shutdown_deadline {
            faults.add(
                "reindex.drain",
                "must be shorter than service.shutdown_deadline by more than 5s, in which what is done is written \
                 down",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use stoker_shared::config::{self, ConfigFaults, Load};

    use super::*;

    fn read(text: &str) -> Result<Config, ConfigFaults> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("reindex-driver.yaml");
        std::fs::write(&file, text).unwrap();
        config::load(&Load {
            file: Some(file),
            section: "reindex_driver".to_owned(),
            overrides: Vec::new(),
            environment: std::collections::BTreeMap::new(),
            folder: folder.path().to_owned(),
        })
    }

    #[test]
    fn the_sample_shows_every_key_with_its_default() {
        let sample = include_str!("../../../config/reindex-driver.yaml");
        let mut found = read(sample).unwrap();
        assert!(found.runs.url.is_some());
        found.runs.url = None;
        let defaults = serde_json::to_value(Config::default()).unwrap();
        assert_eq!(serde_json::to_value(found).unwrap(), defaults);
        for (section, keys) in defaults.as_object().unwrap() {
            let inner = keys.as_object().into_iter().flat_map(|keys| keys.keys());
            for key in inner.chain([section]) {
                // Fields that are the Java tools' own have no place in a sample.
                let is_javas = ["java_tls", "user_agent"].contains(&key.as_str());
                assert!(
                    is_javas || sample.contains(&format!("{key}:")),
                    "{section}: {key} is not in the sample"
                );
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_at_once() {
        let text = "reindex_driver: {runs: {connections: 1, lease: 0s}, reindex: {concurrency: 201, batch: 1001, \
                    attempts: 0, runs_at_a_time: 0, most_waiting: 0, first_pause: 1m, drain: 25s}}";
        let text = read(text).unwrap_err().to_string();
        for key in [
            "runs.connections",
            "runs.lease",
            "reindex.concurrency",
            "reindex.batch",
            "reindex.attempts",
            "reindex.runs_at_a_time",
            "reindex.most_waiting",
            "reindex.first_pause",
            "reindex.drain",
        ] {
            assert!(text.contains(key), "{key}: {text}");
        }
    }
}
