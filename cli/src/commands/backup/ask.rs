//! What is asked of an agent that is there.

use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use serde_json::Value;
use stoker_proto::backup::v1::{
    Backup, BackupRef, CancelRunRequest, GetBackupRequest, GetPlanRequest, GetRunRequest,
    ListBackupsRequest, ListBackupsResponse, ListRunsRequest, Source,
};

use super::ended::Ending;
use super::place::sentence;
use super::session::Session;
use super::show::{
    backup_to_json, detail, list as listed, run_detail, run_to_json, runs as run_list,
};
use super::{OfSource, Which, sources};
use crate::output::Output;

const NOTHING: &str =
    "the backup-agent answers without what was asked for; use the same version of stoker as it";

/// Which runs are shown.
#[derive(Debug, clap::Args)]
pub(super) struct RunsArgs {
    /// One run, by its number [default: all]
    id: Option<i64>,
    #[command(flatten)]
    of: OfSource,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

pub(super) async fn plan(session: &Session, output: &Output) -> anyhow::Result<ExitCode> {
    let found = all_sources(session).await?;
    output.result(&to_json(&found), || sources::plan(&found))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn schedule(session: &Session, output: &Output) -> anyhow::Result<ExitCode> {
    let found = all_sources(session).await?;
    output.result(&to_json(&found), || sources::schedule(&found))?;
    Ok(ExitCode::SUCCESS)
}

fn to_json(found: &[Source]) -> Vec<Value> {
    found.iter().map(sources::to_json).collect()
}

async fn all_sources(session: &Session) -> anyhow::Result<Vec<Source>> {
    let answer = session.client().get_plan(GetPlanRequest {}).await;
    Ok(answer.map_err(sentence)?.into_inner().sources)
}

pub(super) async fn list(
    session: &Session,
    of: OfSource,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let ListBackupsResponse { backups, unusable } = backups(session, of).await?;
    let values: Vec<Value> = backups.iter().map(backup_to_json).collect();
    output.result(&values, || listed(&backups))?;
    let mut ending = Ending::Done;
    for left_out in unusable {
        // Written as what it is, for machines too: a list has no place for it.
        let _ = output.failure(&anyhow!(left_out.reason));
        ending = Ending::FoundBad;
    }
    Ok(ending.code())
}

pub(super) async fn backups(
    session: &Session,
    of: OfSource,
) -> anyhow::Result<ListBackupsResponse> {
    let source = of.source.unwrap_or_default();
    let answer = session
        .client()
        .list_backups(ListBackupsRequest { source })
        .await;
    Ok(answer.map_err(sentence)?.into_inner())
}

pub(super) async fn show(
    session: &Session,
    which: &Which,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let backup = backup(session, which.to_ref()).await?;
    output.result(&backup_to_json(&backup), || detail(&backup))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn backup(session: &Session, which: BackupRef) -> anyhow::Result<Backup> {
    let backup = Some(which);
    let answer = session
        .client()
        .get_backup(GetBackupRequest { backup })
        .await;
    answer
        .map_err(sentence)?
        .into_inner()
        .backup
        .context(NOTHING)
}

pub(super) async fn runs(
    session: &Session,
    args: RunsArgs,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    if let Some(run_id) = args.id {
        let answer = session.client().get_run(GetRunRequest { run_id }).await;
        let run = answer
            .map_err(sentence)?
            .into_inner()
            .run
            .context(NOTHING)?;
        output.result(&run_to_json(&run), || run_detail(&run))?;
        return Ok(ExitCode::SUCCESS);
    }
    let request = ListRunsRequest {
        source: args.of.source.unwrap_or_default(),
        limit: args.limit,
    };
    let answer = session.client().list_runs(request).await;
    let found = answer.map_err(sentence)?.into_inner().runs;
    let values: Vec<Value> = found.iter().map(run_to_json).collect();
    output.result(&values, || run_list(&found))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn cancel(
    session: &Session,
    run_id: i64,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let answer = session
        .client()
        .cancel_run(CancelRunRequest { run_id })
        .await;
    let run = answer
        .map_err(sentence)?
        .into_inner()
        .run
        .context(NOTHING)?;
    output.result(&run_to_json(&run), || run_detail(&run))?;
    Ok(ExitCode::SUCCESS)
}
