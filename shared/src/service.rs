//! Starts a service and stops it: the whole of every service's `main`.
//!
//! [`main`] is for an executable of its own; [`run`] is the part that `stoker serve` uses as well.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, Command, value_parser};
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::SignalStream;
use tokio_util::sync::CancellationToken;

use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, Load, Settings};
use crate::grpc::GrpcConfig;
use crate::health::{self, Metrics, Readiness};
use crate::telemetry::{self, TelemetryConfig};
use crate::tls;

/// What every service has configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceSettings {
    /// Where it serves gRPC.
    pub grpc: GrpcConfig,
    /// Where it serves `/livez /readyz /metrics`.
    pub http_listen: SocketAddr,
    /// Longest time from the signal to stop to the end.
    #[serde(with = "humantime_serde")]
    pub shutdown_deadline: Duration,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            grpc: GrpcConfig::default(),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            shutdown_deadline: Duration::from_secs(30),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl ServiceSettings {
    /// On the loopback interface: gRPC on this port, HTTP on the one 100 above.
    pub fn on_port(grpc_port: u16) -> Self {
        Self {
            grpc: GrpcConfig::on_port(grpc_port),
            http_listen: SocketAddr::from(([127, 0, 0, 1], grpc_port + 100)),
            ..Self::default()
        }
    }
}

/// The configuration of a service.
pub trait ServiceConfig: Settings {
    /// The part that every service has.
    fn service(&self) -> &ServiceSettings;
}

/// What a running service is given.
#[derive(Debug, Clone)]
pub struct Context {
    /// Cancelled when the service has to stop: take no new work, finish or hand back what is open.
    pub shutdown: CancellationToken,
    /// To be set ready by the service once it can work.
    pub readiness: Readiness,
    /// Where the service registers its metrics.
    pub metrics: Metrics,
    /// Tells the time.
    pub clock: SharedClock,
}

impl Default for Context {
    /// For one process on the machine's clock.
    fn default() -> Self {
        Self {
            shutdown: CancellationToken::new(),
            readiness: Readiness::default(),
            metrics: Metrics::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Why a service ended otherwise than asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The HTTP port cannot be listened on.
    #[error(
        "{address}: cannot listen for HTTP: {source}; choose another port or stop what uses it"
    )]
    Listen {
        /// The address in the configuration.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// Signals cannot be received.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    /// The service failed; the text is its own.
    #[error("{0}")]
    Failed(String),
    /// It did not stop in time.
    #[error("not stopped within {}; work still open was abandoned and will be done again", humantime::format_duration(*.0))]
    Overdue(Duration),
    /// It was told to stop a second time.
    #[error("told to stop twice; work still open was abandoned and will be done again")]
    Impatient,
}

/// A service's `main`: reads the command line and the configuration, runs the service until it ends
/// or a signal stops it. `name` is the service's, with hyphens; its section has underscores.
pub fn main<C, F, Fut, E>(name: &'static str, service: F) -> ExitCode
where
    C: ServiceConfig,
    F: FnOnce(C, Context) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Display,
{
    let args = command_line(name).get_matches();
    let overrides = args.get_many::<(String, String)>("set").unwrap_or_default();
    let load = Load {
        file: args.get_one::<PathBuf>("config").cloned(),
        overrides: overrides.cloned().collect(),
        ..Load::section(name)
    };
    start(name, &load, service)
}

/// Reads the configuration and runs the service until it ends or a signal stops it; for a process
/// that is nothing but this service.
pub fn start<C, F, Fut, E>(name: &'static str, load: &Load, service: F) -> ExitCode
where
    C: ServiceConfig,
    F: FnOnce(C, Context) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Display,
{
    let config = config::load(load).map_err(|faults| faults.to_string());
    match config.and_then(|config| run_process(name, config, service)) {
        Ok(code) => code,
        Err(message) => {
            report(&message);
            ExitCode::FAILURE
        }
    }
}

/// Runs a configured service until it ends or a signal stops it, with its health pages. Logs and
/// cryptography are the caller's to set up.
pub async fn run<C, F, Fut, E>(config: C, context: Context, service: F) -> Result<(), ServiceError>
where
    C: ServiceConfig,
    F: FnOnce(C, Context) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Display,
{
    let signals = signals().map_err(ServiceError::Signals)?;
    run_told_by(signals, config, context, service).await
}

/// The same for one service of several in a process, which together know when to stop: at the first of
/// `signals`, or when `context.shutdown` is cancelled.
pub async fn run_told_by<C, F, Fut, E>(
    signals: impl Stream<Item = &'static str>,
    config: C,
    context: Context,
    service: F,
) -> Result<(), ServiceError>
where
    C: ServiceConfig,
    F: FnOnce(C, Context) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Display,
{
    let address = config.service().http_listen;
    let deadline = config.service().shutdown_deadline;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| ServiceError::Listen { address, source })?;
    // The port may have been left to the system.
    if let Ok(address) = listener.local_addr() {
        tracing::info!("health and metrics: http://{address}/metrics");
    }
    // The health pages outlive the drain: that is when the platform asks them.
    let pages_end = CancellationToken::new();
    let _end_pages = pages_end.clone().drop_guard();
    let (readiness, metrics) = (context.readiness.clone(), context.metrics.clone());
    tokio::spawn(async move {
        if let Err(error) = health::serve(listener, readiness, metrics, pages_end).await {
            tracing::error!(%error, "the health pages ended");
        }
    });
    run_until_done(
        service(config, context.clone()),
        signals,
        &context,
        deadline,
    )
    .await
}

/// Runs `service` to its end. The first of `signals` makes it not ready and cancels its shutdown
/// token; after a second one, or when `deadline` has passed since the first, it is dropped.
pub async fn run_until_done<E: Display>(
    service: impl Future<Output = Result<(), E>>,
    signals: impl Stream<Item = &'static str>,
    context: &Context,
    deadline: Duration,
) -> Result<(), ServiceError> {
    tokio::pin!(service, signals);
    let failed = |error: E| ServiceError::Failed(format!("{error:#}"));
    tokio::select! {
        result = &mut service => return result.map_err(failed),
        Some(signal) = signals.next() => tracing::info!(signal, "stopping"),
        () = context.shutdown.cancelled() => tracing::info!("stopping"),
    }
    context.readiness.set_stopping();
    context.shutdown.cancel();
    tokio::select! {
        result = &mut service => result.map_err(failed),
        Some(_) = signals.next() => Err(ServiceError::Impatient),
        () = tokio::time::sleep(deadline) => Err(ServiceError::Overdue(deadline)),
    }
}

/// SIGTERM and SIGINT, from now on.
pub fn signals() -> std::io::Result<impl Stream<Item = &'static str> + Unpin + Send> {
    let terminate = SignalStream::new(signal(SignalKind::terminate())?).map(|()| "SIGTERM");
    let interrupt = SignalStream::new(signal(SignalKind::interrupt())?).map(|()| "SIGINT");
    Ok(futures::stream::select(terminate, interrupt))
}

fn command_line(name: &'static str) -> Command {
    Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(format!("The {name} service of Stoker"))
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Configuration file; else STOKER_CONFIG, ./stoker.yaml, or stoker/stoker.yaml in the user's configuration folder"),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(clap::ArgAction::Append)
                .value_parser(config::parse_override)
                .help("Sets one key of this service, e.g. service.http_listen=127.0.0.1:7900; may be repeated"),
        )
}

