//! What `$reindex` and `$retrieve-index` did, for tests that count.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Counts since the start, or since the last reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReindexStats {
    /// Resources that are there now: those loaded and not deleted, and the synthetic ones.
    pub resources: u64,
    /// Calls of `$retrieve-index`.
    pub retrieve_calls: u64,
    /// Calls of `$reindex` with `indexIds`.
    pub list_calls: u64,
    /// Calls of `$reindex` in which the server picks.
    pub pick_calls: u64,
    /// Calls of `$reindex` that were refused or failed, not counting those that a fault rule answers or drops.
    pub failed_calls: u64,
    /// How often a resource was reindexed, all together.
    pub indexed: u64,
    /// Resources reindexed at least once.
    pub distinct: u64,
    /// Resources that are there and were never reindexed.
    pub missed: u64,
    /// How often a resource was reindexed that had been before: `indexed - distinct`.
    pub repeats: u64,
    /// The most that one resource was reindexed; 255 stands for that and more.
    pub most_of_one: u64,
    /// Of `indexed`, those with `force=true`.
    pub forced: u64,
    /// Of `indexed`, those whose parameters were as before and were not written.
    pub unchanged: u64,
    /// The most index ids in one call.
    pub most_ids_in_a_call: u64,
    /// Calls of `$reindex` under way at the same time, at most.
    pub calls_peak: u64,
}

/// How many calls are under way, and were at most.
#[derive(Debug, Default)]
pub(crate) struct Gauge(Mutex<Level>);

#[derive(Debug, Default)]
struct Level {
    now: u64,
    peak: u64,
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct UnderWay<'a>(&'a Gauge);

impl Gauge {
    /// A call begins; it is under way until what is returned is gone.
    pub(crate) fn enter(&self) -> UnderWay<'_> {
        let mut level = self.lock();
        level.now += 1;
        level.peak = level.peak.max(level.now);
        UnderWay(self)
    }

    /// The most at the same time.
    pub(crate) fn peak(&self) -> u64 {
        self.lock().peak
    }

    /// Begins anew; what is under way stays under way.
    pub(crate) fn reset(&self) {
        let mut level = self.lock();
        level.peak = level.now;
    }

    fn lock(&self) -> MutexGuard<'_, Level> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().now -= 1;
    }
}
