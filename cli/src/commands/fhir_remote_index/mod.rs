//! `stoker fhir-remote-index`: the command line of the Java tool of that name, as it is.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use stoker_shared::service::{self, Context};

mod given;
mod plan;

use given::Given;

use crate::java::logging::{Logger, Logging};
use crate::java::notes::Notes;
use crate::{Cli, Global};

/// Index as the Java fhir-remote-index does, by its own options and properties files
///
/// Takes every option of the Java tool, and what stands before them on a `java` command line. It runs until it
/// is stopped. docs/fhir-remote-index.md says of each option and property what it does here.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct FhirRemoteIndexArgs {
    /// Options of the Java fhir-remote-index
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTION"
    )]
    args: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  stoker fhir-remote-index --database-properties database.properties --kafka-properties kafka.properties \\
    --instance-identifier a-random-uuid-value
  stoker fhir-remote-index -Djava.util.logging.config.file=logging.properties \\
    --db-type citus --schema-type DISTRIBUTED --consumer-count 3 --database-properties database.properties \\
    --kafka-properties kafka.properties --instance-identifier a-random-uuid-value

Exit codes: 0 stopped by a signal · 1 could not run";

/// The parts of the Java tool, and the modules that do their work here.
const LOGGERS: [Logger; 3] = [
    Logger::new("org.linuxforhealth.fhir.remote.index", "remote_indexer"),
    Logger::new("org.linuxforhealth.fhir.database", "tokio_postgres"),
    Logger::new("org.apache.kafka", "stoker_shared::kafka"),
];

/// Runs the command.
pub async fn run(args: FhirRemoteIndexArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let given = Given::parse(&args.args)?;
    if given.help {
        if let Err(help) = Cli::try_parse_from(["stoker", "fhir-remote-index", "--help"]) {
            help.print()?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut notes = Notes::default();
    let logging = Logging::read(given.jvm.logging.as_deref(), &LOGGERS, &mut notes);
    let config = plan::config(&given, global, &mut notes)?;
    let log = logging.start("remote-indexer", &LOGGERS, global, &mut notes)?;
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, "remote-indexer starting");
    let ended = Box::pin(service::run(
        config,
        Context::default(),
        remote_indexer::run,
    ))
    .await;
    let ended = ended.context("the indexer ended");
    if ended.is_ok() {
        tracing::info!("remote-indexer stopped");
    }
    log.end(&ended);
    ended.map(|()| ExitCode::SUCCESS)
}
