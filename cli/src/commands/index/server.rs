//! Running remote indexers, and how they are reached.

use std::path::PathBuf;

use anyhow::anyhow;
use stoker_proto::index::v1::index_service_client::IndexServiceClient;
use stoker_shared::grpc::{self, Channel, GrpcClientConfig};
use tonic::{Code, Status};

pub(super) type Client = IndexServiceClient<Channel>;

/// Running remote indexers to ask.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct IndexServer {
    /// A running remote indexer; several with commas between
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7704")]
    server: String,
    /// File that holds the bearer token of that server
    #[arg(long, value_name = "FILE")]
    server_token_file: Option<PathBuf>,
    /// PEM file of certificates to trust for that server instead of the system's
    #[arg(long, value_name = "FILE")]
    server_ca_file: Option<PathBuf>,
}

impl IndexServer {
    /// Each with its address.
    pub(super) fn clients(&self) -> anyhow::Result<Vec<(String, Client)>> {
        let urls = self.server.split(',').map(str::trim);
        let one = |url: &str| {
            let config = GrpcClientConfig {
                url: url.to_owned(),
                token_file: self.server_token_file.clone(),
                ca_file: self.server_ca_file.clone(),
                ..GrpcClientConfig::default()
            };
            let client = IndexServiceClient::new(grpc::connect(&config)?);
            Ok((url.to_owned(), client))
        };
        urls.map(one).collect()
    }
}

/// Why nothing came of asking, for a person.
pub(super) fn sentence(url: &str, status: &Status) -> anyhow::Error {
    let causes = std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    let message = status.message();
    match (causes.last(), status.code()) {
        (Some(cause), _) => anyhow!(
            "{url}: the remote indexer cannot be asked: {cause}; check the address and that it runs"
        ),
        (None, Code::Unauthenticated) => {
            anyhow!("{url}: {message}; give its token with --server-token-file")
        }
        // No remote indexer says so, but what is made of the answer of another server.
        (None, code)
            if matches!(code, Code::Unimplemented | Code::Unknown)
                || message.starts_with("protocol error") =>
        {
            anyhow!(
                "{url}: what answers there is no remote indexer; give the address of its gRPC port"
            )
        }
        (None, _) => anyhow!("{url}: {message}"),
    }
}
