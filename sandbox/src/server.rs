//! The server: its start and stop, and its connections.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::ACCEPT;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::config::SandboxConfig;
use crate::error::SandboxError;
use crate::faults::Faults;
use crate::r4;
use crate::reindex::ReindexStats;
use crate::routes::{self, Ending};
use crate::state::State;
use crate::stats::Stats;
use crate::tls;

/// How long requests under way may take to end after a stop.
const GRACE: Duration = Duration::from_secs(5);
/// The pause after a connection could not be taken, for instance for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running server. It stops when it is dropped, or cleanly by [`Sandbox::shutdown`].
#[derive(Debug)]
pub struct Sandbox {
    state: Arc<State>,
    address: SocketAddr,
    ca_pem: Option<String>,
    connections: TaskTracker,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
}

impl Sandbox {
    /// Starts to serve; when this returns, connections are taken.
    pub async fn start(config: SandboxConfig) -> Result<Self, SandboxError> {
        let faults = Faults::default();
        faults.set(config.faults.clone())?;
        let (tls, ca_pem) = tls_of(&config)?;
        let bind_error = |source| SandboxError::Bind {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let stop = CancellationToken::new();
        let connections = TaskTracker::new();
        let state = Arc::new(State::new(config, faults));
        let server = Server {
            state: Arc::clone(&state),
            connections: connections.clone(),
            stop: stop.clone(),
            address,
        };
        connections.spawn(server.accept(listener, tls));
        Ok(Self {
            state,
            address,
            ca_pem,
            connections,
            _stop_when_dropped: stop.clone().drop_guard(),
            stop,
        })
    }

    /// The FHIR base URL, without a slash at its end.
    pub fn base_url(&self) -> String {
        let scheme = if self.state.config.tls {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}/fhir", self.address)
    }

    /// The address listened at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of the server's authority as PEM, where it serves TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// What the server got and did so far.
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// What `$reindex` and `$retrieve-index` did so far.
    pub fn reindex_stats(&self) -> ReindexStats {
        self.state.reindex_stats()
    }

    /// How often the resource with an index id was reindexed, 255 at most; nothing if there is no such resource.
    pub fn reindexed(&self, index_id: u64) -> Option<u8> {
        self.state.store().index.times(index_id)
    }

    /// The fault rules, which can be changed at any time.
    pub fn faults(&self) -> Faults {
        self.state.faults.clone()
    }

    /// All resources of a type that are not deleted, by id.
    pub fn resources(&self, kind: &str) -> Vec<Value> {
        let store = self.state.store();
        let texts = store.texts(kind).map(|text| serde_json::from_str(text));
        texts.map(Result::unwrap_or_default).collect()
    }

    /// The current version of a resource, unless it is not there or deleted.
    pub fn version(&self, kind: &str, id: &str) -> Option<u32> {
        let mark = self.state.store().read(r4::resource_type(kind)?, id).ok()?;
        Some(mark.version)
    }

    /// The current versions of all resources of a type that are not deleted, by id.
    pub fn versions(&self, kind: &str) -> HashMap<String, u32> {
        self.state.store().versions(kind)
    }

    /// One resource, unless it is not there or deleted.
    pub fn read(&self, kind: &str, id: &str) -> Option<Value> {
        serde_json::from_str(&self.text(kind, id)?).ok()
    }

    /// The JSON text of one resource, unless it is not there or deleted: as the client wrote it,
    /// without white space between tokens; type, id and `meta` come first.
    pub fn text(&self, kind: &str, id: &str) -> Option<String> {
        let mark = self.state.store().read(r4::resource_type(kind)?, id).ok()?;
        mark.change.text().map(ToString::to_string)
    }

    /// Forgets resources, counts and faults; synthetic resources are as at the start.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// Takes no more connections, lets requests under way end (for 5 s at most), and stops.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.connections.close();
        self.connections.wait().await;
    }
}

fn tls_of(config: &SandboxConfig) -> Result<(Option<TlsAcceptor>, Option<String>), SandboxError> {
    if !config.tls {
        return Ok((None, None));
    }
    let (acceptor, ca_pem) = tls::acceptor(config.listen.ip())?;
    if let Some(path) = &config.ca_file {
        std::fs::write(path, &ca_pem).map_err(|source| SandboxError::CaFile {
            path: path.clone(),
            source,
        })?;
    }
    Ok((Some(acceptor), Some(ca_pem)))
}

/// What a connection needs to know.
#[derive(Clone)]
struct Server {
    state: Arc<State>,
    connections: TaskTracker,
    stop: CancellationToken,
    address: SocketAddr,
}

impl Server {
    async fn accept(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    self.connections
                        .spawn(self.clone().connect(stream, tls.clone()));
                }
                Err(e) => {
                    tracing::warn!(error = %e, "cannot take a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connect(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!(error = %e, "cannot set TCP_NODELAY");
        }
        let Some(tls) = tls else {
            return self.converse(stream).await;
        };
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            accepted = tls.accept(stream) => match accepted {
                Ok(stream) => self.converse(stream).await,
                Err(e) => tracing::debug!(error = %e, "TLS handshake failed"),
            },
        }
    }

    /// Serves the requests of one connection. A request may have it closed at once, unanswered.
    async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self {
            state,
            stop,
            address,
            ..
        } = self;
        let close = CancellationToken::new();
        let local = address.to_string();
        let service = service_fn(|request| {
            answer(
                Arc::clone(&state),
                request,
                local.clone(),
                close.clone(),
                stop.clone(),
            )
        });
        let protocols = auto::Builder::new(TokioExecutor::new());
        let connection = protocols.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // Before anything else, so that no answer slips out.
            biased;
            () = close.cancelled() => return,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            ended = connection.as_mut() => return log_end(ended),
        }
        tokio::select! {
            biased;
            () = close.cancelled() => {}
            () = tokio::time::sleep(GRACE) => tracing::warn!("requests under way were cut off"),
            ended = connection.as_mut() => log_end(ended),
        }
    }
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(e) = ended {
        tracing::debug!(error = %e, "connection ended");
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
    local: String,
    close: CancellationToken,
    stop: CancellationToken,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    let ticket = (!path.starts_with("/sandbox")).then(|| {
        state
            .counters
            .begin(request.method().as_str(), &kind_of_path(path))
    });
    let accept = request
        .headers()
        .get(ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("*/*");
    let fhir_json = accept.contains("fhir+json") || !accept.contains("application/json");
    let answer = match routes::serve(&state, request, &local).await {
        Ending::Answer(answer) => answer,
        Ending::Hang => {
            stop.cancelled().await;
            close.cancel();
            std::future::pending().await
        }
        Ending::Drop => {
            close.cancel();
            std::future::pending().await
        }
    };
    if let Some(ticket) = ticket {
        ticket.answered(answer.status.as_u16());
    }
    Ok(answer.into_response(fhir_json))
}

/// What the counts call a path: `/` and the resource type, and nothing of any resource.
fn kind_of_path(path: &str) -> String {
    let below = path.strip_prefix("/fhir").unwrap_or(path);
    let first = below
        .split('/')
        .find(|part| !part.is_empty())
        .unwrap_or_default();
    match first {
        "" | "metadata" | "$reindex" | "$retrieve-index" => format!("/{first}"),
        name => r4::resource_type(name).map_or("/?".to_owned(), |kind| format!("/{kind}")),
    }
}
