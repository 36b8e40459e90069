//! A FHIR server to reindex: it has as many resources as it is told, and takes the time of a simulated server, or none.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use stoker_shared::pace::Answer;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::simulated::Live;

/// Ids to a page and resources to a call, at most (`spec/fhir-schema.md` §7).
const MOST: usize = 1000;

const STATEMENT: &str = r#"{"resourceType":"CapabilityStatement","status":"active","kind":"instance",
"fhirVersion":"4.0.1","format":["json"],"software":{"name":"Stoker's server to reindex","version":"1"},
"rest":[{"mode":"server"}]}"#;

/// As long as a real server makes it.
const ISSUE: &str = r#"{"severity":"information","code":"informational","diagnostics":"Processed Observation/1a20590b18d-b05bc619-ba51-4b74-8296-085bf9883058"}"#;

const COMPLETE: &str =
    r#"{"severity":"information","code":"informational","diagnostics":"Reindex complete"}"#;

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct Target {
    /// Its base URL.
    pub base: String,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    resources: u64,
    live: Option<Live>,
    done: AtomicU64,
    first_call: Mutex<Option<Instant>>,
    /// Answers to `$reindex`, by their number of issues; each is written once.
    outcomes: Vec<OnceLock<Bytes>>,
}

impl Target {
    /// Starts one with the index ids 2, 4, 6 … of so many resources.
    pub async fn start(resources: u64, live: Option<Live>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base = format!("http://{}/fhir", listener.local_addr()?);
        let shared = Arc::new(Shared {
            resources,
            live,
            done: AtomicU64::new(0),
            first_call: Mutex::default(),
            outcomes: (0..=MOST).map(|_| OnceLock::new()).collect(),
        });
        let serving = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            base,
            shared,
            _serving: AbortOnDropHandle::new(serving),
        })
    }

    /// Resources reindexed so far, repeated ones too.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// When the first `$reindex` came since the start, or since this was asked last.
    pub fn take_first_call(&self) -> Option<Instant> {
        let first = self.shared.first_call.lock();
        first.unwrap_or_else(PoisonError::into_inner).take()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(converse(stream, Arc::clone(&shared)));
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
    });
    // A client that is killed is no fault of the server.
    let _ = stream.set_nodelay(true);
    let connection = hyper::server::conn::http1::Builder::new();
    let _ = connection
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let is_get = request.method() == Method::GET;
    let done = match request.into_body().collect().await {
        _ if is_get && path.ends_with("/metadata") => Ok(ok(STATEMENT.into())),
        _ if is_get => Ok(ok(shared.count().into())),
        Err(error) => Err(error.into()),
        Ok(body) => {
            let body = body.to_bytes();
            if path.ends_with("/$retrieve-index") {
                shared.page(&body).map(|page| ok(page.into()))
            } else {
                shared.reindex(&body).await
            }
        }
    };
    done.unwrap_or_else(|error| with_status(StatusCode::BAD_REQUEST, error.to_string().into()))
}

impl Shared {
    fn count(&self) -> String {
        let total = self.resources;
        format!(r#"{{"resourceType":"Bundle","type":"searchset","total":{total}}}"#)
    }

    /// The next index ids.
    fn page(&self, body: &[u8]) -> anyhow::Result<String> {
        let inputs: Value = serde_json::from_slice(body)?;
        let after = text(&inputs, "afterIndexId").map_or(Ok(0), str::parse::<u64>)?;
        let count = input(&inputs, "_count").and_then(|i| i["valueInteger"].as_u64());
        let first = after / 2 + 1;
        let last = (after / 2 + count.unwrap_or(MOST as u64).min(MOST as u64)).min(self.resources);
        if first > last {
            return Ok(r#"{"resourceType":"Parameters"}"#.to_owned());
        }
        let ids: Vec<String> = (first..=last).map(|n| (2 * n).to_string()).collect();
        let ids = ids.join(",");
        Ok(format!(
            r#"{{"resourceType":"Parameters","parameter":[{{"name":"indexIds","valueString":"{ids}"}}]}}"#
        ))
    }

    async fn reindex(&self, body: &[u8]) -> anyhow::Result<Response<Full<Bytes>>> {
        self.first_call
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(Instant::now);
        let inputs: Value = serde_json::from_slice(body)?;
        let ids = text(&inputs, "indexIds").context("no indexIds")?;
        let count = ids.split(',').count();
        let outcome = self.outcomes.get(count).context("too many indexIds")?;
        let answer = match &self.live {
            None => Answer::Done,
            Some(live) => live.ask(count).await?,
        };
        Ok(match answer {
            Answer::Done => {
                self.done.fetch_add(count as u64, Ordering::Relaxed);
                ok(outcome.get_or_init(|| outcome_of(count)).clone())
            }
            Answer::Throttled { retry_after } => {
                let mut response = with_status(StatusCode::TOO_MANY_REQUESTS, Bytes::new());
                let seconds = retry_after.map(|pause| pause.as_secs_f64().ceil());
                if let Some(seconds) = seconds {
                    let seconds = HeaderValue::from_str(&format!("{seconds}"))?;
                    response.headers_mut().insert(RETRY_AFTER, seconds);
                }
                response
            }
            Answer::Failed => with_status(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()),
        })
    }
}

fn outcome_of(count: usize) -> Bytes {
    let issues = match count {
        0 => COMPLETE.to_owned(),
        _ => vec![ISSUE; count].join(","),
    };
    format!(r#"{{"resourceType":"OperationOutcome","issue":[{issues}]}}"#).into()
}

fn input<'a>(inputs: &'a Value, name: &str) -> Option<&'a Value> {
    let mut all = inputs["parameter"].as_array()?.iter();
    all.find(|input| input["name"] == name)
}

fn text<'a>(inputs: &'a Value, name: &str) -> Option<&'a str> {
    input(inputs, name)?["valueString"].as_str()
}

fn ok(body: Bytes) -> Response<Full<Bytes>> {
    with_status(StatusCode::OK, body)
}

fn with_status(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
