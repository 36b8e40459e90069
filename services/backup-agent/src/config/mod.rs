//! What can be set, and what holds when nothing is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stoker_shared::config::{Faults, Settings};
use stoker_shared::kafka::KafkaConfig;
use stoker_shared::object_store::S3Config;
use stoker_shared::postgres::PostgresUrl;
use stoker_shared::secret::{self, Secret, SecretError};
use stoker_shared::service::{ServiceConfig, ServiceSettings};
use stoker_shared::store::{PostgresOptions, StoreUrl};

mod backup;
mod check;
mod pgbackrest;

pub use backup::{BackupSettings, Engine};
pub use pgbackrest::PgbackrestSettings;

use crate::catalog::CatalogOptions;
use crate::drill::Canary;
use crate::notify::NotifyConfig;
use crate::repository::RepositoryOptions;
use crate::retention::Rules;
use crate::schedule::Schedule;
use crate::troubles;

/// The service's configuration; `config/backup-agent.yaml` shows all of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Ports, stop, logs.
    pub service: ServiceSettings,
    /// Where runs and schedules are kept.
    pub catalog: CatalogSettings,
    /// Where backups lie.
    pub repository: RepositorySettings,
    /// Where events are announced; without brokers nowhere.
    pub kafka: KafkaConfig,
    /// How backups are made and kept.
    pub backup: BackupSettings,
    /// How backups are restored for proof.
    pub drill: DrillSettings,
    /// How pgBackRest is run, for sources whose engine it is.
    pub pgbackrest: PgbackrestSettings,
    /// What is backed up, by the name that backups bear.
    pub sources: BTreeMap<String, SourceSettings>,
    /// The jobs of the scheduler ofelia that are done in its place.
    pub ofelia: OfeliaSettings,
    /// When something is a trouble.
    pub troubles: troubles::Rules,
    /// Who is told of troubles.
    pub notify: NotifyConfig,
}

/// Where runs and schedules are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogSettings {
    /// `sqlite:PATH`, `postgres://user@host/database`, or `none` for what is gone with the process. The service needs
    /// it to be given.
    pub url: Option<StoreUrl>,
    /// PostgreSQL: the schema that holds the tables; made when missing.
    pub schema: String,
    /// PostgreSQL: the password, when it is not part of the URL.
    pub password: Option<Secret>,
    /// PostgreSQL: file that holds the password.
    pub password_file: Option<PathBuf>,
    /// PostgreSQL: connections of this process, at most; 2 at least.
    pub connections: u32,
    /// How long a run keeps others from starting after the agent that had it gave its last sign.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
}

/// Where backups lie.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepositorySettings {
    /// A folder's full path or `s3://bucket/prefix`: where sources are backed up to that name no other.
    pub url: Option<String>,
    /// How to reach S3, for all repositories.
    pub s3: S3Config,
}

/// How backups are restored for proof, on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrillSettings {
    /// Where throwaway folders are made, each as large as the data; the user that runs the server must be able to enter.
    pub scratch: PathBuf,
    /// The folder with PostgreSQL's programs; looked for in the usual places unless given.
    pub programs: Option<PathBuf>,
    /// Who runs the server: a name or numbers (`1001:1001`); unless given whom Stoker runs as, and `postgres` for root.
    pub user: Option<String>,
    /// A superuser of the databases.
    pub role: String,
    /// How long the server may take to become consistent; holds for `stoker backup restore --start` too.
    #[serde(with = "humantime_serde")]
    pub patience: Duration,
    /// Settings of the throwaway server besides its own, such as `shared_preload_libraries`.
    pub settings: BTreeMap<String, String>,
}

