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
    /// API key of IBM Cloud's IAM: requests carry a token that is had for it, and no signature.
    pub iam_api_key: Option<Secret>,
    /// File that holds the API key.
    pub iam_api_key_file: Option<PathBuf>,
    /// Where tokens are had: IBM Cloud's public address unless given.
    pub iam_url: Option<String>,
    /// The instance of IBM Cloud Object Storage (a CRN or an id); needed only to make buckets and the like.
    pub service_instance_id: Option<String>,
    /// PEM file of certificates trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Longest wait for a connection.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Longest silence while an answer is awaited or read.
    #[serde(with = "humantime_serde")]
    pub read_timeout: Duration,
    /// Longest time of one try of a request until its answer begins, when it is to be limited besides.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Option<Duration>,
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
            iam_api_key: None,
            iam_api_key_file: None,
            iam_url: None,
            service_instance_id: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_mins(1),
            request_timeout: None,
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
    /// A file that held the keys holds none any more.
    #[error(
        "the keys are gone from the settings; to have them found as AWS's tools find them, restart the service"
    )]
    KeysGone,
    /// Two ways of saying who we are.
    #[error("iam_api_key and access_key are both given; keep one of them")]
    TwoWays,
    /// The address of IAM is none.
    #[error("iam_url: {0}")]
    IamUrl(String),
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
    /// The files that are named.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let named = [
            &self.properties_file,
            &self.secret_key_file,
            &self.iam_api_key_file,
            &self.ca_file,
        ];
        named.into_iter().flatten().cloned().collect()
    }

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
        let number = |key| {
            let parsed = given(key).map(str::parse::<u64>).transpose();
            parsed.map_err(|_| wrong(key, "is not a whole number"))
        };
        if let Some(ms) = number("cos.socket.timeout")? {
            self.read_timeout = Duration::from_millis(ms);
        }
        if let Some(ms) = number("cos.request.timeout")? {
            self.request_timeout = Some(Duration::from_millis(ms));
        }
        if let Some(keys) = number("cos.max.keys")? {
            self.max_keys = u16::try_from(keys)
                .ok()
                .filter(|n| (1..=1000).contains(n))
                .ok_or_else(|| wrong("cos.max.keys", "must be 1 to 1000"))?;
        }
        for (key, place) in [
            ("cos.endpoint.url", &mut self.endpoint),
            ("cos.location", &mut self.region),
        ] {
            if let Some(value) = given(key) {
                *place = Some(value.to_owned());
            }
        }
        let ibm = match given("cos.credential.ibm") {
            Some(text) => text.eq_ignore_ascii_case("y"),
            None => self.endpoint.as_deref().is_some_and(is_of_ibm),
        };
        self.lay_keys_over(ibm, given("cos.api.key"), given("cos.srvinstid"));
        Ok(())
    }

    /// The same two properties are an API key and its instance, or a pair of keys.
    fn lay_keys_over(&mut self, ibm: bool, api_key: Option<&str>, instance: Option<&str>) {
        if ibm {
            if let Some(key) = api_key {
                self.iam_api_key = Some(key.into());
                self.iam_api_key_file = None;
                self.access_key = None;
                (self.secret_key, self.secret_key_file) = (None, None);
            }
            if let Some(instance) = instance {
                self.service_instance_id = Some(instance.to_owned());
            }
            return;
        }
        if let Some(key) = api_key {
            self.access_key = Some(key.to_owned());
            (self.iam_api_key, self.iam_api_key_file) = (None, None);
        }
        if let Some(secret) = instance {
            self.secret_key = Some(secret.into());
            self.secret_key_file = None;
        }
    }

    /// The API key of IAM, when requests are to carry its tokens.
    pub(super) fn api_key(&self) -> Result<Option<Secret>, S3ConfigError> {
        let file = self.iam_api_key_file.as_deref();
        let key = secret::resolve("iam_api_key", self.iam_api_key.as_ref(), file)?;
        if key.is_some() && self.keys()?.is_some() {
            return Err(S3ConfigError::TwoWays);
        }
        Ok(key)
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
        } else if let Err(e) = resolved.api_key() {
            faults.add(&format!("{key}.iam_api_key"), e.to_string());
        }
        if let Some(url) = &resolved.iam_url
            && !url::Url::parse(url).is_ok_and(|u| matches!(u.scheme(), "http" | "https"))
        {
            let problem = "must begin with http:// or https://";
            faults.add(&format!("{key}.iam_url"), problem);
        }
    }
}

/// Whether an endpoint is IBM Cloud Object Storage, whose users have API keys unless they say otherwise.
fn is_of_ibm(endpoint: &str) -> bool {
    let host = url::Url::parse(endpoint).ok();
    let host = host.as_ref().and_then(url::Url::host_str);
    host.is_some_and(|host| {
        [
            ".cloud-object-storage.appdomain.cloud",
            ".objectstorage.softlayer.net",
            ".objectstorage.service.networklayer.com",
        ]
        .iter()
        .any(|ibm| host.ends_with(ibm))
    })
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
             cos.request.timeout=90000\ncos.max.keys=500\ncos.credential.ibm=N\n",
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
        assert_eq!(config.request_timeout, Some(Duration::from_secs(90)));
    }

    #[test]
    fn an_api_key_of_ibm_is_told_from_a_pair_of_keys() {
        let ibm = "cos.endpoint.url=https://s3.eu-de.cloud-object-storage.appdomain.cloud\n";
        let keys = "cos.api.key=k\ncos.srvinstid=crn:v1:x\n";
        for (text, is_ibm) in [
            (format!("{keys}cos.credential.ibm=Y"), true),
            (format!("{keys}{ibm}"), true),
            (format!("{keys}{ibm}cos.credential.ibm=n"), false),
            (keys.to_owned(), false),
        ] {
            let config = over(&text).unwrap();
            assert_eq!(config.api_key().unwrap().is_some(), is_ibm, "{text}");
            assert_eq!(config.keys().unwrap().is_some(), !is_ibm, "{text}");
            assert_eq!(config.service_instance_id.is_some(), is_ibm, "{text}");
            assert!(!format!("{config:?}").contains(r#""k""#) || !is_ibm);
        }
        let both = S3Config {
            iam_api_key: Some("k".into()),
            access_key: Some("a".to_owned()),
            secret_key: Some("s".into()),
            ..S3Config::default()
        };
        assert!(matches!(both.api_key(), Err(S3ConfigError::TwoWays)));
    }

    #[test]
    fn what_a_properties_file_cannot_say_is_told() {
        for (text, expected) in [
            ("cos.max.keys=0", "cos.max.keys: must be 1 to 1000"),
            ("cos.request.timeout=soon", "is not a whole number"),
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