fn run_process<C, F, Fut, E>(name: &'static str, config: C, service: F) -> Result<ExitCode, String>
where
    C: ServiceConfig,
    F: FnOnce(C, Context) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Display,
{
    tls::install_crypto_provider();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|e| format!("the system gives no threads for the runtime: {e}"))?;
    let code = runtime.block_on(async {
        let telemetry =
            telemetry::init(&config.service().telemetry, name).map_err(|e| e.to_string())?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "{name} starting");
        let result = run(config, Context::default(), service).await;
        match &result {
            Ok(()) => tracing::info!("{name} stopped"),
            Err(error) => tracing::error!("{name} ended: {error}"),
        }
        telemetry.shutdown();
        Ok::<_, String>(if result.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    });
    // A blocking call that hangs must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

#[expect(clippy::print_stderr, reason = "there is no log yet to write to")]
fn report(message: &str) {
    eprintln!("{message}");
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    type Outcome = Result<(), std::fmt::Error>;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_signal_stops_a_service_that_drains() {
        let context = Context::default();
        context.readiness.set_ready();
        let service = async {
            context.shutdown.cancelled().await;
            tokio::time::sleep(DEADLINE / 2).await;
            assert_eq!(context.readiness.reason().as_deref(), Some("stopping"));
            Outcome::Ok(())
        };
        let result = run_until_done(service, once("SIGTERM"), &context, DEADLINE).await;
        assert!(result.is_ok(), "{result:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_a_service_that_hangs() {
        let started = tokio::time::Instant::now();
        let hanging = std::future::pending::<Outcome>();
        let result = run_until_done(hanging, once("SIGTERM"), &Context::default(), DEADLINE).await;
        assert!(
            matches!(result, Err(ServiceError::Overdue(DEADLINE))),
            "{result:?}"
        );
        assert_eq!(started.elapsed(), DEADLINE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_it_at_once() {
        let started = tokio::time::Instant::now();
        let twice = stream::iter(["SIGINT", "SIGINT"]);
        let hanging = std::future::pending::<Outcome>();
        let result = run_until_done(hanging, twice, &Context::default(), DEADLINE).await;
        assert!(matches!(result, Err(ServiceError::Impatient)), "{result:?}");
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_service_may_end_by_itself() {
        let none = stream::pending;
        let context = Context::default();
        let done = run_until_done(async { Outcome::Ok(()) }, none(), &context, DEADLINE).await;
        assert!(done.is_ok(), "{done:?}");
        let failing = async { Err(anyhow::anyhow!("no disk").context("the ledger failed")) };
        let failed = run_until_done(failing, none(), &context, DEADLINE)
            .await
            .unwrap_err();
        assert_eq!(failed.to_string(), "the ledger failed: no disk");
    }

    #[tokio::test]
    async fn another_part_may_stop_it() {
        let context = Context::default();
        context.shutdown.cancel();
        let service = async {
            context.shutdown.cancelled().await;
            Outcome::Ok(())
        };
        let done = run_until_done(service, stream::pending(), &context, DEADLINE).await;
        assert!(done.is_ok(), "{done:?}");
    }

    fn once(signal: &'static str) -> impl Stream<Item = &'static str> {
        stream::once(async move { signal }).chain(stream::pending())
    }
}
