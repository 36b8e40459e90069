//! The FHIR client: one request, one attempt, and an error that says whether the server can have
//! acted. Whoever sends decides about repeating.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER,
};
use stoker_proto::common::v1::Target;

use crate::clock::SharedClock;
use crate::mounted::Mounted;
use crate::secret::{self, Secret};
use crate::{tls, trace};

mod capabilities;
mod config;
mod error;
pub mod outcome;

pub use capabilities::{CAPABILITIES_WAIT, Capabilities, CapabilityError};
pub use config::FhirConfig;
pub use error::FhirError;

/// Largest answer taken, in bytes.
pub const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// So much of an answer is given room before it comes.
const MOST_AT_ONCE: usize = 1 << 20;

/// Servers drop idle connections after 20 s and more. Leaving them first keeps requests from being
/// written to a connection that is just being closed, which would leave their outcome in doubt.
const IDLE: Duration = Duration::from_secs(15);

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates, or runs a Bundle or an operation.
    Post,
    /// Updates, or creates under a given id.
    Put,
}

/// One request.
#[derive(Debug, Clone)]
pub struct FhirRequest<'a> {
    /// What it does.
    pub method: Method,
    /// Below the base URL: `Patient/1`; empty for the base itself.
    pub path: &'a str,
    /// JSON; empty for none.
    pub body: Bytes,
    /// Asks for an answer without the resource.
    pub prefer_minimal: bool,
    /// Search that makes a create conditional, e.g. `identifier=s|v`.
    pub if_none_exist: Option<&'a str>,
}

/// A server's answer, whatever its status.
#[derive(Debug, Clone)]
pub struct FhirResponse {
    /// The HTTP status.
    pub status: u16,
    /// How long the server asks us to stay away.
    pub retry_after: Option<Duration>,
    /// Where the resource lies that was written.
    pub location: Option<String>,
    /// At most [`MAX_ANSWER`] bytes.
    pub body: Bytes,
    /// From the first byte sent (connecting included) to the last byte received.
    pub elapsed: Duration,
}

enum Credentials {
    None,
    Basic { user: String, password: Secret },
    Bearer(Secret),
}

/// Sends requests to one FHIR server, as one tenant. Clones share connections.
///
/// When a file of the settings changes (token, password, certificates), requests go by it from the next one on, over
/// new connections.
#[derive(Clone)]
pub struct FhirClient {
    http: Arc<Mounted<reqwest::Client>>,
    base: String,
    /// The same, read: most requests go to it as it is.
    base_url: reqwest::Url,
    timeout: Duration,
    clock: SharedClock,
}

impl FhirClient {
    /// A client for `target`; nothing is sent yet. The clock is for `Retry-After` given as a date.
    pub fn new(
        config: &FhirConfig,
        target: &Target,
        clock: SharedClock,
    ) -> Result<Self, FhirError> {
        let base = check_base(&target.base_url)?;
        let (timeout, files) = (config.request_timeout, config.files());
        let (config, target) = (config.clone(), target.clone());
        let secure = base.starts_with("https:");
        let http = Mounted::new(files, move || http_client(&config, &target, secure))?;
        Ok(Self {
            http: Arc::new(http),
            base_url: read_url(base.clone())?,
            base,
            timeout,
            clock,
        })
    }

    /// Whether a client can be made of the settings: names the first credential, header, file or
    /// certificate that cannot be used.
    pub fn check(config: &FhirConfig) -> Result<(), FhirError> {
        headers(config, &Target::default())?;
        tls::http_client(reqwest::Client::builder(), &config.tls()).map(drop)?;
        Ok(())
    }

    /// The server's base URL, without a slash at its end.
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// Sends a request once. Any HTTP status is an answer, not an error.
    pub async fn send(&self, request: FhirRequest<'_>) -> Result<FhirResponse, FhirError> {
        Ok(self.send_dated(request).await?.0)
    }

    /// The same, and the time on the server's clock when it answered, to the second; none when it does
    /// not tell.
    pub async fn send_dated(
        &self,
        request: FhirRequest<'_>,
    ) -> Result<(FhirResponse, Option<DateTime<Utc>>), FhirError> {
        let started = Instant::now();
        let url = self.url(request.path)?;
        let failed = |e: reqwest::Error| FhirError::from_reqwest(&e, url.as_str(), self.timeout);
        let sent = self.build(request, url.clone())?.send();
        let mut response = sent.await.map_err(failed)?;
        let announced = response.content_length().unwrap_or(0);
        let too_large = || FhirError::TooLarge {
            url: url.to_string(),
            limit: MAX_ANSWER,
        };
        if announced > MAX_ANSWER as u64 {
            return Err(too_large());
        }
        let mut body =
            BytesMut::with_capacity(usize::try_from(announced).map_or(0, |n| n.min(MOST_AT_ONCE)));
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        let header = |name| response.headers().get(name)?.to_str().ok();
        let date = header(DATE).and_then(|text| DateTime::parse_from_rfc2822(text).ok());
        let answer = FhirResponse {
            status: response.status().as_u16(),
            retry_after: header(RETRY_AFTER).and_then(|text| self.pause(text)),
            location: header(LOCATION).map(str::to_owned),
            body: body.freeze(),
            elapsed: started.elapsed(),
        };
        Ok((answer, date.map(|date| date.to_utc())))
    }

