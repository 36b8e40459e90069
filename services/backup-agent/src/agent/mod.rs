//! The agent: begins what is due or asked for, holds its leases, and writes down what became of it.
//!
//! # What is done, and what a death leaves
//!
//! A backup goes through these steps. Died before the step's end, and after:
//!
//! | step | before | after |
//! |---|---|---|
//! | begin the run in the catalog, under a lease | nothing happened; what is due is due | others wait for the lease, or see the process gone; the run is then lost, and what was due is done again, `backup.attempts` times at most |
//! | write the parts into a draft | the draft is no backup; the next run cleans it away | the same |
//! | renew the lease, once more | nothing is committed: where the run was taken for lost, another does its work | the same |
//! | commit the manifest | there is no backup | there is one; what was due is done again, since nobody wrote down that it is over |
//! | note it in the catalog | the next look at the repository notes it | it is listed |
//! | read it back, note that in the manifest | it is not verified: it drives no verified one out of its place | it is |
//! | restore it for proof, note that in the manifest | it is not proven; the throwaway server goes with the next drill | it is |
//! | prune, one backup at a time | the rest goes the next time | the same |
//! | end the run in the catalog | the run is lost: see the first line | what was due is over |
//!
//! A scheduled run that is told to stop since its agent stops takes away what is not committed and is given back: it
//! waits in the catalog, and the next agent that looks goes on with it. Where its backup is there, that is not made
//! again, but read back, proven and what else was still to be done. Who dies before it is given back leaves a lost run;
//! after, one that waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use stoker_proto::backup::v1::backup_service_server::BackupServiceServer;
use stoker_shared::clock::SharedClock;
use stoker_shared::kafka::Events;
use stoker_shared::process;
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

mod backup;
mod checks;
mod due;
mod error;
mod import;
mod look;
mod ofelia;
mod prune;
mod running;
mod runs;
mod source;
mod tidy;

pub use error::AgentError;
pub use look::{BackupName, Unusable};
pub use ofelia::ofelia_jobs;
pub use prune::Pruned;
pub use runs::Started;
pub use source::Source;

use crate::catalog::{self, Catalog};
use crate::config::Config;
use crate::control::Control;
use crate::metrics::BackupMetrics;
use crate::notify::Notifier;
use crate::repository::Repository;
use crate::watch::{Standing, Watch};
use crate::{Error, control};

use running::Hands;

/// An agent over one catalog. Clones share everything.
#[derive(Debug, Clone)]
pub struct Agent {
    config: Arc<Config>,
    catalog: Arc<dyn Catalog>,
    /// By their place.
    repositories: Arc<BTreeMap<String, Arc<dyn Repository>>>,
    sources: Arc<BTreeMap<String, Source>>,
    clock: SharedClock,
    events: Events,
    hands: Arc<Hands>,
    /// The schedules are looked at.
    wake: Arc<Notify>,
    /// The repositories were looked at once.
    looked: Arc<OnceCell<()>>,
    /// What was left out of the catalog, by its repository.
    unusable: Arc<Mutex<BTreeMap<String, Vec<Unusable>>>>,
    /// Those who watch a run are told that it ends.
    closing: CancellationToken,
    metrics: BackupMetrics,
    watch: Arc<Watch>,
}

impl Agent {
    /// Opens the catalog that is configured. Repositories and servers are reached when they are needed.
    pub async fn open(config: &Config, clock: SharedClock) -> Result<Self, Error> {
        let url = config.catalog.url.as_ref().ok_or(Error::NoCatalog)?;
        let made = source::all(config, &clock)?;
        let options = config.catalog.options()?;
        let catalog = catalog::open(url, &options, Arc::clone(&clock)).await?;
        let metrics = BackupMetrics::default();
        let watch = Watch::new(
            Arc::clone(&catalog),
            made.sources.values().map(Source::watched).collect(),
            config.troubles.clone(),
            Notifier::new(&config.notify, process::shown(&process::own()))?,
            metrics.clone(),
            Arc::clone(&clock),
        );
        Ok(Self {
            config: Arc::new(config.clone()),
            catalog,
            repositories: Arc::new(made.repositories),
            sources: Arc::new(made.sources),
            clock,
            events: Events::none(),
            hands: Arc::default(),
            wake: Arc::default(),
            looked: Arc::default(),
            unusable: Arc::default(),
            closing: CancellationToken::new(),
            metrics,
            watch: Arc::new(watch),
        })
    }

    /// Announces there what becomes of runs.
    #[must_use]
    pub fn with_events(self, events: Events) -> Self {
        Self { events, ..self }
    }

    /// Those who watch a run are told to ask another agent when `shutdown` comes.
    #[must_use]
    pub fn closing_at(self, shutdown: CancellationToken) -> Self {
        Self {
            closing: shutdown,
            ..self
        }
    }

    /// Its gRPC side.
    pub fn service(&self) -> BackupServiceServer<Control> {
        control::service(self.clone(), self.closing.clone())
    }

    /// The same, to be served.
    pub fn routes(&self) -> Routes {
        Routes::new(self.service())
    }

    /// What it counts and sees.
    pub fn metrics(&self) -> &BackupMetrics {
        &self.metrics
    }

    /// How a source stands, as far as the catalog tells.
    pub async fn standing(&self, source: &Source) -> Result<Standing, AgentError> {
        self.look_once().await?;
        Ok(self.watch.standing(&source.watched()).await?)
    }

    /// What is configured, by its name.
    pub fn sources(&self) -> &BTreeMap<String, Source> {
        &self.sources
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }
}
