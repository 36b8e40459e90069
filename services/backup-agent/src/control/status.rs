//! What a caller is told of a fault.

use stoker_shared::retry::Retry;
use stoker_shared::store::StoreError;
use tonic::Status;

use crate::agent::AgentError;
use crate::catalog::CatalogError;
use crate::repository::RepositoryError;

pub(super) fn status(error: &AgentError) -> Status {
    let text = error.to_string();
    match error {
        AgentError::Asked(_) => Status::invalid_argument(text),
        AgentError::NoSource { .. }
        | AgentError::NoBackup(_)
        | AgentError::NoRun(_)
        | AgentError::Repository(RepositoryError::NotFound { .. }) => Status::not_found(text),
        AgentError::Busy(_)
        | AgentError::Over
        | AgentError::NotHere { .. }
        | AgentError::Unusable(_)
        | AgentError::Catalog(CatalogError::LeaseLost(_)) => Status::failed_precondition(text),
        AgentError::Stopping => Status::unavailable(text),
        AgentError::Catalog(CatalogError::Store(StoreError::DiskFull { .. })) => {
            tracing::error!(%error, "the disk with the catalog is full");
            Status::resource_exhausted(text)
        }
        error if error.retry() != Retry::Never => {
            tracing::warn!(%error, "the catalog or a repository is away");
            Status::unavailable(text)
        }
        error => {
            tracing::error!(%error, "the catalog or a repository failed");
            Status::internal(text)
        }
    }
}
