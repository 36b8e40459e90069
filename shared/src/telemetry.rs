//! Logs to stderr, for people or for machines, and traces to an OTLP collector.

use std::fmt::Debug;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::{Deserialize, Serialize};
use tonic::transport::ClientTlsConfig;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// How logs look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum LogFormat {
    /// `human` on a terminal, else `json`.
    #[default]
    Auto,
    /// Lines to read.
    Human,
    /// One JSON object a line.
    Json,
}

impl TryFrom<String> for LogFormat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(format!("is {text:?}, expected auto, human or json")),
        }
    }
}

/// What a process tells of its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// How logs look.
    pub log_format: LogFormat,
    /// Least level logged: `error warn info debug trace`, also per module: `info,stoker_shared=debug`.
    /// The environment's `RUST_LOG` takes its place.
    pub log_level: String,
    /// OTLP collector (gRPC) that takes traces, e.g. `http://127.0.0.1:4317`; none are sent without it.
    /// The environment's `OTEL_EXPORTER_OTLP_ENDPOINT` stands in for it.
    pub otlp_endpoint: Option<String>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self::at_level("info")
    }
}

impl TelemetryConfig {
    /// The defaults with another level; a command line is quieter than a service.
    pub fn at_level(log_level: &str) -> Self {
        Self {
            log_format: LogFormat::Auto,
            log_level: log_level.to_owned(),
            otlp_endpoint: None,
        }
    }
}

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is not one.
    #[error("log level {level:?}: {reason}; give one like info or info,stoker_shared=debug")]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The collector's address is not usable.
    #[error("otlp_endpoint {endpoint}: {source}; give one like http://127.0.0.1:4317")]
    Collector {
        /// What was given.
        endpoint: String,
        /// What the library says.
        source: ExporterBuildError,
    },
    /// The process has telemetry already.
    #[error("telemetry was started twice: {0}")]
    Twice(#[from] TryInitError),
}

/// Keeps telemetry going; sends what is left when it is dropped.
#[derive(Debug)]
#[must_use = "telemetry ends when the guard is dropped"]
pub struct Guard(Option<SdkTracerProvider>);

impl Guard {
    /// Sends what is left, waiting up to five seconds for the collector.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last traces were not taken by the collector");
        }
    }
}

/// A log beside the one on standard error, of lines to read.
#[derive(Debug)]
pub struct LogFile<W> {
    /// As [`TelemetryConfig::log_level`].
    pub level: String,
    /// Takes each line whole.
    pub file: W,
}

/// Starts logs and traces for the whole process, once, within a Tokio runtime.
pub fn init(config: &TelemetryConfig, service_name: &'static str) -> Result<Guard, TelemetryError> {
    init_with_file(config, service_name, None::<LogFile<std::io::Sink>>)
}

/// The same with a log in a file, too.
pub fn init_with_file<W: Write + Debug + Send + 'static>(
    config: &TelemetryConfig,
    service_name: &'static str,
    file: Option<LogFile<W>>,
) -> Result<Guard, TelemetryError> {
    let env = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let level = env("RUST_LOG").unwrap_or_else(|| config.log_level.clone());
    let mut logs = vec![log_layer(config.log_format, filter(&level)?)];
    if let Some(LogFile { level, file }) = file {
        let lines = fmt::layer().with_writer(Mutex::new(file)).with_ansi(false);
        logs.push(lines.with_filter(filter(&level)?).boxed());
    }
    let endpoint = config
        .otlp_endpoint
        .clone()
        .or_else(|| env("OTEL_EXPORTER_OTLP_ENDPOINT"));
    let provider = endpoint
        .map(|endpoint| tracer(endpoint, service_name))
        .transpose()?;
    let traces = provider.as_ref().map(|provider| {
        let tracer = provider.tracer(service_name);
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_filter(LevelFilter::INFO)
    });
    tracing_subscriber::registry()
        .with(logs)
        .with(traces)
        .try_init()?;
    Ok(Guard(provider))
}

fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(level).map_err(|e| TelemetryError::Level {
        level: level.to_owned(),
        reason: e.to_string(),
    })
}

fn log_layer(format: LogFormat, filter: EnvFilter) -> Box<dyn Layer<Registry> + Send + Sync> {
    let terminal = std::io::stderr().is_terminal();
    let layer = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Human => layer.with_ansi(terminal).with_filter(filter).boxed(),
        LogFormat::Auto if terminal => layer.with_ansi(true).with_filter(filter).boxed(),
        LogFormat::Auto | LogFormat::Json => {
            layer.json().flatten_event(true).with_filter(filter).boxed()
        }
    }
}

fn tracer(
    endpoint: String,
    service_name: &'static str,
) -> Result<SdkTracerProvider, TelemetryError> {
    let mut exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&endpoint);
    if endpoint.starts_with("https:") {
        exporter = exporter.with_tls_config(ClientTlsConfig::new().with_native_roots());
    }
    let exporter = exporter.build();
    let exporter = exporter.map_err(|source| TelemetryError::Collector { endpoint, source })?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(service_name).build())
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_checked() {
        assert!(filter("info,stoker_shared=debug").is_ok());
        let error = filter("info,stoker_shared=loud").unwrap_err();
        assert!(error.to_string().contains("loud"), "{error}");
    }

    #[tokio::test]
    async fn a_bad_collector_is_told() {
        let error = tracer("not a url".to_owned(), "test").unwrap_err();
        assert!(
            error.to_string().starts_with("otlp_endpoint not a url: "),
            "{error}"
        );
    }
}
