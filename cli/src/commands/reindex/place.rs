//! Where runs are kept, and who is asked for them: a running reindex-driver, or the store itself.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use reindex_driver::Config;
use stoker_proto::reindex::v1::reindex_service_client::ReindexServiceClient;
use stoker_shared::grpc::{Channel, GrpcClientConfig};
use stoker_shared::store::StoreUrl;
use tonic::{Code, Status};

use crate::embedded::{data_folder, in_a_shell};
use crate::server_args::TrustArgs;

pub(super) type Client = ReindexServiceClient<Channel>;

/// Which runs a command is about.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct PlaceArgs {
    /// Where runs are kept: sqlite:PATH, postgres://…, or none
    /// [default: reindex.sqlite in the user's data folder]
    #[arg(long, value_name = "URL", global = true)]
    runs: Option<String>,
    /// A running reindex-driver to ask, e.g. http://127.0.0.1:7703
    #[arg(long, value_name = "URL", global = true, conflicts_with = "runs")]
    server: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
}

impl PlaceArgs {
    /// How to reach the server; none when none is named.
    pub(super) fn server(&self) -> anyhow::Result<Option<GrpcClientConfig>> {
        self.trust.to_named(self.server.as_deref())
    }

    /// The store named, else the one configured, else the user's own.
    pub(super) fn url_or(&self, configured: &Config) -> anyhow::Result<StoreUrl> {
        Ok(match (&self.runs, &configured.runs.url) {
            (Some(text), _) => text.parse()?,
            (None, Some(url)) => url.clone(),
            (None, None) => {
                let folder = data_folder().context("name where runs are kept with --runs")?;
                StoreUrl::Sqlite(folder.join("reindex.sqlite"))
            }
        })
    }

    /// Whether nobody has named a store.
    pub(super) fn is_the_users_own(&self, configured: &Config) -> bool {
        self.runs.is_none() && configured.runs.url.is_none()
    }

    /// What to append to a later command so that it is about the same runs; none when they are gone by then.
    pub(super) fn again(&self, url: &StoreUrl, config: Option<&Path>) -> Option<String> {
        match (&self.server, url, &self.runs, config) {
            (Some(server), ..) => Some(format!(" --server {}", in_a_shell(server))),
            (None, StoreUrl::Memory, ..) => None,
            (None, url, Some(_), _) => Some(format!(" --runs {}", in_a_shell(&url.to_string()))),
            (None, _, None, Some(file)) => {
                let file = file.display().to_string();
                Some(format!(" --config {}", in_a_shell(&file)))
            }
            (None, _, None, None) => Some(String::new()),
        }
    }
}

/// What the driver says, for a person; or why nothing came of asking it.
#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function of map_err"
)]
pub(super) fn sentence(status: Status) -> anyhow::Error {
    // Only what was made here has a cause; what the driver says is a sentence already.
    let causes = std::iter::successors(std::error::Error::source(&status), |cause| cause.source());
    let message = status.message();
    match (causes.last(), status.code()) {
        (Some(cause), _) => anyhow!(
            "the reindex-driver cannot be asked: {cause}; check the address and that it runs"
        ),
        (None, Code::Unauthenticated) => {
            anyhow!("{message}; give its token with --server-token-file")
        }
        // No driver says so, but what is made of the answer of another server.
        (None, code)
            if matches!(code, Code::Unimplemented | Code::Unknown)
                || message.starts_with("protocol error") =>
        {
            anyhow!("what answers there is no reindex-driver; give the address of its gRPC port")
        }
        (None, _) => anyhow!(message.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_command_finds_the_runs() {
        let again = |runs: Option<&str>, server: Option<&str>, url: &str, config: Option<&str>| {
            let args = PlaceArgs {
                runs: runs.map(str::to_owned),
                server: server.map(str::to_owned),
                ..PlaceArgs::default()
            };
            args.again(&url.parse().unwrap(), config.map(Path::new))
        };
        let own = "sqlite:/home/me/reindex.sqlite";
        assert_eq!(again(None, None, own, None).unwrap(), "");
        assert_eq!(
            again(None, None, own, Some("s.yaml")).unwrap(),
            " --config s.yaml"
        );
        let secret = "postgres://me:hush@db/x";
        let named = again(Some(secret), None, secret, None).unwrap();
        assert!(
            named.contains("--runs") && !named.contains("hush"),
            "{named}"
        );
        assert_eq!(again(Some("none"), None, "none", None), None);
        let server = again(None, Some("http://d:7703"), own, None);
        assert_eq!(server.unwrap(), " --server http://d:7703");
    }
}
