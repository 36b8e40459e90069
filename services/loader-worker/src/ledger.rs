//! The worker's side of the ledger's contract, with its errors told apart.

use std::time::Duration;

use stoker_proto::ledger::v1::work_service_client::WorkServiceClient;
use stoker_proto::ledger::v1::{
    CommitOutcomesRequest, Disposition, FinishUnitRequest, HeartbeatRequest, Lease,
    LeaseUnitsRequest, RegisterWorkerRequest, RegisterWorkerResponse, ReleaseUnitRequest,
    RenewLeasesRequest, RenewedLease, Unit,
};
use stoker_shared::grpc::Channel;
use tonic::{Code, Status};

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFault {
    /// The lease is another's now, or the unit is no longer to be loaded.
    #[error("the lease is lost: {0}")]
    LeaseLost(String),
    /// The ledger cannot be reached or is not well; it may be later.
    #[error("the ledger is not available: {0}")]
    Away(String),
    /// It will not do that.
    #[error("{0}")]
    Failed(String),
}

impl LedgerFault {
    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Away(_))
    }
}

impl From<Status> for LedgerFault {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::FailedPrecondition => Self::LeaseLost(message),
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::Cancelled => {
                Self::Away(message)
            }
            _ => Self::Failed(message),
        }
    }
}

/// How long a call may take beyond the wait it asks for.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// A connection to the ledger; cloning shares it.
#[derive(Debug, Clone)]
pub struct Ledger(WorkServiceClient<Channel>);

impl Ledger {
    /// Talks over `channel`.
    pub fn new(channel: Channel) -> Self {
        Self(WorkServiceClient::new(channel))
    }

    /// Makes this worker known.
    pub(crate) async fn register(
        &self,
        host: String,
    ) -> Result<RegisterWorkerResponse, LedgerFault> {
        let request = RegisterWorkerRequest {
            hostname: host,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let response = self
            .0
            .clone()
            .register_worker(limited(request, Duration::ZERO))
            .await?;
        Ok(response.into_inner())
    }

    pub(crate) async fn heartbeat(&self, worker_id: i64) -> Result<(), LedgerFault> {
        let request = limited(HeartbeatRequest { worker_id }, Duration::ZERO);
        self.0.clone().heartbeat(request).await?;
        Ok(())
    }

    pub(crate) async fn lease(&self, request: LeaseUnitsRequest) -> Result<Vec<Unit>, LedgerFault> {
        let wait = Duration::from_millis(request.wait_ms.into());
        let response = self.0.clone().lease_units(limited(request, wait)).await?;
        Ok(response.into_inner().units)
    }

    pub(crate) async fn renew(&self, leases: Vec<Lease>) -> Result<Vec<RenewedLease>, LedgerFault> {
        let request = limited(RenewLeasesRequest { leases }, Duration::ZERO);
        let response = self.0.clone().renew_leases(request).await?;
        Ok(response.into_inner().leases)
    }

    pub(crate) async fn commit(
        &self,
        parts: Vec<CommitOutcomesRequest>,
    ) -> Result<(), LedgerFault> {
        let request = limited(tokio_stream::iter(parts), Duration::ZERO);
        self.0.clone().commit_outcomes(request).await?;
        Ok(())
    }

    pub(crate) async fn finish(
        &self,
        lease: Lease,
        lines: u64,
        decoded_bytes: u64,
    ) -> Result<(), LedgerFault> {
        let request = FinishUnitRequest {
            lease: Some(lease),
            lines,
            decoded_bytes,
        };
        self.0
            .clone()
            .finish_unit(limited(request, Duration::ZERO))
            .await?;
        Ok(())
    }

    pub(crate) async fn release(
        &self,
        lease: Lease,
        disposition: Disposition,
        reason: &str,
    ) -> Result<(), LedgerFault> {
        let request = ReleaseUnitRequest {
            lease: Some(lease),
            disposition: disposition.into(),
            reason: reason.to_owned(),
        };
        self.0
            .clone()
            .release_unit(limited(request, Duration::ZERO))
            .await?;
        Ok(())
    }
}

fn limited<T>(message: T, wait: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_LIMIT + wait);
    request
}
