#![doc = include_str!("../README.md")]

use std::sync::Arc;
use std::time::Duration;

use stoker_shared::grpc::{self, GrpcError};
use stoker_shared::kafka::{Events, KafkaConfigError};
use stoker_shared::secret::SecretError;
use stoker_shared::service::Context;
use tokio_util::sync::CancellationToken;

mod announce;
mod classify;
pub mod config;
mod frames;
pub mod ledger;
mod list;
pub mod metrics;
mod places;
mod register;
mod scan_loop;
mod scanner;
mod service;
mod signals;

pub use config::Config;
pub use scanner::Scanner;

/// For Kafka to take the last events at the end.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// Why the service ended otherwise than asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No ledger is configured.
    #[error(
        "no ledger is configured; set bucket_scanner.ledger to sqlite:PATH, \
         postgres://user@host/database, or none to keep it in memory"
    )]
    NoLedger,
    /// The password of the ledger cannot be read.
    #[error(transparent)]
    Password(#[from] SecretError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] ledger::LedgerError),
    /// The settings for Kafka cannot be used.
    #[error("bucket_scanner.{0}")]
    Kafka(#[from] KafkaConfigError),
    /// Its gRPC side failed.
    #[error(transparent)]
    Grpc(#[from] GrpcError),
}

/// Runs the service until `context.shutdown`.
pub async fn run(config: Config, context: Context) -> Result<(), Error> {
    let events = Events::connect(&config.kafka, "bucket-scanner", Arc::clone(&context.clock))?;
    events.register(&context.metrics);
    let scanner = Scanner::open(&config, context.clock).await?;
    let scanner = scanner.with_events(events.clone());
    scanner.metrics().register(&context.metrics);
    let grpc = &config.service.grpc;
    let listening = grpc::listen(grpc).await?;
    let shutdown = &context.shutdown;
    let serving = grpc::serve(grpc, scanner.routes(), listening, shutdown.clone());
    context.readiness.set_ready();
    let scanning = scanner.run(shutdown.clone());
    let ended = Box::pin(together(shutdown, serving, scanning)).await;
    events.flush(LAST_EVENTS).await;
    ended
}

/// Runs both to their end. However one ends, the other is told to stop, and has its time to.
async fn together(
    shutdown: &CancellationToken,
    serving: impl Future<Output = Result<(), GrpcError>>,
    scanning: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let serving = async {
        let _stop_scanning = shutdown.clone().drop_guard();
        serving.await
    };
    let scanning = async {
        let _stop_serving = shutdown.clone().drop_guard();
        scanning.await
    };
    let (served, scanned) = tokio::join!(serving, scanning);
    served?;
    scanned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_one_side_ends_the_other() {
        let shutdown = CancellationToken::new();
        let scanned = async {
            shutdown.cancelled().await;
            Ok(())
        };
        let ended = together(&shutdown, async { Ok(()) }, scanned).await;
        assert!(ended.is_ok(), "{ended:?}");

        let shutdown = CancellationToken::new();
        let served = async {
            shutdown.cancelled().await;
            Ok(())
        };
        let ended = together(&shutdown, served, async { Err(Error::NoLedger) }).await;
        assert!(matches!(ended, Err(Error::NoLedger)), "{ended:?}");

        let shutdown = CancellationToken::new();
        let scanned = async {
            shutdown.cancelled().await;
            Ok(())
        };
        let ended = together(&shutdown, async { Err(GrpcError::Token) }, scanned).await;
        assert!(matches!(ended, Err(Error::Grpc(_))), "{ended:?}");
    }
}
