//! Writing a part as objects that are sent while their bytes come: memory stays the same, however large it gets.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use stoker_shared::object_store::{ObjectStore, StoreError};
use tokio::task::{JoinError, JoinSet};

use super::draft::S3Draft;
use super::{Repository, RepositoryError};
use crate::manifest::Part;
use crate::repository::{PartWriter, hex};

/// Bytes sent in a request.
pub(super) const CHUNK: usize = 8 << 20;

/// Requests for an object, at most: S3's own limit.
pub(super) const MOST: u64 = 10_000;

/// Requests at once, for each part: with the chunk that is being filled, 40 MiB.
const AT_ONCE: usize = 4;

type Sent = Result<(i32, String), StoreError>;

/// A part that is being written.
#[derive(Debug)]
pub(super) struct S3Part {
    draft: S3Draft,
    name: String,
    bytes: u64,
    sum: Sha256,
    /// Bytes that are not sent yet.
    chunk: BytesMut,
    /// Objects that are whole.
    objects: u64,
    upload: Option<Upload>,
    /// Whether a call failed or was given up in the middle, after which bytes are missing.
    broken: bool,
}

/// An object that is sent in several requests.
#[derive(Debug)]
struct Upload {
    key: String,
    id: String,
    bytes: u64,
    number: i32,
    etags: BTreeMap<i32, String>,
    sending: JoinSet<Sent>,
}

impl Upload {
    /// Takes the answer to a request.
    fn take(&mut self, sent: Result<Sent, JoinError>) -> Result<(), RepositoryError> {
        let (number, etag) = sent.unwrap_or_else(|e| {
            Err(StoreError::Io {
                what: self.key.clone(),
                source: std::io::Error::other(e),
            })
        })?;
        self.etags.insert(number, etag);
        Ok(())
    }
}

impl S3Part {
    /// Begins one. Nothing is sent yet.
    pub(super) fn new(draft: S3Draft, name: &str) -> Self {
        Self {
            draft,
            name: name.to_owned(),
            bytes: 0,
            sum: Sha256::new(),
            chunk: BytesMut::new(),
            objects: 0,
            upload: None,
            broken: false,
        }
    }

    /// Fails where a call before did not come to its end; what fails, fails for good.
    fn begin_call(&mut self) -> Result<(), RepositoryError> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(RepositoryError::Parts {
                place: self.draft.place.place(),
                name: self.draft.name.clone(),
                reason: format!("writing {} has failed before", self.name),
            });
        }
        Ok(())
    }

    /// Notes the next object; answers its key.
    async fn begin_object(&self) -> Result<String, RepositoryError> {
        let path = self.draft.layout.path(&self.name, self.objects);
        self.draft.note.add(std::slice::from_ref(&path)).await?;
        Ok(self.draft.place.key(&self.draft.name, &path))
    }

    /// Sends what there is of the chunk as a part of an upload.
    async fn send(&mut self) -> Result<(), RepositoryError> {
        let bucket = self.draft.place.bucket.clone();
        let mut upload = match self.upload.take() {
            Some(upload) => upload,
            None => self.begin_upload().await?,
        };
        while upload.sending.len() >= AT_ONCE {
            if let Some(sent) = upload.sending.join_next().await {
                upload.take(sent)?;
            }
        }
        self.draft.note.freshen().await?;
        let chunk = self.chunk.split().freeze();
        upload.number += 1;
        upload.bytes += chunk.len() as u64;
        let (key, id, number) = (upload.key.clone(), upload.id.clone(), upload.number);
        upload.sending.spawn(async move {
            let etag = bucket.upload_part(&key, &id, number, chunk).await?;
            Ok((number, etag))
        });
        let full = upload.bytes >= self.draft.layout.object_bytes;
        self.upload = Some(upload);
        if full {
            self.complete().await?;
        }
        Ok(())
    }

    async fn begin_upload(&self) -> Result<Upload, RepositoryError> {
        let key = self.begin_object().await?;
        Ok(Upload {
            id: self.draft.place.bucket.begin_upload(&key).await?,
            key,
            bytes: 0,
            number: 0,
            etags: BTreeMap::new(),
            sending: JoinSet::new(),
        })
    }

    /// Waits for all requests, and makes them an object.
    async fn complete(&mut self) -> Result<(), RepositoryError> {
        let Some(mut upload) = self.upload.take() else {
            return Ok(());
        };
        while let Some(sent) = upload.sending.join_next().await {
            upload.take(sent)?;
        }
        let etags: Vec<_> = upload.etags.into_values().collect();
        let bucket = &self.draft.place.bucket;
        bucket
            .complete_upload(&upload.key, &upload.id, &etags, upload.bytes)
            .await?;
        // A request to begin it whose answer was lost has begun another.
        self.draft.place.abort_uploads(&upload.key).await;
        self.objects += 1;
        Ok(())
    }

    /// Sends the rest: in one request where nothing of its object was sent before.
    async fn end(&mut self) -> Result<(), RepositoryError> {
        if self.upload.is_some() {
            if !self.chunk.is_empty() {
                self.send().await?;
            }
            return self.complete().await;
        }
        if self.chunk.is_empty() && self.objects > 0 {
            return Ok(());
        }
        let key = self.begin_object().await?;
        let rest = self.chunk.split().freeze();
        let bucket = &self.draft.place.bucket;
        Ok(bucket.put(&key, rest, "application/octet-stream").await?)
    }
}

#[async_trait]
impl PartWriter for S3Part {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), RepositoryError> {
        self.begin_call()?;
        self.sum.update(&bytes);
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.chunk.is_empty() {
                self.chunk.reserve(CHUNK);
            }
            let taken = bytes.split_to(bytes.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(&taken);
            if self.chunk.len() == CHUNK {
                self.send().await?;
            }
        }
        self.broken = false;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Part, RepositoryError> {
        self.begin_call()?;
        self.end().await?;
        let this = *self;
        let part = Part {
            name: this.name,
            bytes: this.bytes,
            sha256: hex(this.sum),
            compression: "none".to_owned(),
            raw_bytes: this.bytes,
        };
        this.draft.written.finish(&part);
        Ok(part)
    }
}
