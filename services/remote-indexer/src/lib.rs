#![doc = include_str!("../README.md")]

use std::sync::Arc;

use stoker_shared::grpc::{self, GrpcError};
use stoker_shared::health::Readiness;
use stoker_shared::service::Context;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub mod config;
mod consume;
pub mod control;
mod database;
pub mod dead_letters;
mod index;
mod look;
mod message;
pub mod metrics;
mod poison;
mod ready;
mod resolve;
mod rows;
pub mod status;
mod write;

pub use config::Config;
pub use consume::ConsumerError;
pub use database::{BadUrl, DatabaseConfigError, PostgresTlsError};
pub use look::{DatabaseLook, LookError, SchemaLook, look};
pub use poison::{Poison, Reason};

use consume::Consumer;
use database::{Database, Schema};
use dead_letters::{DeadLetterError, DeadLetters};
use index::{Indexer, Schemas};
use metrics::IndexMetrics;
use resolve::Caches;
use status::Board;

/// Why the service ended otherwise than asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its gRPC side failed.
    #[error(transparent)]
    Grpc(#[from] GrpcError),
    /// The settings for the database cannot be used.
    #[error("remote_indexer.{0}")]
    Database(#[from] DatabaseConfigError),
    /// Dead letters have nowhere to go.
    #[error(transparent)]
    DeadLetters(#[from] DeadLetterError),
    /// A consumer ended.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
}

/// Runs the service until `context.shutdown`: its consumers, with gRPC beside them.
pub async fn run(config: Config, context: Context) -> Result<(), Error> {
    let metrics = IndexMetrics::default();
    metrics.register(&context.metrics);
    let board = Board::new(
        config.topic.consumers,
        Arc::clone(&context.clock),
        metrics.clone(),
    );
    let consumers = consumers(&config, &context, &metrics, &board)?;
    let shown = board.clone();
    let listening = grpc::listen(&config.service.grpc).await?;
    // Whichever ends first ends the other: half a service is none.
    let end = context.shutdown.child_token();
    let serving = async {
        let _ends = end.clone().drop_guard();
        let routes = Routes::new(control::service(board, end.clone()));
        grpc::serve(&config.service.grpc, routes, listening, end.clone()).await
    };
    let consuming = async {
        let _ends = end.clone().drop_guard();
        tokio::select! {
            ended = run_all(consumers, &end) => ended,
            () = show_readiness(&shown, &context.readiness) => Ok(()),
        }
    };
    let (grpc_end, consumers_end) = tokio::join!(serving, consuming);
    consumers_end?;
    Ok(grpc_end?)
}

fn consumers(
    config: &Config,
    context: &Context,
    metrics: &IndexMetrics,
    board: &Board,
) -> Result<Vec<Consumer>, Error> {
    let database = Database::of(&config.database)?;
    let schemas = schemas(config, context);
    let dead_letters = DeadLetters::connect(config)?;
    let one = |number| {
        let indexer = Indexer {
            database: database.clone(),
            connection: None,
            schemas: schemas.clone(),
            dead_letters: dead_letters.clone(),
            instance: config.instance_identifier.clone(),
            max_ready_time: config.index.max_ready_time,
            metrics: metrics.clone(),
            clock: Arc::clone(&context.clock),
            trouble: index::Trouble::default(),
            all_in_time: false,
        };
        let kafka = consume::connect(config, number, metrics.clone())?;
        let (settings, board) = (config.index.clone(), board.clone());
        Ok(Consumer::new(number, kafka, indexer, settings, board))
    };
    (0..config.topic.consumers).map(one).collect()
}

fn schemas(config: &Config, context: &Context) -> Schemas {
    let schema = |name: &str| {
        let caches = Caches::new(context.clock.now());
        Arc::new(Schema::new(name, config.database.schema_type, caches))
    };
    if config.tenants.is_empty() {
        return Schemas::One(schema(&config.database.schema));
    }
    let tenants = config.tenants.iter();
    Schemas::ByTenant(
        tenants
            .map(|(tenant, name)| (tenant.clone(), schema(name)))
            .collect(),
    )
}

/// Ready while every consumer can work, also before there is a topic: the FHIR server makes it with its first message,
/// and may itself be started only when this service is ready. Never ends.
async fn show_readiness(board: &Board, readiness: &Readiness) {
    let mut changes = board.changes();
    loop {
        let consumers = board.snapshot().consumers;
        let trouble = consumers.iter().find_map(|told| match told {
            None => Some("starting".to_owned()),
            Some(state) if state.awaits_topic => None,
            Some(state) => state.trouble.clone(),
        });
        match trouble {
            None => readiness.set_ready(),
            Some(reason) => readiness.set_not_ready(reason),
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The first that fails ends all.
async fn run_all(consumers: Vec<Consumer>, end: &CancellationToken) -> Result<(), ConsumerError> {
    let running = consumers.into_iter().map(|consumer| {
        let end = end.clone();
        async move {
            let running = tokio::spawn(consumer.run(end.clone()));
            let ended = running.await.map_err(|_| ConsumerError::Panicked);
            let ended = ended.and_then(|ended| ended);
            if ended.is_err() {
                end.cancel();
            }
            ended
        }
    });
    let ends = futures::future::join_all(running).await;
    ends.into_iter().collect()
}
