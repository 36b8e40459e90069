//! What all requests share.

use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::config::SandboxConfig;
use crate::faults::Faults;
use crate::reindex::{Gauge, ReindexStats};
use crate::stats::{Counters, Stats};
use crate::store::Store;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: SandboxConfig,
    pub(crate) faults: Faults,
    pub(crate) counters: Counters,
    /// Calls of `$reindex`.
    pub(crate) reindexing: Gauge,
    pub(crate) started: DateTime<Utc>,
    store: RwLock<Store>,
    rng: Mutex<StdRng>,
}

impl State {
    pub(crate) fn new(config: SandboxConfig, faults: Faults) -> Self {
        let rng = config
            .seed
            .map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64);
        Self {
            started: config.clock.now(),
            faults,
            counters: Counters::default(),
            reindexing: Gauge::default(),
            store: RwLock::new(Store::new(config.synthetic)),
            rng: Mutex::new(rng),
            config,
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.config.clock.now()
    }

    /// An id for a resource that has none.
    pub(crate) fn new_id(&self) -> Uuid {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        uuid::Builder::from_random_bytes(rng.random()).into_uuid()
    }

    pub(crate) fn store(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn store_mut(&self) -> RwLockWriteGuard<'_, Store> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts, with the one that the store keeps.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.counters.read();
        stats.max_puts_of_one = self.store().most_puts();
        stats
    }

    /// Changes some counts of reindexing.
    pub(crate) fn count_reindexing(&self, change: impl FnOnce(&mut ReindexStats)) {
        self.store_mut().index.count(change);
    }

    /// The counts of reindexing.
    pub(crate) fn reindex_stats(&self) -> ReindexStats {
        ReindexStats {
            calls_peak: self.reindexing.peak(),
            ..self.store().index.stats()
        }
    }

    /// Forgets resources, counts and faults; synthetic resources are as at the start.
    pub(crate) fn reset(&self) {
        *self.store_mut() = Store::new(self.config.synthetic);
        self.counters.reset();
        self.reindexing.reset();
        self.faults.clear();
    }
}
