#![doc = include_str!("../README.md")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stoker_shared::grpc::{self, GrpcError};
use stoker_shared::kafka::{Events, KafkaConfigError};
use stoker_shared::secret::SecretError;
use stoker_shared::service::Context;

pub mod agent;
pub mod basebackup;
pub mod catalog;
pub mod compress;
pub mod config;
pub mod control;
pub mod drill;
pub mod import;
pub mod manifest;
pub mod metrics;
pub mod notify;
pub mod pgbackrest;
pub mod postgres;
pub mod repository;
pub mod restore;
pub mod retention;
pub mod schedule;
pub mod server;
pub mod store;
pub mod tar;
pub mod troubles;
pub mod watch;

pub use agent::Agent;
pub use config::Config;

/// For Kafka to take the last events at the end.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// Why the service ended otherwise than asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No catalog is configured.
    #[error(
        "no place for the catalog is configured; set backup_agent.catalog.url to sqlite:PATH, \
         postgres://user@host/database, or none to keep it in memory"
    )]
    NoCatalog,
    /// A source cannot be used as it is configured.
    #[error("backup_agent.sources.{name}: {problem}")]
    Source {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A repository cannot be used as it is configured.
    #[error(transparent)]
    Repository(#[from] repository::RepositoryError),
    /// Ofelia's file cannot be read.
    #[error("backup_agent.ofelia.file: {file}: {problem}")]
    Ofelia {
        /// Its path.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The password of the catalog cannot be read.
    #[error(transparent)]
    Password(#[from] SecretError),
    /// The catalog cannot be opened.
    #[error(transparent)]
    Catalog(#[from] catalog::CatalogError),
    /// The webhook cannot be told.
    #[error("backup_agent.notify.{0}")]
    Notify(#[from] notify::NotifyError),
    /// The settings for Kafka cannot be used.
    #[error("backup_agent.{0}")]
    Kafka(#[from] KafkaConfigError),
    /// Its gRPC side failed.
    #[error(transparent)]
    Grpc(#[from] GrpcError),
}

/// Runs the service until `context.shutdown`.
pub async fn run(config: Config, context: Context) -> Result<(), Error> {
    let events = Events::connect(&config.kafka, "backup-agent", Arc::clone(&context.clock))?;
    events.register(&context.metrics);
    let shutdown = context.shutdown;
    let agent = Agent::open(&config, context.clock).await?;
    let agent = agent
        .with_events(events.clone())
        .closing_at(shutdown.clone());
    agent.metrics().register(&context.metrics);
    let grpc = &config.service.grpc;
    let listening = grpc::listen(grpc).await?;
    context.readiness.set_ready();
    // However one ends, the other is told to stop, and has its time to.
    let serving = async {
        let _stop = shutdown.clone().drop_guard();
        grpc::serve(grpc, agent.routes(), listening, shutdown.clone()).await
    };
    let working = async {
        let _stop = shutdown.clone().drop_guard();
        agent.work(shutdown.clone()).await;
    };
    let (served, ()) = tokio::join!(serving, Box::pin(working));
    events.flush(LAST_EVENTS).await;
    Ok(served?)
}
