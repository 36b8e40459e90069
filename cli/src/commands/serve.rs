//! `stoker serve SERVICE`: one service, as its container runs it.

use std::fmt::Display;
use std::process::ExitCode;

use clap::ValueEnum;
use remote_indexer::config::Draft;
use stoker_shared::config::{self, ConfigFaults, Load};
use stoker_shared::service::{self, Context, ServiceConfig, ServiceSettings};
use stoker_shared::telemetry::{self, LogFormat, TelemetryConfig};

use crate::{Global, apart};

/// Run one service until a signal stops it
///
/// Its log goes to standard error as its configuration says, unless flags say otherwise: with --json as
/// JSON; with -v more of it, with -vv also of its libraries; with --quiet only warnings and errors.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Which service
    #[arg(value_enum)]
    service: Service,
    /// Set one key of its configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = config::parse_override)]
    set: Vec<(String, String)>,
}

/// What `stoker serve` runs.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Service {
    /// Lists sources and serves the ledger: gRPC on 7701, health and metrics on 7801
    BucketScanner,
    /// Loads what the scanner hands out: gRPC on 7702, health and metrics on 7802
    LoaderWorker,
    /// Reindexes FHIR servers to the end: gRPC on 7703, health and metrics on 7803
    ReindexDriver,
    /// Indexes what a FHIR server sends over Kafka: gRPC on 7704, health and metrics on 7804
    RemoteIndexer,
    /// Backs up databases, proves and retires backups: gRPC on 7705, health and metrics on 7805
    BackupAgent,
}

impl Service {
    /// As it is typed.
    pub(super) fn name(self) -> String {
        let named = self.to_possible_value();
        named
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// Where it listens, and what else every service has configured.
    pub(super) fn settings(
        self,
        load: impl FnOnce(&str) -> Load,
    ) -> Result<ServiceSettings, ConfigFaults> {
        let load = load(&self.name());
        Ok(match self {
            Self::BucketScanner => config::load::<bucket_scanner::Config>(&load)?.service,
            Self::LoaderWorker => config::load::<loader_worker::Config>(&load)?.service,
            Self::ReindexDriver => config::load::<reindex_driver::Config>(&load)?.service,
            Self::RemoteIndexer => config::load::<Draft>(&load)?.0.service,
            Self::BackupAgent => config::load::<backup_agent::Config>(&load)?.service,
        })
    }
}

const EXAMPLES: &str = "Examples:
  stoker serve bucket-scanner --config stoker.yaml
  stoker serve loader-worker --set ledger.url=http://scanner:7701
  stoker serve reindex-driver --set runs.url=postgres://stoker@db/stoker
  stoker serve remote-indexer --config remote-indexer.yaml
  stoker serve backup-agent --config backup-agent.yaml";

/// Runs the command.
pub async fn run(args: ServeArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let load = |name| Load {
        file: global.config.clone(),
        overrides: args.set,
        ..Load::section(name)
    };
    match args.service {
        Service::BucketScanner => {
            let name = "bucket-scanner";
            apart(|| run_one(name, load(name), global, bucket_scanner::run)).await?;
        }
        Service::LoaderWorker => {
            let name = "loader-worker";
            apart(|| run_one(name, load(name), global, loader_worker::run)).await?;
        }
        Service::ReindexDriver => {
            let name = "reindex-driver";
            apart(|| run_one(name, load(name), global, reindex_driver::run)).await?;
        }
        Service::BackupAgent => {
            let name = "backup-agent";
            apart(|| run_one(name, load(name), global, backup_agent::run)).await?;
        }
        Service::RemoteIndexer => remote_indexer(load("remote-indexer"), global).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the remote-indexer, for `stoker index` too.
pub(super) async fn remote_indexer(load: Load, global: &Global) -> anyhow::Result<()> {
    apart(|| run_one("remote-indexer", load, global, remote_indexer::run)).await
}

async fn run_one<C, F, Fut, E>(
    name: &'static str,
    load: Load,
    global: &Global,
    service: F,
) -> anyhow::Result<()>
where
    C: ServiceConfig,
    F: FnOnce(C, Context) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Display,
{
    let config: C = config::load(&load)?;
    let telemetry = telemetry::init(&logs(&config.service().telemetry, global), name)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "{name} starting");
    let ended = service::run(config, Context::default(), service).await;
    if ended.is_ok() {
        tracing::info!("{name} stopped");
    }
    telemetry.shutdown();
    Ok(ended?)
}

/// More of Stoker itself, not of the libraries it is made of.
const OWN_DEBUG: &str = "info,bucket_scanner=debug,loader_worker=debug,reindex_driver=debug,remote_indexer=debug,\
                         backup_agent=debug,stoker_shared=debug";

/// The flags laid over what is configured.
pub(super) fn logs(configured: &TelemetryConfig, global: &Global) -> TelemetryConfig {
    let mut logs = configured.clone();
    if global.json {
        logs.log_format = LogFormat::Json;
    }
    let level = match (global.quiet, global.verbose) {
        (true, _) => Some("warn"),
        (false, 0) => None,
        (false, 1) => Some(OWN_DEBUG),
        (false, _) => Some("debug"),
    };
    if let Some(level) = level {
        level.clone_into(&mut logs.log_level);
    }
    logs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_decide_how_logs_look() {
        let global = |json, verbose, quiet| Global {
            config: None,
            json,
            verbose,
            quiet,
        };
        let configured = TelemetryConfig::at_level("info,stoker_shared=debug");
        let with = |json, verbose, quiet| logs(&configured, &global(json, verbose, quiet));
        assert_eq!(with(false, 0, false), configured);
        assert_eq!(with(true, 0, false).log_format, LogFormat::Json);
        assert_eq!(with(false, 1, false).log_level, OWN_DEBUG);
        assert_eq!(with(false, 2, false).log_level, "debug");
        assert_eq!(with(false, 0, true).log_level, "warn");
    }
}
