//! `stoker up`: every service in one process.

use std::fmt::Display;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use futures::stream::{self, Stream, StreamExt};
use remote_indexer::config::Draft;
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_shared::clock::SystemClock;
use stoker_shared::config::{self, ConfigFaults, Load};
use stoker_shared::health::{Metrics, Readiness};
use stoker_shared::service::{self, Context, ServiceConfig, ServiceError};
use stoker_shared::telemetry;
use tokio_util::sync::CancellationToken;

use super::serve::logs;
use super::{backup, reindex};
use crate::Global;
use crate::embedded::LedgerArgs;

/// Run every service in one process
///
/// The bucket-scanner (gRPC on 7701, health and metrics on 7801), a loader-worker (7702, 7802) and a reindex-driver
/// (7703, 7803), configured as they are by themselves; without a ledger or a store of runs configured they use the
/// user's own. A remote-indexer (7704, 7804) too, where its brokers, database and instance are configured, and a
/// backup-agent (7705, 7805), where a repository or a source is. Stop it with Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct UpArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    /// With a FHIR server to try things on, kept in memory, at http://127.0.0.1:7780/fhir
    #[arg(long)]
    demo: bool,
}

const EXAMPLES: &str = "Examples:
  stoker up --demo
  stoker up --ledger postgres://stoker@db/stoker --config stoker.yaml
  stoker jobs watch --server http://127.0.0.1:7701          what it is doing, from another terminal
  stoker reindex --to https://fhir.example.org/r4 --server http://127.0.0.1:7703";

/// The sandbox's own default.
const SANDBOX_PORT: u16 = 7780;

/// Runs the command.
pub async fn run(args: UpArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let section = |name| Load {
        file: global.config.clone(),
        ..Load::section(name)
    };
    let mut scanner: bucket_scanner::Config = config::load(&section("bucket-scanner"))?;
    let worker: loader_worker::Config = config::load(&section("loader-worker"))?;
    let mut driver: reindex_driver::Config = config::load(&section("reindex-driver"))?;
    let indexer = indexer(&section("remote-indexer"))?;
    let agent = agent(&section("backup-agent"))?;
    scanner.ledger = Some(args.ledger.url_or(&scanner)?);
    reindex::keep_runs(&mut driver)?;
    let telemetry = telemetry::init(&logs(&scanner.service.telemetry, global), "stoker")?;
    let sandbox = if args.demo {
        Some(start_sandbox().await?)
    } else {
        None
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "stoker up");
    let stop = CancellationToken::new();
    let mut signals = service::signals().context("signals cannot be received; try again")?;
    let scanning = one(&stop, Some(scanner), bucket_scanner::run);
    let working = one(&stop, Some(worker), loader_worker::run);
    let reindexing = one(&stop, Some(driver), reindex_driver::run);
    let indexing = one(&stop, indexer, remote_indexer::run);
    let backing_up = one(&stop, agent, backup_agent::run);
    let all = async {
        tokio::join!(
            Box::pin(scanning),
            Box::pin(working),
            Box::pin(reindexing),
            Box::pin(indexing),
            Box::pin(backing_up)
        )
    };
    let ended = tokio::select! {
        ended = all => Some(ended),
        () = twice(&mut signals, &stop) => None,
    };
    drop(sandbox);
    telemetry.shutdown();
    let (listing, loading, reindexing, indexing, backing_up) =
        ended.ok_or(ServiceError::Impatient)?;
    listing.context("bucket-scanner")?;
    loading.context("loader-worker")?;
    reindexing.context("reindex-driver")?;
    indexing.context("remote-indexer")?;
    backing_up.context("backup-agent")?;
    Ok(ExitCode::SUCCESS)
}

/// None where nothing is to be indexed. Half of what it takes is a fault.
fn indexer(load: &Load) -> Result<Option<remote_indexer::Config>, ConfigFaults> {
    let draft: Draft = config::load(load)?;
    if draft.is_blank() {
        return Ok(None);
    }
    config::load(load).map(Some)
}

/// None where nothing is backed up.
fn agent(load: &Load) -> anyhow::Result<Option<backup_agent::Config>> {
    let mut config: backup_agent::Config = config::load(load)?;
    if config.is_blank() {
        return Ok(None);
    }
    backup::keep_catalog(&mut config)?;
    Ok(Some(config))
}

/// Has everything stop at the first signal; ends at the second.
async fn twice(signals: &mut (impl Stream<Item = &'static str> + Unpin), stop: &CancellationToken) {
    signals.next().await;
    stop.cancel();
    signals.next().await;
}

async fn start_sandbox() -> anyhow::Result<Sandbox> {
    let config = SandboxConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], SANDBOX_PORT)),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await?;
    tracing::info!(url = sandbox.base_url(), "a FHIR server to try things on");
    Ok(sandbox)
}

/// Runs one service, where it is configured. However it ends, the others are told to stop: half a system is none.
async fn one<C, F, Fut, E>(
    stop: &CancellationToken,
    config: Option<C>,
    service: F,
) -> Result<(), ServiceError>
where
    C: ServiceConfig,
    F: FnOnce(C, Context) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Display,
{
    let Some(config) = config else {
        return Ok(());
    };
    let _stop_others = stop.clone().drop_guard();
    // Each has a readiness and metrics of its own, on its own port.
    let context = Context {
        shutdown: stop.clone(),
        readiness: Readiness::default(),
        metrics: Metrics::default(),
        clock: Arc::new(SystemClock),
    };
    service::run_told_by(stream::pending(), config, context, service).await
}
