//! How connections to Kafka are encrypted, in the words of librdkafka.

use std::path::Path;

use rdkafka::ClientConfig;

use super::{KafkaConfig, KafkaConfigError};
use crate::keystore::{ClientKey, TrustStore, pem};
use crate::secret::{self, Secret};

/// PEM in the place of the files, as Java's properties may hold it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KafkaPem {
    /// Certificates that sign the brokers'.
    pub ca: Option<String>,
    /// The client's certificate and those above it.
    pub client_cert: Option<String>,
    /// The client's private key.
    pub client_key: Option<Secret>,
}

impl KafkaConfig {
    pub(super) fn set_tls(&self, client: &mut ClientConfig) -> Result<(), KafkaConfigError> {
        if !self.check_host_name {
            client.set("ssl.endpoint.identification.algorithm", "none");
        }
        self.set_ca(client)?;
        self.set_client_key(client)
    }

    fn set_ca(&self, client: &mut ClientConfig) -> Result<(), KafkaConfigError> {
        let file = self.ca_password_file.as_deref();
        let password = secret::resolve("ca_password", self.ca_password.as_ref(), file)?;
        match (&self.pem.ca, &self.ca_file) {
            (Some(pem), _) => client.set("ssl.ca.pem", pem),
            (None, Some(file)) if is_pem(file)? => set_file(client, "ssl.ca.location", file),
            (None, Some(file)) => {
                let store = TrustStore::read(file, password.as_ref())?;
                let certificates = store.certificates().iter();
                let pem: String = certificates
                    .map(|der| pem::encode("CERTIFICATE", der))
                    .collect();
                client.set("ssl.ca.pem", pem)
            }
            (None, None) => client,
        };
        Ok(())
    }

    fn set_client_key(&self, client: &mut ClientConfig) -> Result<(), KafkaConfigError> {
        let file = self.client_key_password_file.as_deref();
        let password = self.client_key_password.as_ref();
        let password = secret::resolve("client_key_password", password, file)?;
        if let Some(file) = &self.client_cert_file
            && !is_pem(file)?
        {
            let found = ClientKey::read(file, password.as_ref())?;
            client
                .set("ssl.certificate.pem", found.chain)
                .set("ssl.key.pem", found.key.expose());
            return Ok(());
        }
        if let Some(file) = &self.client_cert_file {
            set_file(client, "ssl.certificate.location", file);
        }
        if let Some(file) = &self.client_key_file {
            set_file(client, "ssl.key.location", file);
        }
        if let Some(pem) = &self.pem.client_cert {
            client.set("ssl.certificate.pem", pem);
        }
        if let Some(pem) = &self.pem.client_key {
            client.set("ssl.key.pem", pem.expose());
        }
        if let Some(password) = password {
            client.set("ssl.key.password", password.expose());
        }
        Ok(())
    }
}

fn set_file<'c>(client: &'c mut ClientConfig, key: &str, file: &Path) -> &'c mut ClientConfig {
    client.set(key, file.display().to_string())
}

fn is_pem(file: &Path) -> Result<bool, KafkaConfigError> {
    let bytes = std::fs::read(file).map_err(|source| KafkaConfigError::Unreadable {
        file: file.to_owned(),
        source,
    })?;
    Ok(pem::is_one(&bytes))
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;

    use super::*;

    /// A key that openssl encrypted with `change-password`, and its certificate.
    const CLIENT: &str = include_str!("samples/client.pem");

    /// What librdkafka says to the configuration; it reads keys at once.
    fn made(config: &KafkaConfig) -> Result<(), String> {
        let mut client = config.client().map_err(|e| e.to_string())?;
        let consumer: Result<BaseConsumer, _> = client.set("group.id", "g").create();
        consumer.map(drop).map_err(|e| e.to_string())
    }

    #[test]
    fn a_key_that_is_encrypted_is_opened_by_its_password() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client.pem");
        std::fs::write(&file, CLIENT).unwrap();
        let from_file = KafkaConfig {
            brokers: vec!["127.0.0.1:9".to_owned()],
            tls: true,
            client_cert_file: Some(file.clone()),
            client_key_file: Some(file),
            client_key_password: Some("change-password".into()),
            ..KafkaConfig::default()
        };
        let from_text = KafkaConfig {
            client_cert_file: None,
            client_key_file: None,
            pem: KafkaPem {
                client_cert: Some(CLIENT.to_owned()),
                client_key: Some(CLIENT.into()),
                ca: None,
            },
            ..from_file.clone()
        };
        for config in [from_file, from_text] {
            assert_eq!(made(&config), Ok(()));
            let wrong = KafkaConfig {
                client_key_password: Some("wrong-one".into()),
                ..config
            };
            let error = made(&wrong).unwrap_err();
            assert!(error.contains("ssl.key"), "{error}");
            assert!(!error.contains("wrong-one"), "{error}");
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let config = KafkaConfig {
            tls: true,
            ca_file: Some("/no/ca.pem".into()),
            ..KafkaConfig::default()
        };
        let error = config.client().unwrap_err().to_string();
        assert!(
            error.starts_with("kafka: /no/ca.pem cannot be read"),
            "{error}"
        );
        let unused = KafkaConfig {
            tls: false,
            ..config
        };
        assert!(unused.client().is_ok(), "it is not needed");
    }
}
