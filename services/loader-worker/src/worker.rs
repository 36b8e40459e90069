//! The worker: leases units, loads them side by side, hands back what it cannot finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_proto::common::v1::Target;
use stoker_proto::ledger::v1::{BucketPath, Disposition, RegisterWorkerResponse, Unit, UnitLimit};
use stoker_shared::clock::SharedClock;
use stoker_shared::fhir::FhirConfig;
use stoker_shared::health::Readiness;
use stoker_shared::kafka::Events;
use stoker_shared::object_store::{Place, StoreError, Stores, host_name};
use stoker_shared::retry::Backoff;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::config::LoadSettings;
use crate::consequence::consequence;
use crate::leases::{Guard, Leases};
use crate::leasing::Calls;
use crate::ledger::{Ledger, LedgerFault};
use crate::memory::Memory;
use crate::send::{Stop, Stops};
use crate::stats::Stats;
use crate::targets::{TargetError, Targets};
use crate::texts::Texts;
use crate::unit::{To, UnitWork};

/// For outcomes to be committed and units to be handed back after the drain.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(5);

/// Pause after something went wrong that may pass.
pub(crate) const TROUBLE_PAUSE: Duration = Duration::from_secs(5);

/// Why a worker ended.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The FHIR server takes nothing more.
    #[error(transparent)]
    Stopped(#[from] Stop),
    /// The objects cannot be read, for a reason that is none of one object.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The FHIR server cannot be loaded into.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The ledger does not work.
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
    /// A fault of Stoker's own.
    #[error("a task ended unexpectedly; this is a fault in Stoker: {0}")]
    Panicked(#[from] JoinError),
}

impl WorkerError {
    /// What may be logged: servers' own words may hold patient data.
    fn for_log(&self) -> String {
        match self {
            Self::Store(error) => error.without_name(),
            Self::Stopped(Stop::Unauthorized(_)) => {
                "the FHIR server refuses the credentials".to_owned()
            }
            Self::Stopped(Stop::Lost { away, .. }) => {
                format!(
                    "the FHIR server has been away for {}",
                    humantime::format_duration(*away)
                )
            }
            other => other.to_string(),
        }
    }
}

/// What to do when a load cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTrouble {
    /// Hand everything back and end with the reason, as a command does.
    End,
    /// Pause and go on, as a service does.
    GoOn,
}

/// A worker that has not started yet.
#[derive(Debug)]
pub struct Worker {
    /// Where its work comes from.
    pub ledger: Ledger,
    /// Where objects are read.
    pub stores: Stores,
    /// Wakes it, and learns what it did.
    pub events: Events,
    /// How it loads.
    pub settings: LoadSettings,
    /// How it talks to FHIR servers.
    pub fhir: FhirConfig,
    /// The time.
    pub clock: SharedClock,
    /// What it measures.
    pub stats: Arc<Stats>,
    /// What it does when a load cannot go on.
    pub on_trouble: OnTrouble,
    /// Names of shared mounts it can read, besides this host's own folders.
    pub reaches: Vec<String>,
    /// Works for these jobs only; for any when empty.
    pub job_ids: Vec<i64>,
    /// Units of each file type at a time, in the place of `settings.units`: of types that are not named
    /// none. When empty, only that setting counts.
    pub limits: Vec<UnitLimit>,
    /// Works on objects in these places only; on any when empty.
    pub bucket_paths: Vec<BucketPath>,
    /// Told when the worker is known to the ledger.
    pub readiness: Readiness,
}

/// Units with the leases they are held under.
pub(crate) type Leased = Result<Vec<(Unit, Guard)>, LedgerFault>;

/// Everything a running worker's parts share.
pub(crate) struct Running {
    pub(crate) worker: Worker,
    pub(crate) worker_id: Arc<AtomicI64>,
    pub(crate) leases: Leases,
    targets: Targets,
    memory: Memory,
    texts: Texts,
    pub(crate) stops: Stops,
}

