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
    /// File that holds the bearer token of that server
    #[arg(long, value_name = "FILE", global = true)]
    server_token_file: Option<PathBuf>,
    /// PEM file of certificates to trust for that server instead of the system's
    #[arg(long, value_name = "FILE", global = true)]
    server_ca_file: Option<PathBuf>,
}

impl ServerArgs {
    /// How to reach the server; none when none is named.
    pub fn config(&self) -> Option<GrpcClientConfig> {
        Some(GrpcClientConfig {
            url: self.server.clone()?,
            token_file: self.server_token_file.clone(),
            ca_file: self.server_ca_file.clone(),
            ..GrpcClientConfig::default()
        })
    }

    /// The same for a command that opens a ledger unless a server is named; both make no sense.
    pub fn instead_of(&self, ledger: &LedgerArgs) -> anyhow::Result<Option<GrpcClientConfig>> {
        if let Some(flag) = self.without_server() {
            bail!("{flag} is for a server; give --server URL too");
        }
        if self.server.is_some() && ledger.ledger.is_some() {
            bail!("--ledger and --server name two ledgers; give one of them");
        }
        Ok(self.config())
    }

    /// What is given for a server although none is named.
    fn without_server(&self) -> Option<&'static str> {
        match (&self.server, &self.server_token_file, &self.server_ca_file) {
            (Some(_), ..) | (None, None, None) => None,
            (None, Some(_), _) => Some("--server-token-file"),
            (None, None, Some(_)) => Some("--server-ca-file"),
        }
    }
}