/// A database server that is backed up. What is not given is as in `backup` and `repository`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceSettings {
    /// `postgres://user@one:5432,two:5432/`: all nodes of a cluster, of which the primary is looked for. The user needs
    /// the right to REPLICATION.
    pub url: Option<PostgresUrl>,
    /// The password, when the URL holds none.
    pub password: Option<Secret>,
    /// File that holds the password; read anew for each backup.
    pub password_file: Option<PathBuf>,
    /// Its repository.
    pub repository: Option<String>,
    /// When it is backed up: `30 2 * * *`, `@daily`, `@every 6h`; see [`Schedule`]. Only by hand unless given.
    pub schedule: Option<Schedule>,
    /// When its newest backup is restored for proof.
    pub drill_schedule: Option<Schedule>,
    /// What must hold of what is restored for proof.
    pub canaries: Vec<Canary>,
    /// See [`BackupSettings::engine`].
    pub engine: Option<Engine>,
    /// pgBackRest's name of the cluster; the source's unless given.
    pub stanza: Option<String>,
    /// See [`BackupSettings::compression`].
    pub compression: Option<crate::compress::Compression>,
    /// See [`BackupSettings::threads`].
    pub threads: Option<usize>,
    /// See [`BackupSettings::server_compression`].
    pub server_compression: Option<bool>,
    /// See [`BackupSettings::max_rate_kb`].
    pub max_rate_kb: Option<u32>,
    /// See [`BackupSettings::fast_checkpoint`].
    pub fast_checkpoint: Option<bool>,
    /// See [`BackupSettings::verify`].
    pub verify: Option<bool>,
    /// See [`BackupSettings::drill`].
    pub drill: Option<bool>,
    /// See [`BackupSettings::prune`].
    pub prune: Option<bool>,
    /// See [`BackupSettings::keep`].
    pub keep: Option<Rules>,
    /// See [`BackupSettings::jitter`].
    #[serde(with = "humantime_serde")]
    pub jitter: Option<Duration>,
    /// See [`BackupSettings::deadline`].
    #[serde(with = "humantime_serde")]
    pub deadline: Option<Duration>,
    /// See [`BackupSettings::attempts`].
    pub attempts: Option<u32>,
}

/// The scheduler ofelia's file, of which Stoker does what it can: each base backup of PostgreSQL becomes a source.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OfeliaSettings {
    /// The INI file.
    pub file: Option<PathBuf>,
    /// Values of the `${VARIABLES}` in it.
    pub variables: BTreeMap<String, Secret>,
    /// Where Stoker sees folders of the host and named volumes, by the names that `volume=` has.
    pub paths: BTreeMap<String, PathBuf>,
}

impl std::fmt::Debug for OfeliaSettings {
    /// Without values, which may be passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfeliaSettings")
            .field("file", &self.file)
            .field("variables", &self.variables.keys())
            .field("paths", &self.paths)
            .finish()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            service: ServiceSettings::on_port(7705),
            catalog: CatalogSettings::default(),
            repository: RepositorySettings::default(),
            kafka: KafkaConfig::default(),
            backup: BackupSettings::default(),
            drill: DrillSettings::default(),
            pgbackrest: PgbackrestSettings::default(),
            sources: BTreeMap::new(),
            ofelia: OfeliaSettings::default(),
            troubles: troubles::Rules::default(),
            notify: NotifyConfig::default(),
        }
    }
}

impl Default for CatalogSettings {
    fn default() -> Self {
        Self {
            url: None,
            schema: "stoker_backup".to_owned(),
            password: None,
            password_file: None,
            connections: 4,
            lease: Duration::from_mins(1),
        }
    }
}

