//! What a load is asked to do: the flags, laid over the configuration and checked.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use loader_worker::config::Choice;
use stoker_proto::common::v1::{Interaction, Source, Target};
use stoker_shared::config::{self, Load};

use crate::Global;
use crate::embedded::LedgerArgs;
use crate::fhir_args::FhirArgs;
use crate::sources;

/// Load folders and files into a FHIR server
///
/// Reads .json (one resource or Bundle) and .ndjson (one resource a line), each also as .gz and .zst. What
/// was loaded before and has not changed is passed over; an interrupted load goes on where it was.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct LoadArgs {
    /// Folders or files
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,
    /// Base URL of the FHIR server
    #[arg(long, value_name = "URL")]
    to: String,
    #[command(flatten)]
    ledger: LedgerArgs,
    /// Load again what is loaded and unchanged
    #[arg(long)]
    reload: bool,
    /// How resources are sent
    #[arg(long, value_enum, default_value_t = Sending::Auto)]
    interaction: Sending,
    /// Resources to a batch Bundle: auto or a number; 1 sends each by itself
    #[arg(long, value_name = "N")]
    batch: Option<Choice>,
    /// Requests at a time: auto or a number
    #[arg(long, value_name = "N")]
    concurrency: Option<Choice>,
    /// How long the server may be away before the load stops [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    give_up_after: Option<Duration>,
    /// Write a report of the load as JSON
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
    #[command(flatten)]
    fhir: FhirArgs,
}

const EXAMPLES: &str = "Examples:
  stoker load ./synthea --to http://localhost:8080/fhir
  stoker load a.ndjson.zst b/ --to https://fhir.example.org/r4 --fhir-user me --fhir-password-file pw
  stoker load ./data --to https://fhir.example.org/r4 --report load.json --json

Exit codes: 0 everything is loaded · 1 could not run · 2 some inputs were rejected, in doubt or unreadable
            3 interrupted: run the same command again to go on";

/// How a resource becomes a request; see `stoker.common.v1.Interaction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sending {
    /// PUT what has an id, POST what has none; transaction and batch Bundles as they are
    Auto,
    /// POST everything: the server assigns ids
    Create,
    /// PUT everything; what has no id is rejected
    Update,
}

impl Sending {
    pub(super) fn interaction(self) -> Interaction {
        match self {
            Self::Auto => Interaction::Auto,
            Self::Create => Interaction::Create,
            Self::Update => Interaction::Update,
        }
    }

    pub(super) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |v| v.get_name().to_owned())
    }
}

/// Everything a load needs, checked.
pub(super) struct Plan {
    pub(super) sources: Vec<Source>,
    pub(super) target: Target,
    pub(super) sending: Sending,
    pub(super) reload: bool,
    pub(super) scanner: bucket_scanner::Config,
    pub(super) worker: loader_worker::Config,
    pub(super) report: Option<PathBuf>,
}

/// Lays the flags over the configuration.
pub(super) fn plan(args: LoadArgs, global: &Global) -> anyhow::Result<Plan> {
    let section = |name| Load {
        file: global.config.clone(),
        ..Load::section(name)
    };
    let mut worker: loader_worker::Config = config::load(&section("loader-worker"))?;
    let mut scanner: bucket_scanner::Config = config::load(&section("bucket-scanner"))?;
    let load = &mut worker.load;
    load.batch = args.batch.unwrap_or(load.batch);
    load.concurrency = args.concurrency.unwrap_or(load.concurrency);
    load.give_up_after = args.give_up_after.unwrap_or(load.give_up_after);
    let tenant = args.fhir.tenant.clone().unwrap_or_default();
    worker.fhir = args.fhir.over(worker.fhir)?;
    scanner.ledger = args.ledger.url_or(&scanner)?;
    scanner.sources.clear();
    if let Some(path) = &args.report
        && path.extension().is_none_or(|extension| extension != "json")
    {
        bail!(
            "{}: a report is written as JSON; name it FILE.json",
            path.display()
        );
    }
    let sources: Vec<Source> = args
        .sources
        .iter()
        .map(|s| sources::parse(s))
        .collect::<Result<_, _>>()?;
    Ok(Plan {
        sources,
        target: Target {
            base_url: args.to.trim_end_matches('/').to_owned(),
            tenant,
        },
        sending: args.interaction,
        reload: args.reload,
        scanner,
        worker,
        report: args.report,
    })
}
