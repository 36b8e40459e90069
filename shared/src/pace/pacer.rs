//! The face of [`Pace`] for tasks: places on the wire whose number changes while they are in use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::{Answer, Bounds, Limits, Observation, Pace};

/// Lets as many requests to one server run at a time as it does best with. All clones are one.
#[derive(Debug, Clone)]
pub struct Pacer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    batch: AtomicUsize,
    places: Arc<Semaphore>,
    /// Held by the one that is the next to send.
    next: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// Places there are, in use or not.
    places: usize,
    /// Places in use that end with their use.
    surplus: usize,
}

impl Pacer {
    /// A pacer for one server; `seed` spreads what several processes try over time.
    pub fn new(bounds: Bounds, seed: u64) -> Self {
        let pace = Pace::new(bounds, Duration::ZERO, seed);
        let limits = pace.limits();
        Self(Arc::new(Inner {
            started: Instant::now(),
            batch: AtomicUsize::new(limits.batch),
            places: Arc::new(Semaphore::new(limits.concurrency)),
            next: tokio::sync::Mutex::new(()),
            state: Mutex::new(State {
                pace,
                places: limits.concurrency,
                surplus: 0,
            }),
        }))
    }

    /// What is in force.
    pub fn limits(&self) -> Limits {
        self.0.state().pace.limits()
    }

    /// Items to the next request; to be read for each batch anew.
    pub fn batch(&self) -> usize {
        self.0.batch.load(Ordering::Relaxed)
    }

    /// Waits for a place for a request of `items`, in the order of asking, and until the server wants it. Dropping
    /// the future leaves nothing behind.
    pub async fn acquire(&self, items: usize) -> Permit {
        let inner = &self.0;
        let place = Arc::clone(&inner.places).acquire_owned().await;
        // Nobody closes the semaphore; without a place there is at worst one request too many.
        let place = place.ok();
        let mut permit = Permit {
            inner: Arc::clone(inner),
            place,
            items,
            sent_at: None,
        };
        let _turn = inner.next.lock().await;
        loop {
            let until = inner.started + inner.state().pace.not_before();
            let now = Instant::now();
            if until <= now {
                break;
            }
            tokio::time::sleep_until(until).await;
        }
        let now = inner.now();
        inner.state().pace.began(now, items);
        permit.sent_at = Some(now);
        permit
    }

    /// Has all requests that are not yet sent wait for `pause` from now.
    pub fn hold_for(&self, pause: Duration) {
        let until = self.0.now() + pause;
        self.0.state().pace.hold(until);
    }

    /// Until when all requests wait; in the past when none does.
    pub fn held_until(&self) -> Instant {
        self.0.started + self.0.state().pace.not_before()
    }
}

impl Inner {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts changed limits into force.
    fn adjust(&self, state: &mut State) {
        let Limits { concurrency, batch } = state.pace.limits();
        if self.batch.swap(batch, Ordering::Relaxed) != batch || state.places != concurrency {
            tracing::debug!(concurrency, batch, "limits changed");
        }
        if concurrency > state.places {
            let more = concurrency - state.places;
            let kept = more.min(state.surplus);
            state.surplus -= kept;
            self.places.add_permits(more - kept);
        } else {
            let fewer = state.places - concurrency;
            state.surplus += fewer - self.places.forget_permits(fewer);
        }
        state.places = concurrency;
    }
}

/// A place on the wire. Dropped without [`Self::done`], it tells nothing of the server.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    place: Option<OwnedSemaphorePermit>,
    items: usize,
    /// Since the pacer's start; none before it is sent, and once its end is told.
    sent_at: Option<Duration>,
}

