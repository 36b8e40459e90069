//! The scanner as a whole: its ledger, its gRPC services, its loops.

use std::sync::Arc;
use std::time::Duration;

use stoker_proto::ledger::v1::job_service_server::JobServiceServer;
use stoker_proto::ledger::v1::work_service_server::WorkServiceServer;
use stoker_shared::clock::SharedClock;
use stoker_shared::kafka::Events;
use stoker_shared::object_store::Stores;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::Error;
use crate::announce::{self, Announcer};
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
    stores: Stores,
    events: Events,
    signals: Signals,
    metrics: ScannerMetrics,
    config: Config,
    reaches: Vec<String>,
    look_again: LookAgain,
    end_on_full_disk: bool,
    only_known: bool,
}

/// How soon it is seen what other processes did, and what only time does: leases expire, pauses
/// end. What this process does wakes who waits for it.
#[derive(Debug, Clone, Copy)]
struct LookAgain {
    scans: Duration,
    work: Duration,
}

impl Default for LookAgain {
    fn default() -> Self {
        Self {
            scans: Duration::from_secs(5),
            work: Duration::from_millis(500),
        }
    }
}

impl Scanner {
    /// Opens the configured ledger; makes or updates its tables.
    pub async fn open(config: &Config, clock: SharedClock) -> Result<Self, Error> {
        let url = config.ledger.as_ref().ok_or(Error::NoLedger)?;
        let ledger = ledger::open(url, &config.ledger_options()?, clock).await?;
        Ok(Self {
            ledger,
            stores: Stores::new(config.s3.clone()),
            events: Events::none(),
            signals: Signals::new(),
            metrics: ScannerMetrics::default(),
            config: config.clone(),
            reaches: config.reaches(),
            look_again: LookAgain::default(),
            end_on_full_disk: false,
            only_known: false,
        })
    }

    /// Announces what happens, and is woken by what other scanners announce.
    #[must_use]
    pub fn with_events(mut self, events: Events) -> Self {
        self.events = events;
        self
    }

    fn announcer(&self) -> Announcer {
        Announcer {
            events: self.events.clone(),
            signals: self.signals.clone(),
        }
    }

    /// Has waiting calls and the scan loop look for what other processes did after `pause` each
    /// (else after 500 ms and 5 s). What this process does wakes them at once, whatever the pause.
    #[must_use]
    pub fn look_again_every(mut self, pause: Duration) -> Self {
        self.look_again = LookAgain {
            scans: pause,
            work: pause,
        };
        self
    }

    /// Has [`Scanner::run`] fail when the ledger's disk is full, as a command does; a service waits
    /// until somebody has made room.
    #[must_use]
    pub fn end_on_full_disk(mut self) -> Self {
        self.end_on_full_disk = true;
        self
    }

    /// Has [`Scanner::run`] list no source, whatever jobs want: it only plans what is known of sources
    /// for jobs that ask for that (`JobOptions.no_scan`).
    #[must_use]
    pub fn only_known(mut self) -> Self {
        self.only_known = true;
        self
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
            announcer: self.announcer(),
            metrics: self.metrics.clone(),
            lease: self.config.lease,
            look_again: self.look_again.work,
            big_commits: Arc::new(tokio::sync::Semaphore::new(1)),
        };
        let jobs = Jobs {
            ledger: self.ledger(),
            signals: self.signals.clone(),
            announcer: self.announcer(),
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
            stores: &self.stores,
            reaches: &self.reaches,
            signals: &self.signals,
            announcer: &self.announcer(),
            metrics: &self.metrics,
            shutdown: &shutdown,
            look_again: self.look_again.scans,
            renew_every: self.config.lease / 3,
            end_on_full_disk: self.end_on_full_disk,
            only_known: self.only_known,
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
            loops.keep_configured(&loads, self.config.scan_interval),
            loops.recycle(),
            loops.keep_books(),
            async {
                announce::wake(&self.events, &self.signals, &shutdown).await;
                Ok(())
            },
        )?;
        Ok(())
    }
}
