//! What is asked of runs that are there: by a running driver, or in their store.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use reindex_driver::Driver;
use serde_json::{Value, json};
use stoker_proto::reindex::v1::reindex_service_client::ReindexServiceClient;
use stoker_proto::reindex::v1::{
    CancelRunRequest, GetRunRequest, ListFailuresRequest, ListRunsRequest, PauseRunRequest,
    ResumeRunRequest, Run, RunState,
};
use stoker_shared::clock::SystemClock;
use stoker_shared::grpc;
use stoker_shared::store::StoreUrl;

use super::args::{configured, keep_runs_at};
use super::follow;
use super::place::{Client, PlaceArgs, sentence};
use super::show::{NOTHING_YET, detail, failure_text, failure_to_json, list, to_json};
use super::{ReindexCommand, RunNumber};
use crate::Global;
use crate::embedded::Embedded;
use crate::output::Output;

/// Asks a server, else the store, which it does not make.
pub(super) async fn run(
    command: ReindexCommand,
    place: &PlaceArgs,
    global: &Global,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    if let Some(server) = place.server()? {
        let client = ReindexServiceClient::new(grpc::connect(&server)?);
        return ask(client, command, output).await;
    }
    let mut config = configured(global)?;
    let url = place.url_or(&config)?;
    match &url {
        StoreUrl::Memory => bail!(
            "the runs of \"none\" are gone with the command that did them; give the --runs that one wrote"
        ),
        // Opening it would make it.
        StoreUrl::Sqlite(path) if path.try_exists().is_ok_and(|there| !there) => {
            if place.is_the_users_own(&config) {
                return without_runs(&command, output);
            }
            bail!(
                "{}: there are no runs; check the path, or reindex something with it first",
                path.display()
            );
        }
        StoreUrl::Sqlite(_) | StoreUrl::Postgres(_) => {}
    }
    keep_runs_at(&mut config, url);
    let driver = Driver::open(&config, Arc::new(SystemClock)).await?;
    let served = Embedded::of(driver.routes());
    let client = ReindexServiceClient::new(served.channel());
    let result = ask(client, command, output).await;
    served.stop().await;
    result
}

fn without_runs(command: &ReindexCommand, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(id) = command.id() else {
        output.result(&json!([]), || NOTHING_YET.to_owned())?;
        return Ok(ExitCode::SUCCESS);
    };
    bail!("there is no run {id}: {NOTHING_YET}");
}

async fn ask(
    mut client: Client,
    command: ReindexCommand,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let run = match command {
        ReindexCommand::List => {
            let runs = client.list_runs(ListRunsRequest {}).await;
            let runs = runs.map_err(sentence)?.into_inner().runs;
            let values: Vec<Value> = runs.iter().map(to_json).collect();
            output.result(&values, || list(&runs))?;
            return Ok(ExitCode::SUCCESS);
        }
        ReindexCommand::Watch(RunNumber { id }) => return follow::watch(client, id, output).await,
        ReindexCommand::Failures(RunNumber { id }) => {
            failures(client, id, output).await?;
            return Ok(ExitCode::SUCCESS);
        }
        ReindexCommand::Show(RunNumber { id }) => {
            let answer = client.get_run(GetRunRequest { run_id: id }).await;
            answer.map_err(sentence)?.into_inner().run
        }
        ReindexCommand::Pause(RunNumber { id }) => {
            let answer = client.pause_run(PauseRunRequest { run_id: id }).await;
            answer.map_err(sentence)?.into_inner().run
        }
        ReindexCommand::Resume(RunNumber { id }) => {
            let answer = client.resume_run(ResumeRunRequest { run_id: id }).await;
            answer.map_err(sentence)?.into_inner().run
        }
        ReindexCommand::Cancel(RunNumber { id }) => {
            let answer = client.cancel_run(CancelRunRequest { run_id: id }).await;
            answer.map_err(sentence)?.into_inner().run
        }
    };
    show(run, output)?;
    Ok(ExitCode::SUCCESS)
}

fn show(run: Option<Run>, output: &Output) -> anyhow::Result<()> {
    let run = run.context(
        "the driver answers without the run; use the same version of stoker as the driver",
    )?;
    output.result(&to_json(&run), || detail(&run))?;
    if run.state() == RunState::Running && run.driver.is_empty() {
        output.say(
            "no driver works on it: run the same `stoker reindex --to …` again, or have a reindex-driver run",
        );
    }
    Ok(())
}

/// Writes failures as they come, so that a million of them need no memory.
async fn failures(mut client: Client, run_id: i64, output: &Output) -> anyhow::Result<()> {
    let mut after_index_id = 0;
    loop {
        let request = ListFailuresRequest {
            run_id,
            after_index_id,
            limit: 0,
        };
        let page = client.list_failures(request).await.map_err(sentence)?;
        let page = page.into_inner().failures;
        let Some(last) = page.last() else {
            break;
        };
        for failure in &page {
            let line = if output.is_json() {
                failure_to_json(failure).to_string()
            } else {
                failure_text(failure)
            };
            if !Output::line(&line)? {
                return Ok(());
            }
        }
        after_index_id = last.index_id;
    }
    if after_index_id == 0 {
        output.say("nothing of this run has failed");
    }
    Ok(())
}
