//! Objects of a bucket whose keys begin with a prefix.
//!
//! A service that is away for a while is waited for: a listing goes on with the page it was at, reading
//! with the byte, as long as the object is still the one that was begun.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream as Body, DateTime as S3Time};
use aws_sdk_s3::types::Object;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{BoxStream, StreamExt, TryStreamExt, try_unfold};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{ByteStream, Listed, ObjectMeta, ObjectStore, StoreError};
use crate::retry::Backoff;

mod client;
mod config;
mod error;

pub use config::{S3Config, S3ConfigError};

/// Largest chunk handed on.
const CHUNK: usize = 1 << 20;

/// An S3 service; cloning shares its client.
#[derive(Debug, Clone)]
pub(super) struct Service {
    config: Arc<S3Config>,
    client: Arc<OnceCell<Client>>,
}

impl Service {
    pub(super) fn new(config: S3Config) -> Self {
        Self {
            config: Arc::new(config),
            client: Arc::default(),
        }
    }

    async fn client(&self) -> Result<&Client, StoreError> {
        let made = self
            .client
            .get_or_try_init(|| client::make(&self.config))
            .await;
        made.map_err(|e| StoreError::Settings(e.to_string()))
    }
}

/// `s3://bucket/prefix`; the prefix is a text that keys begin with, no folder.
#[derive(Debug, Clone)]
pub struct Bucket {
    service: Service,
    name: String,
    prefix: String,
}

