//! `stoker retry`: rejected inputs sent again, as they were.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use futures::{StreamExt, stream};
use loader_worker::metrics::WorkerMetrics;
use loader_worker::outcome::{Fate, Outcome};
use loader_worker::resend::Resender;
use loader_worker::send::{Stop, Stops};
use loader_worker::stats::Stats;
use serde_json::json;
use stoker_proto::common::v1::Target;
use stoker_shared::clock::SystemClock;
use stoker_shared::config::{self, Load};
use stoker_shared::pace::Choice;

use super::load::Sending;
use crate::Global;
use crate::embedded::LedgerArgs;
use crate::fhir_args::FhirArgs;
use crate::output::Output;
use crate::server_args::ServerArgs;

mod journal;
mod ledger;
mod quarantine;

use journal::{Journal, Rewritten};
use ledger::{Ledger, Told};
use quarantine::{Case, Cases, Line, Name};

const NAMELESS: &str = "their lines name no error of a ledger, as older files do";

/// Send rejected inputs again, as they were
///
/// QUARANTINE is what `stoker jobs errors N --inputs --json` wrote: a file, or a folder of such files. What the
/// server takes leaves the file; what it refuses again stays, with the new reason. An input may be corrected in the
/// file before. A retry that was interrupted goes on where it was (posts in flight when it was killed may be created
/// a second time). What is taken is struck from the ledger too, so that `stoker jobs` counts it as rejected no longer
/// and `stoker jobs retry` does not send it again; what the ledger could not be told is said.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RetryArgs {
    /// File or folder of rejected inputs
    quarantine: PathBuf,
    /// Base URL of the FHIR server
    #[arg(long, value_name = "URL")]
    to: String,
    /// How resources are sent [default: as the load that they were rejected from]
    #[arg(long, value_enum)]
    interaction: Option<Sending>,
    /// Requests at a time: auto or a number
    #[arg(long, value_name = "N")]
    concurrency: Option<Choice>,
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    fhir: FhirArgs,
}

const EXAMPLES: &str = "Examples:
  stoker jobs errors 3 --inputs --json > rejected.ndjson
  stoker retry rejected.ndjson --to https://fhir.example.org/r4
  stoker retry rejected.ndjson --to https://fhir.example.org/r4 --server http://scanner:7701

Exit codes: 0 nothing is left · 1 could not run · 2 some inputs were refused again or are in doubt
            3 interrupted: run the same command again to go on";

/// What a retry did.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    taken: u64,
    left: u64,
    told: Told,
    stop: Option<Stop>,
}

/// Runs the command.
pub async fn run(args: RetryArgs, global: &Global, output: &Output) -> anyhow::Result<ExitCode> {
    let files = files(&args.quarantine)?;
    let section = Load {
        file: global.config.clone(),
        ..Load::section("loader-worker")
    };
    let mut worker: loader_worker::Config = config::load(&section)?;
    worker.load.concurrency = args.concurrency.unwrap_or(worker.load.concurrency);
    let target = Target {
        base_url: args.to.trim_end_matches('/').to_owned(),
        tenant: args.fhir.tenant.clone().unwrap_or_default(),
    };
    let ledger = Ledger::open(&args.ledger, &args.server, global, &target).await?;
    let fhir = args.fhir.over(worker.fhir)?;
    let stats = Arc::new(Stats::new(WorkerMetrics::default()));
    let at_a_time = worker.load.concurrency();
    let resender = Resender::connect(fhir, worker.load, Arc::new(SystemClock), stats, &target);
    let retry = Retry {
        resender: resender.await?,
        ledger,
        interaction: args.interaction,
        at_a_time,
        stops: stops_at_signals()?,
    };
    let mut tally = Tally::default();
    for file in files {
        retry.file(&file, &mut tally).await?;
    }
    retry.ledger.close().await;
    tell(&tally, &args.quarantine, output)
}

