use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::uri::{InvalidUri, Scheme};
use futures::Stream;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Endpoint, Uri};
use tower::service_fn;

use super::{CallHeaders, GrpcError, secured};
use crate::secret::Secret;
use crate::tls::ClientTls;

/// Carries calls to one server; what generated clients are made of. Clones share the connection,
/// which is made at the first call and again whenever it broke.
pub type Channel = InterceptedService<tonic::transport::Channel, CallHeaders>;

/// Bytes in flight within a process before the writer waits.
const IN_PROCESS_BUFFER: usize = 256 * 1024;

/// How to reach a gRPC server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcClientConfig {
    /// `http://host:port`, or `https://host:port` for TLS. Where several servers do the same, all of them,
    /// with commas between.
    pub url: String,
    /// PEM file of certificates trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate (mTLS); goes with `client_key_file`.
    pub client_cert_file: Option<PathBuf>,
    /// PEM file of the client's private key.
    pub client_key_file: Option<PathBuf>,
    /// Bearer token of the server; of several lines the first.
    pub token: Option<Secret>,
    /// File that holds the token.
    pub token_file: Option<PathBuf>,
    /// Longest wait for a connection.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
}

impl Default for GrpcClientConfig {
    fn default() -> Self {
        Self::to_port(7701)
    }
}

impl GrpcClientConfig {
    /// A server on this machine, unencrypted, without a token.
    pub fn to_port(port: u16) -> Self {
        Self {
            url: format!("http://127.0.0.1:{port}"),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            token: None,
            token_file: None,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// A channel to each of the servers, at least one; see [`connect`].
pub fn connect_all(config: &GrpcClientConfig) -> Result<Vec<Channel>, GrpcError> {
    let one = |url: &str| {
        connect(&GrpcClientConfig {
            url: url.trim().to_owned(),
            ..config.clone()
        })
    };
    config.url.split(',').map(one).collect()
}

/// A channel to a server; the connection is made at the first call. Needs a Tokio runtime.
pub fn connect(config: &GrpcClientConfig) -> Result<Channel, GrpcError> {
    let bad = |reason: String| GrpcError::Address {
        url: config.url.clone(),
        reason,
    };
    let address: Uri = config
        .url
        .parse()
        .map_err(|e: InvalidUri| bad(e.to_string()))?;
    let (Some("http" | "https"), Some(host)) = (address.scheme_str(), address.authority()) else {
        return Err(bad("it begins with neither http:// nor https://".to_owned()));
    };
    let endpoint = Endpoint::from_shared(format!("http://{host}"))
        .map_err(|e| bad(e.to_string()))?
        .connect_timeout(config.connect_timeout)
        // Finds out about a peer that is gone while a call waits for it.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .tcp_nodelay(true);
    let channel = if address.scheme() == Some(&Scheme::HTTPS) {
        secured::connect(&endpoint, address, files(config))?
    } else {
        endpoint.connect_lazy()
    };
    let headers = CallHeaders::new(config.token.clone(), config.token_file.clone())?;
    Ok(InterceptedService::new(channel, headers))
}

/// A channel to a server in the same process, and the connections to give to
/// [`serve`](super::serve). No port is opened.
pub fn in_process() -> (
    Channel,
    impl Stream<Item = io::Result<DuplexStream>> + Send + 'static,
) {
    let (connections, incoming) = mpsc::channel(16);
    let connector = service_fn(move |_: Uri| {
        let connections = connections.clone();
        async move {
            let (ours, theirs) = tokio::io::duplex(IN_PROCESS_BUFFER);
            let stopped = |_| io::Error::new(io::ErrorKind::ConnectionRefused, "server stopped");
            connections.send(theirs).await.map_err(stopped)?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    });
    let endpoint = Endpoint::from_static("http://in-process");
    let channel = endpoint.connect_with_connector_lazy(connector);
    let incoming = ReceiverStream::new(incoming).map(Ok);
    (
        InterceptedService::new(channel, CallHeaders::default()),
        incoming,
    )
}

fn files(config: &GrpcClientConfig) -> ClientTls {
    ClientTls {
        ca_file: config.ca_file.clone(),
        client_cert_file: config.client_cert_file.clone(),
        client_key_file: config.client_key_file.clone(),
        insecure_skip_verify: false,
        java: None,
    }
}
