//! The least that a client can do: bodies that are ready are sent over a few connections.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Different bodies that are sent over and over.
const BODIES: usize = 64;

/// Sends `batches` Bundles of `batch` lines of `file` to the base URL `to`, over so many `connections`; the
/// resources a second.
pub async fn send(
    file: &Path,
    to: &str,
    batch: usize,
    batches: usize,
    connections: usize,
) -> anyhow::Result<f64> {
    let bodies: Arc<[Bytes]> = bodies(file, batch)?.into();
    let address = to.trim_start_matches("http://");
    let (host, path) = address
        .split_once('/')
        .context("an address without a path")?;
    let sent = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (bodies, sent) = (Arc::clone(&bodies), Arc::clone(&sent));
        let (host, path) = (host.to_owned(), format!("/{path}"));
        clients.spawn(async move {
            let stream = TcpStream::connect(&host).await?;
            stream.set_nodelay(true)?;
            let made = hyper::client::conn::http1::handshake(TokioIo::new(stream));
            let (mut client, connection) = made.await?;
            tokio::spawn(connection);
            loop {
                let n = sent.fetch_add(1, Ordering::Relaxed);
                if n >= batches {
                    return anyhow::Ok(());
                }
                let request = hyper::Request::post(&path)
                    .header("host", &host)
                    .header("content-type", "application/fhir+json")
                    .body(Full::new(bodies[n % bodies.len()].clone()))?;
                let answer = client.send_request(request).await?;
                let answer = answer.into_body().collect().await?.to_bytes();
                ensure!(answer.len() > 100 * batch, "not every entry is answered");
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let resources = f64::from(u32::try_from(batches * batch)?);
    Ok(resources / begun.elapsed().as_secs_f64())
}

fn bodies(file: &Path, batch: usize) -> anyhow::Result<Vec<Bytes>> {
    let mut lines = crate::data::first_lines(file, BODIES * batch)?.into_iter();
    let mut bodies = Vec::with_capacity(BODIES);
    for _ in 0..BODIES {
        let entries: Vec<Vec<u8>> = lines
            .by_ref()
            .take(batch)
            .map(|line| entry(&line))
            .collect();
        let mut body = br#"{"resourceType":"Bundle","type":"batch","entry":["#.to_vec();
        body.extend_from_slice(&entries.join(&b','));
        body.extend_from_slice(b"]}");
        bodies.push(body.into());
    }
    Ok(bodies)
}

fn entry(line: &[u8]) -> Vec<u8> {
    let id = "00000000-0000-0000-0000-000000000000";
    let request = format!(r#","request":{{"method":"PUT","url":"Observation/{id}"}}}}"#);
    [br#"{"resource":"#, line, request.as_bytes()].concat()
}
