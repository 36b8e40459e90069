//! How to reach Kafka.

use std::path::PathBuf;

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::config::Faults;
use crate::secret::{self, Secret, SecretError};

/// Brokers, and who we are to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port` of one broker or more; without any, Kafka is not used.
    pub brokers: Vec<String>,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// PEM file of the certificates that sign the brokers', instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate (mTLS); goes with `client_key_file`.
    pub client_cert_file: Option<PathBuf>,
    /// PEM file of the client's private key.
    pub client_key_file: Option<PathBuf>,
    /// How `user` proves who it is.
    pub sasl: Sasl,
    /// User; goes with a password.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<Secret>,
    /// File that holds the password of `user`.
    pub password_file: Option<PathBuf>,
    /// Topic that services announce events on.
    pub events_topic: String,
}

/// A SASL mechanism.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sasl {
    /// The password itself is sent.
    #[default]
    Plain,
    /// RFC 7677.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// The same with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            tls: false,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            sasl: Sasl::Plain,
            user: None,
            password: None,
            password_file: None,
            events_topic: "stoker.events.v1".to_owned(),
        }
    }
}

/// Why Kafka cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum KafkaConfigError {
    /// The password cannot be had.
    #[error("kafka.{0}")]
    Secret(#[from] SecretError),
    /// Half of a user and a password.
    #[error("kafka: user and password (or password_file) go together; give both or none")]
    HalfUser,
    /// The library does not take the settings.
    #[error("kafka: the settings cannot be used: {0}; check the files they name")]
    Unusable(#[from] rdkafka::error::KafkaError),
}

impl KafkaConfig {
    /// Whether any broker is configured.
    pub fn is_configured(&self) -> bool {
        !self.brokers.is_empty()
    }

    /// The brokers as librdkafka wants them.
    pub fn brokers(&self) -> String {
        self.brokers.join(",")
    }

    /// What every client of Kafka is made of; see librdkafka's CONFIGURATION.md.
    pub fn client(&self) -> Result<ClientConfig, KafkaConfigError> {
        let file = self.password_file.as_deref();
        let password = secret::resolve("password", self.password.as_ref(), file)?;
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.brokers())
            .set("client.id", "stoker")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "2000");
        match (&self.user, password) {
            (None, None) => {}
            (Some(user), Some(password)) => {
                let mechanism = match self.sasl {
                    Sasl::Plain => "PLAIN",
                    Sasl::ScramSha256 => "SCRAM-SHA-256",
                    Sasl::ScramSha512 => "SCRAM-SHA-512",
                };
                client
                    .set("sasl.mechanism", mechanism)
                    .set("sasl.username", user)
                    .set("sasl.password", password.expose());
            }
            _ => return Err(KafkaConfigError::HalfUser),
        }
        let protocol = match (self.tls, self.user.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        for (key, file) in [
            ("ssl.ca.location", &self.ca_file),
            ("ssl.certificate.location", &self.client_cert_file),
            ("ssl.key.location", &self.client_key_file),
        ] {
            if let Some(file) = file {
                client.set(key, file.display().to_string());
            }
        }
        Ok(client)
    }

    /// Reports what is wrong with the section `key`.
    pub fn validate(&self, key: &str, faults: &mut Faults) {
        for (number, broker) in self.brokers.iter().enumerate() {
            let port = broker.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                faults.add(&format!("{key}.brokers.{number}"), "must be host:port");
            }
        }
        if let Err(e) = self.client() {
            faults.add(key, e.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_makes_it_sasl() {
        let config = KafkaConfig {
            brokers: vec!["a:1".to_owned(), "b:2".to_owned()],
            tls: true,
            sasl: Sasl::ScramSha512,
            user: Some("ann".to_owned()),
            password: Some("pw".into()),
            ..KafkaConfig::default()
        };
        let client = config.client().unwrap();
        for (key, value) in [
            ("bootstrap.servers", "a:1,b:2"),
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.password", "pw"),
        ] {
            assert_eq!(client.get(key), Some(value), "{key}");
        }
        assert!(!format!("{config:?}").contains("pw"), "no secret in Debug");
    }

    #[test]
    fn half_a_user_is_refused() {
        let config = KafkaConfig {
            user: Some("ann".to_owned()),
            ..KafkaConfig::default()
        };
        assert!(matches!(config.client(), Err(KafkaConfigError::HalfUser)));
    }
}
