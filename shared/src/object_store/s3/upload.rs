//! Objects that are written only where nobody was faster, and those that are sent in parts as they come. A service that
//! is away is waited for, as long as the settings say.

use aws_sdk_s3::primitives::ByteStream as Body;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::write::time_for;
use super::{Bucket, ObjectStore, StoreError};

/// What must hold of an object for another to be written in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnlyIf<'a> {
    /// It is not there.
    New,
    /// It has this entity tag.
    Is(&'a str),
}

impl Bucket {
    /// The same bucket, with a longer prefix.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        Self {
            prefix: self.key(name),
            ..self.clone()
        }
    }

    /// The key of an object whose name is relative to the prefix.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A key with its bucket, for messages.
    pub fn uri(&self, key: &str) -> String {
        self.shown(key)
    }

    /// Reads a small object whole; answers it with its entity tag.
    pub async fn read_whole(&self, key: &str) -> Result<(Bytes, String), StoreError> {
        let what = self.shown(key);
        let silence = self.service.made().await?.config.read_timeout;
        self.patiently(|| async {
            // In one request: between two, the object may have become another.
            let got = self.call(&what, |made| {
                made.client.get_object().bucket(&self.name).key(key).send()
            });
            let got = got.await?;
            let broken = |reason| StoreError::Unreachable {
                what: what.clone(),
                reason,
            };
            let body = tokio::time::timeout(silence, got.body.collect()).await;
            let body = body.map_err(|e| broken(e.to_string()))?;
            let body = body.map_err(|e| broken(e.to_string()))?;
            Ok((body.into_bytes(), unquoted(got.e_tag)))
        })
        .await
    }

    /// Writes an object where the condition holds, in one step; answers its entity tag, or none where it does not hold.
    ///
    /// Died, or failed: the object is the old one or the new one.
    pub async fn put_if(
        &self,
        key: &str,
        body: Bytes,
        only_if: OnlyIf<'_>,
    ) -> Result<Option<String>, StoreError> {
        let put = self.patiently(|| self.put_if_once(key, &body, only_if));
        match put.await {
            Ok(etag) => Ok(Some(etag)),
            // A try whose answer was lost may have written it.
            Err(StoreError::Changed { .. }) => match self.read_whole(key).await {
                Ok((there, etag)) => Ok((there == body).then_some(etag)),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(e) => Err(e),
            },
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn put_if_once(
        &self,
        key: &str,
        body: &Bytes,
        only_if: OnlyIf<'_>,
    ) -> Result<String, StoreError> {
        let what = self.shown(key);
        let put = self.call(&what, |made| {
            let put = made.client.put_object().bucket(&self.name).key(key);
            let put = match only_if {
                OnlyIf::New => put.if_none_match("*"),
                OnlyIf::Is(etag) => put.if_match(format!("\"{etag}\"")),
            };
            let put = put.content_type("application/json");
            put.body(Body::from(body.clone())).send()
        });
        Ok(unquoted(put.await?.e_tag))
    }

    /// Begins an object that is sent in parts; answers the upload's id.
    ///
    /// Died before [`Bucket::complete_upload`]: there is no object, and the service keeps the parts until
    /// [`Bucket::abort_uploads`].
    pub async fn begin_upload(&self, key: &str) -> Result<String, StoreError> {
        let what = self.shown(key);
        self.patiently(|| async {
            let begun = self.call(&what, |made| {
                let begin = made.client.create_multipart_upload().bucket(&self.name);
                begin.key(key).send()
            });
            Ok(begun.await?.upload_id.unwrap_or_default())
        })
        .await
    }

    /// Sends a part, 5 MiB at least unless it is the last; answers its entity tag. Parts are counted from 1.
    pub async fn upload_part(
        &self,
        key: &str,
        id: &str,
        number: i32,
        body: Bytes,
    ) -> Result<String, StoreError> {
        let what = self.shown(key);
        self.patiently(|| async {
            let sent = self.call(&what, |made| {
                let send = made.client.upload_part().bucket(&self.name).key(key);
                let send = send.upload_id(id).part_number(number);
                let send = send.body(Body::from(body.clone())).customize();
                send.config_override(time_for(made, body.len())).send()
            });
            Ok(sent.await?.e_tag.unwrap_or_default())
        })
        .await
    }

    /// Makes the parts, whose entity tags are given in order, an object of so many bytes.
    pub async fn complete_upload(
        &self,
        key: &str,
        id: &str,
        etags: &[String],
        bytes: u64,
    ) -> Result<(), StoreError> {
        let parts = (1..).zip(etags).map(|(number, etag)| {
            let part = CompletedPart::builder().part_number(number);
            part.e_tag(etag).build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect()));
        let parts = parts.build();
        let what = self.shown(key);
        let completed = self.patiently(|| async {
            let completed = self.call(&what, |made| {
                let complete = made.client.complete_multipart_upload().bucket(&self.name);
                let complete = complete.key(key).upload_id(id);
                complete.multipart_upload(parts.clone()).send()
            });
            completed.await.map(drop)
        });
        match completed.await {
            // A try whose answer was lost may have done it, and ended the upload.
            Err(gone @ StoreError::NotFound { .. }) => match self.head(key).await {
                Ok(object) if object.size == bytes => Ok(()),
                _ => Err(gone),
            },
            completed => completed,
        }
    }

    /// Drops the parts of every upload of the key that is not complete.
    pub async fn abort_uploads(&self, key: &str) -> Result<(), StoreError> {
        let what = self.shown(key);
        let listed = self.patiently(|| {
            self.call(&what, |made| {
                // Some services list none but those whose key is the prefix.
                let list = made.client.list_multipart_uploads().bucket(&self.name);
                list.prefix(key).send()
            })
        });
        let uploads = listed.await?.uploads.unwrap_or_default();
        for upload in uploads.iter().filter(|upload| upload.key() == Some(key)) {
            let id = upload.upload_id().unwrap_or_default();
            let aborted = self.patiently(|| {
                self.call(&what, |made| {
                    let abort = made.client.abort_multipart_upload().bucket(&self.name);
                    abort.key(key).upload_id(id).send()
                })
            });
            match aborted.await {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Removes an object; one that is not there is removed already.
    pub async fn remove(&self, key: &str) -> Result<(), StoreError> {
        let what = self.shown(key);
        let removed = self.patiently(|| {
            self.call(&what, |made| {
                let remove = made.client.delete_object().bucket(&self.name);
                remove.key(key).send()
            })
        });
        match removed.await {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Makes a request until it succeeds, or fails for good.
    async fn patiently<T, F>(&self, request: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut patience = self.patience();
        loop {
            match request().await {
                Err(e) => patience.wait(e).await?,
                done => return done,
            }
        }
    }
}

fn unquoted(etag: Option<String>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}