impl Default for DrillSettings {
    fn default() -> Self {
        Self {
            scratch: PathBuf::from("/var/tmp/stoker-drills"),
            programs: None,
            user: None,
            role: "postgres".to_owned(),
            patience: Duration::from_mins(30),
            settings: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Whether it says neither what to back up nor where to; such an agent has nothing to do.
    pub fn is_blank(&self) -> bool {
        self.sources.is_empty() && self.ofelia.file.is_none() && self.repository.url.is_none()
    }
}

impl CatalogSettings {
    /// How the catalog is opened. Fails when the password cannot be read.
    pub fn options(&self) -> Result<CatalogOptions, SecretError> {
        Ok(CatalogOptions {
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
        let file = self.password_file.as_deref();
        secret::resolve("catalog.password", self.password.as_ref(), file)
    }
}

impl RepositorySettings {
    /// How repositories are opened.
    pub fn options(&self) -> RepositoryOptions {
        RepositoryOptions {
            s3: self.s3.clone(),
            ..RepositoryOptions::default()
        }
    }
}

impl SourceSettings {
    /// The password, wherever it is given.
    pub fn password(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        let key = format!("sources.{name}.password");
        secret::resolve(&key, self.password.as_ref(), self.password_file.as_deref())
    }
}

impl ServiceConfig for Config {
    fn service(&self) -> &ServiceSettings {
        &self.service
    }
}

impl Settings for Config {
    fn validate(&self, faults: &mut Faults) {
        check::check(self, faults);
    }
}

#[cfg(test)]
mod tests {
    use stoker_shared::config::{self, ConfigFaults, Load};

    use super::*;
    use crate::compress::Compression;

    fn read(text: &str) -> Result<Config, ConfigFaults> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backup-agent.yaml");
        std::fs::write(&file, text).unwrap();
        config::load(&Load {
            file: Some(file),
            section: "backup_agent".to_owned(),
            overrides: Vec::new(),
            environment: BTreeMap::new(),
            folder: folder.path().to_owned(),
        })
    }

    #[test]
    fn the_sample_shows_every_key_with_its_default() {
        let sample = include_str!("../../../../config/backup-agent.yaml");
        let mut found = read(sample).unwrap();
        assert!(found.catalog.url.take().is_some());
        assert!(found.repository.url.take().is_some());
        let defaults = serde_json::to_value(Config::default()).unwrap();
        assert_eq!(serde_json::to_value(found).unwrap(), defaults);
        let mut keys = Vec::new();
        gather(&defaults, &mut keys);
        gather(
            &serde_json::to_value(SourceSettings::default()).unwrap(),
            &mut keys,
        );
        for key in keys {
            // Fields that are the Java tools' own have no place in a sample.
            let is_javas = ["java_tls", "user_agent"].contains(&key.as_str());
            assert!(
                is_javas || sample.contains(&format!("{key}:")),
                "{key} is not in the sample"
            );
        }
    }

    fn gather(value: &serde_json::Value, keys: &mut Vec<String>) {
        for (key, inner) in value.as_object().into_iter().flatten() {
            keys.push(key.clone());
            gather(inner, keys);
        }
    }

    #[test]
    fn a_source_may_say_otherwise_of_each_key() {
        let text = "backup_agent: {repository: {url: /backups}, backup: {verify: false, compression: gzip}, \
                    ofelia: {variables: {Pg_Password: x}}, \
                    sources: {fhir: {url: 'postgres://me@one,two:5433/', compression: 'zstd:9', drill: true, \
                    schedule: '@daily', keep: {daily: 2}}}}";
        let config = read(text).unwrap();
        let settings = config.backup.of(&config.sources["fhir"]);
        assert_eq!(settings.compression, Compression::Zstd(9));
        assert_eq!((settings.verify, settings.drill), (false, true));
        assert_eq!((settings.keep.daily, settings.keep.weekly), (2, 4));
        assert!(config.ofelia.variables.contains_key("Pg_Password"));
    }

    #[test]
    fn what_makes_no_sense_is_told_at_once() {
        let text = "backup_agent: {catalog: {connections: 1, lease: 1s}, repository: {url: backups}, \
                    backup: {threads: 0, max_rate_kb: 31, server_compression: true, deadline: 0s, attempts: 0}, \
                    drill: {scratch: here, programs: there}, ofelia: {file: /no/such/file}, \
                    sources: {fhir: {schedule: never, repository: ftp://x, password_file: /no/such/file}}}";
        let text = read(text).unwrap_err().to_string();
        for key in [
            "catalog.connections",
            "catalog.lease",
            "repository.url",
            "backup.threads",
            "backup.max_rate_kb",
            "backup.server_compression",
            "backup.deadline",
            "backup.attempts",
            "drill.scratch",
            "drill.programs",
            "ofelia.file",
            "sources.fhir.url",
            "sources.fhir.schedule",
            "sources.fhir.repository",
            "sources.fhir.password_file",
        ] {
            assert!(text.contains(key), "{key}: {text}");
        }
    }
}
