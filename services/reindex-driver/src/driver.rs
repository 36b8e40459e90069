//! The driver: takes runs that nobody has, drives several side by side, gives back what it cannot finish.

use std::sync::Arc;
use std::time::Duration;

use stoker_proto::events::v1::ReindexChanged;
use stoker_proto::events::v1::event::Kind;
use stoker_proto::reindex::v1::{Run, RunState};
use stoker_shared::clock::SharedClock;
use stoker_shared::kafka::Events;
use stoker_shared::process;
use stoker_shared::retry::Retry;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::config::Config;
use crate::drive::{Drive, End, Total};
use crate::hold::Hold;
use crate::metrics::ReindexMetrics;
use crate::runs::{self, Runs, RunsError, Taken};
use crate::server::Server;
use crate::{Error, control};

/// Runs started or left by other processes are found after so long.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A driver over one store of runs. Clones share everything.
#[derive(Debug, Clone)]
pub struct Driver {
    config: Arc<Config>,
    runs: Arc<dyn Runs>,
    clock: SharedClock,
    events: Events,
    metrics: ReindexMetrics,
    wake: Arc<Notify>,
    /// Those who watch a run are told that it ends.
    closing: CancellationToken,
}

impl Driver {
    /// Opens the store of runs that is configured.
    pub async fn open(config: &Config, clock: SharedClock) -> Result<Self, Error> {
        let url = config.runs.url.as_ref().ok_or(Error::NoRuns)?;
        let runs = runs::open(url, &config.runs.options()?, Arc::clone(&clock)).await?;
        Ok(Self {
            config: Arc::new(config.clone()),
            runs,
            clock,
            events: Events::none(),
            metrics: ReindexMetrics::default(),
            wake: Arc::default(),
            closing: CancellationToken::new(),
        })
    }

    /// Those who watch a run are told to ask another driver when `shutdown` comes.
    #[must_use]
    pub fn closing_at(self, shutdown: CancellationToken) -> Self {
        Self {
            closing: shutdown,
            ..self
        }
    }

    /// Announces there what becomes of runs.
    #[must_use]
    pub fn with_events(self, events: Events) -> Self {
        Self { events, ..self }
    }

    /// Its gRPC side.
    pub fn routes(&self) -> Routes {
        let (runs, wake) = (Arc::clone(&self.runs), Arc::clone(&self.wake));
        Routes::new(control::service(runs, wake, self.closing.clone()))
    }

    /// What it measures.
    pub fn metrics(&self) -> &ReindexMetrics {
        &self.metrics
    }

    /// Drives runs, of `only` unless that is empty, until `shutdown`: then what is on the wire is awaited for
    /// `reindex.drain`, and written down.
    pub async fn work(&self, only: &[i64], shutdown: CancellationToken) -> Result<(), Error> {
        let mut under_way: JoinSet<Result<(), Error>> = JoinSet::new();
        while !shutdown.is_cancelled() {
            let room = self
                .config
                .reindex
                .runs_at_a_time
                .saturating_sub(under_way.len());
            let taken = if room > 0 {
                self.take(only).await?
            } else {
                None
            };
            if let Some(taken) = taken {
                let (driver, shutdown) = (self.clone(), shutdown.clone());
                under_way.spawn(async move { driver.drive(taken, shutdown).await });
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                Some(ended) = under_way.join_next() => ended.map_err(Error::Panicked)??,
            }
        }
        while let Some(ended) = under_way.join_next().await {
            ended.map_err(Error::Panicked)??;
        }
        Ok(())
    }

    async fn take(&self, only: &[i64]) -> Result<Option<Taken>, RunsError> {
        match self.runs.take(&process::own(), only).await {
            Err(error) if error.retry() != Retry::Never => {
                tracing::warn!(%error, "runs cannot be looked for");
                Ok(None)
            }
            answer => answer,
        }
    }

    /// One run. What goes wrong with the store for good ends the driver; losing the run does not.
    async fn drive(self, taken: Taken, shutdown: CancellationToken) -> Result<(), Error> {
        let run_id = taken.lease.run_id;
        tracing::info!(run_id, "driving the run");
        self.metrics.runs.inc();
        self.announce(&taken.run, RunState::Running);
        let ended = self.drive_to_its_end(&taken, shutdown).await;
        self.metrics.runs.dec();
        match ended {
            Ok(()) => {}
            Err(RunsError::LeaseLost(_)) => {
                self.metrics.leases_lost.inc();
                tracing::warn!(run_id, "another driver has the run now");
            }
            Err(error) => return Err(error.into()),
        }
        if let Ok(run) = self.runs.run(run_id).await {
            let state = run.state();
            tracing::info!(run_id, state = state.as_str_name(), "left the run");
            self.announce(&run, state);
        }
        Ok(())
    }

    async fn drive_to_its_end(
        &self,
        taken: &Taken,
        shutdown: CancellationToken,
    ) -> Result<(), RunsError> {
        let lease = &taken.lease;
        let end = match self.prepare(taken, shutdown) {
            Err(reason) => End::Stopped(reason),
            Ok(drive) => {
                let hold = Hold::new(Arc::clone(&self.runs), lease.clone());
                drive.run(hold, taken).await?
            }
        };
        match end {
            End::Done => self.runs.finish(lease, RunState::Done, "").await,
            End::DoneBut(reason) => self.runs.finish(lease, RunState::Done, &reason).await,
            End::Stopped(reason) => self.runs.finish(lease, RunState::Stopped, &reason).await,
            End::GivenBack => self.runs.release(lease).await,
        }
    }

    fn prepare(&self, taken: &Taken, shutdown: CancellationToken) -> Result<Drive, String> {
        let spec = taken.run.spec.clone().unwrap_or_default();
        let target = spec.target.clone().unwrap_or_default();
        let server = Server::new(&self.config.fhir, &target, Arc::clone(&self.clock));
        let server = server.map_err(|error| error.to_string())?;
        Ok(Drive {
            total: Total::ask(&server, &spec),
            server,
            settings: self.config.reindex.clone(),
            hapi: self.config.hapi.clone(),
            request_timeout: self.config.fhir.request_timeout,
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            wake: Arc::clone(&self.wake),
            shutdown,
        })
    }

    fn announce(&self, run: &Run, state: RunState) {
        let progress = run.progress.clone().unwrap_or_default();
        let changed = ReindexChanged {
            run_id: run.run_id,
            state: state.as_str_name().to_owned(),
            reindexed: progress.reindexed,
            failed: progress.failed,
        };
        let key = format!("reindex/{}", run.run_id);
        self.events.announce(&key, Kind::ReindexChanged(changed));
    }
}
