//! What all requests share.

use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::config::SandboxConfig;
use crate::faults::Faults;
use crate::stats::{Counters, Stats};
use crate::store::Store;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: SandboxConfig,
    pub(crate) faults: Faults,
    pub(crate) counters: Counters,
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
            store: RwLock::default(),
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

    /// Forgets resources, counts and faults.
    pub(crate) fn reset(&self) {
        *self.store_mut() = Store::default();
        self.counters.reset();
        self.faults.clear();
    }
}
