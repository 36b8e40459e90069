//! Writing a backup under an S3 prefix.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use stoker_shared::object_store::OnlyIf;

use super::note::Note;
use super::part::{CHUNK, MOST, S3Part};
use super::{Repository, RepositoryError, S3};
use crate::manifest::Manifest;
use crate::repository::owner::Live;
use crate::repository::stored::{Layout, Stored};
use crate::repository::written::Written;
use crate::repository::{Draft, PartWriter};

/// A backup that is being written under an S3 prefix. Shared with its parts' writers.
#[derive(Debug, Clone)]
pub(super) struct S3Draft {
    pub(super) place: S3,
    pub(super) name: String,
    pub(super) note: Arc<Note>,
    pub(super) written: Written,
    pub(super) layout: Arc<Layout>,
    _live: Arc<Live>,
}

/// Begins a draft.
pub(super) async fn begin(place: &S3, name: &str) -> Result<S3Draft, RepositoryError> {
    let live = Live::new();
    Ok(S3Draft {
        place: place.clone(),
        name: name.to_owned(),
        note: Arc::new(Note::begin(place, live.id(), name).await?),
        written: Written::default(),
        layout: Arc::new(Layout {
            folder: live.id().to_owned(),
            object_bytes: (place.object_bytes / CHUNK as u64).clamp(1, MOST) * CHUNK as u64,
        }),
        _live: Arc::new(live),
    })
}

impl S3Draft {
    fn stored(&self, manifest: &Manifest) -> Stored {
        Stored {
            manifest: manifest.clone(),
            layout: Some((*self.layout).clone()),
        }
    }

    /// Removes all there is of it, and its note last.
    async fn remove(&self) -> Result<(), RepositoryError> {
        self.place
            .remove(&self.name, &self.note.paths().await)
            .await?;
        self.note.end().await
    }

    /// The same where another error is to be told.
    async fn give_up(&self, error: RepositoryError) -> RepositoryError {
        // A service that is away has been waited for long enough; `clean` does it when it is back.
        if matches!(&error, RepositoryError::Store(e) if e.may_pass()) {
            return error;
        }
        if let Err(error) = self.remove().await {
            tracing::warn!(%error, "a draft that is over stays behind");
        }
        error
    }

    /// Whether all that the manifest names is there.
    async fn check(&self, stored: &Stored) -> Result<(), RepositoryError> {
        let (place, name) = (self.place.place(), self.name.clone());
        self.written.check(place, &name, &stored.manifest)?;
        self.note.check().await?;
        for part in &stored.manifest.parts {
            for piece in stored.pieces(part, 0) {
                self.place.check_size(&name, &piece).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Draft for S3Draft {
    async fn part(&self, name: &str) -> Result<Box<dyn PartWriter>, RepositoryError> {
        self.written.begin(name)?;
        Ok(Box::new(S3Part::new(self.clone(), name)))
    }

    async fn commit(self: Box<Self>, manifest: &Manifest) -> Result<(), RepositoryError> {
        let stored = self.stored(manifest);
        let checked = match self.check(&stored).await {
            Ok(()) => stored.text(&self.place.place()),
            Err(e) => Err(e),
        };
        let text = match checked {
            Ok(text) => Bytes::from(text),
            Err(e) => return Err(self.give_up(e).await),
        };
        let key = self.place.manifest_key(&self.name);
        // Where this fails, the manifest may be there: nothing is taken away, and `clean` sees what became of it.
        let put = self.place.bucket.put_if(&key, text, OnlyIf::New).await?;
        if put.is_none() {
            let (place, name) = (self.place.place(), self.name.clone());
            return Err(self.give_up(RepositoryError::Exists { place, name }).await);
        }
        // Another that took the note before the manifest was there is removing the parts.
        if let Err(lost @ RepositoryError::Lost { .. }) = self.note.check().await {
            self.place.bucket.remove(&key).await?;
            return Err(self.give_up(lost).await);
        }
        if let Err(error) = self.note.end().await {
            tracing::warn!(%error, "the note of a backup that is committed stays behind");
        }
        Ok(())
    }

    async fn abandon(self: Box<Self>) -> Result<(), RepositoryError> {
        self.remove().await
    }
}
