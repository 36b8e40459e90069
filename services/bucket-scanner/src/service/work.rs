//! The worker's side.

use std::sync::Arc;
use std::time::Duration;

use stoker_proto::ledger::v1::commit_outcomes_request::Part;
use stoker_proto::ledger::v1::work_service_server::WorkService;
use stoker_proto::ledger::v1::{
    CommitOutcomesRequest, CommitOutcomesResponse, FinishUnitRequest, FinishUnitResponse,
    HeartbeatRequest, HeartbeatResponse, Lease, LeaseUnitsRequest, LeaseUnitsResponse,
    RegisterWorkerRequest, RegisterWorkerResponse, ReleaseUnitRequest, ReleaseUnitResponse,
    RenewLeasesRequest, RenewLeasesResponse,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Request, Response, Status, Streaming};

use super::status;
use crate::announce::Announcer;
use crate::ledger::{Commit, Leased, Ledger, LedgerError};
use crate::metrics::ScannerMetrics;
use crate::signals::Signals;

/// As the seed's loader does.
const HEARTBEAT_MS: u32 = 5000;
/// Most units of one lease call.
const MAX_UNITS: u32 = 1000;
/// Longest wait of one lease call.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// A commit up to this size is held in memory beside others, a larger one alone.
const SMALL_COMMIT_BYTES: usize = 4 << 20;
/// Most bytes of one commit: above the largest input there can be.
const MAX_COMMIT_BYTES: usize = 320 << 20;
/// Most bytes of one quarantine chunk.
const MAX_CHUNK_BYTES: usize = 1 << 20;
/// A commit whose next part takes longer is broken off.
const PART_TIME: Duration = Duration::from_secs(30);

/// `WorkService` over a ledger.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) signals: Signals,
    pub(crate) announcer: Announcer,
    pub(crate) metrics: ScannerMetrics,
    pub(crate) lease: Duration,
    /// A waiting call looks again so often: leases expire, pauses end, other scanners plan.
    pub(crate) look_again: Duration,
    pub(crate) big_commits: Arc<Semaphore>,
}

