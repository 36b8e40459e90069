//! `stoker health`: whether the services on this host are ready, for the health check of a container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;
use serde::Serialize;
use stoker_shared::config::Load;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use super::serve::Service;
use crate::Global;
use crate::output::Output;

/// Ask the services on this host whether they are ready
///
/// Each is asked for /readyz, or with --live for /livez, where its configuration says that it listens (flags that it
/// was started with are not known here). Exit code 0: all are; 1: one is not, and why.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct HealthArgs {
    /// Which services [default: those that run here, one at least]
    #[arg(value_enum)]
    services: Vec<Service>,
    /// Ask whether they live, be they ready or not
    #[arg(long)]
    live: bool,
    /// Ask for this page instead, such as a sandbox's; http only
    #[arg(long, value_name = "URL", conflicts_with_all = ["services", "live"])]
    url: Option<Url>,
}

const EXAMPLES: &str = "Examples:
  stoker health
  stoker health loader-worker --live
  stoker health --url http://127.0.0.1:7780/fhir/metadata";

/// Longest wait for one service: a check that hangs is a check that failed.
const PATIENCE: Duration = Duration::from_secs(4);

/// An answer's first bytes hold its status; its body is of use only where it says why.
const MOST_BYTES: u64 = 4096;

#[derive(Debug, Serialize)]
struct Found {
    name: String,
    /// None where it is well.
    trouble: Option<String>,
}

/// Runs the command.
pub async fn run(args: &HealthArgs, global: &Global, output: &Output) -> anyhow::Result<ExitCode> {
    let found = match &args.url {
        Some(url) => vec![ask_url(url).await?],
        None => ask_services(args, global).await?,
    };
    let troubles: Vec<_> = found
        .iter()
        .filter_map(|one| Some(format!("{}: {}", one.name, one.trouble.as_ref()?)))
        .collect();
    let names: Vec<_> = found.iter().map(|one| one.name.as_str()).collect();
    output.result(&found, || match troubles.as_slice() {
        [] => format!("{}: well", names.join(", ")),
        troubles => troubles.join("\n"),
    })?;
    Ok(ExitCode::from(u8::from(!troubles.is_empty())))
}

async fn ask_services(args: &HealthArgs, global: &Global) -> anyhow::Result<Vec<Found>> {
    let page = if args.live { "/livez" } else { "/readyz" };
    let mut found = Vec::new();
    let (asked, whichever) = match args.services.as_slice() {
        [] => (Service::value_variants(), true),
        named => (named, false),
    };
    for service in asked {
        let load = |name: &str| Load {
            file: global.config.clone(),
            ..Load::section(name)
        };
        let address = reached_at(service.settings(load)?.http_listen);
        match ask(&address.to_string(), page).await {
            Err(Trouble::NobodyListens) if whichever => {}
            answer => found.push(Found {
                name: service.name(),
                trouble: answer.err().map(|trouble| trouble.to_string()),
            }),
        }
    }
    if found.is_empty() {
        bail!(
            "no service runs here, or none where its configuration says; name the one that should"
        );
    }
    Ok(found)
}

async fn ask_url(url: &Url) -> anyhow::Result<Found> {
    let host = url.host_str().filter(|_| url.scheme() == "http");
    let host = host.with_context(|| format!("{url}: give an http:// URL"))?;
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
    let answer = ask(&address, url.path()).await;
    Ok(Found {
        name: url.to_string(),
        trouble: answer.err().map(|trouble| trouble.to_string()),
    })
}

/// A service that listens on all interfaces is asked on this host's own.
fn reached_at(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("nobody listens")]
    NobodyListens,
    #[error("{0}")]
    Connection(std::io::Error),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("answered {0}")]
    Answer(String),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused => Self::NobodyListens,
            _ => Self::Connection(error),
        }
    }
}

async fn ask(address: &str, page: &str) -> Result<(), Trouble> {
    let answer = tokio::time::timeout(PATIENCE, get(address, page)).await;
    let answer = answer.map_err(|_| Trouble::Late)??;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status.starts_with('2') {
        return Ok(());
    }
    let told = format!("{status} {}", body.lines().next().unwrap_or_default());
    Err(Trouble::Answer(told.trim().to_owned()))
}

/// By hand: a client of HTTP would bring proxies and pools, and this runs every few seconds.
async fn get(address: &str, page: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {page} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use stoker_shared::health::{self, Metrics, Readiness};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn a_service_is_well_once_it_is_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        let pages = health::serve(
            listener,
            readiness.clone(),
            Metrics::default(),
            stop.clone(),
        );
        let pages = tokio::spawn(pages);
        let told = ask(&address, "/readyz").await.unwrap_err().to_string();
        assert_eq!(told, "answered 503 starting");
        ask(&address, "/livez").await.unwrap();
        readiness.set_ready();
        ask(&address, "/readyz").await.unwrap();
        stop.cancel();
        pages.await.unwrap().unwrap();
        let gone = ask(&address, "/readyz").await;
        assert!(matches!(gone, Err(Trouble::NobodyListens)), "{gone:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_not_well() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answer = ask(&address, "/readyz").await;
        assert!(matches!(answer, Err(Trouble::Late)), "{answer:?}");
    }

    #[test]
    fn one_that_listens_everywhere_is_asked_at_home() {
        for (listen, at) in [
            ("0.0.0.0:7801", "127.0.0.1:7801"),
            ("[::]:7801", "[::1]:7801"),
            ("10.0.0.5:7801", "10.0.0.5:7801"),
        ] {
            assert_eq!(reached_at(listen.parse().unwrap()), at.parse().unwrap());
        }
    }
}
