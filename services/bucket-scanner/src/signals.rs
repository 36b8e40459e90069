//! Wakes who waits within this process. What other processes do is seen by looking again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    /// Units may have become open.
    pub(crate) work: Arc<Notify>,
    /// A source may have to be listed.
    pub(crate) scans: Arc<Notify>,
    /// A job may have changed.
    pub(crate) jobs: watch::Sender<()>,
    /// A job is over.
    pub(crate) ends: watch::Sender<()>,
    /// No call may wait any more.
    pub(crate) stopping: CancellationToken,
    /// How long the last scan took.
    scan_millis: Arc<AtomicU64>,
}

impl Signals {
    pub(crate) fn new() -> Self {
        Self {
            work: Arc::default(),
            scans: Arc::default(),
            jobs: watch::Sender::new(()),
            ends: watch::Sender::new(()),
            stopping: CancellationToken::new(),
            scan_millis: Arc::default(),
        }
    }

    pub(crate) fn work_planned(&self) {
        self.work.notify_waiters();
        self.job_changed();
    }

    pub(crate) fn scan_wanted(&self) {
        self.scans.notify_waiters();
        self.job_changed();
    }

    pub(crate) fn scanned(&self, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.scan_millis.store(millis, Ordering::Relaxed);
    }

    /// How long the last scan took; none at all before the first.
    pub(crate) fn last_scan(&self) -> Duration {
        Duration::from_millis(self.scan_millis.load(Ordering::Relaxed))
    }

    pub(crate) fn job_changed(&self) {
        self.jobs.send_replace(());
    }

    pub(crate) fn job_ended(&self) {
        self.ends.send_replace(());
        self.job_changed();
    }
}
