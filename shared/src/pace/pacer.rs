//! The face of [`Pace`] for tasks: places on the wire whose number changes while they are in use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Answer, Bounds, Limits, Observation, Pace};

/// Lets as many requests to one server run at a time as it does best with. All clones are one.
#[derive(Debug, Clone)]
pub struct Pacer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    batch: AtomicUsize,
    /// Held by the one that is the next to send.
    next: tokio::sync::Mutex<()>,
    /// Wakes it when there may be room.
    room: Notify,
    pace: Mutex<Pace>,
}

/// What a request that is the next waits for, if for anything.
enum Leave {
    Now(Permit),
    At(Instant),
    WithRoom,
}

impl Pacer {
    /// A pacer for one server; `seed` spreads what several processes try over time.
    pub fn new(bounds: Bounds, seed: u64) -> Self {
        let pace = Pace::new(bounds, Duration::ZERO, seed);
        Self(Arc::new(Inner {
            started: Instant::now(),
            batch: AtomicUsize::new(pace.limits().batch),
            next: tokio::sync::Mutex::new(()),
            room: Notify::new(),
            pace: Mutex::new(pace),
        }))
    }

    /// What is in force.
    pub fn limits(&self) -> Limits {
        self.0.pace().limits()
    }

    /// Items to the next request; to be read for each batch anew.
    pub fn batch(&self) -> usize {
        self.0.batch.load(Ordering::Relaxed)
    }

    /// Waits until a request of `items` may be sent, in the order of asking: until `places` are free, of those that
    /// [`Limits::concurrency`] counts (one at least; where there are fewer, all), and until the server wants to hear
    /// from us. Dropping the future leaves nothing behind.
    pub async fn acquire(&self, items: usize, places: usize) -> Permit {
        let inner = &self.0;
        let _turn = inner.next.lock().await;
        loop {
            match inner.leave(items, places) {
                Leave::Now(permit) => return permit,
                Leave::At(then) => tokio::time::sleep_until(then).await,
                Leave::WithRoom => inner.room.notified().await,
            }
        }
    }

    /// Until when no request is sent; in the past when any may be.
    pub fn held_until(&self) -> Instant {
        self.0.started + self.0.pace().not_before()
    }
}

impl Inner {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(self: &Arc<Self>, items: usize, places: usize) -> Leave {
        let mut pace = self.pace();
        let places = places.clamp(1, pace.limits().concurrency);
        if pace.free() < places {
            return Leave::WithRoom;
        }
        let then = self.started + pace.not_before();
        if then > Instant::now() {
            return Leave::At(then);
        }
        let sent_at = self.now();
        pace.began(sent_at, items, places);
        Leave::Now(Permit {
            inner: Arc::clone(self),
            items,
            places,
            sent_at: Some(sent_at),
        })
    }

    /// Puts changed limits into force.
    fn adjust(&self, pace: &Pace, before: Limits) {
        let limits = pace.limits();
        if limits != before {
            self.batch.store(limits.batch, Ordering::Relaxed);
            let Limits { concurrency, batch } = limits;
            tracing::debug!(concurrency, batch, "limits changed");
        }
    }
}

/// Places on the wire. Dropped without [`Self::done`], it tells nothing of the server.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    items: usize,
    places: usize,
    /// Since the pacer's start; none once its end is told.
    sent_at: Option<Duration>,
}

impl Permit {
    /// The request ended; frees its places.
    pub fn done(mut self, answer: Answer) {
        if let Some(sent_at) = self.sent_at.take() {
            let seen = Observation {
                sent_at,
                items: self.items,
                places: self.places,
                answer,
            };
            let mut pace = self.inner.pace();
            let before = pace.limits();
            pace.ended(self.inner.now(), &seen);
            self.inner.adjust(&pace, before);
            self.inner.room.notify_one();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.sent_at.is_some() {
            let now = self.inner.now();
            self.inner.pace().dropped(now, self.places);
            self.inner.room.notify_one();
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
        let first = pacer.acquire(1, 1).await;
        let second = pacer.acquire(1, 1).await;
        let mut third = Box::pin(pacer.acquire(1, 1));
        let mut fourth = Box::pin(pacer.acquire(1, 1));
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
        pacer.acquire(1, 1).await.done(refused(7));
        let waiting = [pacer.acquire(1, 1), pacer.acquire(1, 1)];
        let permits = futures::future::join_all(waiting).await;
        assert_eq!(started.elapsed().as_secs(), 7);
        for permit in permits {
            permit.done(refused(3));
        }
        pacer.acquire(1, 1).await.done(Answer::Done);
        assert_eq!(started.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_the_place_and_the_turn_to_others() {
        let pacer = pacer(Axis::fixed(1));
        pacer.acquire(1, 1).await.done(refused(60));
        let waits = tokio::time::timeout(Duration::from_secs(1), pacer.acquire(1, 1)).await;
        assert!(waits.is_err());
        let permit = pacer.acquire(1, 1).await;
        let waits = tokio::time::timeout(Duration::from_secs(1), pacer.acquire(1, 1)).await;
        assert!(waits.is_err());
        drop(permit);
        assert!(pacer.acquire(1, 1).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_takes_as_many_places_as_it_costs() {
        let pacer = pacer(Axis::fixed(4));
        let large = pacer.acquire(300, 3).await;
        let small = pacer.acquire(1, 1).await;
        let mut second = Box::pin(pacer.acquire(300, 3));
        let mut behind = Box::pin(pacer.acquire(1, 1));
        assert!(second.as_mut().now_or_never().is_none());
        drop(small);
        assert!(second.as_mut().now_or_never().is_none(), "one is free");
        assert!(behind.as_mut().now_or_never().is_none(), "nobody overtakes");
        large.done(Answer::Done);
        let second = second.await;
        let behind = behind.await;
        let mut all = Box::pin(pacer.acquire(900, 9));
        assert!(all.as_mut().now_or_never().is_none());
        second.done(Answer::Done);
        assert!(all.as_mut().now_or_never().is_none(), "it takes all four");
        behind.done(Answer::Done);
        let _all = all.await;
        assert!(pacer.acquire(1, 0).now_or_never().is_none(), "0 is 1");
    }

    #[tokio::test(start_paused = true)]
    async fn what_costs_more_than_there_is_goes_on_when_the_limit_falls() {
        let pacer = pacer(Axis::auto(8, 1, 8));
        for _ in 0..20 {
            pacer.acquire(1, 8).await.done(Answer::Failed);
        }
        assert!(pacer.limits().concurrency < 8);
        pacer.acquire(1, 8).await.done(Answer::Done);
    }

    /// Keeps `tasks` busy for `secs`; answers how many ran at a time at most.
    async fn busy(pacer: &Pacer, tasks: usize, secs: u64, answer: Answer) -> usize {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let end = Instant::now() + Duration::from_secs(secs);
        let task = async || {
            while Instant::now() < end {
                let permit = pacer.acquire(100, 1).await;
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
            .map_while(|_| pacer.acquire(1, 1).now_or_never())
            .collect();
        assert_eq!(first.len(), started_at, "no place is left over or lost");
    }
}
