//! IBM Cloud Object Storage as far as its authentication goes: an IAM that gives tokens for an API key, and a gateway
//! to a real S3 service that takes requests with these tokens only.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_sdk_s3::config::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;
use stoker_shared::clock::{Clock, SystemClock};
use stoker_shared::tls::install_crypto_provider;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::minio::{ACCESS_KEY, Minio, SECRET_KEY};

/// The one key that IAM knows.
pub const API_KEY: &str = "api-key-of-the-tests";
/// The instance that requests must name.
pub const INSTANCE: &str = "crn:v1:tests";

/// See the [module](self).
#[derive(Debug)]
pub struct Cos {
    shared: Arc<Shared>,
    address: String,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    endpoint: String,
    http: reqwest::Client,
    life: Duration,
    state: Mutex<Tokens>,
}

#[derive(Debug, Default)]
struct Tokens {
    good_until: HashMap<String, Instant>,
    given: usize,
    refused: usize,
    /// After so many requests that were let in, all tokens are worthless; never when 0.
    take_back_after: usize,
    let_in: usize,
    /// Requests that were refused, and have not come again since.
    to_come_again: HashSet<String>,
}

impl Tokens {
    /// Keeps count of a request. What was refused once is not refused again for tokens that were taken back meanwhile:
    /// however slow the machine is, each request meets that once.
    fn count(&mut self, request: String, good: bool) {
        if !good {
            self.refused += 1;
            self.to_come_again.insert(request);
            return;
        }
        self.let_in += 1;
        self.to_come_again.remove(&request);
        if self.take_back_after > 0
            && self.let_in >= self.take_back_after
            && self.to_come_again.is_empty()
        {
            self.let_in = 0;
            self.good_until.clear();
        }
    }
}

impl Cos {
    /// Before a MinIO; tokens live so long.
    pub async fn before(minio: &Minio, life: Duration) -> anyhow::Result<Self> {
        install_crypto_provider();
        let shared = Arc::new(Shared {
            endpoint: minio.endpoint(),
            http: reqwest::Client::builder()
                .timeout(Duration::from_mins(1))
                .build()?,
            life,
            state: Mutex::default(),
        });
        let routes = Router::new()
            .route("/identity/token", post(give_token))
            .fallback(pass_on)
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self {
            shared,
            address,
            _serving: AbortOnDropHandle::new(serving),
        })
    }

    /// The address of the object storage.
    pub fn endpoint(&self) -> String {
        self.address.clone()
    }

    /// The address of IAM.
    pub fn iam_url(&self) -> String {
        format!("{}/identity/token", self.address)
    }

    /// Makes all tokens worthless, before their time.
    pub fn revoke(&self) {
        self.shared.state().good_until.clear();
    }

    /// The same, time and again: after so many requests each time.
    pub fn revoke_after_each(&self, requests: usize) {
        self.shared.state().take_back_after = requests;
    }

    /// Tokens given so far.
    pub fn given(&self) -> usize {
        self.shared.state().given
    }

    /// Requests to the object storage that were refused so far.
    pub fn refused(&self) -> usize {
        self.shared.state().refused
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Tokens> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_good(&self, request: &Request) -> bool {
        let headers = request.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let token = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let mut state = self.state();
        let until = token.and_then(|token| state.good_until.get(token));
        let good = until.is_some_and(|until| *until > Instant::now())
            && text("ibm-service-instance-id") == Some(INSTANCE)
            && text("x-amz-date").is_none();
        let range = text("range").unwrap_or_default();
        let request = format!("{} {} {range}", request.method(), request.uri());
        state.count(request, good);
        good
    }
}

async fn give_token(State(shared): State<Arc<Shared>>, form: String) -> Response {
    let mut fields = form.split('&');
    let grant = "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey";
    if !fields.clone().any(|field| field == grant) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    if !fields.any(|field| field == format!("apikey={API_KEY}")) {
        let refusal = json!({"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."});
        return (StatusCode::BAD_REQUEST, refusal.to_string()).into_response();
    }
    let token = Uuid::new_v4().to_string();
    let mut state = shared.state();
    state.given += 1;
    state
        .good_until
        .insert(token.clone(), Instant::now() + shared.life);
    let answer =
        json!({"access_token": token, "token_type": "Bearer", "expires_in": shared.life.as_secs()});
    answer.to_string().into_response()
}

async fn pass_on(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    if !shared.is_good(&request) {
        let refusal = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        return (StatusCode::FORBIDDEN, refusal).into_response();
    }
    forward(&shared, request)
        .await
        .unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response())
}

async fn forward(shared: &Shared, request: Request) -> anyhow::Result<Response> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await?;
    let path = parts.uri.path_and_query().context("no path")?.as_str();
    let url = format!("{}{path}", shared.endpoint);
    let mut sent = shared.http.request(parts.method.clone(), &url).body(body);
    for name in ["range", "if-match", "content-type"] {
        if let Some(value) = parts.headers.get(name) {
            sent = sent.header(name, value);
        }
    }
    for (name, value) in signature(parts.method.as_str(), &url)? {
        sent = sent.header(name, value);
    }
    let answer = sent.send().await?;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if name != "transfer-encoding" && name != "connection" {
            response = response.header(name, value);
        }
    }
    Ok(response.body(Body::from_stream(answer.bytes_stream()))?)
}

/// Headers that sign a request with MinIO's keys.
fn signature(method: &str, url: &str) -> anyhow::Result<Vec<(String, String)>> {
    let keys = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests").into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let params = v4::SigningParams::builder()
        .identity(&keys)
        .region("us-east-1")
        .name("s3")
        .time(SystemClock.now().into())
        .settings(settings)
        .build()?
        .into();
    let host = url.split('/').nth(2).context("no host")?;
    let headers = std::iter::once(("host", host));
    let request = SignableRequest::new(method, url, headers, SignableBody::UnsignedPayload)?;
    let (instructions, _) = sign(request, &params)?.into_parts();
    let headers = instructions.headers();
    Ok(headers
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}
