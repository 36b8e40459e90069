//! The user's side.

use std::sync::Arc;

use stoker_proto::ledger::v1::job_service_server::JobService;
use stoker_proto::ledger::v1::{
    CancelJobRequest, CancelJobResponse, GetJobRequest, GetJobResponse, ListErrorsRequest,
    ListJobsRequest, ListJobsResponse, ListSourcesRequest, ListSourcesResponse, LoadError,
    QuarantinePart, ReadQuarantineRequest, RetryJobRequest, RetryJobResponse, SettleErrorsRequest,
    SettleErrorsResponse, StartJobRequest, StartJobResponse, WatchJobRequest, WatchJobResponse,
};
use tonic::{Request, Response, Status};

use super::watch::{self, Answers};
use super::{check, status, target};
use crate::announce::Announcer;
use crate::ledger::{EndedJob, Ledger, StartJob};
use crate::signals::Signals;

/// So many errors fit into one message and one statement.
const MOST_ERRORS: usize = 10_000;

/// `JobService` over a ledger.
#[derive(Debug)]
pub(crate) struct Jobs {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) signals: Signals,
    pub(crate) announcer: Announcer,
    pub(crate) reaches: Vec<String>,
}

#[tonic::async_trait]
impl JobService for Jobs {
    type ListErrorsStream = Answers<LoadError>;
    type ReadQuarantineStream = Answers<QuarantinePart>;
    type WatchJobStream = Answers<WatchJobResponse>;

    async fn start_job(
        &self,
        request: Request<StartJobRequest>,
    ) -> Result<Response<StartJobResponse>, Status> {
        let request = request.into_inner();
        let interaction = request.interaction();
        let missing = |what| Status::invalid_argument(format!("the load names no {what}"));
        let mut start = StartJob {
            source: request.source.ok_or_else(|| missing("source"))?,
            target: request.target.ok_or_else(|| missing("target"))?,
            interaction,
            reload: request.reload,
            options: request.options.unwrap_or_default(),
        };
        check(&mut start, &self.reaches).map_err(Status::invalid_argument)?;
        let job_id = self
            .ledger
            .start_job(&start)
            .await
            .map_err(|e| status(&e))?;
        self.announcer.job_started(job_id);
        self.signals.scan_wanted();
        self.signals.work_planned();
        let job = self.ledger.job(job_id).await.map_err(|e| status(&e))?;
        Ok(Response::new(StartJobResponse { job: Some(job) }))
    }

    async fn get_job(
        &self,
        request: Request<GetJobRequest>,
    ) -> Result<Response<GetJobResponse>, Status> {
        let job = self.ledger.job(request.into_inner().job_id).await;
        let job = Some(job.map_err(|e| status(&e))?);
        Ok(Response::new(GetJobResponse { job }))
    }

    async fn list_jobs(
        &self,
        _request: Request<ListJobsRequest>,
    ) -> Result<Response<ListJobsResponse>, Status> {
        let jobs = self.ledger.jobs().await.map_err(|e| status(&e))?;
        Ok(Response::new(ListJobsResponse { jobs }))
    }

    async fn list_sources(
        &self,
        _request: Request<ListSourcesRequest>,
    ) -> Result<Response<ListSourcesResponse>, Status> {
        let sources = self.ledger.sources().await.map_err(|e| status(&e))?;
        Ok(Response::new(ListSourcesResponse { sources }))
    }

    async fn list_errors(
        &self,
        request: Request<ListErrorsRequest>,
    ) -> Result<Response<Self::ListErrorsStream>, Status> {
        let ListErrorsRequest { job_id, this_run } = request.into_inner();
        Ok(Response::new(watch::errors(
            Arc::clone(&self.ledger),
            job_id,
            this_run,
        )))
    }

    async fn read_quarantine(
        &self,
        request: Request<ReadQuarantineRequest>,
    ) -> Result<Response<Self::ReadQuarantineStream>, Status> {
        let ReadQuarantineRequest { job_id, error_id } = request.into_inner();
        Ok(Response::new(watch::quarantine(
            Arc::clone(&self.ledger),
            job_id,
            error_id,
        )))
    }

    async fn retry_job(
        &self,
        request: Request<RetryJobRequest>,
    ) -> Result<Response<RetryJobResponse>, Status> {
        let job_id = request.into_inner().job_id;
        let retried = self.ledger.retry_job(job_id).await;
        let retried = retried.map_err(|e| status(&e))?;
        self.announcer.job_started(job_id);
        self.signals.work_planned();
        let answer = RetryJobResponse {
            inputs: retried.inputs,
            units: retried.units,
        };
        Ok(Response::new(answer))
    }

    async fn settle_errors(
        &self,
        request: Request<SettleErrorsRequest>,
    ) -> Result<Response<SettleErrorsResponse>, Status> {
        let request = request.into_inner();
        let missing = || Status::invalid_argument("say what took the inputs: name the target");
        let mut target = request.target.ok_or_else(missing)?;
        target::spell(&mut target.base_url);
        if request.errors.len() > MOST_ERRORS {
            let most = format!("settle at most {MOST_ERRORS} errors at a time");
            return Err(Status::invalid_argument(most));
        }
        let settled = self
            .ledger
            .settle_errors(request.job_id, &target, &request.errors)
            .await
            .map_err(|e| status(&e))?;
        self.signals.job_changed();
        Ok(Response::new(SettleErrorsResponse { settled }))
    }

    async fn cancel_job(
        &self,
        request: Request<CancelJobRequest>,
    ) -> Result<Response<CancelJobResponse>, Status> {
        let job_id = request.into_inner().job_id;
        self.ledger
            .cancel_job(job_id)
            .await
            .map_err(|e| status(&e))?;
        self.signals.job_changed();
        let job = self.ledger.job(job_id).await.map_err(|e| status(&e))?;
        let state = job.state();
        self.announcer.jobs_ended([EndedJob { job_id, state }]);
        Ok(Response::new(CancelJobResponse { job: Some(job) }))
    }

    async fn watch_job(
        &self,
        request: Request<WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let job_id = request.into_inner().job_id;
        Ok(Response::new(watch::watch(
            Arc::clone(&self.ledger),
            self.signals.clone(),
            job_id,
        )))
    }
}