    fn build(
        &self,
        request: FhirRequest<'_>,
        url: reqwest::Url,
    ) -> Result<reqwest::RequestBuilder, FhirError> {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
        };
        let mut headers = HeaderMap::new();
        if request.prefer_minimal {
            headers.insert("prefer", HeaderValue::from_static("return=minimal"));
        }
        if let Some(search) = request.if_none_exist {
            let value = HeaderValue::from_str(search);
            let value = value.map_err(|_| FhirError::Header("If-None-Exist".to_owned()))?;
            headers.insert("if-none-exist", value);
        }
        trace::inject(&mut headers);
        let mut builder = self.http.get().request(method, url);
        if !request.body.is_empty() {
            let json = HeaderValue::from_static("application/fhir+json; charset=utf-8");
            headers.insert(CONTENT_TYPE, json);
            builder = builder.body(request.body);
        }
        Ok(builder.headers(headers))
    }

    fn url(&self, path: &str) -> Result<reqwest::Url, FhirError> {
        match path.trim_start_matches('/') {
            "" => Ok(self.base_url.clone()),
            path => read_url(format!("{}/{path}", self.base)),
        }
    }

    /// `Retry-After` is a number of seconds or a date.
    fn pause(&self, text: &str) -> Option<Duration> {
        if let Ok(seconds) = text.trim().parse() {
            return Some(Duration::from_secs(seconds));
        }
        let until = DateTime::parse_from_rfc2822(text.trim()).ok()?;
        let pause = until.to_utc() - self.clock.now();
        Some(pause.to_std().unwrap_or(Duration::ZERO))
    }
}

impl fmt::Debug for FhirClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FhirClient")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

fn read_url(url: String) -> Result<reqwest::Url, FhirError> {
    reqwest::Url::parse(&url).map_err(|e| FhirError::BadUrl {
        url,
        reason: e.to_string(),
    })
}

/// The base URL without slashes at its end.
fn check_base(base_url: &str) -> Result<String, FhirError> {
    let bad = |reason: &str| FhirError::BadUrl {
        url: without_credentials(base_url),
        reason: reason.to_owned(),
    };
    let url = reqwest::Url::parse(base_url).map_err(|e| bad(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("it begins with neither http:// nor https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let url = without_credentials(base_url);
        return Err(FhirError::CredentialsInUrl { url });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it has a part after ? or #"));
    }
    Ok(base_url.trim().trim_end_matches('/').to_owned())
}

/// Works on text, since an address that does not parse can hold a password too.
fn without_credentials(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let start = rest[..end].rfind('@').map_or(0, |at| at + 1);
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{}", &rest[start..])
}

/// Reads the files that the settings name.
fn http_client(
    config: &FhirConfig,
    target: &Target,
    secure: bool,
) -> Result<reqwest::Client, FhirError> {
    let user_agent = HeaderValue::try_from(&config.user_agent);
    let builder = reqwest::Client::builder()
        .default_headers(headers(config, target)?)
        .user_agent(user_agent.map_err(|_| FhirError::Header("User-Agent".to_owned()))?)
        .connect_timeout(config.connect_timeout)
        .timeout(config.request_timeout)
        .pool_max_idle_per_host(config.pool_max_idle)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .http1_only();
    let mut builder = tls::http_client(builder, &config.tls())?;
    if !secure {
        // Root certificates take time to read, and a small container has none.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|e| FhirError::Client {
        reason: std::error::Error::source(&e).unwrap_or(&e).to_string(),
    })
}

/// What every request carries.
fn headers(config: &FhirConfig, target: &Target) -> Result<HeaderMap, FhirError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/fhir+json"));
    if !target.tenant.is_empty() {
        let tenant = HeaderValue::from_str(&target.tenant);
        let tenant = tenant.map_err(|_| FhirError::Header("X-FHIR-TENANT-ID".to_owned()))?;
        headers.insert("x-fhir-tenant-id", tenant);
    }
    let authorization = match credentials(config)? {
        Credentials::None => None,
        Credentials::Bearer(token) => Some(format!("Bearer {}", token.expose())),
        Credentials::Basic { user, password } => {
            let both = STANDARD.encode(format!("{user}:{}", password.expose()));
            Some(format!("Basic {both}"))
        }
    };
    if let Some(authorization) = authorization {
        let value = sensitive("Authorization", &authorization.into())?;
        headers.insert(AUTHORIZATION, value);
    }
    for (name, value) in &config.headers {
        let value = sensitive(name, value)?;
        let name = HeaderName::try_from(name).map_err(|_| FhirError::Header(name.clone()))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn credentials(config: &FhirConfig) -> Result<Credentials, FhirError> {
    let password = secret::resolve(
        "password",
        config.password.as_ref(),
        config.password_file.as_deref(),
    )?;
    let token = secret::resolve("token", config.token.as_ref(), config.token_file.as_deref())?;
    match (config.user.clone(), password, token) {
        (None, None, None) => Ok(Credentials::None),
        (None, None, Some(token)) => Ok(Credentials::Bearer(token)),
        (Some(user), Some(password), None) => Ok(Credentials::Basic { user, password }),
        (_, _, Some(_)) => Err(FhirError::Credentials(
            "a bearer token and a user or password are both given; keep one of them",
        )),
        (Some(_), None, None) => Err(FhirError::Credentials(
            "a user is given without a password; give password or password_file too",
        )),
        (None, Some(_), None) => Err(FhirError::Credentials(
            "a password is given without a user; give user too",
        )),
    }
}

/// A header that HTTP libraries leave out of their logs.
fn sensitive(name: &str, value: &Secret) -> Result<HeaderValue, FhirError> {
    let mut value =
        HeaderValue::from_str(value.expose()).map_err(|_| FhirError::Header(name.to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}
