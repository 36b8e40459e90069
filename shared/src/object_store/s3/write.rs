//! Writes objects: in one request, or in parts when they are large.

use aws_sdk_s3::config::Builder;
use aws_sdk_s3::primitives::ByteStream as Body;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::{Bucket, Made, StoreError, client};

/// Largest object written in one request.
const IN_ONE: usize = 64 << 20;

/// Bytes to a part of a larger one: at most 10,000 parts are allowed, which is 160 GiB.
const PART: usize = 16 << 20;

impl Bucket {
    /// Writes a whole object; a service sees all of it or what was there before.
    pub(super) async fn put_once(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
    ) -> Result<(), StoreError> {
        if body.len() > IN_ONE {
            return self.put_in_parts(key, body, content_type).await;
        }
        self.call(&self.shown(key), |made| {
            let put = made
                .client
                .put_object()
                .bucket(&self.name)
                .key(key)
                .content_type(content_type)
                .body(Body::from(body.clone()));
            put.customize()
                .config_override(time_for(made, body.len()))
                .send()
        })
        .await
        .map(drop)
    }

    /// Died before the last call: the service holds parts that are no object, until its rules remove them.
    async fn put_in_parts(
        &self,
        key: &str,
        body: Bytes,
        content_type: &str,
    ) -> Result<(), StoreError> {
        let what = self.shown(key);
        let begun = self.call(&what, |made| {
            let begin = made.client.create_multipart_upload().bucket(&self.name);
            begin.key(key).content_type(content_type).send()
        });
        let id = begun.await?.upload_id.unwrap_or_default();
        let written = self.write_parts(key, &id, body).await;
        if written.is_err() {
            let aborted = self.call(&what, |made| {
                let abort = made.client.abort_multipart_upload().bucket(&self.name);
                abort.key(key).upload_id(&id).send()
            });
            if let Err(error) = aborted.await {
                let error = error.without_name();
                tracing::warn!(error, "parts of an object that is not written stay behind");
            }
        }
        written
    }

    async fn write_parts(&self, key: &str, id: &str, mut body: Bytes) -> Result<(), StoreError> {
        let what = self.shown(key);
        let mut parts = Vec::new();
        for number in 1.. {
            if body.is_empty() {
                break;
            }
            let part = body.split_to(body.len().min(PART));
            let sent = self.call(&what, |made| {
                let send = made.client.upload_part().bucket(&self.name).key(key);
                let send = send.upload_id(id).part_number(number);
                let send = send.body(Body::from(part.clone())).customize();
                send.config_override(time_for(made, part.len())).send()
            });
            let sent = sent.await?;
            let done = CompletedPart::builder().part_number(number);
            parts.push(done.set_e_tag(sent.e_tag).build());
        }
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let completed = self.call(&what, |made| {
            let complete = made.client.complete_multipart_upload().bucket(&self.name);
            let complete = complete.key(key).upload_id(id);
            complete.multipart_upload(parts.clone()).send()
        });
        completed.await.map(drop)
    }
}

pub(super) fn time_for(made: &Made, bytes: usize) -> Builder {
    Builder::new().timeout_config(client::timeouts(&made.config, bytes))
}
