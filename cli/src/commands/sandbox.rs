//! `stoker sandbox`: a small FHIR server to try things on.

use std::process::ExitCode;

use futures::StreamExt;
use stoker_sandbox::{Sandbox, SandboxArgs};

use crate::output::Output;

/// Start a small in-memory FHIR R4 server, for trying things out and for tests
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SandboxCommand {
    #[command(flatten)]
    args: SandboxArgs,
}

const EXAMPLES: &str = "Examples:
  stoker sandbox
  stoker sandbox --port 7790 --latency-ms 20 --batch-refused-whole
  stoker sandbox --synthetic 1000000 --latency-per-resource-us 500
  curl -s http://127.0.0.1:7780/sandbox/stats
  curl -s http://127.0.0.1:7780/sandbox/reindex";

/// Serves until a signal comes.
pub async fn run(command: SandboxCommand, output: &Output) -> anyhow::Result<ExitCode> {
    let mut signals = stoker_shared::service::signals()?;
    let sandbox = Sandbox::start(command.args.config()?).await?;
    let value = serde_json::json!({"base_url": sandbox.base_url()});
    output.result(&value, || {
        format!(
            "FHIR server at {} (everything is in memory; Ctrl-C ends it)",
            sandbox.base_url()
        )
    })?;
    signals.next().await;
    sandbox.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
