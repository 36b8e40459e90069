//! The FHIR servers a worker sends to, each with its connections and what it can do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use stoker_proto::common::v1::Target;
use stoker_shared::clock::SharedClock;
use stoker_shared::fhir::{CAPABILITIES_WAIT, CapabilityError, FhirClient, FhirConfig, FhirError};
use stoker_shared::pace::Pacer;
use tokio::sync::OnceCell;

use crate::config::LoadSettings;
use crate::read::BatchSize;
use crate::send::Sender;
use crate::stats::Stats;

/// Why a FHIR server cannot be loaded into.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TargetError {
    /// The settings for it are wrong.
    #[error("{0}")]
    Client(Arc<FhirError>),
    /// It does not say what it can do.
    #[error("{0}")]
    Capabilities(Arc<CapabilityError>),
}

/// A FHIR server that has said what it can do.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) sender: Arc<Sender>,
    /// Whether it takes transaction Bundles.
    pub(crate) transactions: bool,
}

impl Server {
    /// Resources to a batch.
    pub(crate) fn batch(&self) -> BatchSize {
        BatchSize::Paced(self.sender.pacer().clone())
    }
}

/// Servers by target; all share the credentials of the worker's configuration.
#[derive(Debug)]
pub(crate) struct Targets {
    fhir: FhirConfig,
    settings: LoadSettings,
    clock: SharedClock,
    stats: Arc<Stats>,
    servers: Mutex<Servers>,
}

/// By base URL and tenant; a cell is filled when its server has answered.
type Servers = HashMap<(String, String), Arc<OnceCell<Server>>>;

impl Targets {
    pub(crate) fn new(
        fhir: FhirConfig,
        settings: LoadSettings,
        clock: SharedClock,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            fhir,
            settings,
            clock,
            stats,
            servers: Mutex::default(),
        }
    }

    /// The server of a target; asked for its capabilities at first use.
    pub(crate) async fn server(&self, target: &Target) -> Result<Server, TargetError> {
        let cell = self.with(|servers| Arc::clone(servers.entry(key(target)).or_default()));
        let server = cell.get_or_try_init(|| self.ask(target)).await?;
        Ok(server.clone())
    }

    async fn ask(&self, target: &Target) -> Result<Server, TargetError> {
        let client = FhirClient::new(&self.fhir, target, Arc::clone(&self.clock))
            .map_err(|e| TargetError::Client(Arc::new(e)))?;
        let capabilities = client
            .capabilities(CAPABILITIES_WAIT)
            .await
            .map_err(|e| TargetError::Capabilities(Arc::new(e)))?;
        let seed = rand::random();
        let pacer = Pacer::new(self.settings.bounds(capabilities.batch), seed);
        let sender = Sender::new(
            client,
            pacer,
            self.settings.patience(),
            Arc::clone(&self.stats),
            seed,
        );
        let sender = sender.with_bundle_cost(self.settings.bundle_cost_factor);
        Ok(Server {
            sender: Arc::new(sender),
            transactions: capabilities.transaction,
        })
    }

    /// Forgets a server, so that it is asked anew.
    pub(crate) fn forget(&self, target: &Target) {
        self.with(|servers| servers.remove(&key(target)));
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Servers) -> T) -> T {
        use_it(&mut self.servers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn key(target: &Target) -> (String, String) {
    (target.base_url.clone(), target.tenant.clone())
}