/// The file itself, or those of a folder.
fn files(quarantine: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let name = quarantine.display();
    let look = || {
        format!("{name}: cannot be read; give what `stoker jobs errors N --inputs --json` wrote")
    };
    if !quarantine.metadata().with_context(look)?.is_dir() {
        return Ok(vec![quarantine.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in quarantine.read_dir().with_context(look)? {
        let path = entry.with_context(look)?.path();
        if path.extension().is_some_and(|e| e == "ndjson") {
            files.push(path);
        }
    }
    if files.is_empty() {
        bail!(
            "{name}: no .ndjson file in it; give what `stoker jobs errors N --inputs --json` wrote"
        );
    }
    files.sort();
    Ok(files)
}

/// The first signal ends the sending, the second the waiting for answers.
fn stops_at_signals() -> anyhow::Result<Stops> {
    let mut signals = stoker_shared::service::signals()
        .context("signals cannot be received, so a retry could not be stopped; try again")?;
    let stops = Stops::default();
    let at_signals = stops.clone();
    tokio::spawn(async move {
        signals.next().await;
        at_signals.stop.cancel();
        signals.next().await;
        at_signals.abandon.cancel();
    });
    Ok(stops)
}

fn tell(tally: &Tally, quarantine: &Path, output: &Output) -> anyhow::Result<ExitCode> {
    let code = match (&tally.stop, tally.left) {
        (Some(_), _) => 3,
        (None, 0) => 0,
        (None, _) => 2,
    };
    let name = quarantine.display().to_string();
    let value = json!({
        "quarantine": name, "sent": tally.sent, "taken": tally.taken, "left": tally.left,
        "settled": tally.told.settled, "untold": tally.told.untold, "notes": tally.told.notes,
        "exit_code": code, "reason": tally.stop.as_ref().map(ToString::to_string),
    });
    output.result(&value, || {
        let left = match tally.left {
            0 => "nothing is left".to_owned(),
            left => format!("{left} are left in {name}"),
        };
        format!(
            "{} inputs sent again: {} taken, {left}; the ledger lists {} fewer",
            tally.sent, tally.taken, tally.told.settled
        )
    })?;
    if tally.told.untold > 0 {
        let why: Vec<&str> = tally.told.notes.iter().map(String::as_str).collect();
        output.say(&format!(
            "{} that were taken are not struck from a ledger: {}. Where `stoker jobs errors` lists them still, \
             `stoker jobs retry` would send them a second time",
            tally.told.untold,
            why.join("; ")
        ));
    }
    if let Some(stop) = &tally.stop {
        output.say(&format!(
            "interrupted: {stop}; run the same command again to go on"
        ));
    }
    Ok(ExitCode::from(code))
}

struct Retry {
    resender: Resender,
    ledger: Ledger,
    interaction: Option<Sending>,
    at_a_time: usize,
    stops: Stops,
}

impl Retry {
    /// Sends the inputs of a file until none fares better than the time before.
    async fn file(&self, path: &Path, tally: &mut Tally) -> anyhow::Result<()> {
        loop {
            let round = self.round(path, &mut tally.told).await?;
            tally.sent += round.tally.sent;
            tally.taken += round.tally.taken;
            // What was missing may be there now.
            if round.tally.stop.is_none() && round.misses_others && round.tally.taken > 0 {
                continue;
            }
            tally.left += round.tally.left;
            tally.stop = tally.stop.take().or(round.tally.stop);
            return Ok(());
        }
    }

    /// Sends each input of a file once. When it is stopped the file stays as it is, with the journal.
    async fn round(&self, path: &Path, told: &mut Told) -> anyhow::Result<Round> {
        let journal = Journal::open(path)?;
        let names = Mutex::default();
        let mut round = Round::default();
        let mut rewritten = Rewritten::begin(path)?;
        let mut sending = stream::iter(Cases::open(path, &journal, &names)?)
            .map(|case| self.send(case, &journal))
            .buffer_unordered(self.at_a_time);
        while let Some(done) = sending.next().await {
            let done = done?;
            round.add(&done);
            for line in &done.left {
                rewritten.line(line)?;
            }
            if round.tally.stop.is_some() {
                self.stops.stop.cancel();
            }
        }
        drop(sending);
        let names = names.into_inner().unwrap_or_else(PoisonError::into_inner);
        // An error of which a part is left is one still.
        let taken = names.difference(&round.left).copied();
        let settled = self.ledger.settle(taken, told).await;
        if settled.is_err() || round.tally.stop.is_some() {
            rewritten.give_up()?;
            return settled.map(|()| round);
        }
        told.not(round.nameless, NAMELESS);
        rewritten.end()?;
        journal.remove()?;
        Ok(round)
    }

    async fn send(&self, case: anyhow::Result<Case>, journal: &Journal) -> anyhow::Result<Done> {
        let case = case?;
        let (Some(text), Some(first)) = (&case.text, case.lines.first()) else {
            return Ok(Done::unsent(case.lines));
        };
        if self.stops.stop.is_cancelled() {
            return Ok(Done {
                stop: Some(Stop::Shutdown),
                ..Done::unsent(case.lines)
            });
        }
        let said = self.interaction.map(Sending::interaction);
        let interaction = said.unwrap_or_else(|| first.interaction());
        let resent = self.resender.send(text.clone(), interaction, &self.stops);
        let resent = resent.await;
        let left = case.left(&resent);
        let is_taken = |o: &Outcome| matches!(o.fate, Fate::Created(_) | Fate::Updated);
        if resent.outcomes.iter().any(is_taken) || (left.is_empty() && resent.stop.is_none()) {
            let path = journal.taken(&case, &left);
            path.context("what was taken cannot be written down; make room and run it again")?;
        }
        Ok(Done {
            sent: case.lines.len(),
            nameless: case.lines.iter().filter(|l| l.name().is_none()).count(),
            left,
            misses_others: resent.misses_others,
            stop: resent.stop,
        })
    }
}

/// What became of one case.
struct Done {
    sent: usize,
    /// Lines of it that name no error.
    nameless: usize,
    left: Vec<Line>,
    misses_others: bool,
    stop: Option<Stop>,
}

impl Done {
    fn unsent(left: Vec<Line>) -> Self {
        Self {
            sent: 0,
            nameless: 0,
            left,
            misses_others: false,
            stop: None,
        }
    }
}

/// What one pass over a file did.
#[derive(Default)]
struct Round {
    tally: Tally,
    /// Errors that something is left of.
    left: HashSet<Name>,
    /// Inputs that were taken and whose lines name no error.
    nameless: u64,
    misses_others: bool,
}

impl Round {
    fn add(&mut self, done: &Done) {
        self.tally.sent += done.sent as u64;
        // Of a Bundle more entries may be left than lines were sent.
        self.tally.taken += done.sent.saturating_sub(done.left.len()) as u64;
        self.tally.left += done.left.len() as u64;
        self.left.extend(done.left.iter().filter_map(Line::name));
        let nameless = done.left.iter().filter(|line| line.name().is_none());
        self.nameless += done.nameless.saturating_sub(nameless.count()) as u64;
        self.misses_others |= done.misses_others;
        if self.tally.stop.is_none() {
            self.tally.stop.clone_from(&done.stop);
        }
    }
}
