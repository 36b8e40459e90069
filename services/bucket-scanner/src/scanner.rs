//! The scanner as a whole: its ledger, its gRPC services, its loops.

use std::sync::Arc;

use stoker_proto::ledger::v1::job_service_server::JobServiceServer;
use stoker_proto::ledger::v1::work_service_server::WorkServiceServer;
use stoker_shared::clock::SharedClock;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::Error;
use crate::config::{Config, ConfiguredLoad};
use crate::ledger::{self, Ledger, StartJob};
use crate::metrics::ScannerMetrics;
use crate::scan_loop::ScanLoop;
use crate::service::{Jobs, Work};
use crate::signals::Signals;

/// An opened ledger, ready to be served and scanned for.
#[derive(Debug)]
pub struct Scanner {
    ledger: Arc<dyn Ledger>,
    signals: Signals,
    metrics: ScannerMetrics,
    config: Config,
    reaches: Vec<String>,
}

impl Scanner {
    /// Opens the configured ledger; makes or updates its tables.
    pub async fn open(config: &Config, clock: SharedClock) -> Result<Self, Error> {
        let url = config.ledger.as_ref().ok_or(Error::NoLedger)?;
        let ledger = ledger::open(url, &config.ledger_options()?, clock).await?;
        Ok(Self {
            ledger,
            signals: Signals::new(),
            metrics: ScannerMetrics::default(),
            config: config.clone(),
            reaches: config.reaches(),
        })
    }

    /// The ledger itself.
    pub fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.ledger)
    }

    /// Its metrics, to be registered.
    pub fn metrics(&self) -> &ScannerMetrics {
        &self.metrics
    }

    /// `WorkService` and `JobService` of `stoker.ledger.v1` over the ledger.
    pub fn routes(&self) -> Routes {
        let work = Work {
            ledger: self.ledger(),
            signals: self.signals.clone(),
            metrics: self.metrics.clone(),
            lease: self.config.lease,
            big_commits: Arc::new(tokio::sync::Semaphore::new(1)),
        };
        let jobs = Jobs {
            ledger: self.ledger(),
            signals: self.signals.clone(),
            reaches: self.reaches.clone(),
        };
        Routes::new(WorkServiceServer::new(work)).add_service(JobServiceServer::new(jobs))
    }

    /// Scans what jobs want scanned until `shutdown`; then also ends calls that wait. Fails when
    /// the ledger fails for good.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), Error> {
        let _end_calls = self.signals.stopping.clone().drop_guard();
        let loops = ScanLoop {
            ledger: &*self.ledger,
            reaches: &self.reaches,
            signals: &self.signals,
            metrics: &self.metrics,
            shutdown: &shutdown,
        };
        let loads: Vec<StartJob> = self
            .config
            .sources
            .iter()
            .map(ConfiguredLoad::to_start)
            .collect();
        // Two scans at once: a long listing does not keep a short one waiting.
        tokio::try_join!(
            loops.scan(),
            loops.scan(),
            loops.start_configured(&loads, self.config.scan_interval),
            loops.count_units(),
        )?;
        Ok(())
    }
}
