//! A repository under an S3 prefix.
//!
//! `NAME/manifest.json` makes a backup, written only where there is none. Its parts lie in `NAME/ID/`, where `ID` is of
//! one draft alone, so that nobody ever writes over what another wrote. `.drafts/ID.json`, the draft's note, is there
//! before the first of them and goes last: whatever is left of drafts and deletions is found by their notes.
//!
//! The keys need the rights `s3:ListBucket`, `s3:GetObject`, `s3:PutObject`, `s3:DeleteObject`,
//! `s3:AbortMultipartUpload` and `s3:ListBucketMultipartUploads`.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use stoker_shared::clock::SharedClock;
use stoker_shared::object_store::{Bucket, Listed, ObjectStore, OnlyIf, StoreError};

use super::owner::Live;
use super::stored::{Piece, Stored};
use super::{Change, Draft, Found, PartStream, Repository, RepositoryError, names};
use crate::manifest::{self, Manifest};
use note::Note;

mod clean;
mod draft;
mod note;
mod part;

/// How often a change to a manifest is tried while others are faster.
const TRIES: u32 = 20;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct S3 {
    bucket: Bucket,
    clock: SharedClock,
    object_bytes: u64,
}

impl S3 {
    /// Below the bucket's prefix, with objects of at most so many bytes.
    pub(super) fn new(bucket: Bucket, clock: SharedClock, object_bytes: u64) -> Self {
        Self {
            bucket,
            clock,
            object_bytes,
        }
    }

    fn manifest_key(&self, name: &str) -> String {
        self.bucket.key(&format!("{name}/{}", manifest::FILE_NAME))
    }

    fn key(&self, name: &str, path: &str) -> String {
        self.bucket.key(&format!("{name}/{path}"))
    }

    /// A manifest, and its entity tag.
    async fn stored(&self, name: &str) -> Result<(Stored, String), RepositoryError> {
        names::check(name)?;
        match self.bucket.read_whole(&self.manifest_key(name)).await {
            Ok((text, etag)) => Ok((Stored::parse(&self.place(), name, &text)?, etag)),
            Err(StoreError::NotFound { .. }) => Err(self.not_found(name)),
            Err(e) => Err(e.into()),
        }
    }

    /// Fails unless an object is there and has the size it should have.
    async fn check_size(&self, name: &str, piece: &Piece) -> Result<(), RepositoryError> {
        let key = self.key(name, &piece.path);
        let (is, should) = match self.bucket.head(&key).await {
            Ok(there) if there.size == piece.bytes => return Ok(()),
            Ok(there) => (format!("it has {} bytes", there.size), piece.bytes),
            Err(StoreError::NotFound { .. }) => ("it is not there".to_owned(), piece.bytes),
            Err(e) => return Err(e.into()),
        };
        Err(RepositoryError::Differs {
            what: self.bucket.uri(&key),
            reason: format!("{is}, its manifest says {should} bytes"),
        })
    }

    /// Whatever lies in a backup's folder, by its path in it.
    async fn all(&self, name: &str) -> Result<Vec<Found>, RepositoryError> {
        let folder = self.bucket.below(&format!("{name}/"));
        let (mut all, prefix) = (Vec::new(), folder.key(""));
        let mut listed = folder.list();
        while let Some(item) = listed.try_next().await? {
            if let Listed::Object(object) = item {
                let path = object.key.strip_prefix(&prefix).unwrap_or_default();
                all.push(Found {
                    name: path.to_owned(),
                    bytes: object.size,
                    changed: object.last_modified,
                });
            }
        }
        Ok(all)
    }

    fn not_found(&self, name: &str) -> RepositoryError {
        RepositoryError::NotFound {
            place: self.place(),
            name: name.to_owned(),
        }
    }

    fn exists(&self, name: &str) -> RepositoryError {
        RepositoryError::Exists {
            place: self.place(),
            name: name.to_owned(),
        }
    }

    /// Removes objects of a backup, and what was sent of those that are not whole.
    async fn remove(&self, name: &str, paths: &[String]) -> Result<(), RepositoryError> {
        for path in paths {
            let key = self.key(name, path);
            self.abort_uploads(&key).await;
            self.bucket.remove(&key).await?;
        }
        Ok(())
    }

    /// Drops what was sent of an object that is not whole. Where the keys have no right to, the service's own rules
    /// remove it.
    async fn abort_uploads(&self, key: &str) {
        if let Err(error) = self.bucket.abort_uploads(key).await {
            tracing::warn!(%error, "parts of an object that is not written may stay behind");
        }
    }
}

#[async_trait]
impl Repository for S3 {
    fn place(&self) -> String {
        let uri = self.bucket.uri(&self.bucket.key(""));
        uri.trim_end_matches('/').to_owned()
    }

