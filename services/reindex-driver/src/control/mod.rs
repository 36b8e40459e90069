//! The runs over gRPC: started, told of, steered.

use std::sync::Arc;
use std::time::Duration;

use stoker_proto::reindex::v1::reindex_service_server::{ReindexService, ReindexServiceServer};
use stoker_proto::reindex::v1::{
    CancelRunRequest, CancelRunResponse, GetRunRequest, GetRunResponse, ListFailuresRequest,
    ListFailuresResponse, ListRunsRequest, ListRunsResponse, PauseRunRequest, PauseRunResponse,
    ResumeRunRequest, ResumeRunResponse, Run, RunState, StartRunRequest, StartRunResponse,
    WatchRunRequest, WatchRunResponse,
};
use stoker_shared::retry::Retry;
use stoker_shared::store::StoreError;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::runs::{Runs, RunsError, Wish};

mod check;

use check::check;

/// Who watches is told of changes this far apart.
const PAUSE: Duration = Duration::from_millis(250);

/// So many failures fit into one message.
const MOST_FAILURES: u32 = 1000;

/// `ReindexService` over a store of runs. `wake` is told of each run that is started or steered, so that drivers in
/// this process need not look for it. Those who watch are told that it ends at `shutdown`.
pub fn service(
    runs: Arc<dyn Runs>,
    wake: Arc<Notify>,
    shutdown: CancellationToken,
) -> ReindexServiceServer<Control> {
    ReindexServiceServer::new(Control {
        runs,
        wake,
        shutdown,
    })
}

/// See [`service`].
#[derive(Debug)]
pub struct Control {
    runs: Arc<dyn Runs>,
    wake: Arc<Notify>,
    shutdown: CancellationToken,
}

type Answers = ReceiverStream<Result<WatchRunResponse, Status>>;

#[tonic::async_trait]
impl ReindexService for Control {
    type WatchRunStream = Answers;

    async fn start_run(
        &self,
        request: Request<StartRunRequest>,
    ) -> Result<Response<StartRunResponse>, Status> {
        let mut spec = request.into_inner().spec.unwrap_or_default();
        check(&mut spec).map_err(Status::invalid_argument)?;
        let (run, goes_on) = self.runs.start(&spec).await.map_err(|e| status(&e))?;
        self.wake.notify_waiters();
        let run = Some(run);
        Ok(Response::new(StartRunResponse { run, goes_on }))
    }

    async fn list_runs(
        &self,
        _: Request<ListRunsRequest>,
    ) -> Result<Response<ListRunsResponse>, Status> {
        let runs = self.runs.runs().await.map_err(|e| status(&e))?;
        Ok(Response::new(ListRunsResponse { runs }))
    }

    async fn get_run(
        &self,
        request: Request<GetRunRequest>,
    ) -> Result<Response<GetRunResponse>, Status> {
        let run = self.runs.run(request.into_inner().run_id).await;
        let run = Some(run.map_err(|e| status(&e))?);
        Ok(Response::new(GetRunResponse { run }))
    }

    async fn watch_run(
        &self,
        request: Request<WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        let run_id = request.into_inner().run_id;
        // Asked here, so that a run that is not there is an error of the call itself.
        let run = self.runs.run(run_id).await.map_err(|e| status(&e))?;
        let (sender, answers) = mpsc::channel(1);
        let (runs, shutdown) = (Arc::clone(&self.runs), self.shutdown.clone());
        tokio::spawn(async move {
            let end = tokio::select! {
                end = watch(&*runs, run, &sender) => end,
                () = sender.closed() => Ok(()),
                () = shutdown.cancelled() => {
                    Err(Status::unavailable("the reindex-driver is stopping"))
                }
            };
            if let Err(fault) = end {
                // Nobody to tell is no fault.
                let _ = sender.send(Err(fault)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn pause_run(
        &self,
        request: Request<PauseRunRequest>,
    ) -> Result<Response<PauseRunResponse>, Status> {
        let run = self.steer(request.into_inner().run_id, Wish::Pause).await?;
        Ok(Response::new(PauseRunResponse { run }))
    }

    async fn resume_run(
        &self,
        request: Request<ResumeRunRequest>,
    ) -> Result<Response<ResumeRunResponse>, Status> {
        let run = self
            .steer(request.into_inner().run_id, Wish::Resume)
            .await?;
        Ok(Response::new(ResumeRunResponse { run }))
    }

    async fn cancel_run(
        &self,
        request: Request<CancelRunRequest>,
    ) -> Result<Response<CancelRunResponse>, Status> {
        let run = self
            .steer(request.into_inner().run_id, Wish::Cancel)
            .await?;
        Ok(Response::new(CancelRunResponse { run }))
    }

    async fn list_failures(
        &self,
        request: Request<ListFailuresRequest>,
    ) -> Result<Response<ListFailuresResponse>, Status> {
        let ListFailuresRequest {
            run_id,
            after_index_id,
            limit,
        } = request.into_inner();
        let limit = match limit {
            0 => MOST_FAILURES,
            limit => limit.min(MOST_FAILURES),
        };
        // Of a run that is not there, the list would be empty too.
        self.runs.run(run_id).await.map_err(|e| status(&e))?;
        let failures = self.runs.failures(run_id, after_index_id, limit).await;
        let failures = failures.map_err(|e| status(&e))?;
        Ok(Response::new(ListFailuresResponse { failures }))
    }
}

impl Control {
    async fn steer(&self, run_id: i64, wish: Wish) -> Result<Option<Run>, Status> {
        let run = self.runs.steer(run_id, wish).await;
        let run = run.map_err(|e| status(&e))?;
        self.wake.notify_waiters();
        Ok(Some(run))
    }
}

/// Sends the run and each change of it, until it is over or nobody listens.
async fn watch(
    runs: &dyn Runs,
    mut run: Run,
    sender: &mpsc::Sender<Result<WatchRunResponse, Status>>,
) -> Result<(), Status> {
    let run_id = run.run_id;
    let mut shown = None;
    loop {
        let state = run.state();
        if shown.as_ref() != Some(&run) {
            let told = WatchRunResponse {
                run: Some(run.clone()),
            };
            if sender.send(Ok(told)).await.is_err() {
                return Ok(());
            }
            shown = Some(run);
        }
        if is_over(state) {
            return Ok(());
        }
        sleep(PAUSE).await;
        run = runs.run(run_id).await.map_err(|e| status(&e))?;
    }
}

/// Whether nothing more happens to a run by itself.
pub fn is_over(state: RunState) -> bool {
    matches!(
        state,
        RunState::Done | RunState::Stopped | RunState::Cancelled
    )
}

/// What a caller is told of a fault.
fn status(error: &RunsError) -> Status {
    let text = error.to_string();
    match error {
        RunsError::NotFound(_) => Status::not_found(text),
        RunsError::NotNow { .. } | RunsError::LeaseLost(_) => Status::failed_precondition(text),
        RunsError::Store(StoreError::DiskFull { .. }) => {
            tracing::error!(%error, "the disk with the runs is full");
            Status::resource_exhausted(text)
        }
        RunsError::Store(_) if error.retry() != Retry::Never => {
            tracing::warn!(%error, "the store of runs is away");
            Status::unavailable(text)
        }
        RunsError::Store(_) => {
            tracing::error!(%error, "the store of runs failed");
            Status::internal(text)
        }
    }
}
