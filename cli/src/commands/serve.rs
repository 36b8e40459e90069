//! `stoker serve SERVICE`: one service, as its container runs it.

use std::process::ExitCode;

use clap::ValueEnum;
use stoker_shared::config::{self, Load};
use stoker_shared::service;

use crate::Global;

/// Run one service until a signal stops it
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

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Service {
    /// Lists sources and serves the ledger: gRPC on 7701, health and metrics on 7801
    BucketScanner,
    /// Loads what the scanner hands out: gRPC on 7702, health and metrics on 7802
    LoaderWorker,
}

const EXAMPLES: &str = "Examples:
  stoker serve bucket-scanner --config stoker.yaml
  stoker serve loader-worker --set ledger.url=http://scanner:7701";

/// Runs the command.
pub fn run(args: ServeArgs, global: &Global) -> ExitCode {
    let load = |name| Load {
        file: global.config.clone(),
        overrides: args.set,
        ..Load::section(name)
    };
    match args.service {
        Service::BucketScanner => {
            let name = "bucket-scanner";
            service::start(name, &load(name), bucket_scanner::run)
        }
        Service::LoaderWorker => {
            let name = "loader-worker";
            service::start(name, &load(name), loader_worker::run)
        }
    }
}