    async fn begin(&self, name: &str) -> Result<Box<dyn Draft>, RepositoryError> {
        match self.stored(name).await {
            Err(RepositoryError::NotFound { .. }) => {}
            Ok(_) | Err(RepositoryError::Manifest { .. }) => return Err(self.exists(name)),
            Err(e) => return Err(e),
        }
        Ok(Box::new(draft::begin(self, name).await?))
    }

    async fn names(&self) -> Result<Vec<String>, RepositoryError> {
        let (mut names, prefix) = (Vec::new(), self.bucket.key(""));
        let mut listed = self.bucket.list();
        while let Some(item) = listed.try_next().await? {
            let Listed::Object(object) = item else {
                continue;
            };
            let below = object.key.strip_prefix(&prefix).unwrap_or_default();
            let Some((name, manifest::FILE_NAME)) = below.split_once('/') else {
                continue;
            };
            if names::check(name).is_ok() {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    async fn manifest(&self, name: &str) -> Result<Manifest, RepositoryError> {
        Ok(self.stored(name).await?.0.manifest)
    }

    async fn amend(&self, name: &str, change: Change<'_>) -> Result<Manifest, RepositoryError> {
        for _ in 0..TRIES {
            let (mut stored, etag) = self.stored(name).await?;
            stored.change(&self.place(), change)?;
            let text = Bytes::from(stored.text(&self.place())?);
            let key = self.manifest_key(name);
            let put = self.bucket.put_if(&key, text, OnlyIf::Is(&etag)).await?;
            if put.is_some() {
                return Ok(stored.manifest);
            }
        }
        Err(RepositoryError::Manifest {
            place: self.place(),
            name: name.to_owned(),
            reason: format!("others changed it {TRIES} times meanwhile; try again"),
        })
    }

    async fn read(&self, name: &str, part: &str, from: u64) -> Result<PartStream, RepositoryError> {
        let (stored, _) = self.stored(name).await?;
        let pieces = stored.pieces(stored.part(&self.place(), part)?, from);
        for piece in &pieces {
            self.check_size(name, piece).await?;
        }
        let (this, name) = (self.clone(), name.to_owned());
        let objects = stream::iter(pieces).then(move |piece| {
            let (this, key) = (this.clone(), this.key(&name, &piece.path));
            async move {
                let bytes = this.bucket.get(&key, piece.from..piece.bytes).await?;
                Ok::<_, RepositoryError>(bytes.map_err(RepositoryError::from))
            }
        });
        Ok(objects.try_flatten().boxed())
    }

    async fn delete(&self, name: &str) -> Result<(), RepositoryError> {
        let paths = match self.stored(name).await {
            Ok((stored, _)) => stored.paths(),
            // A backup that cannot be used can be taken away.
            Err(RepositoryError::Manifest { .. }) => {
                let all = self.all(name).await?.into_iter().map(|found| found.name);
                all.filter(|path| path != manifest::FILE_NAME).collect()
            }
            Err(e) => return Err(e),
        };
        let live = Live::new();
        let note = Note::begin(self, live.id(), name).await?;
        note.add(&paths).await?;
        self.bucket.remove(&self.manifest_key(name)).await?;
        self.remove(name, &paths).await?;
        note.end().await
    }

    async fn found(&self, name: &str) -> Result<Vec<Found>, RepositoryError> {
        names::check(name)?;
        let all = self.all(name).await?;
        if all.iter().any(|found| found.name == manifest::FILE_NAME) {
            return Err(self.exists(name));
        }
        let foreign = all.iter().find(|found| names::check(&found.name).is_err());
        if let Some(found) = foreign {
            return Err(RepositoryError::Foreign {
                what: self.bucket.uri(&self.key(name, &found.name)),
                reason: "no part has such a name",
            });
        }
        if all.is_empty() {
            return Err(self.not_found(name));
        }
        Ok(all)
    }

    async fn read_found(&self, name: &str, file: &Found) -> Result<PartStream, RepositoryError> {
        names::check(name)?;
        let key = self.key(name, &file.name);
        let bytes = self.bucket.get(&key, 0..file.bytes).await?;
        Ok(bytes.map_err(RepositoryError::from).boxed())
    }

    async fn adopt(&self, manifest: &Manifest) -> Result<(), RepositoryError> {
        let stored = Stored::beside(manifest)?;
        for part in &manifest.parts {
            for piece in stored.pieces(part, 0) {
                self.check_size(&manifest.name, &piece).await?;
            }
        }
        let text = Bytes::from(stored.text(&self.place())?);
        let key = self.manifest_key(&manifest.name);
        let put = self.bucket.put_if(&key, text, OnlyIf::New).await?;
        put.map(drop).ok_or_else(|| self.exists(&manifest.name))
    }

    async fn clean(&self, under_way: &[String]) -> Result<Vec<String>, RepositoryError> {
        clean::clean(self, under_way).await
    }
}