impl Worker {
    /// Works until `shutdown`, or until trouble that it is told to end with.
    ///
    /// On `shutdown` no new request is sent; what is on the wire is awaited for at most
    /// `settings.drain`. What has no answer then is recorded as in doubt unless it can be repeated,
    /// and the units are handed back: 5 s more at most.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let Some(registered) = shutdown.run_until_cancelled(self.register()).await else {
            return Ok(());
        };
        let registered = registered?;
        self.readiness.set_ready();
        let stops = Stops {
            stop: shutdown.child_token(),
            abandon: CancellationToken::new(),
            lease: None,
        };
        // Background tasks outlive `stop`: leases are kept until the last unit is handed back.
        let background = CancellationToken::new();
        let _end_background = background.clone().drop_guard();
        let lease_length = Duration::from_millis(registered.lease_ms.into());
        let leases = Leases::new(lease_length, Arc::clone(&self.stats));
        tokio::spawn(leases.clone().keep(self.ledger.clone(), background.clone()));
        let worker_id = Arc::new(AtomicI64::new(registered.worker_id));
        let every = Duration::from_millis(registered.heartbeat_ms.max(100).into());
        tokio::spawn(send_heartbeats(
            self.ledger.clone(),
            Arc::clone(&worker_id),
            every,
            background,
        ));
        let targets = Targets::new(
            self.fhir.clone(),
            self.settings.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.stats),
        );
        let running = Running {
            memory: Memory::new(self.settings.memory_bytes),
            texts: Texts::new(self.settings.batch_bytes),
            worker: self,
            worker_id,
            leases,
            targets,
            stops,
        };
        Arc::new(running).work().await
    }

    pub(crate) async fn register(&self) -> Result<RegisterWorkerResponse, LedgerFault> {
        // Services are started together: the first tries come soon, and quietly.
        let mut backoff = Backoff::new(TROUBLE_PAUSE / 50, TROUBLE_PAUSE);
        let mut rng = StdRng::from_os_rng();
        loop {
            let error = match self.ledger.register(host_name()).await {
                Err(e) if e.may_pass() && self.on_trouble == OnTrouble::GoOn => e,
                answer => return answer,
            };
            let pause = backoff.pause(None, &mut rng);
            if pause > TROUBLE_PAUSE / 5 {
                tracing::warn!(%error, "cannot register, trying again");
            }
            tokio::time::sleep(pause).await;
        }
    }
}

async fn send_heartbeats(
    ledger: Ledger,
    worker_id: Arc<AtomicI64>,
    every: Duration,
    end: CancellationToken,
) {
    let mut tick = tokio::time::interval(every);
    while end.run_until_cancelled(tick.tick()).await.is_some() {
        if let Err(e) = ledger.heartbeat(worker_id.load(Ordering::Relaxed)).await {
            tracing::debug!(error = %e, "heartbeat not delivered");
        }
    }
}

impl Running {
    async fn work(self: Arc<Self>) -> Result<(), WorkerError> {
        let mut units: JoinSet<Result<(), WorkerError>> = JoinSet::new();
        let mut result = Ok(());
        let mut calls = Calls::new(&self.worker.limits);
        while !self.stops.stop.is_cancelled() {
            calls.start(&self);
            let trouble = tokio::select! {
                biased;
                () = self.stops.stop.cancelled() => break,
                Some(ended) = units.join_next() => ended.map_err(Into::into).flatten().err(),
                leased = calls.next() => self.start_all(leased, &mut units).err(),
            };
            if let Some(trouble) = trouble {
                result = self.face(trouble).await;
            }
        }
        for leased in calls.last() {
            self.return_all(leased).await;
        }
        self.drain(units).await;
        result
    }

    /// Ends with the trouble, or pauses and goes on.
    async fn face(&self, trouble: WorkerError) -> Result<(), WorkerError> {
        if self.worker.on_trouble == OnTrouble::End {
            self.stops.stop.cancel();
            return Err(trouble);
        }
        tracing::error!(
            error = trouble.for_log(),
            "a load cannot go on, trying again later"
        );
        // Units of other jobs fare better, unless it is the ledger that is in trouble.
        if matches!(trouble, WorkerError::Ledger(_) | WorkerError::Panicked(_)) {
            let pause = tokio::time::sleep(TROUBLE_PAUSE);
            self.stops.stop.run_until_cancelled(pause).await;
        }
        Ok(())
    }

