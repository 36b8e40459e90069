//! The S3 client, made of the settings at its first use, and anew when a file that they name changes.

use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};

use super::config::{S3Config, S3ConfigError};
use super::tokens::Tokens;
use crate::mounted::Mounted;

/// For services that care for no region, and what AWS itself takes for "none given".
const DEFAULT_REGION: &str = "us-east-1";

/// Tries of one call, the first included; longer absences are waited for by the store.
const TRIES: u32 = 3;

/// Longest pause between them.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// A slower connection to the service is as good as none: 128 KiB/s.
const SLOWEST_BYTES_PER_MS: usize = 128;

/// A client made of resolved settings, and the tokens that its requests carry when it signs none.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) client: Client,
    pub(super) config: S3Config,
    pub(super) tokens: Option<Tokens>,
}

/// What makes clients of the settings. Where they give no keys, it asks the places where AWS's tools find them.
pub(super) async fn make(config: &S3Config) -> Result<Mounted<Arc<Made>>, S3ConfigError> {
    let resolved = config.resolved()?;
    let found = if resolved.api_key()?.is_some() || resolved.keys()?.is_some() {
        None
    } else {
        let loader = aws_config::defaults(BehaviorVersion::latest());
        Some(loader.http_client(http(&resolved)?).load().await)
    };
    let config = config.clone();
    Mounted::new(config.files(), move || {
        client(&config, found.as_ref()).map(Arc::new)
    })
}

/// Reads the files that the settings name.
fn client(config: &S3Config, found: Option<&SdkConfig>) -> Result<Made, S3ConfigError> {
    let config = config.resolved()?;
    let http = http(&config)?;
    let tokens = Tokens::of(&config)?;
    let mut builder = aws_sdk_s3::config::Builder::new();
    let mut region = config.region.clone();
    if let Some(tokens) = &tokens {
        builder = builder.allow_no_auth().interceptor(tokens.bearer());
    } else if let Some((access, secret)) = config.keys()? {
        let keys = Credentials::new(access, secret.expose(), None, None, "stoker");
        builder = builder.credentials_provider(keys);
    } else {
        let found = found.ok_or(S3ConfigError::KeysGone)?;
        builder.set_credentials_provider(found.credentials_provider());
        region = region.or_else(|| found.region().map(ToString::to_string));
    }
    let region = region.unwrap_or_else(|| DEFAULT_REGION.to_owned());
    builder.set_endpoint_url(config.endpoint.clone());
    let built = builder
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .force_path_style(config.path_style.unwrap_or(config.endpoint.is_some()))
        .http_client(http)
        .timeout_config(timeouts(&config, 0))
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(TRIES)
                .with_max_backoff(MAX_PAUSE),
        )
        // A worker that is held back by its FHIR server reads slowly by design.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Services other than AWS know no checksums of its newer kinds.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Ok(Made {
        client: Client::from_conf(built),
        config,
        tokens,
    })
}

/// How long a request that sends so many bytes may take: the clock runs while they are sent.
pub(super) fn timeouts(config: &S3Config, bytes: usize) -> TimeoutConfig {
    let sending = Duration::from_millis((bytes / SLOWEST_BYTES_PER_MS) as u64);
    let mut timeouts = TimeoutConfig::builder()
        .connect_timeout(config.connect_timeout)
        .read_timeout(config.read_timeout + sending);
    if let Some(limit) = config.request_timeout {
        timeouts = timeouts.operation_attempt_timeout(limit + sending);
    }
    timeouts.build()
}

fn http(config: &S3Config) -> Result<SharedHttpClient, S3ConfigError> {
    let mut trust = TrustStore::default();
    if let Some(file) = &config.ca_file {
        let unusable = |reason: String| S3ConfigError::CaFile {
            file: file.clone(),
            reason,
        };
        let pem = std::fs::read(file).map_err(|e| unusable(e.to_string()))?;
        crate::tls::check_roots(file).map_err(|e| unusable(e.to_string()))?;
        trust = trust.with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(trust).build();
    let context = context.map_err(|e| S3ConfigError::CaFile {
        file: config.ca_file.clone().unwrap_or_default(),
        reason: e.to_string(),
    })?;
    Ok(Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .tls_context(context)
        .build_https())
}
