//! A run as it goes.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use stoker_proto::backup::v1::{CancelRunRequest, GetRunRequest, Run, RunState, WatchRunRequest};
use stoker_shared::clock::{Clock as _, SystemClock};
use stoker_shared::grpc;
use tokio::sync::mpsc;
use tonic::Status;

use super::bar::{self, Bar};
use super::ended::{Ended, Ending};
use super::place::{Client, sentence};
use super::session::Session;
use super::show::{run_to_json, stands, task_name};
use crate::Global;
use crate::output::{Output, one_sentence};

/// Between two attempts to reach an agent that is away.
const PAUSE: Duration = Duration::from_secs(1);

const AWAY: &str = "the backup-agent is away; the run is followed once it is back";

/// Said at the first signal.
const STOPPING: &str =
    "stopping: what is half done is taken away; press Ctrl-C again to stop at once";

/// What is heard of a run.
#[derive(Debug)]
enum Change {
    /// It stands so now.
    Now(Box<Run>),
    /// Nobody answers for it any more; what comes next is heard once somebody does again.
    Away,
    /// No more will be heard.
    Lost(Status),
}

pub(super) fn is_over(run: &Run) -> bool {
    matches!(
        run.state(),
        RunState::Done | RunState::Failed | RunState::Lost
    )
}

/// All changes of a run, from now until it is over.
fn changes(client: Client, run_id: i64) -> mpsc::Receiver<Change> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut heard = false;
        let mut is_away = false;
        while let Err(status) = pass_on(client.clone(), run_id, &sender, &mut heard).await {
            // Once it was there it may come back: it stops for an update, or another takes its place.
            if !heard || !grpc::is_gone(&status) {
                let _ = sender.send(Change::Lost(status)).await;
                return;
            }
            if !is_away && sender.send(Change::Away).await.is_err() {
                return;
            }
            is_away = true;
            tokio::time::sleep(PAUSE).await;
        }
    });
    receiver
}

/// Ends well when the run is over, or nobody wants to know.
async fn pass_on(
    mut client: Client,
    run_id: i64,
    sender: &mpsc::Sender<Change>,
    heard: &mut bool,
) -> Result<(), Status> {
    let mut stream = client
        .watch_run(WatchRunRequest { run_id })
        .await?
        .into_inner();
    loop {
        let Some(told) = stream.message().await? else {
            return Err(Status::unavailable("the backup-agent tells no more"));
        };
        let run = told.run.unwrap_or_default();
        let over = is_over(&run);
        *heard = true;
        if sender.send(Change::Now(Box::new(run))).await.is_err() || over {
            return Ok(());
        }
    }
}

/// Follows a run that was started for this command to its end. At a signal, one of this process is cancelled and its
/// end awaited; an agent elsewhere goes on with its own.
pub(super) async fn to_end(
    session: &Session,
    run: Option<Run>,
    global: &Global,
    output: &Output,
) -> anyhow::Result<Ended> {
    let mut run = run.context(
        "the backup-agent did not name the run; use the same version of stoker as the agent",
    )?;
    // From here on a signal does not end the process, which has something to take away.
    let mut signals = stoker_shared::service::signals()
        .context("signals cannot be received, so a run could not be stopped; try again")?;
    let mut bar = Bar::start(global.quiet || output.is_json());
    let mut news = changes(session.client(), run.run_id);
    let mut interrupted = false;
    while !is_over(&run) {
        tokio::select! {
            change = news.recv() => {
                if !hear(change, &mut run, output) {
                    break;
                }
            }
            Some(_) = signals.next() => {
                bar.end();
                if interrupted || !session.is_here() {
                    session.end_at_once();
                    let ending = Ending::of(&run, true);
                    return Ok(Ended { ending, run });
                }
                interrupted = true;
                output.say(STOPPING);
                cancel(session.client(), run.run_id);
            }
        }
        bar.show(&run);
    }
    bar.end();
    // It may have ended where no more was heard of it.
    if !is_over(&run)
        && let Some(now) = as_it_stands(session, run.run_id).await.filter(is_over)
    {
        run = now;
    }
    let ending = Ending::of(&run, interrupted);
    Ok(Ended { ending, run })
}

/// Whether there is more to hear.
fn hear(change: Option<Change>, run: &mut Run, output: &Output) -> bool {
    match change {
        Some(Change::Now(now)) => *run = *now,
        Some(Change::Away) => output.say(AWAY),
        Some(Change::Lost(status)) => {
            run.reason = one_sentence(&sentence(status));
            return false;
        }
        None => {
            run.reason = format!(
                "no more is heard of run {}; `stoker backup runs` shows how it stands",
                run.run_id
            );
            return false;
        }
    }
    true
}

/// The answer comes when the run is over, which is heard anyway; a second signal is not to wait for it.
fn cancel(mut client: Client, run_id: i64) {
    tokio::spawn(async move { client.cancel_run(CancelRunRequest { run_id }).await });
}

async fn as_it_stands(session: &Session, run_id: i64) -> Option<Run> {
    let answer = session.client().get_run(GetRunRequest { run_id }).await;
    answer.ok()?.into_inner().run
}

/// Writes a line at each change until the run is over; answers the exit code that says how it ended.
pub(super) async fn watch(
    session: &Session,
    run_id: i64,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let mut changes = changes(session.client(), run_id);
    let mut last = Run::default();
    while let Some(change) = changes.recv().await {
        match change {
            Change::Now(run) => {
                if !Output::line(&line(&run, output))? {
                    return Ok(ExitCode::SUCCESS);
                }
                last = *run;
            }
            Change::Away => output.say(AWAY),
            Change::Lost(status) => return Err(sentence(status)),
        }
    }
    Ok(Ending::of(&last, false).code())
}

fn line(run: &Run, output: &Output) -> String {
    if output.is_json() {
        return run_to_json(run).to_string();
    }
    let reason = match run.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    format!(
        "{}  run {}  {} of {}  {:<7}  {}{reason}",
        SystemClock.now().format("%FT%TZ"),
        run.run_id,
        task_name(run.task()),
        run.source,
        stands(run),
        bar::at(run),
    )
}
