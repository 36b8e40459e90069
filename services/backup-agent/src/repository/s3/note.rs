//! The note of a draft or a deletion: who is at it, and which objects it may have left.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stoker_shared::object_store::{Bucket, ObjectStore, OnlyIf, StoreError};
use stoker_shared::process;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Repository, RepositoryError, S3};

/// The folder of notes.
pub(super) const FOLDER: &str = ".drafts/";

/// What their names end with.
pub(super) const SUFFIX: &str = ".json";

/// A note says at least so often that its writer lives.
const FRESH: Duration = Duration::from_hours(1);

/// What a note says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Text {
    /// As of [`process::own`].
    pub(super) owner: String,
    /// The backup.
    pub(super) name: String,
    /// Objects that are there or may be, by their path below the backup's folder.
    pub(super) paths: Vec<String>,
}

impl Text {
    /// As it is written.
    pub(super) fn bytes(&self) -> Bytes {
        // A struct of texts can always be written.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The note of something that this process is at.
#[derive(Debug)]
pub(super) struct Note {
    bucket: Bucket,
    place: String,
    key: String,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    text: Text,
    etag: String,
    at: Instant,
}

impl Note {
    /// Writes one. Died before: there is nothing. After: the next `clean` finds it.
    pub(super) async fn begin(place: &S3, id: &str, name: &str) -> Result<Self, RepositoryError> {
        let note = Self {
            bucket: place.bucket.clone(),
            place: place.place(),
            key: place.bucket.key(&format!("{FOLDER}{id}{SUFFIX}")),
            written: Mutex::new(Written {
                text: Text {
                    owner: process::own(),
                    name: name.to_owned(),
                    paths: Vec::new(),
                },
                etag: String::new(),
                at: Instant::now(),
            }),
        };
        let mut written = note.written.lock().await;
        note.put(&mut written, true).await?;
        drop(written);
        Ok(note)
    }

    /// Notes objects before they are begun.
    pub(super) async fn add(&self, paths: &[String]) -> Result<(), RepositoryError> {
        let mut written = self.written.lock().await;
        written.text.paths.extend_from_slice(paths);
        self.put(&mut written, false).await
    }

    /// Says that its writer lives, where that was not said lately.
    pub(super) async fn freshen(&self) -> Result<(), RepositoryError> {
        let mut written = self.written.lock().await;
        if written.at.elapsed() < FRESH {
            return Ok(());
        }
        self.put(&mut written, false).await
    }

    /// Fails where another took it, holding its writer for dead.
    pub(super) async fn check(&self) -> Result<(), RepositoryError> {
        let written = self.written.lock().await;
        match self.bucket.head(&self.key).await {
            Ok(there) if there.etag == written.etag => Ok(()),
            Ok(_) | Err(StoreError::NotFound { .. }) => Err(self.lost(&written)),
            Err(e) => Err(e.into()),
        }
    }

    /// The objects it names.
    pub(super) async fn paths(&self) -> Vec<String> {
        self.written.lock().await.text.paths.clone()
    }

    /// Removes it: nothing is left that it would have to tell of.
    pub(super) async fn end(&self) -> Result<(), RepositoryError> {
        Ok(self.bucket.remove(&self.key).await?)
    }

    async fn put(&self, written: &mut Written, new: bool) -> Result<(), RepositoryError> {
        let only_if = if new {
            OnlyIf::New
        } else {
            OnlyIf::Is(&written.etag)
        };
        let put = self.bucket.put_if(&self.key, written.text.bytes(), only_if);
        let Some(etag) = put.await? else {
            return Err(self.lost(written));
        };
        written.etag = etag;
        written.at = Instant::now();
        Ok(())
    }

    fn lost(&self, written: &Written) -> RepositoryError {
        RepositoryError::Lost {
            place: self.place.clone(),
            name: written.text.name.clone(),
        }
    }
}
