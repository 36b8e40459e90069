//! `stoker reindex`: a FHIR server reindexed to the end, and what is known of such runs.

use std::process::ExitCode;

use anyhow::bail;

use crate::Global;
use crate::output::Output;

mod args;
mod ask;
mod bar;
mod follow;
mod here;
mod place;
mod remote;
mod report;
mod show;

use args::StartArgs;
pub(super) use args::{Plan, keep_runs_at};
use bar::Bar;
use place::PlaceArgs;

/// Reindex a FHIR server to the end; ask, pause, resume and cancel such runs
///
/// After a change of the search parameters, a FHIR server has to extract them anew from the resources it has. This
/// has a LinuxForHealth server do so for all of them, or HAPI FHIR start its own job. The same command again goes on
/// with what was left unfinished. With --server a reindex-driver that runs there does it, with credentials of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, subcommand_negates_reqs = true)]
pub struct ReindexArgs {
    #[command(subcommand)]
    command: Option<ReindexCommand>,
    #[command(flatten)]
    start: StartArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, clap::Subcommand)]
enum ReindexCommand {
    /// All runs, the newest first
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// One run: what it does, and how far it is
    #[command(after_help = SHOW_EXAMPLES)]
    Show(RunNumber),
    /// Follow a run, a line at each change, until it is over; with --json one object a line
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(RunNumber),
    /// Have a run send nothing more until it is resumed; what is on the wire is finished
    #[command(after_help = PAUSE_EXAMPLES)]
    Pause(RunNumber),
    /// Have a paused run go on, or one that stopped begin where it was
    #[command(after_help = RESUME_EXAMPLES)]
    Resume(RunNumber),
    /// End a run for good; what is reindexed stays so
    #[command(after_help = CANCEL_EXAMPLES)]
    Cancel(RunNumber),
    /// What could not be reindexed, and why; with --json one object a line
    #[command(after_help = FAILURES_EXAMPLES)]
    Failures(RunNumber),
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct RunNumber {
    /// The run's number
    id: i64,
}

impl ReindexCommand {
    /// The run it is about; none where it is about all.
    fn id(&self) -> Option<i64> {
        match self {
            Self::List => None,
            Self::Show(run)
            | Self::Watch(run)
            | Self::Pause(run)
            | Self::Resume(run)
            | Self::Cancel(run)
            | Self::Failures(run) => Some(run.id),
        }
    }
}

const EXAMPLES: &str = "Examples:
  stoker reindex --to https://fhir.example.org/r4 --tstamp 2026-01-31 --fhir-user me --fhir-password-file pw
  stoker reindex --to https://fhir.example.org/r4 --client-driven --max-server-latency 500ms
  stoker reindex --to https://fhir.example.org/r4 --client-driven --type Patient --concurrency 20 --batch 50
  stoker reindex --to https://fhir.example.org/r4 --report reindex.json --json
  stoker reindex --to http://hapi:8080/fhir --search 'Patient?active=true'
  stoker reindex --to https://fhir.example.org/r4 --client-driven --server http://driver:7703
  stoker reindex list

Exit codes: 0 everything is reindexed · 1 could not run · 2 some resources could not be reindexed: they are listed
            3 interrupted: run the same command again to go on";

const LIST_EXAMPLES: &str = "Examples:
  stoker reindex list
  stoker reindex list --server http://127.0.0.1:7703 --json";

const SHOW_EXAMPLES: &str = "Examples:
  stoker reindex show 3
  stoker reindex show 3 --server http://127.0.0.1:7703 --json";

const WATCH_EXAMPLES: &str = "Examples:
  stoker reindex watch 3
  stoker reindex watch 3 --server http://127.0.0.1:7703 --json

Exit codes: as the run would end as a command of its own";

const PAUSE_EXAMPLES: &str = "Examples:
  stoker reindex pause 3
  stoker reindex pause 3 --server http://127.0.0.1:7703";

const RESUME_EXAMPLES: &str = "Examples:
  stoker reindex resume 3
  stoker reindex resume 3 --server http://127.0.0.1:7703";

const CANCEL_EXAMPLES: &str = "Examples:
  stoker reindex cancel 3
  stoker reindex cancel 3 --server http://127.0.0.1:7703";

const FAILURES_EXAMPLES: &str = "Examples:
  stoker reindex failures 3
  stoker reindex failures 3 --json > failures.ndjson";

/// Has a driver that is configured without a store of runs use the user's own.
pub(super) fn keep_runs(config: &mut reindex_driver::Config) -> anyhow::Result<()> {
    config.runs.url = Some(PlaceArgs::default().url_or(config)?);
    Ok(())
}

/// Does a run in this process, and says in the log how far it is.
pub(super) async fn run_plan(plan: Plan, output: &Output) -> anyhow::Result<ExitCode> {
    here::run(plan, Bar::log(), output).await
}

/// Runs the command.
pub async fn run(args: ReindexArgs, global: &Global, output: &Output) -> anyhow::Result<ExitCode> {
    let ReindexArgs {
        command,
        start,
        place,
    } = args;
    if let Some(command) = command {
        if start.to.is_some() {
            bail!("--to starts a run, and the other word asks about runs; give one of them");
        }
        return ask::run(command, &place, global, output).await;
    }
    let plan = args::plan(start, &place, global)?;
    let bar = Bar::start(global.quiet || output.is_json());
    match plan.server.clone() {
        Some(driver) => remote::run(plan, &driver, bar, output).await,
        None => here::run(plan, bar, output).await,
    }
}
