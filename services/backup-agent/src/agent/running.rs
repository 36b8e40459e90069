//! A run that this process has: its lease is kept alive beside its work, and whoever wants it to end can say so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_shared::retry::{Backoff, Retry};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::JobError;
use crate::catalog::{Catalog, CatalogError, Ended, Lease, Run, Seen};

/// What can be seen of a run is this old at most.
const SEEN_EVERY: Duration = Duration::from_millis(250);

/// Pauses while the catalog is away.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Why a run is to end before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// A person said so.
    Cancelled,
    /// The agent stops.
    Stopping,
    /// It took too long.
    Overdue,
    /// Another agent has its work.
    LeaseLost,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Running {
    /// As it was begun.
    pub(super) run: Run,
    lease: Lease,
    length: Duration,
    catalog: Arc<dyn Catalog>,
    seen: watch::Sender<Seen>,
    stop: CancellationToken,
    why: OnceLock<Why>,
    committed: AtomicBool,
    over: CancellationToken,
}

impl Running {
    pub(super) fn new(run: Run, lease: Lease, length: Duration, catalog: Arc<dyn Catalog>) -> Self {
        Self {
            run,
            lease,
            length,
            catalog,
            seen: watch::channel(Seen::default()).0,
            stop: CancellationToken::new(),
            why: OnceLock::new(),
            committed: AtomicBool::new(false),
            over: CancellationToken::new(),
        }
    }

    /// Who does the work tells here how far it is.
    pub(super) fn seen(&self) -> &watch::Sender<Seen> {
        &self.seen
    }

    /// Begins another part of the work.
    pub(super) fn phase(&self, phase: &str) {
        self.seen.send_replace(Seen {
            phase: phase.to_owned(),
            ..Seen::default()
        });
    }

    /// Has it end; the first reason counts.
    pub(super) fn stop(&self, why: Why) {
        // A second reason changes nothing.
        let _ = self.why.set(why);
        self.stop.cancel();
    }

    /// The backup that it made is there.
    pub(super) fn has_committed(&self) {
        self.committed.store(true, Ordering::Release);
    }

    pub(super) fn is_committed(&self) -> bool {
        self.committed.load(Ordering::Acquire)
    }

    /// What became of it is written down.
    pub(super) fn is_over(&self) {
        self.over.cancel();
    }

    /// Waits for that.
    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }

    pub(super) fn why(&self) -> Option<Why> {
        self.why.get().copied()
    }

    /// The work, until the run is told to stop; then it is dropped.
    pub(super) async fn unless_stopped<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, JobError>
    where
        JobError: From<E>,
    {
        tokio::select! {
            () = self.stop.cancelled() => Err(JobError::Stopped),
            done = work => done.map_err(JobError::from),
        }
    }

    /// Whether the run is still this agent's, asked of the catalog now.
    pub(super) async fn is_still_mine(&self) -> Result<(), JobError> {
        let seen = self.seen.borrow().clone();
        let renewed = patiently(None, || self.catalog.renew(&self.lease, &seen));
        let renewed = async { Ok::<_, JobError>(renewed.await) };
        match self.unless_stopped(renewed).await? {
            Err(CatalogError::LeaseLost(_)) => {
                self.stop(Why::LeaseLost);
                Err(JobError::Stopped)
            }
            renewed => Ok(renewed?),
        }
    }

    /// Keeps the lease, and shows how far the work is; ends when the lease is lost.
    pub(super) async fn keep(&self) {
        let mut shown = Seen::default();
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(SEEN_EVERY).await;
            let seen = self.seen.borrow().clone();
            if seen == shown && renewed.elapsed() < self.length / 4 {
                continue;
            }
            let begun = Instant::now();
            match self.catalog.renew(&self.lease, &seen).await {
                Ok(()) => (shown, renewed) = (seen, begun),
                Err(CatalogError::LeaseLost(_)) => return self.stop(Why::LeaseLost),
                Err(error) => tracing::warn!(%error, "a run's lease is not renewed yet"),
            }
        }
    }

    /// Ends it in the catalog. Where that is away for longer than the lease, the run will be found lost.
    pub(super) async fn finish(&self, ended: &Ended) -> Result<(), CatalogError> {
        let until = Instant::now() + self.length;
        let seen = self.seen.borrow().clone();
        // What is seen of it at its end is of no weight.
        let _ = self.catalog.renew(&self.lease, &seen).await;
        patiently(Some(until), || self.catalog.finish(&self.lease, ended)).await
    }
}

/// A catalog that is away is waited for, until then at most.
async fn patiently<'a, T>(
    until: Option<Instant>,
    call: impl Fn() -> BoxFuture<'a, Result<T, CatalogError>> + Send,
) -> Result<T, CatalogError> {
    let mut rng = StdRng::from_os_rng();
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        let error = match call().await {
            Err(error) if error.retry() != Retry::Never => error,
            answer => return answer,
        };
        if until.is_some_and(|until| Instant::now() > until) {
            return Err(error);
        }
        tracing::warn!(%error, "the catalog is waited for");
        tokio::time::sleep(backoff.pause(None, &mut rng)).await;
    }
}

/// The runs of this process.
#[derive(Debug, Default)]
pub(super) struct Hands {
    runs: Mutex<BTreeMap<i64, Arc<Running>>>,
    /// Each run is a task of it.
    pub(super) tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Hands {
    /// Takes a run up; one that comes too late is told to stop at once.
    pub(super) fn take(&self, running: &Arc<Running>) {
        self.lock().insert(running.run.run_id, Arc::clone(running));
        if self.stopping.is_cancelled() {
            running.stop(Why::Stopping);
        }
    }

    pub(super) fn leave(&self, run_id: i64) {
        self.lock().remove(&run_id);
    }

    pub(super) fn get(&self, run_id: i64) -> Option<Arc<Running>> {
        self.lock().get(&run_id).cloned()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Has all of them end, and waits until they have.
    pub(super) async fn drain(&self) {
        self.stopping.cancel();
        for running in self.lock().values() {
            running.stop(Why::Stopping);
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Arc<Running>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
