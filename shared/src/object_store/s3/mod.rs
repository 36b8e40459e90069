//! Objects of a bucket whose keys begin with a prefix.
//!
//! A service that is away for a while is waited for: a listing goes on with the page it was at, reading
//! with the byte, as long as the object is still the one that was begun.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
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
use crate::mounted::Mounted;
use crate::retry::Backoff;
use client::Made;

mod client;
mod config;
mod error;
mod tokens;
mod upload;
mod write;

pub use config::{S3Config, S3ConfigError};
pub use upload::OnlyIf;

/// Largest chunk handed on.
const CHUNK: usize = 1 << 20;

/// An S3 service; cloning shares its client.
#[derive(Debug, Clone)]
pub(super) struct Service {
    config: Arc<S3Config>,
    made: Arc<OnceCell<Mounted<Arc<Made>>>>,
}

impl Service {
    pub(super) fn new(config: S3Config) -> Self {
        Self {
            config: Arc::new(config),
            made: Arc::default(),
        }
    }

    async fn made(&self) -> Result<Arc<Made>, StoreError> {
        let made = self.made.get_or_try_init(|| client::make(&self.config));
        let made = made
            .await
            .map_err(|e| StoreError::Settings(e.to_string()))?;
        Ok(made.get())
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

    /// Makes a request; `what` is the URI it is about. Where it carries a token that is not taken, it is made
    /// once more with a new one.
    async fn call<T, E, F>(&self, what: &str, request: impl Fn(&Made) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let made = self.service.made().await?;
        let told = |e: &SdkError<E, HttpResponse>| error::told(what.to_owned(), e);
        let Some(tokens) = &made.tokens else {
            return request(&made).await.map_err(|e| told(&e));
        };
        let token = tokens.ensure(what, None).await?;
        match request(&made).await {
            Err(e) if error::is_refusal(&e) => {
                tokens.ensure(what, Some(&token)).await?;
                request(&made).await.map_err(|e| told(&e))
            }
            answer => answer.map_err(|e| told(&e)),
        }
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
        let what = self.shown(&self.prefix);
        let answer = self.call(&what, |made| {
            let list = made.client.list_objects_v2().bucket(&self.name);
            let list = list.prefix(&self.prefix);
            let list = list.max_keys(made.config.max_keys.into());
            list.set_continuation_token(token.clone()).send()
        });
        let answer = answer.await?;
        let next = answer.next_continuation_token().map(str::to_owned);
        let next = match answer.is_truncated().unwrap_or(false) {
            false => None,
            // A token that does not move would be listed for ever.
            true if next.is_none() || next == token => {
                let reason = "the service says that there is more, and not how to go on".to_owned();
                return Err(StoreError::BrokenListing { what, reason });
            }
            true => next,
        };
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
        self.call(&self.shown(key), |made| {
            let get = made.client.get_object().bucket(&self.name).key(key);
            let get = get.range(format!("bytes={}-{}", range.start, range.end - 1));
            get.set_if_match(etag.clone()).send()
        })
        .await
    }

    /// A refused look at an object comes without a reason; reading from it is refused with one. Where
    /// it is not, the keys have become good in this moment.
    async fn head_again(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.get_once(key, &(0..1), None).await?;
        self.head_once(key).await
    }

    async fn head_once(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let answer = self
            .call(&self.shown(key), |made| {
                let head = made.client.head_object().bucket(&self.name);
                head.key(key).send()
            })
            .await?;
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

    async fn put(&self, key: &str, body: Bytes, content_type: &str) -> Result<(), StoreError> {
        let mut patience = self.patience();
        loop {
            match self.put_once(key, body.clone(), content_type).await {
                Err(e) => patience.wait(e).await?,
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        Bucket::remove(self, key).await
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
        let silence = self.bucket.service.made().await?.config.read_timeout;
        let Ok(next) = tokio::time::timeout(silence, body.next()).await else {
            let silence = humantime::format_duration(silence);
            return Err(broken(format!("no bytes for {silence}")));
        };
        match next {
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
            "the object store does not do what is asked now, trying again"
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
