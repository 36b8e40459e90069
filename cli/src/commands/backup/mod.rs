//! `stoker backup`: databases kept, read back, restored for proof, restored.

use std::process::ExitCode;

use stoker_proto::backup::v1::BackupRef;

use crate::Global;
use crate::output::Output;

mod ask;
mod bar;
mod ended;
mod examples;
mod follow;
mod ofelia;
mod place;
mod prune;
mod restore;
mod session;
mod show;
mod sources;
mod start;
mod units;
mod verify;

use place::PlaceArgs;
pub(super) use place::keep_catalog;
use session::Session;

/// Back up PostgreSQL, read backups back, restore them for proof, restore them, retire old ones
///
/// What is backed up and where to says the section `backup_agent` of the configuration, or flags. This process does the
/// work itself; with --server a backup-agent that runs there does, on its machine and with its configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = examples::ALL)]
pub struct BackupArgs {
    #[command(subcommand)]
    command: BackupCommand,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, clap::Subcommand)]
enum BackupCommand {
    /// Make a backup
    #[command(after_help = examples::RUN)]
    Run(Box<start::RunArgs>),
    /// What is backed up, when and where to, and how it stands
    #[command(after_help = examples::PLAN)]
    Plan,
    /// All backups, the newest first: of what, how old, whether verified and proven
    #[command(after_help = examples::LIST)]
    List(OfSource),
    /// One backup: its parts, what it is of, what was learnt of it since
    #[command(after_help = examples::SHOW)]
    Show(Which),
    /// Read backups back: every byte against its checksum and the files against PostgreSQL's own manifest
    #[command(after_help = examples::VERIFY)]
    Verify(verify::VerifyArgs),
    /// Restore a backup into a data folder
    #[command(after_help = examples::RESTORE)]
    Restore(Box<restore::RestoreArgs>),
    /// Restore a backup into a throwaway server for proof, and measure how long it takes
    #[command(after_help = examples::DRILL)]
    Drill(start::DrillArgs),
    /// Say which backups are to go and why the others stay; delete them with --apply
    #[command(after_help = examples::PRUNE)]
    Prune(prune::PruneArgs),
    /// What was done, and what is under way, the newest first
    #[command(after_help = examples::RUNS)]
    Runs(ask::RunsArgs),
    /// Follow a run, a line at each change, until it is over; with --json one object a line
    #[command(after_help = examples::WATCH)]
    Watch(RunNumber),
    /// End a run; what it has written is taken away
    #[command(after_help = examples::CANCEL)]
    Cancel(RunNumber),
    /// What is due when; or what of an ofelia file Stoker does
    #[command(after_help = examples::SCHEDULE)]
    Schedule(ofelia::ScheduleArgs),
    /// Take in a backup that was made by other means
    #[command(after_help = examples::IMPORT)]
    Import(start::ImportArgs),
}

/// Backups of a source.
#[derive(Debug, Clone, clap::Args)]
struct OfSource {
    /// Only of this source [default: all]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

/// One backup.
#[derive(Debug, Clone, clap::Args)]
struct Which {
    /// The backup's name, or latest
    name: String,
    /// Its source; for latest where there are several
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

impl Which {
    fn to_ref(&self) -> BackupRef {
        BackupRef {
            name: self.name.clone(),
            source: self.source.clone().unwrap_or_default(),
            place: String::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct RunNumber {
    /// The run's number
    id: i64,
}

/// Runs the command.
pub async fn run(args: BackupArgs, global: &Global, output: &Output) -> anyhow::Result<ExitCode> {
    let BackupArgs { command, place } = args;
    let command = match command {
        BackupCommand::Schedule(args) if args.is_about_a_file() => {
            return ofelia::run(args, output);
        }
        // These two say more of how it is done than an agent is asked for.
        BackupCommand::Run(args) => return start::backup(*args, &place, global, output).await,
        BackupCommand::Drill(args) => return start::drill(args, &place, global, output).await,
        command => command,
    };
    let session = Session::open(&place, global, |_| Ok(())).await?;
    let code = ask(&session, command, global, output).await;
    session.close().await;
    code
}

async fn ask(
    session: &Session,
    command: BackupCommand,
    global: &Global,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    match command {
        BackupCommand::Run(_) | BackupCommand::Drill(_) => unreachable!("handled above"),
        BackupCommand::Plan => ask::plan(session, output).await,
        BackupCommand::Schedule(_) => ask::schedule(session, output).await,
        BackupCommand::List(of) => ask::list(session, of, output).await,
        BackupCommand::Show(which) => ask::show(session, &which, output).await,
        BackupCommand::Runs(args) => ask::runs(session, args, output).await,
        BackupCommand::Watch(RunNumber { id }) => follow::watch(session, id, output).await,
        BackupCommand::Cancel(RunNumber { id }) => ask::cancel(session, id, output).await,
        BackupCommand::Prune(args) => prune::run(session, args, output).await,
        BackupCommand::Verify(args) => verify::run(session, args, global, output).await,
        BackupCommand::Restore(args) => restore::run(session, *args, global, output).await,
        BackupCommand::Import(args) => start::import(session, args, global, output).await,
    }
}
