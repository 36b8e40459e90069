//! Running remote indexers, and how they are reached.

use anyhow::anyhow;
use stoker_proto::index::v1::index_service_client::IndexServiceClient;
use stoker_shared::grpc::{self, Channel};
use tonic::{Code, Status};

use crate::server_args::TrustArgs;

pub(super) type Client = IndexServiceClient<Channel>;

/// Running remote indexers to ask.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct IndexServer {
    /// A running remote indexer; several with commas between
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7704")]
    server: String,
    #[command(flatten)]
    trust: TrustArgs,
}

impl IndexServer {
    /// Each with its address.
    pub(super) fn clients(&self) -> anyhow::Result<Vec<(String, Client)>> {
        let urls = self.server.split(',').map(str::trim);
        let one = |url: &str| {
            let client = IndexServiceClient::new(grpc::connect(&self.trust.to(url.to_owned()))?);
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
