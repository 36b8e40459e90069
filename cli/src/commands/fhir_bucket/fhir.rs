//! The FHIR server, as `--fhir-properties` names it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use stoker_shared::fhir::FhirConfig;
use stoker_shared::keystore::{JavaTls, TrustStore, unknown_cipher_suites};
use stoker_shared::properties::Properties;

use crate::java::jvm::Jvm;
use crate::java::notes::Notes;

/// How the FHIR server is reached.
#[derive(Debug)]
pub(super) struct FhirServer {
    pub(super) base_url: String,
    pub(super) config: FhirConfig,
    /// Most connections, when that is said.
    pub(super) connections: Option<usize>,
}

const PORT: u16 = 9443;
const TIMEOUT: Duration = Duration::from_mins(1);
/// Java takes 0 for no limit at all.
const NO_LIMIT: Duration = Duration::from_hours(24);
/// What servers know the Java tool by.
const USER_AGENT: &str = concat!("FHIR_BUCKET_LOADER stoker/", env!("CARGO_PKG_VERSION"));

impl FhirServer {
    /// Lays what the files say over `config`.
    pub(super) fn read(
        files: &[PathBuf],
        jvm: &Jvm,
        config: FhirConfig,
        notes: &mut Notes,
    ) -> anyhow::Result<Self> {
        let mut properties = Properties::default();
        for file in files {
            let read = Properties::read(file).context("--fhir-properties")?;
            for (name, value) in read.iter() {
                properties.set(name.to_owned(), value.to_owned());
            }
        }
        if properties.iter().next().is_none() {
            bail!(
                "no FHIR server is named; give --fhir-properties FILE with fhir.server.host and the like"
            );
        }
        let properties = Keys(properties);
        properties.warn_of_others(notes);
        let timeout = |key| properties.milliseconds(key);
        let (connect, read) = (timeout("connect.timeout")?, timeout("read.timeout")?);
        let connections = properties.number("pool.connections.max")?;
        let mut config = FhirConfig {
            connect_timeout: connect,
            // Connecting is a part of it.
            request_timeout: connect + read,
            user_agent: USER_AGENT.to_owned(),
            java_tls: properties.tls(jvm, notes)?,
            ..config
        };
        if let Some(connections) = connections {
            config.pool_max_idle = connections;
        }
        // The Java tool sends them only when both are given.
        if let (Some(user), Some(password)) = (
            properties.get("fhir.server.user"),
            properties.get("fhir.server.pass"),
        ) {
            config.user = Some(user.to_owned());
            config.password = Some(password.into());
            (config.password_file, config.token, config.token_file) = (None, None, None);
        }
        Ok(Self {
            base_url: properties.base_url()?,
            config,
            connections: connections.filter(|n| *n > 0),
        })
    }
}

/// The properties, as they are asked for.
struct Keys(Properties);

const KNOWN: [&str; 12] = [
    "fhir.server.host",
    "fhir.server.port",
    "fhir.server.user",
    "fhir.server.pass",
    "fhir.server.endpoint",
    "truststore",
    "truststore.pass",
    "read.timeout",
    "connect.timeout",
    "pool.connections.max",
    "disable.hostname.verification",
    "enabled.ciphers",
];

impl Keys {
    fn get(&self, key: &str) -> Option<&str> {
        self.0
            .get(key)
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> anyhow::Result<Option<T>> {
        let Some(text) = self.get(key) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => bail!("{key}={text}: is not a whole number that it can take"),
        }
    }

    fn milliseconds(&self, key: &str) -> anyhow::Result<Duration> {
        Ok(match self.number(key)? {
            None => TIMEOUT,
            Some(0) => NO_LIMIT,
            Some(ms) => Duration::from_millis(ms),
        })
    }

    fn warn_of_others(&self, notes: &mut Notes) {
        let keys = self.0.iter().map(|(key, _)| key);
        let others: Vec<&str> = keys.filter(|key| !KNOWN.contains(key)).collect();
        if !others.is_empty() {
            let others = others.join(", ");
            notes.warn(format!(
                "properties of the FHIR server that have no effect: {others}"
            ));
        }
    }

    /// Always https, with one slash between the port and the path, whatever the path begins with.
    fn base_url(&self) -> anyhow::Result<String> {
        let Some(host) = self.get("fhir.server.host") else {
            bail!("the properties of the FHIR server lack fhir.server.host");
        };
        let host = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let port = self.number::<u16>("fhir.server.port")?.unwrap_or(PORT);
        let path = self.get("fhir.server.endpoint").unwrap_or_default();
        let url = format!("https://{host}:{port}/{}", path.trim_matches('/'));
        let url = url.trim_end_matches('/');
        url::Url::parse(url)
            .with_context(|| format!("{url}: is no address; correct fhir.server.host"))?;
        Ok(url.to_owned())
    }

