#![doc = include_str!("../README.md")]

use std::sync::Arc;
use std::time::Duration;

use stoker_shared::fhir::{FhirClient, FhirError};
use stoker_shared::grpc::{self, GrpcError};
use stoker_shared::kafka::{Events, KafkaConfigError};
use stoker_shared::object_store::Stores;
use stoker_shared::service::Context;
use tonic::service::Routes;

mod announce;
pub mod breakup;
mod bundle;
pub mod config;
mod consequence;
mod deferred;
mod flight;
pub mod input;
pub mod leases;
mod leasing;
pub mod ledger;
mod memory;
pub mod metrics;
pub mod outcome;
pub mod parts;
pub mod read;
mod record;
pub mod resend;
pub mod send;
mod skim;
pub mod stats;
mod targets;
pub mod texts;
mod unit;
mod worker;

pub use config::Config;
pub use targets::TargetError;
pub use worker::{OnTrouble, Worker, WorkerError};

/// For Kafka to take the last events at the end.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// Why the service ended otherwise than asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its gRPC side failed.
    #[error(transparent)]
    Grpc(#[from] GrpcError),
    /// The settings for FHIR servers cannot be used.
    #[error("loader_worker.fhir: {0}")]
    Fhir(#[from] FhirError),
    /// The settings for Kafka cannot be used.
    #[error("loader_worker.{0}")]
    Kafka(#[from] KafkaConfigError),
    /// It cannot work.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

/// Runs the service until `context.shutdown`: one worker, with gRPC health and reflection beside it.
pub async fn run(config: Config, context: Context) -> Result<(), Error> {
    FhirClient::check(&config.fhir)?;
    let metrics = metrics::WorkerMetrics::default();
    metrics.register(&context.metrics);
    let events = Events::connect(&config.kafka, "loader-worker", Arc::clone(&context.clock))?;
    events.register(&context.metrics);
    let worker = Worker {
        ledger: ledger::Ledger::over(grpc::connect_all(&config.ledger)?),
        stores: Stores::new(config.s3),
        events: events.clone(),
        settings: config.load,
        fhir: config.fhir,
        clock: context.clock,
        stats: Arc::new(stats::Stats::new(metrics)),
        on_trouble: OnTrouble::GoOn,
        reaches: config.shared_mounts,
        job_ids: Vec::new(),
        limits: Vec::new(),
        bucket_paths: Vec::new(),
        readiness: context.readiness,
    };
    let listening = grpc::listen(&config.service.grpc).await?;
    // Whichever ends first ends the other: half a service is none.
    let end = context.shutdown.child_token();
    let serving = async {
        let _ends = end.clone().drop_guard();
        let stopped = end.clone();
        grpc::serve(&config.service.grpc, Routes::default(), listening, stopped).await
    };
    let working = async {
        let _ends = end.clone().drop_guard();
        worker.run(end.clone()).await
    };
    let (grpc_end, worker_end) = tokio::join!(serving, working);
    events.flush(LAST_EVENTS).await;
    worker_end?;
    Ok(grpc_end?)
}
