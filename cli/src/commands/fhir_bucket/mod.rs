//! `stoker fhir-bucket`: the command line of the Java tool of that name, as it is.

use std::process::ExitCode;
use std::sync::Arc;

use bucket_scanner::ledger;
use clap::Parser as _;
use stoker_shared::clock::SystemClock;

mod db;
mod fhir;
mod given;
mod keep;
mod options;
mod plan;
mod reindex;

use given::Given;
use plan::Work;

use super::{load, reindex as reindexing};
use crate::java::logging::{Logger, Logging};
use crate::java::notes::Notes;
use crate::output::Output;
use crate::progress::Progress;
use crate::{Cli, Global};

/// Load and reindex as the Java fhir-bucket does, by its own options and properties files
///
/// Takes every option of the Java tool, and what stands before them on a `java` command line. It runs until it
/// is stopped, except with --create-schema, --immediate-local and --reindex-tstamp. docs/fhir-bucket.md says of each option what
/// it does here.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct FhirBucketArgs {
    /// Options of the Java fhir-bucket
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTION"
    )]
    args: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  stoker fhir-bucket --db-type postgresql --db-properties db.properties --create-schema
  stoker fhir-bucket -Djava.util.logging.config.file=logging.properties \\
    --bootstrap-schema --db-type postgresql --db-properties db.properties \\
    --cos-properties cos.properties --fhir-properties fhir.properties --bucket my-bucket --file-type NDJSON
  stoker fhir-bucket --fhir-properties fhir.properties --immediate-local --scan-local-dir ./data
  stoker fhir-bucket --fhir-properties fhir.properties --no-scan --reindex-tstamp 2020-12-01T00:00:00Z \\
    --reindex-resource-count 50 --reindex-concurrent-requests 20 --reindex-client-side-driven

Exit codes: 0 done, or stopped by a signal · 1 could not run
            with --immediate-local and --reindex-tstamp also 2 some inputs were rejected, or some resources could not
            be reindexed · 3 interrupted";

/// Runs the command.
pub async fn run(args: FhirBucketArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let output = Output::new(global);
    let given = Given::parse(&args.args)?;
    if given.help {
        if let Err(help) = Cli::try_parse_from(["stoker", "fhir-bucket", "--help"]) {
            help.print()?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut notes = Notes::default();
    let logging = Logging::read(given.jvm.logging.as_deref(), &LOGGERS, &mut notes);
    let work = Work::of(&given, global, &mut notes)?;
    let log = logging.start("fhir-bucket", &LOGGERS, global, &mut notes)?;
    let ended = do_it(work, &output).await;
    log.end(&ended);
    ended
}

/// The parts of the Java tool, and the modules that do their work here.
const LOGGERS: [Logger; 9] = [
    Logger::new("org.linuxforhealth.fhir.bucket.scanner", "bucket_scanner"),
    Logger::new(
        "org.linuxforhealth.fhir.bucket.persistence",
        "bucket_scanner::ledger",
    ),
    Logger::new(
        "org.linuxforhealth.fhir.bucket.cos",
        "stoker_shared::object_store",
    ),
    Logger {
        java: "org.linuxforhealth.fhir.bucket.reader",
        module: "loader_worker",
        // The line about each completed entry.
        at_info: Some("loader_worker::completed"),
    },
    Logger::new(
        "org.linuxforhealth.fhir.bucket.client",
        "stoker_shared::fhir",
    ),
    Logger::new("org.linuxforhealth.fhir.bucket.reindex", "reindex_driver"),
    Logger::new("org.linuxforhealth.fhir.bucket.app", "stoker"),
    Logger::new("org.linuxforhealth.fhir.database", "sqlx"),
    Logger::new("com.ibm.cos", "aws_sdk_s3"),
];

async fn do_it(work: Work, output: &Output) -> anyhow::Result<ExitCode> {
    match work {
        Work::Schema(config) => make_schema(&config, output).await?,
        Work::Once(plan) => {
            return load::run_plan(&plan, || Progress::Silent, output).await;
        }
        Work::Reindex(plan) => return Box::pin(reindexing::run_plan(*plan, output)).await,
        Work::Keep(keeping) => Box::pin(keep::keep(*keeping)).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Opening a ledger makes or updates its tables, whoever else does so at the same time.
async fn make_schema(config: &bucket_scanner::Config, output: &Output) -> anyhow::Result<()> {
    let url = config
        .ledger
        .as_ref()
        .ok_or(bucket_scanner::Error::NoLedger)?;
    ledger::open(url, &config.ledger_options()?, Arc::new(SystemClock)).await?;
    let made = serde_json::json!({ "ledger": url.to_string(), "schema": config.ledger_schema });
    output.result(&made, || format!("the schema is there: {url}"))
}