    fn tls(&self, jvm: &Jvm, notes: &mut Notes) -> anyhow::Result<Option<JavaTls>> {
        let trust_store = match (self.get("truststore"), &jvm.trust_store) {
            (Some(file), _) => {
                let password = self.0.get("truststore.pass").map(Into::into);
                let store = TrustStore::read(Path::new(file), password.as_ref());
                Some(store.context("truststore")?)
            }
            (None, Some(file)) => {
                let store = TrustStore::read(file, jvm.trust_store_password.as_ref());
                Some(store.context("javax.net.ssl.trustStore")?)
            }
            (None, None) => None,
        };
        let any_hostname = self
            .get("disable.hostname.verification")
            .is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let ciphers = self.get("enabled.ciphers").unwrap_or_default();
        let ciphers = ciphers.split(',').map(|name| name.trim().to_owned());
        let cipher_suites: Vec<String> = ciphers.filter(|name| !name.is_empty()).collect();
        let unknown = unknown_cipher_suites(&cipher_suites);
        if !unknown.is_empty() {
            notes.warn(format!(
                "enabled.ciphers: not known here, and not used: {}",
                unknown.join(", ")
            ));
        }
        if cipher_suites.len() == unknown.len() && !unknown.is_empty() {
            notes
                .warn("enabled.ciphers: none of them is known here, so all that are safe are used");
        }
        let given = trust_store.is_some() || any_hostname || !cipher_suites.is_empty();
        Ok(given.then_some(JavaTls {
            trust_store,
            any_hostname,
            cipher_suites,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (anyhow::Result<FhirServer>, Notes) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fhir.properties");
        std::fs::write(&file, text).unwrap();
        let mut notes = Notes::default();
        let jvm = Jvm::default();
        let server = FhirServer::read(&[file], &jvm, FhirConfig::default(), &mut notes);
        (server, notes)
    }

    #[test]
    fn properties_become_an_address_and_settings() {
        let (server, notes) = read(
            "fhir.server.host=localhost\nfhir.server.port=9443\nfhir.server.user=fhiruser\n\
             fhir.server.pass=change-password\nfhir.server.endpoint=/fhir-server/api/v4\n\
             read.timeout=125000\nconnect.timeout=20000\npool.connections.max=400\n\
             disable.hostname.verification=TRUE\n",
        );
        let server = server.unwrap();
        assert_eq!(server.base_url, "https://localhost:9443/fhir-server/api/v4");
        assert_eq!(server.connections, Some(400));
        let config = server.config;
        assert_eq!(config.user.as_deref(), Some("fhiruser"));
        assert_eq!(config.password, Some("change-password".into()));
        assert_eq!(config.connect_timeout, Duration::from_secs(20));
        assert_eq!(config.request_timeout, Duration::from_secs(145));
        assert_eq!(config.pool_max_idle, 400);
        let expected = JavaTls {
            any_hostname: true,
            ..JavaTls::default()
        };
        assert_eq!(config.java_tls, Some(expected));
        assert!(notes.warnings().is_empty(), "{notes:?}");
    }

    #[test]
    fn one_slash_stands_before_the_path() {
        for (endpoint, expected) in [
            ("", "https://h:9443"),
            ("/", "https://h:9443"),
            ("fhir", "https://h:9443/fhir"),
            ("/fhir-server/api/v4/", "https://h:9443/fhir-server/api/v4"),
            ("//fhir//", "https://h:9443/fhir"),
        ] {
            let (server, _) = read(&format!(
                "fhir.server.host=h\nfhir.server.endpoint={endpoint}"
            ));
            assert_eq!(server.unwrap().base_url, expected, "{endpoint}");
        }
        let (server, _) = read("fhir.server.host=::1\nfhir.server.port=1");
        assert_eq!(server.unwrap().base_url, "https://[::1]:1");
    }

    #[test]
    fn what_is_not_given_is_as_in_java() {
        let (server, _) = read("fhir.server.host=h\nfhir.server.user=only\nread.timeout=0");
        let server = server.unwrap();
        assert_eq!(server.connections, None);
        assert_eq!((server.config.user, server.config.java_tls), (None, None));
        assert_eq!(server.config.connect_timeout, TIMEOUT);
        assert_eq!(server.config.request_timeout, TIMEOUT + NO_LIMIT);
    }

    #[test]
    fn ciphers_that_are_not_known_are_named() {
        let known = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        let (server, notes) = read(&format!(
            "fhir.server.host=h\nenabled.ciphers={known}, TLS_OLD"
        ));
        let tls = server.unwrap().config.java_tls.unwrap();
        assert_eq!(tls.cipher_suites, [known, "TLS_OLD"]);
        assert_eq!(notes.warnings().len(), 1);
        assert!(notes.warnings()[0].ends_with("TLS_OLD"), "{notes:?}");
        let (_, notes) = read("fhir.server.host=h\nenabled.ciphers=TLS_OLD");
        assert_eq!(notes.warnings().len(), 2, "{notes:?}");
    }

    #[test]
    fn faults_name_the_key_or_the_file() {
        for (text, expected) in [
            ("# nothing", "give --fhir-properties FILE"),
            ("fhir.server.port=1", "lack fhir.server.host"),
            (
                "fhir.server.host=h\nfhir.server.port=x",
                "fhir.server.port=x: is not",
            ),
            (
                "fhir.server.host=h\nread.timeout=soon",
                "read.timeout=soon: is not",
            ),
            ("fhir.server.host=a b", "correct fhir.server.host"),
            (
                "fhir.server.host=h\ntruststore=/no/store.p12\ntruststore.pass=p",
                "/no/store.p12: the store cannot be read",
            ),
        ] {
            let error = read(text).0.unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
        let (_, notes) = read("fhir.server.host=h\nfhir.server.hots=x");
        assert!(
            notes.warnings()[0].ends_with("fhir.server.hots"),
            "{notes:?}"
        );
    }

    #[test]
    fn the_trust_store_of_the_jvm_stands_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fhir.properties");
        std::fs::write(&file, "fhir.server.host=h").unwrap();
        let jvm = Jvm {
            trust_store: Some("/no/jvm.p12".into()),
            ..Jvm::default()
        };
        let files = [file];
        let read = FhirServer::read(&files, &jvm, FhirConfig::default(), &mut Notes::default());
        let error = format!("{:#}", read.unwrap_err());
        assert!(
            error.contains("javax.net.ssl.trustStore: /no/jvm.p12"),
            "{error}"
        );
    }
}
