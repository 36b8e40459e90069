//! How to reach Kafka.

use std::path::PathBuf;

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

use super::tls::KafkaPem;
use crate::config::Faults;
use crate::keystore::TrustStoreError;
use crate::secret::{self, Secret, SecretError};

/// Brokers, and who we are to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port` of one broker or more; without any, Kafka is not used.
    pub brokers: Vec<String>,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// PEM, PKCS#12 or JKS file of the certificates that sign the brokers', instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Password of `ca_file`, where that is PKCS#12 or JKS.
    pub ca_password: Option<Secret>,
    /// File that holds the password of `ca_file`.
    pub ca_password_file: Option<PathBuf>,
    /// Whether a broker's certificate must name the host that was asked for.
    pub check_host_name: bool,
    /// PEM file of the client's certificate (mTLS), which goes with `client_key_file`; or a PKCS#12 file of
    /// both.
    pub client_cert_file: Option<PathBuf>,
    /// PEM file of the client's private key.
    pub client_key_file: Option<PathBuf>,
    /// Password of the private key, or of the PKCS#12 file.
    pub client_key_password: Option<Secret>,
    /// File that holds the password of the private key.
    pub client_key_password_file: Option<PathBuf>,
    /// In the place of the files; no key of the configuration.
    #[serde(skip)]
    pub pem: KafkaPem,
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
            ca_password: None,
            ca_password_file: None,
            check_host_name: true,
            client_cert_file: None,
            client_key_file: None,
            client_key_password: None,
            client_key_password_file: None,
            pem: KafkaPem::default(),
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
    /// A file cannot be read.
    #[error("kafka: {} cannot be read: {source}; check its path", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A PKCS#12 or JKS file cannot be used.
    #[error("kafka: {0}")]
    Store(#[from] TrustStoreError),
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
        if self.tls {
            self.set_tls(&mut client)?;
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
