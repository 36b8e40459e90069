//! The leases a worker holds, and the task that renews them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stoker_proto::common::v1::FileType;
use stoker_proto::ledger::v1::{Lease, ObjectVersion, Unit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::stats::Stats;

/// Leases held, by unit.
#[derive(Debug, Clone)]
pub(crate) struct Leases {
    held: Arc<Mutex<HashMap<i64, Held>>>,
    length: Duration,
    stats: Arc<Stats>,
}

/// A lease that is held.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    lease: Lease,
    /// Of the unit's object.
    file_type: FileType,
    /// Stored bytes of the unit.
    bytes: u64,
    until: LeaseEnd,
    /// Cancelled when it was not renewed in time: others may hold it now, so nothing more is sent.
    pub(crate) expired: CancellationToken,
    /// Cancelled when the ledger says that it is gone: nothing can be committed any more.
    pub(crate) lost: CancellationToken,
}

/// When a lease ends, moved on at each renewal. Counted on this machine's own clock from before the
/// call that got it: never later than the ledger's. Cloning shares it.
#[derive(Debug, Clone)]
pub struct LeaseEnd(Arc<Mutex<Instant>>);

impl LeaseEnd {
    fn new(at: Instant) -> Self {
        Self(Arc::new(Mutex::new(at)))
    }

    fn at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Whether it has passed: also a process that was asleep finds out, before its timers do.
    pub(crate) fn has_passed(&self) -> bool {
        self.at() <= Instant::now()
    }
}

impl Leases {
    pub(crate) fn new(length: Duration, stats: Arc<Stats>) -> Self {
        Self {
            held: Arc::default(),
            length,
            stats,
        }
    }

    /// How long a lease lasts unless renewed.
    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// Holds a unit's lease asked for at `asked`; lets go of it when the guard is dropped.
    pub(crate) fn hold(&self, unit: &Unit, asked: Instant, stop: &CancellationToken) -> Guard {
        let lease = unit.lease.clone().unwrap_or_default();
        let object = unit.object.as_ref();
        let whole = object.map_or(0, |object| object.size);
        let held = Held {
            file_type: object.map_or(FileType::Unspecified, ObjectVersion::file_type),
            bytes: unit.range.map_or(whole, |range| range.end - range.start),
            until: LeaseEnd::new(asked + self.length),
            expired: stop.child_token(),
            lost: CancellationToken::new(),
            lease,
        };
        let replaced = self.with(|all| all.insert(held.lease.unit_id, held.clone()));
        if let Some(replaced) = replaced {
            replaced.lost.cancel();
        }
        self.stats.metrics().units.inc();
        Guard {
            leases: self.clone(),
            held,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.with(|all| all.len())
    }

    pub(crate) fn count_of(&self, file_type: FileType) -> usize {
        let of_type = |held: &&Held| held.file_type == file_type;
        self.with(|all| all.values().filter(of_type).count())
    }

    /// How many units are held that have so many stored bytes, and how many that have less.
    pub(crate) fn counts_by_size(&self, large: u64) -> (usize, usize) {
        self.with(|all| {
            let count = all.values().filter(|held| held.bytes >= large).count();
            (count, all.len() - count)
        })
    }

    pub(crate) fn unit_ids(&self) -> Vec<i64> {
        self.with(|all| all.keys().copied().collect())
    }

    /// Renews until cancelled, three times a lease's length.
    pub(crate) async fn keep(self, ledger: Ledger, end: CancellationToken) {
        let mut tick = tokio::time::interval(self.length / 3);
        while end.run_until_cancelled(tick.tick()).await.is_some() {
            self.renew(&ledger).await;
        }
    }

    async fn renew(&self, ledger: &Ledger) {
        let leases: Vec<Lease> = self.with(|all| all.values().map(|h| h.lease.clone()).collect());
        if leases.is_empty() {
            return;
        }
        let asked = Instant::now();
        // Late enough to count as failed while the last renewal still holds.
        let renewed = tokio::time::timeout(self.length / 4, ledger.renew(leases.clone())).await;
        match renewed {
            Ok(Ok(renewed)) => {
                for (lease, renewed) in leases.iter().zip(renewed) {
                    if renewed.lost.is_empty() {
                        self.of(lease, |held| held.until.set(asked + self.length));
                    } else {
                        tracing::warn!(lease.unit_id, why = renewed.lost, "lost a unit's lease");
                        self.stats.metrics().leases_lost.inc();
                        self.of(lease, |held| held.lost.cancel());
                    }
                }
            }
            Ok(Err(e)) => tracing::warn!(error = %e, "leases could not be renewed"),
            Err(_) => tracing::warn!("leases could not be renewed in time"),
        }
        let soon = Instant::now() + self.length / 3;
        self.with(|all| {
            for held in all.values().filter(|held| held.until.at() <= soon) {
                held.expired.cancel();
            }
        });
    }

    /// Changes a lease, if it is still the one held for its unit.
    fn of(&self, lease: &Lease, change: impl FnOnce(&mut Held)) {
        self.with(|all| {
            if let Some(held) = all.get_mut(&lease.unit_id)
                && held.lease.token == lease.token
            {
                change(held);
            }
        });
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut HashMap<i64, Held>) -> T) -> T {
        use_it(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Lets go of a lease when dropped, however the unit's work ends.
#[derive(Debug)]
pub(crate) struct Guard {
    leases: Leases,
    pub(crate) held: Held,
}

impl Guard {
    /// When the lease ends.
    pub(crate) fn until(&self) -> LeaseEnd {
        self.held.until.clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let lease = &self.held.lease;
        self.leases.with(|all| {
            if all
                .get(&lease.unit_id)
                .is_some_and(|held| held.lease.token == lease.token)
            {
                all.remove(&lease.unit_id);
            }
        });
        self.leases.stats.metrics().units.dec();
    }
}
