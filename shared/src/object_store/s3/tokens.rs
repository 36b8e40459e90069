//! Tokens of IBM Cloud's IAM, which requests to its object storage carry in place of a signature.
//!
//! One is had when it is first needed and kept until four fifths of its life are over, so that none runs out in
//! the middle of a request. One caller asks for a new one, the others wait for it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config::{S3Config, S3ConfigError};
use crate::object_store::StoreError;
use crate::secret::Secret;
use crate::tls::{self, ClientTls};

/// IBM Cloud's public IAM.
const PUBLIC_IAM: &str = "https://iam.cloud.ibm.com/identity/token";

/// How an API key is exchanged for a token.
const GRANT: &str = "urn:ibm:params:oauth:grant-type:apikey";

/// Largest answer of IAM that is read.
const MAX_ANSWER: usize = 64 << 10;

/// Tokens for one API key; cloning shares them.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    http: reqwest::Client,
    url: Arc<str>,
    key: Secret,
    instance: Option<Arc<str>>,
    current: Current,
    asking: Arc<Mutex<()>>,
}

type Current = Arc<RwLock<Option<Token>>>;

#[derive(Debug, Clone)]
struct Token {
    text: Secret,
    /// When the next one is to be had.
    stale_at: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    /// Seconds.
    expires_in: u64,
}

/// How IAM says no.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "errorMessage")]
    message: Option<String>,
}

impl Tokens {
    /// Of the API key configured; none when requests are to be signed.
    pub(super) fn of(config: &S3Config) -> Result<Option<Self>, S3ConfigError> {
        let Some(key) = config.api_key()? else {
            return Ok(None);
        };
        let trust = ClientTls {
            ca_file: config.ca_file.clone(),
            ..ClientTls::default()
        };
        let wrong = |e: &dyn std::fmt::Display| S3ConfigError::IamUrl(e.to_string());
        let builder = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            .timeout(config.read_timeout);
        let builder = tls::http_client(builder, &trust).map_err(|e| wrong(&e))?;
        Ok(Some(Self {
            http: builder.build().map_err(|e| wrong(&e))?,
            url: config.iam_url.as_deref().unwrap_or(PUBLIC_IAM).into(),
            key,
            instance: config.service_instance_id.as_deref().map(Into::into),
            current: Arc::default(),
            asking: Arc::default(),
        }))
    }

    /// Puts the token into requests.
    pub(super) fn bearer(&self) -> Bearer {
        Bearer {
            current: Arc::clone(&self.current),
            instance: self.instance.clone(),
        }
    }

    /// Sees to it that the token at hand is good; `what` is the URI it is needed for. With `refused`, the token
    /// the service did not take, another one is had unless that has been done since.
    pub(super) async fn ensure(
        &self,
        what: &str,
        refused: Option<&Secret>,
    ) -> Result<Secret, StoreError> {
        if let Some(token) = self.good(refused) {
            return Ok(token);
        }
        let _turn = self.asking.lock().await;
        if let Some(token) = self.good(refused) {
            return Ok(token);
        }
        let asked_at = Instant::now();
        let answer = self.ask(what).await?;
        let life = Duration::from_secs(answer.expires_in);
        let token = Token {
            text: answer.access_token,
            stale_at: asked_at + life * 4 / 5,
        };
        let text = token.text.clone();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(text)
    }

    fn good(&self, refused: Option<&Secret>) -> Option<Secret> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let token = current.as_ref()?;
        let good = token.stale_at > Instant::now() && refused != Some(&token.text);
        good.then(|| token.text.clone())
    }

    async fn ask(&self, what: &str) -> Result<Answer, StoreError> {
        let away = |reason: String| StoreError::NoToken {
            what: what.to_owned(),
            reason,
        };
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", GRANT)
            .append_pair("apikey", self.key.expose())
            .finish();
        let sent = self
            .http
            .post(&*self.url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(form)
            .send()
            .await;
        let mut answer = sent.map_err(|e| away(innermost(&e)))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| away(innermost(&e)))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(away("its answer is too long".to_owned()));
            }
        }
        match status.as_u16() {
            // What the parser says could hold a part of a token.
            200 => serde_json::from_slice(&body)
                .map_err(|_| away("its answer holds no access_token and expires_in".to_owned())),
            400 | 401 | 403 => Err(StoreError::ApiKey {
                what: what.to_owned(),
                reason: refusal(&body).unwrap_or_else(|| format!("status {status}")),
            }),
            _ => Err(away(format!("status {status}"))),
        }
    }
}

fn refusal(body: &[u8]) -> Option<String> {
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    refusal.message
}

/// The cause below all others, which says what is the matter.
fn innermost(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.last().map_or_else(String::new, ToString::to_string)
}

/// Puts the present token into each request.
#[derive(Debug)]
pub(super) struct Bearer {
    current: Current,
    instance: Option<Arc<str>>,
}

impl Intercept for Bearer {
    fn name(&self) -> &'static str {
        "Bearer"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = &*current {
            headers.try_insert("authorization", format!("Bearer {}", token.text.expose()))?;
        }
        if let Some(instance) = &self.instance {
            headers.try_insert("ibm-service-instance-id", instance.to_string())?;
        }
        Ok(())
    }
}
