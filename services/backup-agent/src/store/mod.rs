//! What the agent knows of a store that is backed up: that it can be captured, verified, restored, and restored for
//! proof.

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::catalog::Seen;
use crate::manifest::{Elsewhere, Manifest, Part, Proof, StoreKind};
use crate::repository::{Draft, Repository, RepositoryError};
use crate::restore::Order;
use crate::troubles;

mod postgres;
mod progress;

pub use postgres::{Origin, Postgres};
pub(crate) use progress::passed_on;

/// A database server of one kind, and what is known of its backups. Nothing that it does is in the way of the server's
/// own work, nor changes anything there.
///
/// `seen` is told how far it is. What is dropped before its end leaves nothing behind that the next does not take away.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// What it is.
    fn kind(&self) -> StoreKind;

    /// Where it is, without password; empty where only its backups are known.
    fn address(&self) -> String;

    /// What makes its backups, as manifests spell it.
    fn engine(&self) -> &'static str;

    /// Writes a backup into a draft. All parts are finished when this ends well; the draft is the caller's to commit or
    /// to abandon. `address` is the repository's place, a slash, and the backup's name.
    async fn capture(
        &self,
        address: &str,
        draft: &dyn Draft,
        seen: &watch::Sender<Seen>,
    ) -> Result<Captured, StoreError>;

    /// Reads a backup back: all of it, or so many percent as samples. Fails with [`StoreError::Bad`] where it is not as
    /// it was written.
    async fn verify(
        &self,
        repository: &dyn Repository,
        backup: &Manifest,
        sample_percent: Option<u32>,
        seen: &watch::Sender<Seen>,
    ) -> Result<(), StoreError>;

    /// Restores a backup. Answers what a person should know of it.
    async fn restore(
        &self,
        repository: &dyn Repository,
        order: &Order,
        seen: &watch::Sender<Seen>,
    ) -> Result<String, StoreError>;

    /// Restores a backup into a throwaway server, and looks at that. An error means that nothing was learnt.
    async fn drill(
        &self,
        repository: &dyn Repository,
        backup: &str,
        seen: &watch::Sender<Seen>,
    ) -> Result<Proof, StoreError>;

    /// Whether its backups are kept elsewhere than in the repository, and [`Store::tidy`] has something to do.
    fn keeps_elsewhere(&self) -> bool {
        false
    }

    /// Takes away what is kept elsewhere for backups of a repository that are no more; `known` are those there are.
    /// Answers what it was, for people.
    async fn tidy(&self, place: &str, known: &[Manifest]) -> Result<Vec<String>, StoreError> {
        let _ = (place, known);
        Ok(Vec::new())
    }
}

/// A backup whose parts are all written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Its parts.
    pub parts: Vec<Part>,
    /// See [`Manifest::about`].
    pub about: BTreeMap<String, String>,
    /// See [`Manifest::elsewhere`].
    pub elsewhere: Option<Elsewhere>,
}

impl Captured {
    /// Whether there is nothing in it, or a part has no byte.
    pub fn is_empty(&self) -> bool {
        troubles::is_empty(&self.parts, self.elsewhere.as_ref())
            || self.parts.iter().any(|part| part.raw_bytes == 0)
    }
}

/// Why something did not come of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The backup is not as it was written, or cannot be restored.
    #[error("{0}")]
    Bad(String),
    /// Another reason, of which nothing follows for the backup.
    #[error("{0}")]
    Failed(String),
}

impl From<RepositoryError> for StoreError {
    fn from(error: RepositoryError) -> Self {
        let text = error.to_string();
        match error {
            RepositoryError::Differs { .. } | RepositoryError::Manifest { .. } => Self::Bad(text),
            _ => Self::Failed(text),
        }
    }
}
