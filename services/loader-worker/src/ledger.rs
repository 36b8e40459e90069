//! The worker's side of the ledger's contract, with its errors told apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stoker_proto::ledger::v1::work_service_client::WorkServiceClient;
use stoker_proto::ledger::v1::{
    CommitOutcomesRequest, Disposition, FinishUnitRequest, HeartbeatRequest, Lease,
    LeaseUnitsRequest, RegisterWorkerRequest, RegisterWorkerResponse, ReleaseUnitRequest,
    RenewLeasesRequest, RenewedLease, Unit,
};
use stoker_shared::grpc::{self, Channel};
use tonic::{Code, Response, Status};

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFault {
    /// The lease is another's now, or the unit is no longer to be loaded.
    #[error("the lease is lost: {0}")]
    LeaseLost(String),
    /// The ledger cannot be reached or is not well; it may be later.
    #[error("the ledger is not available: {0}")]
    Away(String),
    /// It has no room left; somebody may make some.
    #[error("{0}")]
    Full(String),
    /// It does not know this worker, because it has been replaced by another ledger.
    #[error("{0}")]
    UnknownWorker(String),
    /// It will not do that.
    #[error("{0}")]
    Failed(String),
}

impl LedgerFault {
    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Away(_))
    }

    /// Whether it has no room left.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl From<Status> for LedgerFault {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            _ if grpc::is_gone(&status) => Self::Away(message),
            Code::FailedPrecondition => Self::LeaseLost(message),
            Code::ResourceExhausted => Self::Full(message),
            Code::NotFound => Self::UnknownWorker(message),
            Code::DeadlineExceeded | Code::Aborted | Code::Cancelled => Self::Away(message),
            _ => Self::Failed(message),
        }
    }
}

/// How long a call may take beyond the wait it asks for.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// A slower connection to the ledger is as good as none: 256 KiB/s.
const SLOWEST_BYTES_PER_MS: usize = 256;

/// Connections to the scanners that serve one ledger; cloning shares them. Calls go to one of them until it
/// cannot be reached, then to the next.
#[derive(Debug, Clone)]
pub struct Ledger {
    clients: Arc<[WorkServiceClient<Channel>]>,
    current: Arc<AtomicUsize>,
}

impl Ledger {
    /// Talks over one channel.
    pub fn new(channel: Channel) -> Self {
        Self::over([channel])
    }

    /// Talks over the first of `channels` (at least one) that works.
    pub fn over(channels: impl IntoIterator<Item = Channel>) -> Self {
        Self {
            clients: channels.into_iter().map(WorkServiceClient::new).collect(),
            current: Arc::default(),
        }
    }

    /// Calls, and calls the next scanner where this one cannot be reached: every call may be repeated.
    async fn call<T, F>(
        &self,
        call: impl Fn(WorkServiceClient<Channel>) -> F,
    ) -> Result<T, LedgerFault>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut tries = 1;
        loop {
            let at = self.current.load(Ordering::Relaxed);
            let client = self.clients[at % self.clients.len()].clone();
            let status = match call(client).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            let gone = grpc::is_gone(&status);
            if gone {
                // Whoever finds out first moves on for all.
                let next = at.wrapping_add(1);
                let (set, unset) = (Ordering::Relaxed, Ordering::Relaxed);
                let _ = self.current.compare_exchange(at, next, set, unset);
            }
            if !gone || tries >= self.clients.len() {
                return Err(status.into());
            }
            tries += 1;
        }
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
        let request = &request;
        self.call(|mut client| async move {
            let request = limited(request.clone(), Duration::ZERO);
            client.register_worker(request).await
        })
        .await
    }

    pub(crate) async fn heartbeat(&self, worker_id: i64) -> Result<(), LedgerFault> {
        self.call(|mut client| async move {
            let request = limited(HeartbeatRequest { worker_id }, Duration::ZERO);
            client.heartbeat(request).await
        })
        .await
        .map(drop)
    }

    pub(crate) async fn lease(&self, request: LeaseUnitsRequest) -> Result<Vec<Unit>, LedgerFault> {
        let wait = Duration::from_millis(request.wait_ms.into());
        let request = &request;
        let leased = self.call(|mut client| async move {
            client.lease_units(limited(request.clone(), wait)).await
        });
        Ok(leased.await?.units)
    }

    pub(crate) async fn renew(&self, leases: Vec<Lease>) -> Result<Vec<RenewedLease>, LedgerFault> {
        let request = &RenewLeasesRequest { leases };
        let renewed = self.call(|mut client| async move {
            let request = limited(request.clone(), Duration::ZERO);
            client.renew_leases(request).await
        });
        Ok(renewed.await?.leases)
    }

    pub(crate) async fn commit(
        &self,
        parts: Vec<CommitOutcomesRequest>,
    ) -> Result<(), LedgerFault> {
        let bytes: usize = parts.iter().map(prost::Message::encoded_len).sum();
        let sending = Duration::from_millis((bytes / SLOWEST_BYTES_PER_MS) as u64);
        let parts = &parts;
        self.call(|mut client| async move {
            let parts = tokio_stream::iter(parts.clone());
            client.commit_outcomes(limited(parts, sending)).await
        })
        .await
        .map(drop)
    }

    pub(crate) async fn finish(
        &self,
        lease: Lease,
        lines: u64,
        decoded_bytes: u64,
    ) -> Result<(), LedgerFault> {
        let request = &FinishUnitRequest {
            lease: Some(lease),
            lines,
            decoded_bytes,
        };
        self.call(|mut client| async move {
            let request = limited(request.clone(), Duration::ZERO);
            client.finish_unit(request).await
        })
        .await
        .map(drop)
    }

    pub(crate) async fn release(
        &self,
        lease: Lease,
        disposition: Disposition,
        reason: &str,
    ) -> Result<(), LedgerFault> {
        let request = &ReleaseUnitRequest {
            lease: Some(lease),
            disposition: disposition.into(),
            reason: reason.to_owned(),
        };
        self.call(|mut client| async move {
            let request = limited(request.clone(), Duration::ZERO);
            client.release_unit(request).await
        })
        .await
        .map(drop)
    }
}

fn limited<T>(message: T, wait: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_LIMIT + wait);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_a_scanner_broke_off_may_be_repeated_one_that_it_failed_may_not() {
        let said = Status::internal("h2 protocol error: http2 error");
        let mut broken = said.clone();
        broken.set_source(Arc::new(std::io::Error::other("stream reset")));
        assert!(LedgerFault::from(broken).may_pass());
        assert!(!LedgerFault::from(said).may_pass());
    }
}