#[tonic::async_trait]
impl WorkService for Work {
    async fn register_worker(
        &self,
        request: Request<RegisterWorkerRequest>,
    ) -> Result<Response<RegisterWorkerResponse>, Status> {
        let worker = request.into_inner();
        let worker_id = self.ledger.register_worker(&worker).await;
        Ok(Response::new(RegisterWorkerResponse {
            worker_id: worker_id.map_err(|e| status(&e))?,
            lease_ms: u32::try_from(self.lease.as_millis()).unwrap_or(u32::MAX),
            heartbeat_ms: HEARTBEAT_MS,
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let beat = self.ledger.heartbeat(request.into_inner().worker_id).await;
        beat.map_err(|e| status(&e))?;
        Ok(Response::new(HeartbeatResponse {}))
    }

    async fn lease_units(
        &self,
        request: Request<LeaseUnitsRequest>,
    ) -> Result<Response<LeaseUnitsResponse>, Status> {
        let mut request = request.into_inner();
        request.max_units = request.max_units.min(MAX_UNITS);
        let wait = Duration::from_millis(request.wait_ms.into()).min(MAX_WAIT);
        let deadline = Instant::now() + wait;
        loop {
            // Made before the look, so that what is planned between look and wait wakes it.
            let planned = self.signals.work.notified();
            let leased = self.ledger.lease_units(&request).await;
            let Leased { units, ended } = leased.map_err(|e| status(&e))?;
            let over = Instant::now() >= deadline || self.signals.stopping.is_cancelled();
            if !units.is_empty() || !ended.jobs.is_empty() {
                self.signals.job_changed();
            }
            self.announcer.ended(ended);
            if !units.is_empty() || request.max_units == 0 || over {
                return Ok(Response::new(LeaseUnitsResponse { units }));
            }
            tokio::select! {
                () = planned => {}
                () = sleep_until(deadline.min(Instant::now() + self.look_again)) => {}
                () = self.signals.stopping.cancelled() => {}
            }
        }
    }

    async fn renew_leases(
        &self,
        request: Request<RenewLeasesRequest>,
    ) -> Result<Response<RenewLeasesResponse>, Status> {
        let leases = self.ledger.renew(&request.into_inner().leases).await;
        let leases = leases.map_err(|e| status(&e))?;
        let lost = leases.iter().filter(|lease| !lease.lost.is_empty()).count();
        self.metrics.leases_lost.inc_by(lost as u64);
        Ok(Response::new(RenewLeasesResponse { leases }))
    }

    async fn commit_outcomes(
        &self,
        request: Request<Streaming<CommitOutcomesRequest>>,
    ) -> Result<Response<CommitOutcomesResponse>, Status> {
        // Held until the commit is written and its memory free.
        let (commit, _alone) = self.receive(request.into_inner()).await?;
        self.written(self.ledger.commit_outcomes(&commit).await)?;
        self.metrics.commits.inc();
        Ok(Response::new(CommitOutcomesResponse {}))
    }

    async fn finish_unit(
        &self,
        request: Request<FinishUnitRequest>,
    ) -> Result<Response<FinishUnitResponse>, Status> {
        let FinishUnitRequest {
            lease,
            lines,
            decoded_bytes,
        } = request.into_inner();
        let lease = named(lease)?;
        let finished = self.ledger.finish_unit(&lease, lines, decoded_bytes).await;
        self.announcer.finished(self.written(finished)?);
        Ok(Response::new(FinishUnitResponse {}))
    }

    async fn release_unit(
        &self,
        request: Request<ReleaseUnitRequest>,
    ) -> Result<Response<ReleaseUnitResponse>, Status> {
        let request = request.into_inner();
        let disposition = request.disposition();
        let lease = named(request.lease)?;
        let released = self
            .ledger
            .release_unit(&lease, disposition, &request.reason)
            .await;
        self.announcer.finished(self.written(released)?);
        self.signals.work_planned();
        Ok(Response::new(ReleaseUnitResponse {}))
    }
}

fn named(lease: Option<Lease>) -> Result<Lease, Status> {
    lease.ok_or_else(|| Status::invalid_argument("the call names no lease"))
}

impl Work {
    /// Notes a write under a lease.
    fn written<T>(&self, result: Result<T, LedgerError>) -> Result<T, Status> {
        match &result {
            Ok(_) => self.signals.job_changed(),
            Err(LedgerError::LeaseLost { .. }) => {
                self.metrics.leases_lost.inc();
            }
            Err(_) => {}
        }
        result.map_err(|e| status(&e))
    }

    /// Receives a whole commit; with a permit when it is a large one.
    async fn receive(
        &self,
        mut parts: Streaming<CommitOutcomesRequest>,
    ) -> Result<(Commit, Option<OwnedSemaphorePermit>), Status> {
        let mut gathered = Gathered::default();
        let mut alone = None;
        loop {
            let next = timeout(PART_TIME, parts.message()).await;
            let next =
                next.map_err(|_| Status::deadline_exceeded("the commit stopped half-way"))?;
            let Some(message) = next? else { break };
            gathered.add(message.part)?;
            if gathered.bytes > SMALL_COMMIT_BYTES && alone.is_none() {
                let permit = Arc::clone(&self.big_commits).acquire_owned().await;
                alone = Some(permit.map_err(|_| Status::unavailable("the scanner is stopping"))?);
            }
        }
        if !gathered.headed {
            return Err(Status::invalid_argument("the commit has no header"));
        }
        Ok((gathered.commit, alone))
    }
}

/// A commit, as far as it is received.
#[derive(Debug, Default)]
struct Gathered {
    commit: Commit,
    headed: bool,
    bytes: usize,
}

impl Gathered {
    fn add(&mut self, part: Option<Part>) -> Result<(), Status> {
        match part {
            Some(Part::Header(header)) if !self.headed => {
                self.headed = true;
                self.commit.header = header;
            }
            Some(Part::Header(_)) => {
                return Err(Status::invalid_argument("the commit has two headers"));
            }
            Some(_) if !self.headed => {
                return Err(Status::invalid_argument(
                    "the commit's header must come first",
                ));
            }
            Some(Part::Outcomes(list)) => {
                let sizes = list
                    .outcomes
                    .iter()
                    .map(|o| size_of_val(o) + o.error_text.len() + o.operation_outcome.len());
                self.bytes += sizes.sum::<usize>();
                self.commit.outcomes.extend(list.outcomes);
            }
            Some(Part::Quarantine(chunk)) if chunk.data.len() > MAX_CHUNK_BYTES => {
                return Err(Status::invalid_argument(
                    "a quarantine chunk is above 1 MiB",
                ));
            }
            Some(Part::Quarantine(chunk)) => {
                self.bytes += chunk.data.len();
                let index = usize::try_from(chunk.outcome_index).unwrap_or(usize::MAX);
                self.commit.quarantine.push((index, chunk.data));
            }
            None => return Err(Status::invalid_argument("a part of the commit is empty")),
        }
        if self.bytes > MAX_COMMIT_BYTES {
            let text = format!(
                "the commit is above {} MiB; split it",
                MAX_COMMIT_BYTES >> 20
            );
            return Err(Status::invalid_argument(text));
        }
        Ok(())
    }
}
