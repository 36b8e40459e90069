//! Servers to talk to, and the client that does.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use stoker_proto::common::v1::Target;
use stoker_shared::clock::SystemClock;
use stoker_shared::fhir::{FhirClient, FhirConfig, FhirRequest, Method};
use stoker_shared::tls::{ServerTls, server_config};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Serves plain HTTP; gives the base URL.
pub(crate) async fn serve(router: Router) -> String {
    let (listener, address) = listen().await;
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/fhir")
}

/// Serves HTTPS; gives the base URL.
pub(crate) async fn serve_tls(router: Router, tls: &ServerTls) -> String {
    let acceptor = TlsAcceptor::from(server_config(tls).unwrap());
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
            tokio::spawn(async move {
                // The client's side of a failed handshake is what the tests look at.
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    format!("https://localhost:{}/fhir", address.port())
}

/// Reads a request's head, then lets `after` do with the connection what it likes.
pub(crate) async fn serve_raw<F, Fut>(after: F) -> String
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            after(stream).await;
        }
    });
    format!("http://{address}/fhir")
}

pub(crate) fn target(base_url: &str) -> Target {
    Target {
        base_url: base_url.to_owned(),
        tenant: String::new(),
    }
}

pub(crate) fn client(base_url: &str, config: &FhirConfig) -> FhirClient {
    FhirClient::new(config, &target(base_url), Arc::new(SystemClock)).unwrap()
}

pub(crate) fn get(path: &str) -> FhirRequest<'_> {
    FhirRequest {
        method: Method::Get,
        path,
        body: Bytes::new(),
        prefer_minimal: false,
        if_none_exist: None,
    }
}

pub(crate) fn post<'a>(path: &'a str, body: &'static str) -> FhirRequest<'a> {
    FhirRequest {
        method: Method::Post,
        body: Bytes::from_static(body.as_bytes()),
        ..get(path)
    }
}
