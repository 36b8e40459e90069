//! The whole system in this process: a scanner with its ledger, reached by the same gRPC contract as one
//! elsewhere, but over a pipe in memory: no port is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bucket_scanner::Scanner;
use bucket_scanner::ledger::LedgerUrl;
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_shared::clock::SystemClock;
use stoker_shared::grpc::{self, Channel, GrpcConfig};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A lease outlives its holder by this much at most: short, since a command that was killed is started
/// again soon, and the ledger is in the same process.
const LEASE: Duration = Duration::from_secs(10);

/// A scanner in this process.
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
    pub fn url_or(&self, configured: &bucket_scanner::Config) -> anyhow::Result<Option<LedgerUrl>> {
        Ok(Some(match (&self.ledger, &configured.ledger) {
            (Some(text), _) => text.parse()?,
            (None, Some(url)) => url.clone(),
            (None, None) => LedgerUrl::Sqlite(data_folder()?.join("ledger.sqlite")),
        }))
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
        .context("neither XDG_DATA_HOME nor HOME is set; name a ledger with --ledger")?;
    Ok(base.join("stoker"))
}

impl Embedded {
    /// Opens the ledger and starts to serve it.
    pub async fn start(config: bucket_scanner::Config) -> anyhow::Result<Self> {
        let config = bucket_scanner::Config {
            lease: config.lease.min(LEASE),
            ..config
        };
        let scanner = Scanner::open(&config, Arc::new(SystemClock)).await?;
        let stop = CancellationToken::new();
        let (channel, incoming) = grpc::in_process();
        let mut tasks = JoinSet::new();
        let routes = scanner.routes();
        let stopped = stop.clone();
        tasks.spawn(async move {
            Ok(grpc::serve(&GrpcConfig::default(), routes, incoming, stopped).await?)
        });
        let stopped = stop.clone();
        tasks.spawn(async move { Ok(scanner.run(stopped).await?) });
        Ok(Self {
            channel,
            stop,
            tasks,
        })
    }

    /// A connection to it.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The user's side of it.
    pub fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel())
    }

    /// Waits until a part of it fails.
    pub async fn failed(&mut self) -> anyhow::Error {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Err(error))) => return error,
                Some(Err(panic)) => return panic.into(),
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
