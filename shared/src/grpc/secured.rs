//! Connections under TLS. Each is made with what the files hold at that time; those that are open go on.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::{ServiceExt, service_fn};

use super::GrpcError;
use crate::mounted::Mounted;
use crate::tls::{self, ClientTls, ServerTls, TlsError};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Longest wait for a client to show what it must.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Clients at that at once; further ones wait.
const HANDSHAKES: usize = 1024;

/// What a server makes of its connections.
pub(super) fn server(files: &ServerTls) -> Result<Mounted<Arc<ServerConfig>>, TlsError> {
    let tls = files.clone();
    Mounted::new(files.files(), move || tls::grpc_server(&tls))
}

/// The connections, once they are encrypted. One that fails is an error, and the next one follows.
pub(super) fn accept<I, IO, IE>(
    incoming: I,
    config: Mounted<Arc<ServerConfig>>,
) -> impl Stream<Item = Result<TlsStream<IO>, BoxError>>
where
    I: Stream<Item = Result<IO, IE>>,
    IO: AsyncRead + AsyncWrite + Unpin,
    IE: Into<BoxError>,
{
    let handshakes = incoming.map(move |connection| {
        let acceptor = TlsAcceptor::from(config.get());
        async move {
            let connection = connection.map_err(Into::into)?;
            Ok(timeout(HANDSHAKE, acceptor.accept(connection)).await??)
        }
    });
    handshakes.buffer_unordered(HANDSHAKES)
}

/// A channel whose connections are encrypted. `endpoint` has the address with `http` in the place of `https`, since
/// tonic would otherwise ask for settings that cannot change.
pub(super) fn connect(
    endpoint: &Endpoint,
    address: Uri,
    files: ClientTls,
) -> Result<Channel, GrpcError> {
    let host = address.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|e| GrpcError::Address {
        url: address.to_string(),
        reason: e.to_string(),
    })?;
    let config = Mounted::new(files.files(), move || tls::grpc_client(&files))?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let endpoint = endpoint.clone().origin(address.clone());
    Ok(
        endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
            let tls = TlsConnector::from(config.get());
            let (name, tcp) = (name.clone(), tcp.clone().oneshot(address.clone()));
            async move {
                let connection = tcp.await?.into_inner();
                Ok::<_, BoxError>(TokioIo::new(tls.connect(name, connection).await?))
            }
        })),
    )
}
