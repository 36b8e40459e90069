use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::keystore::JavaTls;
use crate::secret::Secret;
use crate::tls::ClientTls;

/// How to reach a FHIR server: who we are, whom we trust, how long we wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FhirConfig {
    /// User of HTTP basic authentication; goes with a password.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<Secret>,
    /// File that holds the password of `user`.
    pub password_file: Option<PathBuf>,
    /// Bearer token; instead of `user`.
    pub token: Option<Secret>,
    /// File that holds the bearer token.
    pub token_file: Option<PathBuf>,
    /// Headers sent with every request.
    pub headers: BTreeMap<String, Secret>,
    /// PEM file of certificates trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate (mTLS); goes with `client_key_file`.
    pub client_cert_file: Option<PathBuf>,
    /// PEM file of the client's private key.
    pub client_key_file: Option<PathBuf>,
    /// Accepts any certificate the server shows. Only for servers that hold no real data.
    pub insecure_skip_verify: bool,
    /// Trust as a Java client was told to have it, in the place of `ca_file` and
    /// `insecure_skip_verify`; no key of the configuration.
    #[serde(skip)]
    pub java_tls: Option<JavaTls>,
    /// Longest wait for a connection.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Longest wait for a whole answer, connecting included.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Idle connections kept for the next request.
    pub pool_max_idle: usize,
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl Default for FhirConfig {
    fn default() -> Self {
        Self {
            user: None,
            password: None,
            password_file: None,
            token: None,
            token_file: None,
            headers: BTreeMap::new(),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            insecure_skip_verify: false,
            java_tls: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_mins(1),
            pool_max_idle: 256,
            user_agent: concat!("stoker/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl FhirConfig {
    /// Those that are named.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let secrets = [&self.password_file, &self.token_file];
        let named = secrets.into_iter().flatten().cloned();
        named.chain(self.tls().files()).collect()
    }

    pub(super) fn tls(&self) -> ClientTls {
        ClientTls {
            ca_file: self.ca_file.clone(),
            client_cert_file: self.client_cert_file.clone(),
            client_key_file: self.client_key_file.clone(),
            insecure_skip_verify: self.insecure_skip_verify,
            java: self.java_tls.clone(),
        }
    }
}
