#![doc = include_str!("../README.md")]

use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stoker_shared::telemetry::{self, LogFormat, TelemetryConfig};

mod capabilities;
pub mod commands;
pub mod embedded;
pub mod fhir_args;
mod java;
pub mod output;
pub mod progress;
pub mod report;
pub mod s3_args;
pub mod server_args;
pub mod sources;
pub mod targets;

use output::Output;

/// Feeds FHIR servers: loads files and folders into any of them, losing nothing and doubling nothing.
#[derive(Debug, Parser)]
#[command(name = "stoker", version, max_term_width = 110, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// Flags that every command takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// Configuration file [default: $STOKER_CONFIG, ./stoker.yaml, or stoker/stoker.yaml in the user's
    /// configuration folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Writes results as JSON, for machines
    #[arg(long, global = true)]
    pub json: bool,
    /// Say on standard error what is being done; twice for more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Shows no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Load(Box<commands::load::LoadArgs>),
    Jobs(commands::jobs::JobsArgs),
    Retry(Box<commands::retry::RetryArgs>),
    Index(commands::index::IndexArgs),
    Reindex(Box<commands::reindex::ReindexArgs>),
    Backup(Box<commands::backup::BackupArgs>),
    Serve(commands::serve::ServeArgs),
    Up(commands::up::UpArgs),
    Sandbox(commands::sandbox::SandboxCommand),
    Config(commands::config::ConfigArgs),
    Doctor(Box<commands::doctor::DoctorArgs>),
    Health(commands::health::HealthArgs),
    FhirBucket(commands::fhir_bucket::FhirBucketArgs),
    FhirRemoteIndex(commands::fhir_remote_index::FhirRemoteIndexArgs),
}

const EXAMPLES: &str = "Examples:
  stoker sandbox                                    a FHIR server to try things on, at port 7780
  stoker load ./data --to http://127.0.0.1:7780/fhir
  stoker jobs                                       what has been loaded, and what went wrong

Exit codes: 0 done · 1 could not run · 2 some inputs were rejected · 3 interrupted, run it again to go on";

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // clap's own code for a usage error is 2, which means "some rejected" here.
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    stoker_shared::tls::install_crypto_provider();
    let output = Output::new(&cli.global);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => {
            let why = "the system gives no threads; raise the user's limit (`ulimit -u`)";
            return output.failure(&anyhow::Error::new(e).context(why));
        }
    };
    let code = runtime.block_on(run(cli, &output));
    // A blocking read that hangs must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    code.unwrap_or_else(|error| output.failure(&error))
}

async fn run(cli: Cli, output: &Output) -> anyhow::Result<ExitCode> {
    let global = &cli.global;
    let command = match cli.command {
        // A service has a log of its own.
        Command::Serve(args) => return apart(|| commands::serve::run(args, global)).await,
        Command::Up(args) => return apart(|| commands::up::run(args, global)).await,
        Command::Index(args) if args.is_service() => {
            return apart(|| commands::index::run(args, global, output)).await;
        }
        Command::FhirBucket(args) => {
            return apart(|| commands::fhir_bucket::run(args, global)).await;
        }
        Command::FhirRemoteIndex(args) => {
            return apart(|| commands::fhir_remote_index::run(args, global)).await;
        }
        command => command,
    };
    // Errors are told as one sentence; the log is for those who ask for it.
    let level = match global.verbose {
        0 => "off",
        1 => "info",
        _ => "debug",
    };
    let mut logs = TelemetryConfig::at_level(level);
    if !global.json {
        logs.log_format = LogFormat::Human;
    }
    let telemetry = telemetry::init(&logs, "stoker")?;
    let code = match command {
        Command::Load(args) => apart(|| commands::load::run(*args, global, output)).await,
        Command::Jobs(args) => apart(|| commands::jobs::run(args, global, output)).await,
        Command::Retry(args) => apart(|| commands::retry::run(*args, global, output)).await,
        Command::Index(args) => apart(|| commands::index::run(args, global, output)).await,
        Command::Reindex(args) => apart(|| commands::reindex::run(*args, global, output)).await,
        Command::Backup(args) => apart(|| commands::backup::run(*args, global, output)).await,
        Command::Sandbox(args) => apart(|| commands::sandbox::run(args, output)).await,
        Command::Config(args) => commands::config::run(&args, global, output),
        Command::Health(args) => apart(|| commands::health::run(&args, global, output)).await,
        Command::Doctor(args) => apart(|| commands::doctor::run(*args, global, output)).await,
        Command::Serve(_)
        | Command::Up(_)
        | Command::FhirBucket(_)
        | Command::FhirRemoteIndex(_) => {
            unreachable!("handled above")
        }
    };
    telemetry.shutdown();
    code
}

/// A future on the heap. Where several are awaited in one place, each would have its room on the stack, all of which
/// the process then holds as long as it runs.
#[inline(never)]
fn apart<F: Future>(begin: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::pin(begin())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    /// Every command and subcommand as it is typed, with its definition.
    fn commands(command: &clap::Command, typed: &[String]) -> Vec<(Vec<String>, clap::Command)> {
        let mut found = vec![(typed.to_vec(), command.clone())];
        for sub in command.get_subcommands() {
            let typed = [typed, &[sub.get_name().to_owned()]].concat();
            found.extend(commands(sub, &typed));
        }
        found
    }

    #[test]
    fn every_command_has_examples_and_takes_json() {
        let all = commands(&Cli::command(), &["stoker".to_owned()]);
        assert!(all.len() >= 13, "too few commands found");
        for (typed, command) in all {
            let after = command.get_after_help().map(ToString::to_string);
            let after = after.unwrap_or_default();
            assert!(after.starts_with("Examples:\n"), "{typed:?}: {after:?}");
            assert!(
                after.contains(&typed.join(" ")),
                "{typed:?}: no example of it in {after:?}"
            );
            let asked = typed.iter().map(String::as_str).chain(["--json", "--help"]);
            let answer = Cli::try_parse_from(asked).unwrap_err();
            assert_eq!(answer.kind(), ErrorKind::DisplayHelp, "{typed:?}: {answer}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
