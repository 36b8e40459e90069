//! Flags that say how to reach a running bucket-scanner.

use std::path::PathBuf;

use anyhow::bail;
use stoker_shared::grpc::GrpcClientConfig;

use crate::embedded::LedgerArgs;

/// A running service to ask, instead of opening a ledger.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServerArgs {
    /// A running bucket-scanner to ask, e.g. http://127.0.0.1:7701
    #[arg(long, value_name = "URL", global = true)]
    pub server: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
}

impl ServerArgs {
    /// How to reach the server; none when none is named.
    pub fn config(&self) -> Option<GrpcClientConfig> {
        self.server.clone().map(|url| self.trust.to(url))
    }

    /// The same for a command that opens a ledger unless a server is named; both make no sense.
    pub fn instead_of(&self, ledger: &LedgerArgs) -> anyhow::Result<Option<GrpcClientConfig>> {
        let config = self.trust.to_named(self.server.as_deref())?;
        if config.is_some() && ledger.ledger.is_some() {
            bail!("--ledger and --server name two ledgers; give one of them");
        }
        Ok(config)
    }
}

/// How a running service is known, and what is shown to it.
#[derive(Debug, Clone, Default, clap::Args)]
#[expect(
    clippy::struct_field_names,
    reason = "the flags are named after the fields"
)]
pub struct TrustArgs {
    /// File that holds the bearer token of that server
    #[arg(long, value_name = "FILE", global = true)]
    server_token_file: Option<PathBuf>,
    /// PEM file of certificates to trust for that server instead of the system's
    #[arg(long, value_name = "FILE", global = true)]
    server_ca_file: Option<PathBuf>,
    /// PEM file of the certificate to show that server, where it asks for one
    #[arg(long, value_name = "FILE", global = true)]
    server_client_cert_file: Option<PathBuf>,
    /// PEM file of the private key of that certificate
    #[arg(long, value_name = "FILE", global = true)]
    server_client_key_file: Option<PathBuf>,
}

impl TrustArgs {
    /// How to reach the server at `url`.
    pub fn to(&self, url: String) -> GrpcClientConfig {
        GrpcClientConfig {
            url,
            token_file: self.server_token_file.clone(),
            ca_file: self.server_ca_file.clone(),
            client_cert_file: self.server_client_cert_file.clone(),
            client_key_file: self.server_client_key_file.clone(),
            ..GrpcClientConfig::default()
        }
    }

    /// How to reach the server, if one is named; if none is, nothing may be given for it.
    pub fn to_named(&self, url: Option<&str>) -> anyhow::Result<Option<GrpcClientConfig>> {
        if let Some(url) = url {
            return Ok(Some(self.to(url.to_owned())));
        }
        let given = [
            ("--server-token-file", &self.server_token_file),
            ("--server-ca-file", &self.server_ca_file),
            ("--server-client-cert-file", &self.server_client_cert_file),
            ("--server-client-key-file", &self.server_client_key_file),
        ];
        if let Some((flag, _)) = given.iter().find(|(_, file)| file.is_some()) {
            bail!("{flag} is for a server; give --server URL too");
        }
        Ok(None)
    }
}
