//! Flags that say how to reach an S3 service.

use std::path::PathBuf;

use stoker_shared::object_store::S3Config;
use stoker_shared::secret::Secret;

/// What a flag says wins over the configuration file. Without keys they are found as AWS's own tools find them:
/// `AWS_ACCESS_KEY_ID` and its kin, the shared credentials file, the machine's role.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "S3 (s3://bucket/prefix)")]
pub struct S3Args {
    /// Base URL of a service other than AWS, e.g. http://127.0.0.1:9000
    #[arg(long, global = true, value_name = "URL", env = "STOKER_S3_ENDPOINT")]
    s3_endpoint: Option<String>,
    /// Region used for signing [default: AWS_REGION, else us-east-1]
    #[arg(long, global = true, value_name = "NAME")]
    s3_region: Option<String>,
    /// Access key
    #[arg(long, global = true, value_name = "KEY", env = "STOKER_S3_ACCESS_KEY")]
    s3_access_key: Option<String>,
    /// Secret key
    #[arg(
        long,
        global = true,
        value_name = "TEXT",
        env = "STOKER_S3_SECRET_KEY",
        hide_env_values = true
    )]
    s3_secret_key: Option<Secret>,
    /// File that holds the secret key
    #[arg(long, global = true, value_name = "FILE")]
    s3_secret_key_file: Option<PathBuf>,
    /// File that holds an API key of IBM Cloud, for IBM Cloud Object Storage, in place of the keys
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["s3_access_key", "cos_properties"])]
    s3_iam_api_key_file: Option<PathBuf>,
    /// PEM file of certificates to trust besides the system's
    #[arg(long, global = true, value_name = "FILE")]
    s3_ca_file: Option<PathBuf>,
    /// Properties file of the Java fhir-bucket (cos.endpoint.url=…)
    #[arg(long, global = true, value_name = "FILE")]
    cos_properties: Option<PathBuf>,
}

impl S3Args {
    /// Lays the flags over `config`.
    #[must_use]
    pub fn over(self, mut config: S3Config) -> S3Config {
        if self.s3_secret_key.is_some() || self.s3_secret_key_file.is_some() {
            config.secret_key = self.s3_secret_key;
            config.secret_key_file = self.s3_secret_key_file;
        }
        if self.s3_access_key.is_some() {
            (config.iam_api_key, config.iam_api_key_file) = (None, None);
        }
        if self.s3_iam_api_key_file.is_some() {
            (config.access_key, config.iam_api_key) = (None, None);
            (config.secret_key, config.secret_key_file) = (None, None);
            config.iam_api_key_file = self.s3_iam_api_key_file;
        }
        config.endpoint = self.s3_endpoint.or(config.endpoint);
        config.region = self.s3_region.or(config.region);
        config.access_key = self.s3_access_key.or(config.access_key);
        config.ca_file = self.s3_ca_file.or(config.ca_file);
        config.properties_file = self.cos_properties.or(config.properties_file);
        config
    }
}
