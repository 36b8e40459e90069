//! `stoker config`: what is configured, and whether it makes sense.

use std::process::ExitCode;

use stoker_shared::config::{self, ConfigFaults, Load, Settings};

use crate::Global;
use crate::output::Output;

/// Show what is configured, or check it
///
/// Without a subcommand, `show`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Option<ConfigCommand>,
}

#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum ConfigCommand {
    /// Name every fault of the configuration at once
    #[command(after_help = CHECK_EXAMPLES)]
    Check,
    /// Print what is in effect: defaults, file and environment together, without secrets (the default)
    #[command(after_help = SHOW_EXAMPLES)]
    Show,
}

const EXAMPLES: &str = "Examples:
  stoker config
  stoker config check --config stoker.yaml
  STOKER__LOADER_WORKER__LOAD__BATCH=50 stoker config show";

const CHECK_EXAMPLES: &str = "Examples:
  stoker config check
  stoker config check --config stoker.yaml --json";

const SHOW_EXAMPLES: &str = "Examples:
  stoker config show
  stoker config show --config stoker.yaml > in-effect.yaml
  STOKER__LOADER_WORKER__LOAD__BATCH=50 stoker config show --json";

/// Runs the command.
pub fn run(args: &ConfigArgs, global: &Global, output: &Output) -> anyhow::Result<ExitCode> {
    let mut faults = Vec::new();
    let mut shown = String::new();
    let mut values = serde_json::Map::new();
    let mut read = |result: Result<(String, String, serde_json::Value), ConfigFaults>| match result
    {
        Ok((section, text, value)) => {
            shown.push_str(&text);
            values.insert(section, value);
        }
        Err(found) => faults.extend(found.0),
    };
    read(section::<bucket_scanner::Config>(global, "bucket-scanner"));
    read(section::<loader_worker::Config>(global, "loader-worker"));
    read(section::<reindex_driver::Config>(global, "reindex-driver"));
    read(section::<remote_indexer::config::Draft>(
        global,
        "remote-indexer",
    ));
    read(section::<backup_agent::Config>(global, "backup-agent"));
    if !faults.is_empty() {
        // A fault of the file as a whole is found once for each section.
        faults.dedup();
        return Err(ConfigFaults(faults).into());
    }
    let file = config::file(&Load {
        file: global.config.clone(),
        ..Load::section("cli")
    });
    let file = file.map_or_else(|| "no file".to_owned(), |f| f.display().to_string());
    match args.command.unwrap_or(ConfigCommand::Show) {
        ConfigCommand::Check => {
            let value = serde_json::json!({"file": file, "faults": []});
            output.result(&value, || format!("no faults ({file})"))?;
        }
        ConfigCommand::Show => output.result(&values, || format!("# from {file}\n{shown}"))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn section<C: Settings>(
    global: &Global,
    service: &str,
) -> Result<(String, String, serde_json::Value), ConfigFaults> {
    let load = Load {
        file: global.config.clone(),
        ..Load::section(service)
    };
    let config: C = config::load(&load)?;
    // What was just read can be written again.
    let text = config::show(&load.section, &config).unwrap_or_default();
    let value = serde_json::to_value(&config).unwrap_or_default();
    Ok((load.section, text, value))
}
