//! A run that this driver has: its lease, and what is being written under it, one write at a time.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_proto::reindex::v1::RunState;
use stoker_shared::retry::{Backoff, Retry};
use tokio::time::Instant;

use crate::runs::{HapiJob, Lease, Runs, RunsError, Save, Seen};

/// So long after the last write at most, the lease is extended and wishes are heard.
const EVERY: Duration = Duration::from_millis(500);

/// Pauses while the store is away.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

type Writing = BoxFuture<'static, Result<RunState, RunsError>>;

/// See the [module](self).
pub(crate) struct Hold {
    runs: Arc<dyn Runs>,
    lease: Arc<Lease>,
    wish: RunState,
    writing: Option<Writing>,
    begun: Instant,
}

impl Hold {
    pub(crate) fn new(runs: Arc<dyn Runs>, lease: Lease) -> Self {
        Self {
            runs,
            lease: Arc::new(lease),
            wish: RunState::Running,
            writing: None,
            begun: Instant::now(),
        }
    }

    /// Where people want the run to stand, as of the last write.
    pub(crate) fn wish(&self) -> RunState {
        self.wish
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// When the next write is due, be there anything to write or not.
    pub(crate) fn due(&self) -> Instant {
        self.begun + EVERY
    }

    /// Has the next write be due at once.
    pub(crate) fn hurry(&mut self) {
        self.begun = Instant::now() - EVERY;
    }

    /// Begins a write; none is under way.
    pub(crate) fn save(&mut self, save: Save) {
        let (runs, lease) = (Arc::clone(&self.runs), Arc::clone(&self.lease));
        let save = Arc::new(save);
        self.begin(move || {
            let (runs, lease, save) = (Arc::clone(&runs), Arc::clone(&lease), Arc::clone(&save));
            async move { runs.save(&lease, &save).await }.boxed()
        });
    }

    /// Begins a write of nothing but what can be seen; none is under way.
    pub(crate) fn renew(&mut self, seen: Seen) {
        let (runs, lease) = (Arc::clone(&self.runs), Arc::clone(&self.lease));
        let seen = Arc::new(seen);
        self.begin(move || {
            let (runs, lease, seen) = (Arc::clone(&runs), Arc::clone(&lease), Arc::clone(&seen));
            async move { runs.renew(&lease, &seen).await }.boxed()
        });
    }

    /// Begins a write of what is known of HAPI's job; none is under way.
    pub(crate) fn save_job(&mut self, job: HapiJob) {
        let (runs, lease) = (Arc::clone(&self.runs), Arc::clone(&self.lease));
        let job = Arc::new(job);
        self.begin(move || {
            let (runs, lease, job) = (Arc::clone(&runs), Arc::clone(&lease), Arc::clone(&job));
            async move { runs.save_job(&lease, &job).await }.boxed()
        });
    }

    fn begin(&mut self, write: impl Fn() -> Writing + Send + Sync + 'static) {
        self.begun = Instant::now();
        self.writing = Some(patiently(write).boxed());
    }

    /// Waits for the write that is under way; for ever when none is. May be dropped and called again.
    pub(crate) async fn written(&mut self) -> Result<(), RunsError> {
        let Some(writing) = &mut self.writing else {
            return std::future::pending().await;
        };
        let answer = writing.await;
        self.writing = None;
        self.wish = answer?;
        Ok(())
    }
}

/// A store that is away is waited for: what it has not taken is nowhere else.
async fn patiently(write: impl Fn() -> Writing) -> Result<RunState, RunsError> {
    let mut rng = StdRng::from_os_rng();
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        let error = match write().await {
            Err(error) if error.retry() != Retry::Never => error,
            answer => return answer,
        };
        tracing::warn!(%error, "progress is not written down yet");
        tokio::time::sleep(backoff.pause(None, &mut rng)).await;
    }
}
