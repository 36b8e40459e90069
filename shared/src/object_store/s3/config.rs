//! How to reach an S3 service, natively and as the Java tool's `--cos-properties` file says it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Faults;
use crate::properties::{Properties, PropertiesError};
use crate::secret::{self, Secret, SecretError};

/// An S3 service, and who we are to it.
///
/// Without `access_key` the credentials are found as AWS's own tools find them: `AWS_ACCESS_KEY_ID`
/// and its kin, the shared credentials file, a web identity (EKS), the container's or the machine's role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Config {
    /// Base URL of a service other than AWS, e.g. `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// Region used for signing; else `AWS_REGION`, else `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket is part of the path, not of the host's name: yes where `endpoint` is given.
    pub path_style: Option<bool>,
    /// Access key; goes with a secret key.
    pub access_key: Option<String>,
    /// Secret key of `access_key`.
    pub secret_key: Option<Secret>,
    /// File that holds the secret key.
    pub secret_key_file: Option<PathBuf>,
    /// PEM file of certificates trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Longest wait for a connection.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Longest silence while an answer is awaited or read.
    #[serde(with = "humantime_serde")]
    pub read_timeout: Duration,
    /// Objects to a page of a listing, 1000 at most.
    pub max_keys: u16,
    /// How long a service that was reached may be away before reading or listing fails.
    #[serde(with = "humantime_serde")]
    pub give_up_after: Duration,
    /// The Java tool's properties file (`cos.endpoint.url=…`); what it says comes first.
    pub properties_file: Option<PathBuf>,
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            path_style: None,
            access_key: None,
            secret_key: None,
            secret_key_file: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_mins(1),
            max_keys: 1000,
            give_up_after: Duration::from_mins(10),
            properties_file: None,
        }
    }
}

/// Why the settings for S3 cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum S3ConfigError {
    /// The properties file cannot be read.
    #[error(transparent)]
    Properties(#[from] PropertiesError),
    /// A value of it is not what its key needs.
    #[error("{}: {key}: {problem}", file.display())]
    Property {
        /// The file.
        file: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// The secret key cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Half of a pair of keys.
    #[error("access_key and secret_key (or secret_key_file) go together; give both or none")]
    HalfKeys,
    /// The certificates cannot be read.
    #[error("ca_file: {}: cannot be used: {reason}", file.display())]
    CaFile {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

impl S3Config {
    /// With the values of `properties_file` laid over, which is then none.
    pub fn resolved(&self) -> Result<Self, S3ConfigError> {
        let Some(file) = &self.properties_file else {
            return Ok(self.clone());
        };
        let properties = Properties::read(file)?;
        let mut config = self.clone();
        config.properties_file = None;
        config.lay_over(file, &properties)?;
        Ok(config)
    }

    /// Keys and meanings: the Java tool's, `cos.bucket.name` apart, which names a source and no service.
    fn lay_over(&mut self, file: &Path, properties: &Properties) -> Result<(), S3ConfigError> {
        let wrong = |key, problem: &str| S3ConfigError::Property {
            file: file.to_owned(),
            key,
            problem: problem.to_owned(),
        };
        let given = |key| properties.get(key).map(str::trim).filter(|v| !v.is_empty());
        if given("cos.credential.ibm").is_some_and(|v| v.eq_ignore_ascii_case("y")) {
            return Err(wrong(
                "cos.credential.ibm",
                "keys of IBM's IAM cannot be used; make HMAC keys for the instance and set N",
            ));
        }
        let number = |key| {
            let parsed = given(key).map(str::parse::<u64>).transpose();
            parsed.map_err(|_| wrong(key, "is not a whole number"))
        };
        if let Some(ms) = number("cos.request.timeout")?.or(number("cos.socket.timeout")?) {
            self.read_timeout = Duration::from_millis(ms);
        }
        if let Some(keys) = number("cos.max.keys")? {
            self.max_keys = u16::try_from(keys)
                .ok()
                .filter(|n| (1..=1000).contains(n))
                .ok_or_else(|| wrong("cos.max.keys", "must be 1 to 1000"))?;
        }
        for (key, place) in [
            ("cos.api.key", &mut self.access_key),
            ("cos.endpoint.url", &mut self.endpoint),
            ("cos.location", &mut self.region),
        ] {
            if let Some(value) = given(key) {
                *place = Some(value.to_owned());
            }
        }
        if let Some(secret) = given("cos.srvinstid") {
            self.secret_key = Some(secret.into());
            self.secret_key_file = None;
        }
        Ok(())
    }

    /// The pair of keys given; none when they are to be found elsewhere.
    pub(super) fn keys(&self) -> Result<Option<(String, Secret)>, S3ConfigError> {
        let file = self.secret_key_file.as_deref();
        let secret = secret::resolve("secret_key", self.secret_key.as_ref(), file)?;
        match (self.access_key.clone(), secret) {
            (Some(access), Some(secret)) => Ok(Some((access, secret))),
            (None, None) => Ok(None),
            _ => Err(S3ConfigError::HalfKeys),
        }
    }

    /// Reports what is wrong with the section `key`.
    pub fn validate(&self, key: &str, faults: &mut Faults) {
        let resolved = match self.resolved() {
            Ok(resolved) => resolved,
            Err(e) => return faults.add(&format!("{key}.properties_file"), e.to_string()),
        };
        if let Some(endpoint) = &resolved.endpoint
            && !url::Url::parse(endpoint).is_ok_and(|u| matches!(u.scheme(), "http" | "https"))
        {
            let problem = "must begin with http:// or https://";
            faults.add(&format!("{key}.endpoint"), problem);
        }
        if !(1..=1000).contains(&resolved.max_keys) {
            faults.add(&format!("{key}.max_keys"), "must be 1 to 1000");
        }
        if let Err(e) = resolved.keys() {
            faults.add(&format!("{key}.access_key"), e.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(text: &str) -> Result<S3Config, S3ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cos.properties");
        std::fs::write(&file, text).unwrap();
        let config = S3Config {
            properties_file: Some(file),
            ..S3Config::default()
        };
        config.resolved()
    }

    #[test]
    fn the_java_tools_properties_are_understood() {
        let config = over(
            "cos.api.key=key\ncos.srvinstid=secret\ncos.endpoint.url=https://s3.example.org\n\
             cos.location=us-south\ncos.bucket.name=ignored\ncos.socket.timeout=120000\n\
             cos.max.keys=500\ncos.credential.ibm=N\n",
        )
        .unwrap();
        let (access, secret) = config.keys().unwrap().unwrap();
        assert_eq!((access.as_str(), secret.expose()), ("key", "secret"));
        assert_eq!(config.endpoint.as_deref(), Some("https://s3.example.org"));
        assert_eq!(config.region.as_deref(), Some("us-south"));
        assert_eq!(
            (config.max_keys, config.read_timeout),
            (500, Duration::from_mins(2))
        );
    }

    #[test]
    fn what_a_properties_file_cannot_say_is_told() {
        for (text, expected) in [
            ("cos.max.keys=0", "cos.max.keys: must be 1 to 1000"),
            ("cos.request.timeout=soon", "is not a whole number"),
            ("cos.credential.ibm=y", "HMAC keys"),
        ] {
            let error = over(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn half_a_pair_of_keys_is_refused() {
        let config = S3Config {
            access_key: Some("a".to_owned()),
            ..S3Config::default()
        };
        assert!(matches!(config.keys(), Err(S3ConfigError::HalfKeys)));
        assert!(S3Config::default().keys().unwrap().is_none());
    }
}
