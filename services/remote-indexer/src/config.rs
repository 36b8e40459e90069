//! What can be set, and what holds when nothing is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use stoker_shared::config::{Faults, Settings};
use stoker_shared::kafka::KafkaConfig;
use stoker_shared::postgres::PostgresUrl;
use stoker_shared::secret::{self, Secret, SecretError};
use stoker_shared::service::{ServiceConfig, ServiceSettings};

/// The service's configuration; `config/remote-indexer.yaml` shows all of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Ports, stop, logs.
    pub service: ServiceSettings,
    /// The brokers that the FHIR server sends to.
    pub kafka: KafkaConfig,
    /// What is consumed, and as whom.
    pub topic: TopicSettings,
    /// Only messages that name this instance are taken: the FHIR server's
    /// `remoteIndexService/instanceIdentifier`.
    pub instance_identifier: String,
    /// The FHIR server's database.
    pub database: DatabaseSettings,
    /// The schema of each tenant, where several share the topic; messages of other tenants are dead letters
    /// then. Without it, all messages go to `database.schema`.
    pub tenants: BTreeMap<String, String>,
    /// How messages are gathered and waited for.
    pub index: IndexSettings,
}

/// What is consumed, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicSettings {
    /// The topic that the FHIR server sends to.
    pub name: String,
    /// Consumer group: who shares it shares the partitions.
    pub group: String,
    /// A name that this process keeps over a restart (a StatefulSet's pod name, a host's), unique in the
    /// group: a killed process that comes back under it has its partitions again at once.
    pub member: Option<String>,
    /// Consumers in this process, each with a connection to the database; more than the topic has partitions
    /// do nothing.
    pub consumers: usize,
    /// Where messages go that can never be indexed; `{name}.dlq` unless given.
    pub dead_letters: Option<String>,
    /// Other settings of librdkafka's consumer, by their names there.
    pub properties: BTreeMap<String, String>,
}

/// The FHIR server's database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `postgres://user@host:5432/database`; the service needs it to be given.
    pub url: Option<PostgresUrl>,
    /// The password, when it is not part of the URL.
    pub password: Option<Secret>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// The schema of the FHIR server's tables.
    pub schema: String,
    /// How the server's tables were made.
    pub schema_type: SchemaType,
    /// Whether it is a Citus cluster.
    pub citus: bool,
}

/// How the FHIR server's tables were made; see its `--schema-type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchemaType {
    /// With foreign keys, on one server.
    #[default]
    Plain,
    /// Spread over the nodes of Citus, without foreign keys.
    Distributed,
}

/// How messages are gathered and waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndexSettings {
    /// How long a message waits for the server's transaction to be committed; then it is taken for rolled
    /// back and discarded. A little longer than the server's transaction timeout.
    #[serde(with = "humantime_serde")]
    pub max_ready_time: Duration,
    /// Messages to a transaction, at most.
    pub batch_messages: usize,
    /// Bytes of messages to a transaction, about.
    pub batch_bytes: usize,
    /// How long a transaction waits for more messages when fewer are there; once more as long as they come fast.
    #[serde(with = "humantime_serde")]
    pub gather: Duration,
    /// Pause before messages that wait for the server are looked at again.
    #[serde(with = "humantime_serde")]
    pub look_again: Duration,
    /// Bytes of messages that a consumer holds while they wait; above it, it takes no more until some are done.
    pub waiting_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            service: ServiceSettings::on_port(7704),
            kafka: KafkaConfig::default(),
            topic: TopicSettings::default(),
            instance_identifier: String::new(),
            database: DatabaseSettings::default(),
            tenants: BTreeMap::new(),
            index: IndexSettings::default(),
        }
    }
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            name: "FHIR_REMOTE_INDEX".to_owned(),
            group: "remote-index-service-cg".to_owned(),
            member: None,
            consumers: 1,
            dead_letters: None,
            properties: BTreeMap::new(),
        }
    }
}

impl TopicSettings {
    /// Where messages go that can never be indexed.
    pub fn dead_letters(&self) -> String {
        let named = self.dead_letters.clone();
        named.unwrap_or_else(|| format!("{}.dlq", self.name))
    }
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: None,
            password: None,
            password_file: None,
            schema: "fhirdata".to_owned(),
            schema_type: SchemaType::Plain,
            citus: false,
        }
    }
}

impl DatabaseSettings {
    /// The password, wherever it is given.
    pub fn password(&self) -> Result<Option<Secret>, SecretError> {
        secret::resolve(
            "database.password",
            self.password.as_ref(),
            self.password_file.as_deref(),
        )
    }
}

