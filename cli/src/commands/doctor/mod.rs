//! `stoker doctor`: whether everything that Stoker is told to use can be used.

use std::process::ExitCode;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::{Instant, timeout_at};

use crate::Global;
use crate::embedded::{LedgerArgs, unexpected};
use crate::fhir_args::FhirArgs;
use crate::output::{Output, one_sentence};
use crate::s3_args::S3Args;
use crate::server_args::ServerArgs;

mod backup;
mod clocks;
mod fhir;
mod finding;
mod indexer;
mod kafka;
mod ledger;
mod runs;
mod server;
mod settings;
mod sources;

use finding::{Finding, LIMIT, State, table};
use settings::Settings;

/// Check what Stoker is told to use: configuration, ledger, runs, Kafka, sources, FHIR server and its database,
/// backups, services
///
/// What the configuration names is looked at, and what flags name. Nothing is left behind. Each line says how
/// one thing is, and what to do about it where it is not well.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// Base URL of a FHIR server [default: those of the configured sources]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Folder, file, or s3://bucket/prefix; may be repeated [default: the configured sources]
    #[arg(long, value_name = "SOURCE")]
    source: Vec<String>,
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    fhir: FhirArgs,
    #[command(flatten)]
    s3: S3Args,
}

const EXAMPLES: &str = "Examples:
  stoker doctor
  stoker doctor --to https://fhir.example.org/r4 --fhir-user me --fhir-password-file pw
  stoker doctor --source s3://bucket/in/ --s3-endpoint http://minio:9000 --ledger postgres://stoker@db/stoker
  stoker doctor --server http://scanner:7701 --config stoker.yaml --json

Exit codes: 0 nothing failed · 1 something did";

/// Looks at one thing.
struct Check {
    what: String,
    /// Answers a line or several.
    looking: BoxFuture<'static, Vec<Finding>>,
}

impl Check {
    fn new(what: &str, looking: impl Future<Output = Vec<Finding>> + Send + 'static) -> Self {
        Self {
            what: what.to_owned(),
            looking: looking.boxed(),
        }
    }

    /// Nothing is to be looked at: what there is to say is known.
    fn known(finding: Finding) -> Self {
        Self::new("", async { vec![finding] })
    }
}

/// Runs the command.
pub async fn run(args: DoctorArgs, global: &Global, output: &Output) -> anyhow::Result<ExitCode> {
    let (settings, mut findings) = Settings::gather(args, global);
    findings.extend(look_at_all(checks(settings)).await);
    output.result(&findings, || table(&findings))?;
    let failed = findings.iter().any(|f| f.state == State::Fail);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// In the order they are shown.
fn checks(settings: Settings) -> Vec<Check> {
    let is_sound = settings.is_sound;
    let mut checks = vec![Check::new("ledger", ledger::check(settings.ledger))];
    checks.extend(kafka::checks(settings.kafka, is_sound));
    checks.extend(sources::checks(settings.sources, &settings.s3, is_sound));
    let fhir = settings.fhir.as_ref();
    checks.extend(fhir::checks(settings.targets, fhir, is_sound));
    checks.extend(server::checks(settings.server));
    checks.push(Check::new("reindex runs", runs::check(settings.driver)));
    checks.extend(indexer::checks(settings.indexer, is_sound));
    checks.extend(backup::checks(settings.agent));
    checks
}

/// All at once, each in a task of its own: one that hangs, be it in the system's call for a folder on a
/// server that is gone, does not hold up the others.
async fn look_at_all(checks: Vec<Check>) -> Vec<Finding> {
    // Some look twice, and know better themselves what took so long.
    let deadline = Instant::now() + LIMIT * 2 + LIMIT / 2;
    let started = checks.into_iter();
    let started: Vec<_> = started
        .map(|check| (check.what, tokio::spawn(check.looking)))
        .collect();
    let mut findings = Vec::new();
    for (what, task) in started {
        match timeout_at(deadline, task).await {
            Ok(Ok(found)) => findings.extend(found),
            Ok(Err(panic)) => {
                findings.push(Finding::error(&what, one_sentence(&unexpected(panic))));
            }
            Err(_) => findings.push(Finding::late(&what)),
        }
    }
    findings
}
