//! The whole system in this process: a scanner with its ledger, or a driver with its runs, reached by the same gRPC
//! contract as one elsewhere, but over a pipe in memory: no port is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bucket_scanner::Scanner;
use bucket_scanner::ledger::LedgerUrl;
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_shared::clock::SystemClock;
use stoker_shared::config::{self, Load};
use stoker_shared::grpc::{self, Channel, GrpcConfig};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::Global;

/// A lease outlives its holder by this much at most: short, since a command that was killed is started
/// again soon, and the ledger is in the same process.
const LEASE: Duration = Duration::from_secs(10);

/// A service in this process.
#[derive(Debug)]
pub struct Embedded {
    channel: Channel,
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

/// Which ledger a command uses.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LedgerArgs {
    /// Where it is written down what is loaded: sqlite:PATH, postgres://…, or none
    /// [default: ledger.sqlite in the user's data folder]
    #[arg(long, value_name = "URL", global = true)]
    pub ledger: Option<String>,
}

impl LedgerArgs {
    /// The ledger named, else the one configured, else the user's own.
    pub fn url_or(&self, configured: &bucket_scanner::Config) -> anyhow::Result<LedgerUrl> {
        Ok(match (&self.ledger, &configured.ledger) {
            (Some(text), _) => text.parse()?,
            (None, Some(url)) => url.clone(),
            (None, None) => {
                let folder = data_folder().context("name a ledger with --ledger")?;
                LedgerUrl::Sqlite(folder.join("ledger.sqlite"))
            }
        })
    }

    /// What to append to a later command so that it uses the ledger at `url` too; none when nothing
    /// of that ledger is left by then.
    pub fn again(&self, url: &LedgerUrl, config: Option<&Path>) -> Option<String> {
        match (url, &self.ledger, config) {
            (LedgerUrl::Memory, ..) => None,
            (url, Some(_), _) => Some(format!(" --ledger {}", in_a_shell(&url.to_string()))),
            (_, None, Some(file)) => {
                let file = file.display().to_string();
                Some(format!(" --config {}", in_a_shell(&file)))
            }
            (_, None, None) => Some(String::new()),
        }
    }
}

/// In quotes when a shell would not take it as it is.
pub(crate) fn in_a_shell(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// `$XDG_DATA_HOME/stoker`, else `~/.local/share/stoker`.
pub fn data_folder() -> anyhow::Result<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let base = variable("XDG_DATA_HOME")
        .filter(|p| p.is_absolute())
        .or_else(|| Some(variable("HOME")?.join(".local/share")))
        .context("neither XDG_DATA_HOME nor HOME is set")?;
    Ok(base.join("stoker"))
}

async fn open(config: bucket_scanner::Config) -> anyhow::Result<Scanner> {
    let config = bucket_scanner::Config {
        lease: config.lease.min(LEASE),
        ..config
    };
    Ok(Scanner::open(&config, Arc::new(SystemClock)).await?)
}

/// What to say of a task that ended by a panic.
pub fn unexpected(panic: JoinError) -> anyhow::Error {
    anyhow::Error::new(panic).context(
        "a task ended unexpectedly, which is a fault in Stoker; run the same command again to go on",
    )
}

impl Embedded {
    /// Opens the ledger, serves it, and lists the sources of its jobs.
    pub async fn start(config: bucket_scanner::Config) -> anyhow::Result<Self> {
        let scanner = open(config).await?.end_on_full_disk();
        let mut embedded = Self::serve(&scanner);
        embedded.scan(scanner);
        Ok(embedded)
    }

    /// Opens the ledger and serves it; gives also the scanner, to be handed to [`Embedded::scan`] once
    /// the jobs are started.
    pub async fn open(config: bucket_scanner::Config) -> anyhow::Result<(Self, Scanner)> {
        let scanner = open(config).await?;
        Ok((Self::serve(&scanner), scanner))
    }

    /// Does what the jobs want of a scanner.
    pub fn scan(&mut self, scanner: Scanner) {
        let stopped = self.stop.clone();
        self.tasks
            .spawn(async move { Ok(scanner.run(stopped).await?) });
    }

    /// Opens the ledger and serves it to somebody who only asks: no source is listed, so that
    /// asking changes nothing.
    pub async fn answer(config: bucket_scanner::Config) -> anyhow::Result<Self> {
        Ok(Self::serve(&open(config).await?))
    }

    fn serve(scanner: &Scanner) -> Self {
        Self::of(scanner.routes())
    }

    /// Serves what answers at `routes`.
    pub fn of(routes: Routes) -> Self {
        let stop = CancellationToken::new();
        let (channel, incoming) = grpc::in_process();
        let mut tasks = JoinSet::new();
        let stopped = stop.clone();
        tasks.spawn(async move {
            Ok(grpc::serve(&GrpcConfig::default(), routes, incoming, stopped).await?)
        });
        Self {
            channel,
            stop,
            tasks,
        }
    }

    /// A connection to it.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The user's side of a scanner.
    pub fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel())
    }

    /// Waits until a part of it fails.
    pub async fn failed(&mut self) -> anyhow::Error {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Err(error))) => return error,
                Some(Err(panic)) => return unexpected(panic),
                Some(Ok(Ok(()))) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Ends it.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // What is committed is durable; a call that hangs need not be waited for.
        let _ = tokio::time::timeout(Duration::from_secs(2), ended).await;
    }
}

/// A ledger that an earlier command wrote, opened for somebody who makes none.
#[derive(Debug)]
pub enum Existing {
    /// Served.
    Open(Embedded),
    /// The ledger "none": nothing is kept.
    NoneKept,
    /// The user's own, which no load has made yet.
    NotYet,
}

impl Existing {
    /// The ledger that the flags and the configuration name. Fails where one is named that is not there.
    pub async fn of(ledger: &LedgerArgs, global: &Global) -> anyhow::Result<Self> {
        let section = Load {
            file: global.config.clone(),
            ..Load::section("bucket-scanner")
        };
        let mut scanner: bucket_scanner::Config = config::load(&section)?;
        let url = ledger.url_or(&scanner)?;
        let is_the_users_own = ledger.ledger.is_none() && scanner.ledger.is_none();
        match &url {
            LedgerUrl::Memory => return Ok(Self::NoneKept),
            // Opening it would make it.
            LedgerUrl::Sqlite(path) if path.try_exists().is_ok_and(|there| !there) => {
                if is_the_users_own {
                    return Ok(Self::NotYet);
                }
                bail!(
                    "{}: there is no ledger; check the path, or load something with it first",
                    path.display()
                );
            }
            _ => {}
        }
        scanner.ledger = Some(url);
        scanner.sources.clear();
        Ok(Self::Open(Embedded::answer(scanner).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_command_finds_the_ledger() {
        let again = |ledger: Option<&str>, url: &str, config: Option<&str>| {
            let args = LedgerArgs {
                ledger: ledger.map(str::to_owned),
            };
            args.again(&url.parse().unwrap(), config.map(Path::new))
        };
        let own = "sqlite:/home/me/ledger.sqlite";
        assert_eq!(again(None, own, None).unwrap(), "");
        assert_eq!(
            again(None, own, Some("s.yaml")).unwrap(),
            " --config s.yaml"
        );
        let named = "sqlite:it's here";
        assert_eq!(
            again(Some(named), named, None).unwrap(),
            r" --ledger 'sqlite:it'\''s here'"
        );
        let secret = "postgres://me:hush@db/x";
        assert!(!again(Some(secret), secret, None).unwrap().contains("hush"));
        assert_eq!(again(Some("none"), "none", None), None);
    }
}