    async fn drain(&self, mut units: JoinSet<Result<(), WorkerError>>) {
        let drained = async { while units.join_next().await.is_some() {} };
        tokio::pin!(drained);
        let drain = self.worker.settings.drain;
        if tokio::time::timeout(drain, &mut drained).await.is_ok() {
            return;
        }
        self.stops.abandon.cancel();
        if tokio::time::timeout(LAST_WORDS, drained).await.is_err() {
            tracing::warn!("some units could not be handed back; their leases will run out");
        }
    }

    fn start_all(
        self: &Arc<Self>,
        leased: Leased,
        units: &mut JoinSet<Result<(), WorkerError>>,
    ) -> Result<(), WorkerError> {
        for (unit, guard) in leased? {
            let running = Arc::clone(self);
            // No key: names of files can be names of patients.
            let unit_id = unit.lease.as_ref().map_or(0, |lease| lease.unit_id);
            let (job_id, attempt) = (unit.job_id, i64::from(unit.attempt));
            let span = tracing::info_span!("unit", job_id, unit_id, attempt);
            let loading = async move { running.load(&unit, &guard).await };
            units.spawn(loading.instrument(span));
        }
        Ok(())
    }

    async fn return_all(&self, leased: Leased) {
        for (unit, _guard) in leased.unwrap_or_default() {
            self.hand_back(&unit, Disposition::HandBack, "").await;
        }
    }

    /// Loads one unit; an error only when no other unit will fare better.
    async fn load(&self, unit: &Unit, guard: &Guard) -> Result<(), WorkerError> {
        let target = unit.target.clone().unwrap_or_default();
        let asked = self.stops.stop.run_until_cancelled(self.to(&target));
        let to = match asked.await {
            Some(Ok(to)) => to,
            Some(Err(e)) => {
                let reason = e.to_string();
                self.hand_back(unit, Disposition::Later, &reason).await;
                return Err(e);
            }
            None => {
                self.hand_back(unit, Disposition::HandBack, "").await;
                return Ok(());
            }
        };
        let Err(end) = self.work_on(to, guard).load(unit).await else {
            return Ok(());
        };
        if guard.held.lost.is_cancelled() {
            return Ok(());
        }
        let (disposition, trouble) = consequence(end);
        if let Some((disposition, reason)) = disposition {
            self.hand_back(unit, disposition, &reason).await;
        }
        if matches!(&trouble, Some(WorkerError::Stopped(_))) {
            self.targets.forget(&target);
        }
        trouble.map_or(Ok(()), Err)
    }

    async fn to(&self, target: &Target) -> Result<To, WorkerError> {
        if Place::is_one(&target.base_url) {
            return Ok(To::Place(self.worker.stores.place(&target.base_url)?));
        }
        Ok(To::Server(self.targets.server(target).await?))
    }

    fn work_on(&self, to: To, guard: &Guard) -> UnitWork {
        let settings = self.worker.settings.clone();
        UnitWork {
            ledger: self.worker.ledger.clone(),
            stores: self.worker.stores.clone(),
            events: self.worker.events.clone(),
            to,
            memory: self.memory.clone(),
            texts: self.texts.clone(),
            settings,
            stats: Arc::clone(&self.worker.stats),
            stops: Stops {
                stop: guard.held.expired.clone(),
                abandon: self.stops.abandon.clone(),
                lease: Some(guard.until()),
            },
            lost: guard.held.lost.clone(),
            waits_for_room: self.worker.on_trouble == OnTrouble::GoOn,
            seed: rand::random(),
        }
    }

    async fn hand_back(&self, unit: &Unit, disposition: Disposition, reason: &str) {
        let lease = unit.lease.clone().unwrap_or_default();
        if let Err(e) = self.worker.ledger.release(lease, disposition, reason).await {
            tracing::warn!(error = %e, "a unit could not be handed back; its lease will run out");
        }
    }
}