impl Bucket {
    /// The bucket and prefix of what follows `s3://`; none when there is no bucket in it.
    pub(super) fn parse(service: &Service, rest: &str) -> Option<Self> {
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        (!name.is_empty()).then(|| Self {
            service: service.clone(),
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    fn shown(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    fn patience(&self) -> Patience {
        Patience {
            since: None,
            give_up_after: self.service.config.give_up_after,
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
            rng: StdRng::from_os_rng(),
        }
    }

    /// One page of the listing after `token`, and the token of the next.
    async fn page(&self, token: Option<String>) -> Result<Page, StoreError> {
        let answer = self
            .service
            .client()
            .await?
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(&self.prefix)
            .max_keys(self.service.config.max_keys.into())
            .set_continuation_token(token)
            .send()
            .await;
        let answer = answer.map_err(|e| error::told(self.shown(&self.prefix), &e))?;
        let more = answer.is_truncated().unwrap_or(false);
        let next = answer.next_continuation_token().map(str::to_owned);
        let next = next.filter(|_| more);
        let objects = answer.contents.unwrap_or_default();
        // A key with a slash at its end is what consoles make for an empty folder.
        let objects = objects
            .into_iter()
            .filter(|o| !o.key().unwrap_or_default().ends_with('/'));
        let listed = objects.map(|object| self.listed(object)).collect();
        Ok(Page { listed, next })
    }

    fn listed(&self, object: Object) -> Listed {
        let key = object.key.unwrap_or_default();
        match described(
            &self.name,
            key.clone(),
            object.size,
            object.e_tag,
            object.last_modified,
        ) {
            Some(meta) => Listed::Object(meta),
            None => Listed::Unlistable {
                name: self.shown(&key),
                reason: "the service does not say its size and time".to_owned(),
            },
        }
    }

    async fn get_once(
        &self,
        key: &str,
        range: &Range<u64>,
        etag: Option<String>,
    ) -> Result<GetObjectOutput, StoreError> {
        let answer = self
            .service
            .client()
            .await?
            .get_object()
            .bucket(&self.name)
            .key(key)
            .range(format!("bytes={}-{}", range.start, range.end - 1))
            .set_if_match(etag)
            .send()
            .await;
        answer.map_err(|e| error::told(self.shown(key), &e))
    }

    /// A refused look at an object comes without a reason; reading from it is refused with one. Where
    /// it is not, the keys have become good in this moment.
    async fn head_again(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.get_once(key, &(0..1), None).await?;
        self.head_once(key).await
    }

    async fn head_once(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let answer = self
            .service
            .client()
            .await?
            .head_object()
            .bucket(&self.name)
            .key(key)
            .send()
            .await;
        let answer = answer.map_err(|e| error::told(self.shown(key), &e))?;
        let size = answer.content_length;
        described(
            &self.name,
            key.to_owned(),
            size,
            answer.e_tag,
            answer.last_modified,
        )
        .ok_or_else(|| StoreError::NotFound {
            what: self.shown(key),
        })
    }
}

struct Page {
    listed: Vec<Listed>,
    next: Option<String>,
}

#[async_trait]
impl ObjectStore for Bucket {
    fn list(&self) -> BoxStream<'static, Result<Listed, StoreError>> {
        let bucket = self.clone();
        // The first page tells at once whether the source can be listed at all.
        let pages = try_unfold(Some((None, false)), move |at| {
            let bucket = bucket.clone();
            async move {
                let Some((token, begun)) = at else {
                    return Ok(None);
                };
                let page = if begun {
                    let mut patience = bucket.patience();
                    loop {
                        match bucket.page(Option::clone(&token)).await {
                            Err(e) => patience.wait(e).await?,
                            page => break page?,
                        }
                    }
                } else {
                    bucket.page(token).await?
                };
                let next = page.next.map(|token| (Some(token), true));
                let listed = page.listed.into_iter().map(Ok);
                Ok::<_, StoreError>(Some((futures::stream::iter(listed), next)))
            }
        });
        pages.try_flatten().boxed()
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let mut patience = self.patience();
        loop {
            let found = match self.head_once(key).await {
                Err(StoreError::Refused { .. }) => self.head_again(key).await,
                found => found,
            };
            match found {
                Err(e) => patience.wait(e).await?,
                found => return found,
            }
        }
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<ByteStream, StoreError> {
        let reading = Reading {
            bucket: self.clone(),
            key: key.to_owned(),
            range,
            etag: None,
            body: None,
            rest: Bytes::new(),
            patience: self.patience(),
        };
        let chunks = try_unfold(reading, |mut reading| async move {
            let chunk = reading.next().await?;
            Ok::<_, StoreError>(chunk.map(|chunk| (chunk, reading)))
        });
        Ok(chunks.boxed())
    }
}

/// One object being read.
struct Reading {
    bucket: Bucket,
    key: String,
    /// What is still to be read.
    range: Range<u64>,
    /// Of the object that was begun.
    etag: Option<String>,
    body: Option<Body>,
    /// Read and not yet handed on.
    rest: Bytes,
    patience: Patience,
}

impl Reading {
    /// The next bytes; none after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        while self.rest.is_empty() && self.range.start < self.range.end {
            match self.step().await {
                Ok(()) => {}
                Err(e) => {
                    self.body = None;
                    self.patience.wait(e).await?;
                }
            }
        }
        let chunk = self.rest.split_to(self.rest.len().min(CHUNK));
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// Opens the object, or reads more of it.
    async fn step(&mut self) -> Result<(), StoreError> {
        let Some(body) = &mut self.body else {
            let etag = self.etag.clone();
            let answer = self.bucket.get_once(&self.key, &self.range, etag).await?;
            if self.range.start > 0 && answer.content_range.is_none() {
                let what = self.bucket.shown(&self.key);
                let reason = "it answers with the whole object, not the range asked for".to_owned();
                return Err(StoreError::Refused { what, reason });
            }
            self.etag = answer.e_tag;
            self.body = Some(answer.body);
            return Ok(());
        };
        let broken = |reason: String| StoreError::Unreachable {
            what: self.bucket.shown(&self.key),
            reason,
        };
        match body.next().await {
            Some(Ok(mut chunk)) => {
                let left = self.range.end - self.range.start;
                chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                self.range.start += chunk.len() as u64;
                self.rest = chunk;
                self.patience.since = None;
                Ok(())
            }
            Some(Err(e)) => Err(broken(e.to_string())),
            None => Err(broken("the answer ended early".to_owned())),
        }
    }
}

/// Waits for a service that is away, up to a limit.
struct Patience {
    since: Option<Instant>,
    give_up_after: Duration,
    backoff: Backoff,
    rng: StdRng,
}

impl Patience {
    /// Pauses before the call that failed is made again; fails with what will not pass.
    async fn wait(&mut self, error: StoreError) -> Result<(), StoreError> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if !error.may_pass() || since.elapsed() >= self.give_up_after {
            return Err(error);
        }
        tracing::warn!(
            error = error.without_name(),
            "an object cannot be read now, trying again"
        );
        tokio::time::sleep(self.backoff.pause(None, &mut self.rng)).await;
        Ok(())
    }
}

fn described(
    bucket: &str,
    key: String,
    size: Option<i64>,
    etag: Option<String>,
    last_modified: Option<S3Time>,
) -> Option<ObjectMeta> {
    // A listing may tell milliseconds, a look at an object never does.
    let last_modified: DateTime<Utc> = DateTime::from_timestamp(last_modified?.secs(), 0)?;
    Some(ObjectMeta {
        bucket_name: bucket.to_owned(),
        key,
        size: u64::try_from(size?).ok()?,
        etag: etag.unwrap_or_default().trim_matches('"').to_owned(),
        last_modified,
    })
}
