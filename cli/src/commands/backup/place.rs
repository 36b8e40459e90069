//! Which backups a command is about, and who is asked for them.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use backup_agent::Config;
use stoker_proto::backup::v1::backup_service_client::BackupServiceClient;
use stoker_shared::config::{self, Load};
use stoker_shared::grpc::{Channel, GrpcClientConfig};
use stoker_shared::store::StoreUrl;
use tonic::{Code, Status};

use crate::Global;
use crate::embedded::{data_folder, in_a_shell};
use crate::s3_args::S3Args;
use crate::server_args::TrustArgs;

pub(super) type Client = BackupServiceClient<Channel>;

/// Which backups a command is about.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct PlaceArgs {
    /// Where backups are: a folder, or s3://bucket/prefix [default: as configured]
    #[arg(long, value_name = "PLACE", global = true)]
    repository: Option<String>,
    /// Where runs are kept and backups noted: sqlite:PATH, postgres://…, or none
    /// [default: backup.sqlite in the user's data folder]
    #[arg(long, value_name = "URL", global = true)]
    catalog: Option<String>,
    /// A running backup-agent to ask, e.g. http://127.0.0.1:7705
    #[arg(long, value_name = "URL", global = true, conflicts_with_all = ["repository", "catalog"])]
    server: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    s3: S3Args,
}

impl PlaceArgs {
    /// How to reach the server; none when none is named.
    pub(super) fn server(&self) -> anyhow::Result<Option<GrpcClientConfig>> {
        self.trust.to_named(self.server.as_deref())
    }

    /// Whether a server is named.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.server.is_some()
    }

    /// The configuration of the agent of this process: the flags laid over what is configured.
    pub(super) fn config(&self, global: &Global) -> anyhow::Result<Config> {
        let load = Load {
            file: global.config.clone(),
            ..Load::section("backup-agent")
        };
        let mut config: Config = config::load(&load)?;
        if let Some(text) = &self.catalog {
            config.catalog.url = Some(text.parse()?);
        }
        keep_catalog(&mut config)?;
        if let Some(place) = &self.repository {
            config.repository.url = Some(whole(place)?);
        }
        config.repository.s3 = self.s3.clone().over(config.repository.s3);
        if config.is_blank() {
            bail!(
                "no repository is named: give --repository FOLDER or s3://bucket/prefix, or configure backup_agent"
            );
        }
        Ok(config)
    }

    /// What to append to a later command so that it is about the same backups.
    pub(super) fn again(&self, config: Option<&Path>) -> String {
        let file = config.map(|file| file.display().to_string());
        let flags = [
            ("--server", self.server.as_ref()),
            ("--repository", self.repository.as_ref()),
            ("--config", file.as_ref().filter(|_| self.server.is_none())),
        ];
        let given = flags.into_iter().filter_map(|(flag, value)| {
            let value = in_a_shell(value?);
            Some(format!(" {flag} {value}"))
        });
        given.collect()
    }
}

/// A folder by its full path, so that it is known by one name.
fn whole(place: &str) -> anyhow::Result<String> {
    if place.contains("://") {
        return Ok(place.to_owned());
    }
    let path = std::path::absolute(place).with_context(|| format!("--repository {place:?}"))?;
    Ok(path.display().to_string())
}

/// Has an agent that is configured without a catalog use the user's own.
pub(in crate::commands) fn keep_catalog(config: &mut Config) -> anyhow::Result<()> {
    if config.catalog.url.is_none() {
        let folder = data_folder().context("name where runs are kept with --catalog")?;
        config.catalog.url = Some(StoreUrl::Sqlite(folder.join("backup.sqlite")));
    }
    Ok(())
}

/// What the agent says, for a person; or why nothing came of asking it.
#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function of map_err"
)]
pub(super) fn sentence(status: Status) -> anyhow::Error {
    // Only what was made here has a cause; what the agent says is a sentence already.
    let causes = std::iter::successors(std::error::Error::source(&status), |cause| cause.source());
    let message = status.message();
    match (causes.last(), status.code()) {
        (Some(cause), _) => {
            anyhow!("the backup-agent cannot be asked: {cause}; check the address and that it runs")
        }
        (None, Code::Unauthenticated) => {
            anyhow!("{message}; give its token with --server-token-file")
        }
        // No agent says so, but what is made of the answer of another server.
        (None, code)
            if matches!(code, Code::Unimplemented | Code::Unknown)
                || message.starts_with("protocol error") =>
        {
            anyhow!("what answers there is no backup-agent; give the address of its gRPC port")
        }
        (None, _) => anyhow!(message.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_command_finds_the_backups() {
        let place = |repository: Option<&str>, server: Option<&str>| PlaceArgs {
            repository: repository.map(str::to_owned),
            server: server.map(str::to_owned),
            ..PlaceArgs::default()
        };
        let config = Some(Path::new("s.yaml"));
        assert_eq!(place(None, None).again(None), "");
        assert_eq!(place(None, None).again(config), " --config s.yaml");
        assert_eq!(
            place(Some("/my backups"), None).again(config),
            " --repository '/my backups' --config s.yaml"
        );
        assert_eq!(
            place(None, Some("http://a:7705")).again(config),
            " --server http://a:7705"
        );
    }
}
