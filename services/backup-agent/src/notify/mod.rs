//! Tells a webhook what is wrong, and when it is over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{StatusCode, Url, redirect, retry};
use serde::{Deserialize, Serialize};
use stoker_shared::config::Faults;
use stoker_shared::retry::Backoff;
use stoker_shared::secret::{self, Secret, SecretError};
use stoker_shared::tls::{self, ClientTls, TlsError};

mod message;

use crate::catalog::Notice;

pub use message::Message;

/// Tries of a notice; after them it rests until its claim is over.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where troubles are told; nowhere without a `url`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifyConfig {
    /// Gets a `POST` of [`Message`] as JSON for every trouble that begins or ends. May hold a secret, and is not shown.
    pub url: Option<Secret>,
    /// File that holds the URL.
    pub url_file: Option<PathBuf>,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<Secret>,
    /// File that holds the token.
    pub token_file: Option<PathBuf>,
    /// Further headers. Their values are not shown.
    pub headers: BTreeMap<String, Secret>,
    /// PEM file with the certificates to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long one try may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// What lasts is told again so long after; unset: never.
    #[serde(with = "humantime_serde::option")]
    pub repeat_after: Option<Duration>,
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            token: None,
            token_file: None,
            headers: BTreeMap::new(),
            ca_file: None,
            timeout: Duration::from_secs(10),
            repeat_after: Some(Duration::from_hours(24)),
        }
    }
}

impl NotifyConfig {
    /// Adds what cannot be used.
    pub fn validate(&self, key: &str, faults: &mut Faults) {
        if let Err(error) = Notifier::new(self, "") {
            faults.add(key, error.to_string());
        }
    }
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// URL or token cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No time.
    #[error("timeout: must be more than 0s")]
    NoTime,
    /// No address.
    #[error(
        "url: not an address of a webhook ({0}); give one that begins with http:// or https://"
    )]
    Url(String),
    /// Not a header.
    #[error("headers: {0} cannot be sent; give a name and a value of visible characters")]
    Header(String),
    /// The token cannot be part of a header.
    #[error("token: cannot be sent; it must be of visible characters")]
    Token,
    /// The HTTP client does not start.
    #[error("the HTTP client does not start: {0}")]
    Client(String),
    /// The webhook did not take it.
    #[error("the webhook answered {0}; see notify.url and notify.token, and the webhook's own log")]
    Refused(StatusCode),
    /// It did not answer.
    #[error("the webhook cannot be reached: {0}; see notify.url, and the network between")]
    Away(String),
}

/// Sends notices.
#[derive(Debug)]
pub struct Notifier {
    http: reqwest::Client,
    /// May hold a secret.
    url: Secret,
    agent: String,
    timeout: Duration,
    repeat_after: Option<Duration>,
}

impl Notifier {
    /// None where no URL is configured. `agent` is host and process of this one, for people.
    pub fn new(config: &NotifyConfig, agent: &str) -> Result<Option<Self>, NotifyError> {
        let url = secret::resolve("url", config.url.as_ref(), config.url_file.as_deref())?;
        let headers = headers(config)?;
        let trust = ClientTls {
            ca_file: config.ca_file.clone(),
            ..ClientTls::default()
        };
        if config.timeout.is_zero() {
            return Err(NotifyError::NoTime);
        }
        let Some(url) = url else { return Ok(None) };
        let builder = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(config.timeout)
            .redirect(redirect::Policy::none())
            .retry(retry::never());
        let mut builder = tls::http_client(builder, &trust)?;
        if scheme(&url)? == "http" {
            // A small container has no root certificates.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build();
        Ok(Some(Self {
            http: http.map_err(|e| NotifyError::Client(innermost(&e)))?,
            url,
            agent: agent.to_owned(),
            timeout: config.timeout,
            repeat_after: config.repeat_after,
        }))
    }

    pub(crate) fn repeat_after(&self) -> Option<Duration> {
        self.repeat_after
    }

    /// Longer than [`Self::send`] takes: another may tell a notice when it is over.
    pub(crate) fn longest(&self) -> Duration {
        (self.timeout + LONGEST_PAUSE) * TRIES
    }

    /// Sends a notice; again after a pause where that may help, some times at most.
    pub async fn send(&self, notice: &Notice, now: DateTime<Utc>) -> Result<(), NotifyError> {
        let message = Message::of(notice, &self.agent, now);
        let mut pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut left = TRIES;
        loop {
            let tried = self.post(&message).await;
            left -= 1;
            match tried {
                Err(error) if left > 0 && error.may_pass() => {
                    let pause = pauses.pause(None, &mut StdRng::from_os_rng());
                    tokio::time::sleep(pause).await;
                }
                done => return done,
            }
        }
    }

    async fn post(&self, message: &Message) -> Result<(), NotifyError> {
        let sent = self.http.post(self.url.expose()).json(message).send().await;
        let status = sent.map_err(|e| NotifyError::Away(innermost(&e)))?.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(NotifyError::Refused(status))
        }
    }
}

impl NotifyError {
    fn may_pass(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Refused(status) => {
                status.is_server_error()
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::REQUEST_TIMEOUT
            }
            _ => false,
        }
    }
}

fn scheme(url: &Secret) -> Result<&'static str, NotifyError> {
    let url = Url::parse(url.expose()).map_err(|e| NotifyError::Url(e.to_string()))?;
    match url.scheme() {
        "http" => Ok("http"),
        "https" => Ok("https"),
        other => Err(NotifyError::Url(format!("it begins with {other}:"))),
    }
}

fn headers(config: &NotifyConfig) -> Result<HeaderMap, NotifyError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let wrong = || NotifyError::Header(name.clone());
        let key = HeaderName::try_from(name).map_err(|_| wrong())?;
        headers.insert(key, hidden(value.expose()).ok_or_else(wrong)?);
    }
    let token = secret::resolve("token", config.token.as_ref(), config.token_file.as_deref())?;
    if let Some(token) = token {
        let value = hidden(&format!("Bearer {}", token.expose()));
        headers.insert(AUTHORIZATION, value.ok_or(NotifyError::Token)?);
    }
    Ok(headers)
}

fn hidden(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What went wrong in the end; the errors around it name the URL, which may hold a secret.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut last = "it broke off".to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        last = error.to_string();
        cause = error.source();
    }
    last
}
