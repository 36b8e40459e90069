//! Why a load ends before its jobs do.

use std::collections::BTreeMap;

use loader_worker::WorkerError;
use loader_worker::send::Stop;
use stoker_proto::ledger::v1::Job;
use tokio::task::JoinError;

use crate::embedded::unexpected;
use crate::output::one_sentence;
use crate::report::Ending;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Early {
    pub(super) ending: Ending,
    pub(super) reason: String,
    /// The ledger can still be asked what was done.
    pub(super) ledger_works: bool,
}

impl Early {
    pub(super) fn interrupted(reason: impl Into<String>) -> Self {
        Self {
            ending: Ending::Interrupted,
            reason: reason.into(),
            ledger_works: true,
        }
    }

    pub(super) fn failed(reason: impl Into<String>) -> Self {
        Self {
            ending: Ending::Failed,
            ..Self::interrupted(reason)
        }
    }

    pub(super) fn ledger_failed(reason: impl Into<String>) -> Self {
        Self {
            ledger_works: false,
            ..Self::failed(reason)
        }
    }

    /// A server or a ledger lost in the middle can be gone on with; what never worked is a failure.
    pub(super) fn of_worker(
        end: Result<Result<(), WorkerError>, JoinError>,
        jobs: &BTreeMap<i64, Job>,
    ) -> Self {
        let error = match end {
            Ok(Ok(())) => return Self::interrupted("the worker stopped"),
            Ok(Err(error)) => error,
            Err(panic) => return Self::failed(one_sentence(&unexpected(panic))),
        };
        let some_loaded = jobs
            .values()
            .filter_map(|job| job.run.as_ref())
            .any(|run| run.counts.iter().any(|c| c.created + c.updated > 0));
        let reason = error.to_string();
        match error {
            WorkerError::Stopped(Stop::Lost { .. }) => Self::interrupted(reason),
            WorkerError::Stopped(_) | WorkerError::Target(_) | WorkerError::Store(_)
                if some_loaded =>
            {
                Self::interrupted(reason)
            }
            WorkerError::Ledger(fault) if fault.may_pass() => Self {
                ending: Ending::Interrupted,
                ..Self::ledger_failed(reason)
            },
            WorkerError::Ledger(_) => Self::ledger_failed(reason),
            WorkerError::Stopped(_)
            | WorkerError::Target(_)
            | WorkerError::Store(_)
            | WorkerError::Panicked(_) => Self::failed(reason),
        }
    }
}
