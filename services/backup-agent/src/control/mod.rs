//! The agent over gRPC.

use std::time::Duration;

use stoker_proto::backup::v1::backup_service_server::{BackupService, BackupServiceServer};
use stoker_proto::backup::v1::{
    BackupRef, CancelRunRequest, CancelRunResponse, GetBackupRequest, GetBackupResponse,
    GetPlanRequest, GetPlanResponse, GetRunRequest, GetRunResponse, ListBackupsRequest,
    ListBackupsResponse, ListRunsRequest, ListRunsResponse, PruneRequest, PruneResponse, Run,
    StartBackupRequest, StartBackupResponse, StartDrillRequest, StartDrillResponse,
    StartImportRequest, StartImportResponse, StartRestoreRequest, StartRestoreResponse,
    StartVerifyRequest, StartVerifyResponse, WatchRunRequest, WatchRunResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::agent::{Agent, BackupName};
use crate::catalog::RunState;

mod ask;
mod plan;
mod spell;
mod status;

pub(crate) use spell::{spelled, spelled_task};
use status::status;

/// Who watches is told of changes this far apart.
const PAUSE: Duration = Duration::from_millis(250);

/// Runs that are told of unless it is said how many, and at most.
const RUNS: (u32, u32) = (100, 1000);

/// `BackupService` over an agent. Those who watch are told that it ends at `shutdown`.
pub(crate) fn service(agent: Agent, shutdown: CancellationToken) -> BackupServiceServer<Control> {
    BackupServiceServer::new(Control { agent, shutdown })
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Control {
    agent: Agent,
    shutdown: CancellationToken,
}

type Answers = ReceiverStream<Result<WatchRunResponse, Status>>;

#[tonic::async_trait]
impl BackupService for Control {
    type WatchRunStream = Answers;

    async fn get_plan(
        &self,
        _: Request<GetPlanRequest>,
    ) -> Result<Response<GetPlanResponse>, Status> {
        let sources = plan::sources(&self.agent).await.map_err(|e| status(&e))?;
        Ok(Response::new(GetPlanResponse { sources }))
    }

    async fn list_backups(
        &self,
        request: Request<ListBackupsRequest>,
    ) -> Result<Response<ListBackupsResponse>, Status> {
        let kept = self.agent.backups(&request.into_inner().source).await;
        let kept = kept.map_err(|e| status(&e))?;
        let unusable = self.agent.unusable().into_iter();
        Ok(Response::new(ListBackupsResponse {
            backups: kept.into_iter().map(spell::backup).collect(),
            unusable: unusable.map(spell::unusable).collect(),
        }))
    }

    async fn get_backup(
        &self,
        request: Request<GetBackupRequest>,
    ) -> Result<Response<GetBackupResponse>, Status> {
        let kept = self.agent.backup(&named(request.into_inner().backup)).await;
        let backup = Some(spell::backup(kept.map_err(|e| status(&e))?));
        Ok(Response::new(GetBackupResponse { backup }))
    }

    async fn start_backup(
        &self,
        request: Request<StartBackupRequest>,
    ) -> Result<Response<StartBackupResponse>, Status> {
        let started = self.agent.start_backup(&request.into_inner().source).await;
        let run = Some(spell::run(started.map_err(|e| status(&e))?.run));
        Ok(Response::new(StartBackupResponse { run }))
    }

    async fn start_verify(
        &self,
        request: Request<StartVerifyRequest>,
    ) -> Result<Response<StartVerifyResponse>, Status> {
        let request = request.into_inner();
        let sample = ask::sample(request.sample_percent)?;
        let started = self
            .agent
            .start_verify(&named(request.backup), sample)
            .await;
        let run = Some(spell::run(started.map_err(|e| status(&e))?.run));
        Ok(Response::new(StartVerifyResponse { run }))
    }

    async fn start_drill(
        &self,
        request: Request<StartDrillRequest>,
    ) -> Result<Response<StartDrillResponse>, Status> {
        let started = self
            .agent
            .start_drill(&named(request.into_inner().backup))
            .await;
        let run = Some(spell::run(started.map_err(|e| status(&e))?.run));
        Ok(Response::new(StartDrillResponse { run }))
    }

    async fn start_restore(
        &self,
        request: Request<StartRestoreRequest>,
    ) -> Result<Response<StartRestoreResponse>, Status> {
        let request = request.into_inner();
        let order = ask::order(&request, &self.agent.config().drill)?;
        let started = self
            .agent
            .start_restore(&named(request.backup), order)
            .await;
        let run = Some(spell::run(started.map_err(|e| status(&e))?.run));
        Ok(Response::new(StartRestoreResponse { run }))
    }

    async fn start_import(
        &self,
        request: Request<StartImportRequest>,
    ) -> Result<Response<StartImportResponse>, Status> {
        let StartImportRequest { path, source } = request.into_inner();
        let started = self.agent.start_import(&path, &source).await;
        let run = Some(spell::run(started.map_err(|e| status(&e))?.run));
        Ok(Response::new(StartImportResponse { run }))
    }

    async fn prune(
        &self,
        request: Request<PruneRequest>,
    ) -> Result<Response<PruneResponse>, Status> {
        let PruneRequest { source, apply } = request.into_inner();
        let pruned = self.agent.prune(&source, apply).await;
        let pruned = pruned.map_err(|e| status(&e))?;
        let prunings = pruned.into_iter().map(spell::pruning).collect();
        Ok(Response::new(PruneResponse { prunings }))
    }

    async fn list_runs(
        &self,
        request: Request<ListRunsRequest>,
    ) -> Result<Response<ListRunsResponse>, Status> {
        let ListRunsRequest { source, limit } = request.into_inner();
        let limit = if limit == 0 {
            RUNS.0
        } else {
            limit.min(RUNS.1)
        };
        let runs = self
            .agent
            .runs(&source, limit)
            .await
            .map_err(|e| status(&e))?;
        let runs = runs.into_iter().map(spell::run).collect();
        Ok(Response::new(ListRunsResponse { runs }))
    }

    async fn get_run(
        &self,
        request: Request<GetRunRequest>,
    ) -> Result<Response<GetRunResponse>, Status> {
        let run = Some(self.run(request.into_inner().run_id).await?);
        Ok(Response::new(GetRunResponse { run }))
    }

    async fn watch_run(
        &self,
        request: Request<WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        // Asked here, so that a run that is not there is an error of the call itself.
        let run = self.run(request.into_inner().run_id).await?;
        let (sender, answers) = mpsc::channel(1);
        let this = self.clone();
        tokio::spawn(async move {
            let end = tokio::select! {
                end = this.watch(run, &sender) => end,
                () = sender.closed() => Ok(()),
                () = this.shutdown.cancelled() => {
                    Err(Status::unavailable("the backup-agent is stopping"))
                }
            };
            if let Err(fault) = end {
                // Nobody to tell is no fault.
                let _ = sender.send(Err(fault)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn cancel_run(
        &self,
        request: Request<CancelRunRequest>,
    ) -> Result<Response<CancelRunResponse>, Status> {
        let run = self.agent.cancel(request.into_inner().run_id).await;
        let run = Some(spell::run(run.map_err(|e| status(&e))?));
        Ok(Response::new(CancelRunResponse { run }))
    }
}

impl Control {
    async fn run(&self, run_id: i64) -> Result<Run, Status> {
        let run = self.agent.run(run_id).await;
        Ok(spell::run(run.map_err(|e| status(&e))?))
    }

    /// Sends the run and each change of it, until it is over or nobody listens.
    async fn watch(
        &self,
        mut run: Run,
        sender: &mpsc::Sender<Result<WatchRunResponse, Status>>,
    ) -> Result<(), Status> {
        let run_id = run.run_id;
        let mut shown = None;
        loop {
            let is_over = run.state() != spelled(RunState::Running);
            if shown.as_ref() != Some(&run) {
                let told = WatchRunResponse {
                    run: Some(run.clone()),
                };
                if sender.send(Ok(told)).await.is_err() {
                    return Ok(());
                }
                shown = Some(run);
            }
            if is_over {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
            run = self.run(run_id).await?;
        }
    }
}

fn named(wanted: Option<BackupRef>) -> BackupName {
    let BackupRef {
        name,
        source,
        place,
    } = wanted.unwrap_or_default();
    BackupName {
        name,
        source,
        place,
    }
}
