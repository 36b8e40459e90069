#![doc = include_str!("../README.md")]

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use stoker_shared::grpc::{self, GrpcError};
use stoker_shared::kafka::{Events, KafkaConfigError};
use stoker_shared::secret::SecretError;
use stoker_shared::service::Context;
use tokio::task::JoinError;

mod client;
pub mod config;
pub mod control;
mod drive;
mod driver;
mod hapi;
mod hold;
mod limits;
pub mod metrics;
mod picked;
mod rate;
pub mod runs;
mod server;
mod unsaved;

pub use config::Config;
pub use driver::Driver;

/// For Kafka to take the last events at the end.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// Why the service ended otherwise than asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No store of runs is configured.
    #[error(
        "no place for runs is configured; set reindex_driver.runs.url to sqlite:PATH, \
         postgres://user@host/database, or none to keep them in memory"
    )]
    NoRuns,
    /// The password of the store cannot be read.
    #[error(transparent)]
    Password(#[from] SecretError),
    /// The runs cannot be kept.
    #[error(transparent)]
    Runs(#[from] runs::RunsError),
    /// The settings for Kafka cannot be used.
    #[error("reindex_driver.{0}")]
    Kafka(#[from] KafkaConfigError),
    /// Its gRPC side failed.
    #[error(transparent)]
    Grpc(#[from] GrpcError),
    /// A fault of Stoker's own.
    #[error("a task ended unexpectedly; this is a fault in Stoker: {0}")]
    Panicked(JoinError),
}

/// Runs the service until `context.shutdown`.
pub async fn run(config: Config, context: Context) -> Result<(), Error> {
    let events = Events::connect(&config.kafka, "reindex-driver", Arc::clone(&context.clock))?;
    events.register(&context.metrics);
    let shutdown = context.shutdown;
    let driver = Driver::open(&config, context.clock).await?;
    let driver = driver
        .with_events(events.clone())
        .closing_at(shutdown.clone());
    driver.metrics().register(&context.metrics);
    let grpc = &config.service.grpc;
    let listening = grpc::listen(grpc).await?;
    context.readiness.set_ready();
    // However one ends, the other is told to stop, and has its time to.
    let serving = async {
        let _stop = shutdown.clone().drop_guard();
        grpc::serve(grpc, driver.routes(), listening, shutdown.clone()).await
    };
    let driving = async {
        let _stop = shutdown.clone().drop_guard();
        driver.work(&[], shutdown.clone()).await
    };
    let (served, worked) = tokio::join!(serving, Box::pin(driving));
    events.flush(LAST_EVENTS).await;
    worked?;
    Ok(served?)
}

/// The end of something that may be under way; for ever when it is not. May be dropped and called again.
async fn some<T>(future: &mut Option<BoxFuture<'static, T>>) -> Option<T> {
    match future {
        Some(future) => Some(future.await),
        None => std::future::pending().await,
    }
}
