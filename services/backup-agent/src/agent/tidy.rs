//! What engines keep elsewhere than in the repository goes when the backup that it was for is no more.

use super::source::Source;
use super::{Agent, look};
use crate::repository::Repository;
use crate::store::StoreError;

impl Agent {
    /// Takes it away, for backups of a repository. What does not go now goes later, and keeps nothing else from being
    /// done.
    pub(super) async fn tidy(&self, repository: &dyn Repository) {
        let place = repository.place();
        let sources = self.sources.values();
        let sources = sources
            .filter(|source| source.store.keeps_elsewhere() && source.repository.place() == place);
        for source in sources {
            let name = &source.name;
            match gone(source, repository).await {
                Ok(gone) => {
                    for what in gone {
                        tracing::info!(source = name, place, "taken away: {what}");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, source = name, place, "what is left elsewhere is taken away later");
                }
            }
        }
    }
}

/// Nothing goes where it is not certain which backups there are.
async fn gone(source: &Source, repository: &dyn Repository) -> Result<Vec<String>, StoreError> {
    let found = look::found(repository).await?;
    if let Some(unusable) = found.unusable.into_iter().next() {
        return Err(StoreError::Failed(unusable.reason));
    }
    source
        .store
        .tidy(&repository.place(), &found.manifests)
        .await
}