impl Default for IndexSettings {
    fn default() -> Self {
        Self {
            max_ready_time: Duration::from_mins(3),
            batch_messages: 2500,
            batch_bytes: 2 << 20,
            gather: Duration::from_millis(20),
            look_again: Duration::from_millis(500),
            waiting_bytes: 32 << 20,
        }
    }
}

impl ServiceConfig for Config {
    fn service(&self) -> &ServiceSettings {
        &self.service
    }
}

impl Config {
    /// Keys that must be given and are not.
    fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if !self.kafka.is_configured() {
            missing.push("kafka.brokers");
        }
        if self.database.url.is_none() {
            missing.push("database.url");
        }
        if self.instance_identifier.is_empty() {
            missing.push("instance_identifier");
        }
        missing
    }

    /// Reports what is given and makes no sense.
    fn check_given(&self, faults: &mut Faults) {
        self.kafka.validate("kafka", faults);
        for (key, text) in [
            ("topic.name", &self.topic.name),
            ("topic.group", &self.topic.group),
            ("database.schema", &self.database.schema),
        ] {
            if text.trim().is_empty() {
                faults.add(key, "must not be empty");
            }
        }
        if let Err(error) = self.database.password() {
            faults.add("database.password_file", error.to_string());
        }
        for (key, number) in [
            ("topic.consumers", self.topic.consumers),
            ("index.batch_messages", self.index.batch_messages),
            ("index.batch_bytes", self.index.batch_bytes),
            ("index.waiting_bytes", self.index.waiting_bytes),
        ] {
            if number == 0 {
                faults.add(key, "must be 1 or more");
            }
        }
    }
}

impl Settings for Config {
    fn validate(&self, faults: &mut Faults) {
        self.check_given(faults);
        for key in self.missing() {
            let what = match key {
                "kafka.brokers" => "names no broker; give host:port",
                "database.url" => "must be given, such as postgres://user@host:5432/database",
                _ => "must be the instanceIdentifier of the FHIR server's remoteIndexService",
            };
            faults.add(key, what);
        }
    }
}

/// What is configured, be it enough to run or not: for who asks about the service without running it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Draft(pub Config);

impl Draft {
    /// Keys that must be given and are not; the service can run when there are none.
    pub fn missing(&self) -> Vec<&'static str> {
        self.0.missing()
    }

    /// Whether none of the keys is given that must be: nobody wants the service here.
    pub fn is_blank(&self) -> bool {
        self.missing() == Config::default().missing()
    }
}

impl Settings for Draft {
    fn validate(&self, faults: &mut Faults) {
        self.0.check_given(faults);
    }
}

#[cfg(test)]
mod tests {
    use stoker_shared::config::{self, ConfigFaults, Load};

    use super::*;

    fn read<C: Settings>(text: &str) -> Result<C, ConfigFaults> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("remote-indexer.yaml");
        std::fs::write(&file, text).unwrap();
        config::load(&Load {
            file: Some(file),
            section: "remote_indexer".to_owned(),
            overrides: Vec::new(),
            environment: BTreeMap::new(),
            folder: folder.path().to_owned(),
        })
    }

    #[test]
    fn the_sample_shows_every_key_with_its_default() {
        let sample = include_str!("../../../config/remote-indexer.yaml");
        let mut found: Config = read(sample).unwrap();
        let defaults = Config::default();
        found.kafka.brokers.clear();
        found.database.url = None;
        found.instance_identifier.clear();
        assert_eq!(found, defaults);
        let values = serde_json::to_value(&defaults).unwrap();
        let sections = values.as_object().unwrap().iter();
        for (section, keys) in sections {
            let inner = keys.as_object().into_iter().flat_map(|keys| keys.keys());
            for key in inner.chain([section]) {
                assert!(
                    sample.contains(&format!("{key}:")),
                    "{key} is not in the sample"
                );
            }
        }
    }

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let text = read::<Config>("remote_indexer: {topic: {consumers: 0}}")
            .unwrap_err()
            .to_string();
        for key in [
            "kafka.brokers",
            "database.url",
            "instance_identifier",
            "topic.consumers",
        ] {
            assert!(text.contains(key), "{text}");
        }
    }

    #[test]
    fn a_draft_may_lack_what_it_takes_to_run() {
        assert!(
            read::<Draft>("remote_indexer: {index: {gather: 1s}}")
                .unwrap()
                .is_blank()
        );
        let half: Draft = read("remote_indexer: {kafka: {brokers: [a:1]}}").unwrap();
        assert!(!half.is_blank());
        assert_eq!(half.missing(), ["database.url", "instance_identifier"]);
        let text = read::<Draft>("remote_indexer: {topic: {consumers: 0}}")
            .unwrap_err()
            .to_string();
        assert!(text.contains("topic.consumers"), "{text}");
    }
}
