//! `stoker index`: the remote indexer in the foreground, and what one does with a running one and its dead letters.

use std::process::ExitCode;

use stoker_shared::config::{self, Load};

use super::serve;
use crate::Global;
use crate::output::Output;

mod dlq;
mod list;
mod server;
mod status;

use dlq::DlqCommand;
use server::IndexServer;
use status::Asked;

/// Index what a FHIR server sends over Kafka; ask, pause and resume a running remote indexer
///
/// Without a subcommand the remote indexer runs in the foreground, as `stoker serve remote-indexer` does.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct IndexArgs {
    #[command(subcommand)]
    command: Option<IndexCommand>,
    /// Set one key of its configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = config::parse_override, global = true)]
    set: Vec<(String, String)>,
}

#[derive(Debug, clap::Subcommand)]
enum IndexCommand {
    /// How far a running remote indexer is, and whether it is well
    #[command(after_help = STATUS_EXAMPLES)]
    Status {
        #[command(flatten)]
        server: IndexServer,
        /// Show it again at each change and each second, until Ctrl-C; with --json one object a line
        #[arg(long)]
        watch: bool,
    },
    /// Have a running remote indexer take no new messages; what it has taken is finished
    ///
    /// It keeps its partitions, so that no other process takes their messages either. One that is started again is
    /// not paused.
    #[command(after_help = PAUSE_EXAMPLES)]
    Pause(IndexServer),
    /// Have it take messages again
    #[command(after_help = RESUME_EXAMPLES)]
    Resume(IndexServer),
    /// Messages that could not be indexed: list them, send them again
    #[command(after_help = DLQ_EXAMPLES)]
    Dlq {
        #[command(subcommand)]
        command: DlqCommand,
    },
}

const EXAMPLES: &str = "Examples:
  stoker index --config remote-indexer.yaml
  stoker index --set kafka.brokers=kafka:9092 --set instance_identifier=5a0c7a1e-idx-prod \\
    --set database.url=postgres://fhirserver@db/fhirdb --set database.password_file=pw
  stoker index status
  stoker index dlq list";

const STATUS_EXAMPLES: &str = "Examples:
  stoker index status
  stoker index status --server http://indexer-0:7704,http://indexer-1:7704 --json
  stoker index status --watch";

const PAUSE_EXAMPLES: &str = "Examples:
  stoker index pause
  stoker index pause --server http://indexer-0:7704,http://indexer-1:7704";

const RESUME_EXAMPLES: &str = "Examples:
  stoker index resume
  stoker index resume --server http://indexer-0:7704,http://indexer-1:7704";

const DLQ_EXAMPLES: &str = "Examples:
  stoker index dlq list
  stoker index dlq replay --reason unknown_type";

impl IndexArgs {
    /// Whether it is the service itself that is to run, with a log of its own.
    pub fn is_service(&self) -> bool {
        self.command.is_none()
    }
}

/// Runs the command.
pub async fn run(args: IndexArgs, global: &Global, output: &Output) -> anyhow::Result<ExitCode> {
    let load = Load {
        file: global.config.clone(),
        overrides: args.set,
        ..Load::section("remote-indexer")
    };
    match args.command {
        None => serve::remote_indexer(load, global).await?,
        Some(IndexCommand::Status { server, watch }) if watch => {
            return status::watch(&server, output).await;
        }
        Some(IndexCommand::Status { server, .. }) => {
            status::ask(&server, Asked::Status, output).await?;
        }
        Some(IndexCommand::Pause(server)) => status::ask(&server, Asked::Pause, output).await?,
        Some(IndexCommand::Resume(server)) => status::ask(&server, Asked::Resume, output).await?,
        Some(IndexCommand::Dlq { command }) => dlq::run(command, load, global, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}
