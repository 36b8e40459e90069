//! What is known of a server's health from all requests to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Shared by all requests to one server.
#[derive(Debug)]
pub(super) struct ServerHealth {
    state: Mutex<State>,
    failing: AtomicUsize,
}

#[derive(Debug)]
struct State {
    last_good: Instant,
    doubt: Option<Doubt>,
}

/// What is known since a request that cannot be repeated met no clear answer, until the server does
/// its work again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    /// Since when.
    pub(super) since: Instant,
    /// Requests that met none, one after the other; those under way together count once.
    pub(super) rounds: u32,
    latest: Instant,
}

impl Default for ServerHealth {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State {
                last_good: now,
                doubt: None,
            }),
            failing: AtomicUsize::new(0),
        }
    }
}

impl ServerHealth {
    /// The server did its work for someone: it took or refused an input.
    pub(super) fn good(&self) {
        self.with(|state| {
            state.last_good = Instant::now();
            state.doubt = None;
        });
    }

    /// Whether it did its work for anyone after `since`.
    pub(super) fn good_since(&self, since: Instant) -> bool {
        self.with(|state| state.last_good > since)
    }

    /// How long it has done nothing, for someone who has been trying since `since`.
    pub(super) fn away_for(&self, since: Instant) -> Duration {
        self.with(|state| state.last_good.max(since).elapsed())
    }

    /// A request that cannot be repeated, sent at `sent`, met no clear answer.
    pub(super) fn doubt(&self, sent: Instant) {
        let now = Instant::now();
        self.with(|state| {
            let doubt = state.doubt.get_or_insert(Doubt {
                since: now,
                rounds: 1,
                latest: now,
            });
            doubt.rounds += u32::from(sent > doubt.latest);
            doubt.latest = now;
        });
    }

    /// See [`Doubt`]; none when the server is well as far as is known.
    pub(super) fn doubted(&self) -> Option<Doubt> {
        self.with(|state| state.doubt)
    }

    /// Counts a request that meets errors of the server's own, until the answer is dropped.
    pub(super) fn failing(&self) -> Failing<'_> {
        self.failing.fetch_add(1, Ordering::Relaxed);
        Failing(self)
    }

    /// How many requests meet such errors.
    pub(super) fn failing_now(&self) -> usize {
        self.failing.load(Ordering::Relaxed)
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        use_it(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// See [`ServerHealth::failing`].
#[derive(Debug)]
pub(super) struct Failing<'s>(&'s ServerHealth);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.failing.fetch_sub(1, Ordering::Relaxed);
    }
}
