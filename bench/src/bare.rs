//! The least that a client can do: bodies that are ready are sent over a few connections. And the least that a
//! load can do: the same, where each connection reads, splits and checks lines and makes bodies of them.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use loader_worker::parts;
use memchr::memchr;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

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
    let sent = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (bodies, sent) = (Arc::clone(&bodies), Arc::clone(&sent));
        let mut client = Client::to(to).await?;
        clients.spawn(async move {
            loop {
                let n = sent.fetch_add(1, Ordering::Relaxed);
                if n >= batches {
                    return anyhow::Ok(());
                }
                let answer = client.post(bodies[n % bodies.len()].clone()).await?;
                ensure!(answer.len() > 100 * batch, "not every entry is answered");
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    per_second(batches * batch, begun)
}

/// Loads the lines of `file`, `batch` to a Bundle, over so many `connections`, each of which does all there is to do
/// for its Bundle and looks at every answer; the resources a second. Nothing is noted, repeated or kept apart.
pub async fn load(file: &Path, to: &str, batch: usize, connections: usize) -> anyhow::Result<f64> {
    let lines = Arc::new(Mutex::new(Lines::of(file)?));
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (lines, mut client) = (Arc::clone(&lines), Client::to(to).await?);
        clients.spawn(async move {
            let mut loaded = 0;
            loop {
                let some = match lines.lock() {
                    Ok(mut lines) => lines.next(batch)?,
                    Err(_) => anyhow::bail!("another connection failed"),
                };
                if some.is_empty() {
                    return anyhow::Ok(loaded);
                }
                ensure!(some.iter().all(|line| parts::is_resource(line)), "odd data");
                let answer = client.post(parts::batch_of(&some)).await?;
                let taken = parts::entries_taken(&answer);
                ensure!(taken == Some(some.len()), "not every entry is taken");
                loaded += some.len();
            }
        });
    }
    let mut loaded = 0;
    while let Some(ended) = clients.join_next().await {
        loaded += ended??;
    }
    per_second(loaded, begun)
}

fn per_second(resources: usize, begun: Instant) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(resources)?) / begun.elapsed().as_secs_f64())
}

/// A connection.
struct Client {
    host: String,
    path: String,
    requests: SendRequest<Full<Bytes>>,
}

impl Client {
    async fn to(base: &str) -> anyhow::Result<Self> {
        let address = base.trim_start_matches("http://");
        let (host, path) = address
            .split_once('/')
            .context("an address without a path")?;
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            host: host.to_owned(),
            path: format!("/{path}"),
            requests,
        })
    }

    async fn post(&mut self, body: Bytes) -> anyhow::Result<Bytes> {
        let request = hyper::Request::post(&self.path)
            .header("host", &self.host)
            .header("content-type", "application/fhir+json")
            .body(Full::new(body))?;
        let answer = self.requests.send_request(request).await?;
        Ok(answer.into_body().collect().await?.to_bytes())
    }
}

/// A file, read a chunk at a time; its compression is taken off.
struct Lines {
    file: Box<dyn Read + Send>,
    chunk: Bytes,
}

impl Lines {
    const CHUNK: usize = 1 << 20;

    fn of(file: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            file: crate::data::decoded(file)?,
            chunk: Bytes::new(),
        })
    }

    /// So many at most; none at the end.
    fn next(&mut self, most: usize) -> anyhow::Result<Vec<Bytes>> {
        let mut lines = Vec::with_capacity(most);
        while lines.len() < most {
            if let Some(end) = memchr(b'\n', &self.chunk) {
                let line = self.chunk.split_to(end + 1);
                lines.push(line.slice(..end));
            } else if !self.read()? {
                break;
            }
        }
        Ok(lines)
    }

    /// Reads on after what is left; whether there was more.
    fn read(&mut self) -> anyhow::Result<bool> {
        let left = self.chunk.len();
        let mut chunk = BytesMut::zeroed(left + Self::CHUNK);
        chunk[..left].copy_from_slice(&self.chunk);
        let more = self.file.read(&mut chunk[left..])?;
        chunk.truncate(left + more);
        self.chunk = chunk.freeze();
        ensure!(more > 0 || left == 0, "the last line has no end");
        Ok(more > 0)
    }
}

/// Of as many lines as the sample has, over and over: of what a load sends on the whole.
fn bodies(file: &Path, batch: usize) -> anyhow::Result<Vec<Bytes>> {
    let lines = crate::data::first_lines(file, crate::data::sample_lines()?.len())?;
    let body = |lines: &[Bytes]| {
        let entries: Vec<Vec<u8>> = lines.iter().map(|line| entry(line)).collect();
        let mut body = br#"{"resourceType":"Bundle","type":"batch","entry":["#.to_vec();
        body.extend_from_slice(&entries.join(&b','));
        body.extend_from_slice(b"]}");
        Bytes::from(body)
    };
    Ok(lines.chunks_exact(batch).map(body).collect())
}

fn entry(line: &[u8]) -> Vec<u8> {
    let id = "00000000-0000-0000-0000-000000000000";
    let request = format!(r#","request":{{"method":"PUT","url":"Observation/{id}"}}}}"#);
    [br#"{"resource":"#, line, request.as_bytes()].concat()
}