impl Permit {
    /// The request ended; frees the place.
    pub fn done(mut self, answer: Answer) {
        let now = self.inner.now();
        if let Some(sent_at) = self.sent_at.take() {
            let seen = Observation {
                sent_at,
                items: self.items,
                answer,
            };
            let mut state = self.inner.state();
            state.pace.ended(now, &seen);
            self.inner.adjust(&mut state);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = self.inner.now();
        let mut state = self.inner.state();
        if self.sent_at.is_some() {
            state.pace.dropped(now);
        }
        if state.surplus > 0
            && let Some(place) = self.place.take()
        {
            state.surplus -= 1;
            place.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::super::Axis;
    use super::*;

    fn pacer(concurrency: Axis) -> Pacer {
        let batch = Axis::fixed(100);
        Pacer::new(Bounds { concurrency, batch }, 1)
    }

    const fn refused(secs: u64) -> Answer {
        Answer::Throttled {
            retry_after: Some(Duration::from_secs(secs)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_given_in_the_order_of_asking() {
        let pacer = pacer(Axis::fixed(2));
        let first = pacer.acquire(1).await;
        let second = pacer.acquire(1).await;
        let mut third = Box::pin(pacer.acquire(1));
        let mut fourth = Box::pin(pacer.acquire(1));
        assert!(third.as_mut().now_or_never().is_none());
        assert!(fourth.as_mut().now_or_never().is_none());
        first.done(Answer::Done);
        assert!(
            fourth.as_mut().now_or_never().is_none(),
            "the third asked before"
        );
        let third = third.await;
        drop(second);
        fourth.await.done(Answer::Done);
        third.done(Answer::Done);
        assert_eq!((pacer.limits().concurrency, pacer.batch()), (2, 100));
    }

    #[tokio::test(start_paused = true)]
    async fn all_wait_as_long_as_the_server_asks() {
        let pacer = pacer(Axis::fixed(2));
        let started = Instant::now();
        pacer.acquire(1).await.done(refused(7));
        let waiting = [pacer.acquire(1), pacer.acquire(1)];
        let permits = futures::future::join_all(waiting).await;
        assert_eq!(started.elapsed().as_secs(), 7);
        pacer.hold_for(Duration::from_secs(3));
        drop(permits);
        pacer.acquire(1).await.done(Answer::Done);
        assert_eq!(started.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_the_place_and_the_turn_to_others() {
        let pacer = pacer(Axis::fixed(1));
        pacer.hold_for(Duration::from_mins(1));
        let waits = tokio::time::timeout(Duration::from_secs(1), pacer.acquire(1)).await;
        assert!(waits.is_err());
        let permit = pacer.acquire(1).await;
        let waits = tokio::time::timeout(Duration::from_secs(1), pacer.acquire(1)).await;
        assert!(waits.is_err());
        drop(permit);
        assert!(pacer.acquire(1).now_or_never().is_some());
    }

    /// Keeps `tasks` busy for `secs`; answers how many ran at a time at most.
    async fn busy(pacer: &Pacer, tasks: usize, secs: u64, answer: Answer) -> usize {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let end = Instant::now() + Duration::from_secs(secs);
        let task = async || {
            while Instant::now() < end {
                let permit = pacer.acquire(100).await;
                let now = running.fetch_add(1, Ordering::Relaxed) + 1;
                most.fetch_max(now, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
                running.fetch_sub(1, Ordering::Relaxed);
                permit.done(answer);
            }
        };
        futures::future::join_all((0..tasks).map(|_| task())).await;
        most.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn places_come_and_go_with_the_limit() {
        let pacer = pacer(Axis::auto(4, 1, 32));
        let most = busy(&pacer, 100, 30, Answer::Done).await;
        assert_eq!((most, pacer.limits().concurrency), (32, 32));
        busy(&pacer, 100, 5, Answer::Failed).await;
        let least = pacer.limits().concurrency;
        assert!(least <= 2, "{least}");
        let started_at = pacer.limits().concurrency;
        let first: Vec<_> = (0..40)
            .map_while(|_| pacer.acquire(1).now_or_never())
            .collect();
        assert_eq!(first.len(), started_at, "no place is left over or lost");
    }
}
