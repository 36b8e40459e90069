//! A run as it goes.

use std::process::ExitCode;
use std::time::Duration;

use reindex_driver::control::is_over;
use stoker_proto::reindex::v1::{Run, RunState, WatchRunRequest};
use stoker_shared::clock::{Clock as _, SystemClock};
use stoker_shared::grpc;
use tokio::sync::mpsc;
use tonic::Status;

use super::bar::text;
use super::place::{Client, sentence};
use super::report::Ending;
use super::show::{stands, to_json};
use crate::output::Output;

/// Between two attempts to reach a driver that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// What is heard of a run.
#[derive(Debug)]
pub(super) enum Change {
    /// It stands so now.
    Now(Box<Run>),
    /// Nobody answers for it any more; what comes next is heard once somebody does again.
    Away,
    /// No more will be heard.
    Lost(Status),
}

/// All changes of a run, from now until it is over.
pub(super) fn changes(client: Client, run_id: i64) -> mpsc::Receiver<Change> {
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
            return Err(Status::unavailable("the reindex-driver tells no more"));
        };
        let run = told.run.unwrap_or_default();
        let over = is_over(run.state());
        *heard = true;
        if sender.send(Change::Now(Box::new(run))).await.is_err() || over {
            return Ok(());
        }
    }
}

/// Writes a line at each change until the run is over; answers the exit code that says how it ended.
pub(super) async fn watch(
    client: Client,
    run_id: i64,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let mut changes = changes(client, run_id);
    let mut last = Run::default();
    while let Some(change) = changes.recv().await {
        match change {
            Change::Now(run) => {
                if !Output::line(&line(&run, output))? {
                    return Ok(ExitCode::SUCCESS);
                }
                last = *run;
            }
            Change::Away => {
                output.say("the reindex-driver is away; the run is followed once it is back");
            }
            Change::Lost(status) => return Err(sentence(status)),
        }
    }
    Ok(ExitCode::from(Ending::of(&last).code()))
}

fn line(run: &Run, output: &Output) -> String {
    if output.is_json() {
        return to_json(run).to_string();
    }
    let progress = run.progress.clone().unwrap_or_default();
    let reason = match (run.state(), run.reason.as_str()) {
        (RunState::Running, _) | (_, "") => String::new(),
        (_, reason) => format!(": {reason}"),
    };
    format!(
        "{}  run {}  {:<9}  {}{reason}",
        SystemClock.now().format("%FT%TZ"),
        run.run_id,
        stands(run),
        text(&progress)
    )
}
