//! Flags that say how to talk to a FHIR server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use stoker_shared::fhir::FhirConfig;
use stoker_shared::secret::Secret;

/// What a flag says wins over the configuration file. Secrets are better given by file or environment than
/// by flag: flags are seen by everyone who can list processes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "FHIR server")]
pub struct FhirArgs {
    /// Tenant, sent as X-FHIR-TENANT-ID
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// User for HTTP basic authentication
    #[arg(long, value_name = "NAME", env = "STOKER_FHIR_USER")]
    fhir_user: Option<String>,
    /// Password of that user
    #[arg(
        long,
        value_name = "TEXT",
        env = "STOKER_FHIR_PASSWORD",
        hide_env_values = true
    )]
    fhir_password: Option<Secret>,
    /// File that holds the password
    #[arg(long, value_name = "FILE")]
    fhir_password_file: Option<PathBuf>,
    /// Bearer token
    #[arg(
        long,
        value_name = "TEXT",
        env = "STOKER_FHIR_TOKEN",
        hide_env_values = true
    )]
    fhir_token: Option<Secret>,
    /// File that holds the bearer token
    #[arg(long, value_name = "FILE")]
    fhir_token_file: Option<PathBuf>,
    /// Header for every request; may be repeated
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<Secret>,
    /// PEM file of certificates to trust besides the system's
    #[arg(long, value_name = "FILE")]
    fhir_ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate
    #[arg(long, value_name = "FILE", requires = "fhir_client_key_file")]
    fhir_client_cert_file: Option<PathBuf>,
    /// PEM file of the client's private key
    #[arg(long, value_name = "FILE", requires = "fhir_client_cert_file")]
    fhir_client_key_file: Option<PathBuf>,
    /// Accept any certificate; only for servers that hold no real data
    #[arg(long)]
    insecure_skip_verify: bool,
    /// Longest wait for one answer [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    request_timeout: Option<Duration>,
}

impl FhirArgs {
    /// Lays the flags over `config`.
    pub fn over(self, mut config: FhirConfig) -> anyhow::Result<FhirConfig> {
        if self.fhir_password.is_some() || self.fhir_password_file.is_some() {
            (config.password, config.password_file) = (None, None);
            (config.token, config.token_file) = (None, None);
        }
        if self.fhir_token.is_some() || self.fhir_token_file.is_some() {
            (config.token, config.token_file) = (None, None);
            (config.password, config.password_file) = (None, None);
            config.user = None;
        }
        let over = |value: Option<PathBuf>, config: &mut Option<PathBuf>| {
            if value.is_some() {
                *config = value;
            }
        };
        config.user = self.fhir_user.or(config.user);
        config.password = self.fhir_password.or(config.password);
        over(self.fhir_password_file, &mut config.password_file);
        config.token = self.fhir_token.or(config.token);
        over(self.fhir_token_file, &mut config.token_file);
        over(self.fhir_ca_file, &mut config.ca_file);
        over(self.fhir_client_cert_file, &mut config.client_cert_file);
        over(self.fhir_client_key_file, &mut config.client_key_file);
        config.insecure_skip_verify |= self.insecure_skip_verify;
        config.request_timeout = self.request_timeout.unwrap_or(config.request_timeout);
        for header in self.header {
            let Some((name, value)) = header.expose().split_once(':') else {
                bail!("--header: there is no colon in it; give it as \"NAME: VALUE\"");
            };
            let value = Secret::from(value.trim());
            config.headers.insert(name.trim().to_owned(), value);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_file() {
        let config = FhirConfig {
            user: Some("from-file".to_owned()),
            password_file: Some("/run/secret".into()),
            ..FhirConfig::default()
        };
        let args = FhirArgs {
            fhir_password: Some("given".into()),
            header: vec!["X-A: b:c".into()],
            ..FhirArgs::default()
        };
        let config = args.over(config).unwrap();
        assert_eq!(config.user.as_deref(), Some("from-file"));
        assert_eq!(config.password_file, None, "one password at a time");
        assert_eq!(config.headers["X-A"].expose(), "b:c");
    }

    #[test]
    fn a_token_takes_the_place_of_a_configured_user() {
        let config = FhirConfig {
            user: Some("from-file".to_owned()),
            password_file: Some("/run/secret".into()),
            ..FhirConfig::default()
        };
        let args = FhirArgs {
            fhir_token: Some("t".into()),
            ..FhirArgs::default()
        };
        assert!(
            !format!("{args:?}").contains("\"t\""),
            "secrets are not shown"
        );
        let config = args.over(config).unwrap();
        assert_eq!((config.user, config.password_file), (None, None));
    }

    #[test]
    fn a_header_without_a_colon_is_refused_without_showing_it() {
        let args = FhirArgs {
            header: vec!["secret-value".into()],
            ..FhirArgs::default()
        };
        let error = args.over(FhirConfig::default()).unwrap_err().to_string();
        assert!(!error.contains("secret-value"), "{error}");
    }
}
