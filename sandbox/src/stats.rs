//! What the server got and did.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Counts since the start, or since the last reset. Requests to `/sandbox/…` are not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests begun.
    pub requests: u64,
    /// Requests that ended without an answer: dropped by a fault, or given up by the client.
    pub unanswered: u64,
    /// Answers, by HTTP status.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests, by method and type: `POST /`, `PUT /Patient`, `GET /metadata`.
    pub by_method_path: BTreeMap<String, u64>,
    /// Resources created, by `POST` or by `PUT` of a new id.
    pub creates: u64,
    /// Resources that got one more version by `PUT`.
    pub updates: u64,
    /// Resources deleted.
    pub deletes: u64,
    /// Entries of batches and transactions.
    pub entries: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Versions stored: creates, updates and deletes.
    pub versions_written: u64,
    /// The most `PUT`s that one resource got; not followed with the `null` switch.
    pub max_puts_of_one: u64,
    /// Requests under way now.
    pub in_flight: u64,
    /// Requests under way at the same time, at most.
    pub in_flight_peak: u64,
}

/// The counts of a running sandbox.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Stats>);

impl Counters {
    /// Counts a request that begins; it is under way until the ticket is gone.
    pub(crate) fn begin(&self, method: &str, path: &str) -> Ticket<'_> {
        let mut stats = self.lock();
        stats.requests += 1;
        stats.in_flight += 1;
        stats.in_flight_peak = stats.in_flight_peak.max(stats.in_flight);
        let key = format!("{method} {path}");
        *stats.by_method_path.entry(key).or_default() += 1;
        Ticket {
            counters: self,
            status: None,
        }
    }

    /// Changes some counts.
    pub(crate) fn add(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.lock());
    }

    /// The counts now.
    pub(crate) fn read(&self) -> Stats {
        self.lock().clone()
    }

    /// Begins anew; what is under way stays under way.
    pub(crate) fn reset(&self) {
        let mut stats = self.lock();
        *stats = Stats {
            in_flight: stats.in_flight,
            in_flight_peak: stats.in_flight,
            ..Stats::default()
        };
    }

    fn lock(&self) -> MutexGuard<'_, Stats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    counters: &'a Counters,
    status: Option<u16>,
}

impl Ticket<'_> {
    /// It was answered.
    pub(crate) fn answered(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let status = self.status;
        self.counters.add(|stats| {
            stats.in_flight -= 1;
            match status {
                Some(status) => *stats.by_status.entry(status).or_default() += 1,
                None => stats.unanswered += 1,
            }
        });
    }
}
