//! How much is asked of the server at a time: what it does best with, no more than it manages in time, and less while
//! others suffer.

use std::time::Duration;

use stoker_proto::reindex::v1::RunSpec;
use stoker_shared::pace::{Axis, Bounds, Pacer, Permit};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{MOST_BATCH, MOST_CONCURRENCY, ReindexSettings};
use crate::server::Server;

/// So many requests of the largest size must go well before a larger one is tried.
const GOOD_ENOUGH: u32 = 8;

/// Between two reads that tell how others fare.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Limits {
    pacer: Pacer,
    cap: Cap,
    guard: Option<Guard>,
}

impl Limits {
    /// What a run asks for, else what is configured.
    pub(crate) fn new(spec: &RunSpec, settings: &ReindexSettings, server: &Server) -> Self {
        let configured = settings.bounds();
        let axis = |given: u32, most: usize, configured: Axis| match given {
            0 => configured,
            given => Axis::fixed(usize::try_from(given).unwrap_or(most).min(most)),
        };
        let bounds = Bounds {
            concurrency: axis(spec.concurrency, MOST_CONCURRENCY, configured.concurrency),
            batch: axis(spec.batch, MOST_BATCH, configured.batch),
        };
        let most_ms = spec.max_server_latency_ms.map(Duration::from_millis);
        let most = most_ms.or(settings.max_server_latency);
        let pacer = Pacer::new(bounds, rand::random());
        let path = settings.latency_probe.clone();
        let guard = most.map(|most| Guard::start(server, &pacer, most, path));
        Self {
            pacer,
            cap: Cap(MOST_BATCH, 0),
            guard,
        }
    }

    /// Resources to the next request.
    pub(crate) fn batch(&self) -> usize {
        self.pacer.batch().min(self.cap.0)
    }

    /// Requests at a time.
    pub(crate) fn concurrency(&self) -> usize {
        let found = self.pacer.limits().concurrency;
        let allowed = self.guard.as_ref().map(|guard| *guard.allowed.borrow());
        allowed.map_or(found, |allowed| found.min(allowed))
    }

    /// Waits until a request of so many resources may be sent; see [`Pacer::acquire`].
    pub(crate) async fn acquire(&self, items: usize) -> Permit {
        self.pacer.acquire(items, 1).await
    }

    /// A request of so many resources had its answer.
    pub(crate) fn went_well(&mut self, items: usize) {
        self.cap.went_well(items);
    }

    /// A request of so many resources had no answer in time.
    pub(crate) fn timed_out(&mut self, items: usize) {
        self.cap.timed_out(items);
    }

    /// Why less is asked than the server would do, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        let guard = self.guard.as_ref()?;
        let slow = *guard.slow.borrow();
        let took = slow?.as_millis();
        let most = guard.most.as_millis();
        Some(format!(
            "easing off: a read took {took} ms, and is to take {most} ms at most"
        ))
    }
}

/// The most resources to a request, and how many of that size went well.
#[derive(Debug)]
struct Cap(usize, u32);

impl Cap {
    fn went_well(&mut self, items: usize) {
        if items < self.0 || self.0 == MOST_BATCH {
            return;
        }
        self.1 += 1;
        if self.1 >= GOOD_ENOUGH {
            *self = Self((self.0 + self.0.div_ceil(4)).min(MOST_BATCH), 0);
        }
    }

    fn timed_out(&mut self, items: usize) {
        *self = Self(self.0.min(items / 2).max(1), 0);
    }
}

/// Reads something each second, as a user would, and allows fewer requests while that takes too long.
#[derive(Debug)]
struct Guard {
    most: Duration,
    allowed: watch::Receiver<usize>,
    /// How long the last read took, if too long.
    slow: watch::Receiver<Option<Duration>>,
    _reading: AbortOnDropHandle<()>,
}

impl Guard {
    fn start(server: &Server, pacer: &Pacer, most: Duration, path: String) -> Self {
        let (allow, allowed) = watch::channel(MOST_CONCURRENCY);
        let (tell, slow) = watch::channel(None);
        let (server, pacer) = (server.clone(), pacer.clone());
        let reading = tokio::spawn(async move {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                // A read that fails says nothing of its duration; requests that fail are seen elsewhere.
                let Ok(took) = server.read(&path).await else {
                    continue;
                };
                let found = pacer.limits().concurrency;
                allow.send_modify(|allowed| *allowed = eased(*allowed, found, took, most));
                tell.send_replace((took > most).then_some(took));
            }
        });
        Self {
            most,
            allowed,
            slow,
            _reading: AbortOnDropHandle::new(reading),
        }
    }
}

/// Half of what is sent while reads are too slow; a quarter more while they take less than three quarters of what
/// they may.
fn eased(allowed: usize, found: usize, took: Duration, most: Duration) -> usize {
    if took > most {
        (allowed.min(found) / 2).max(1)
    } else if took < most * 3 / 4 {
        (allowed + allowed.div_ceil(4)).min(MOST_CONCURRENCY)
    } else {
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_times_out_is_halved_and_grows_back() {
        let mut cap = Cap(MOST_BATCH, 0);
        cap.timed_out(400);
        assert_eq!(cap.0, 200);
        cap.timed_out(400);
        assert_eq!(cap.0, 200, "those on the wire were of the size before");
        for _ in 0..GOOD_ENOUGH {
            cap.went_well(100);
        }
        assert_eq!(cap.0, 200, "smaller ones prove nothing");
        for _ in 0..GOOD_ENOUGH {
            cap.went_well(200);
        }
        assert_eq!(cap.0, 250);
        cap.timed_out(1);
        assert_eq!(cap.0, 1);
        for _ in 0..GOOD_ENOUGH * 100 {
            let size = cap.0;
            cap.went_well(size);
        }
        assert_eq!(cap.0, MOST_BATCH);
    }

    #[test]
    fn others_come_first() {
        let most = Duration::from_millis(400);
        let slow = Duration::from_millis(401);
        let quick = Duration::from_millis(299);
        assert_eq!(eased(200, 16, slow, most), 8, "of what is sent");
        assert_eq!(eased(4, 16, slow, most), 2);
        assert_eq!(eased(1, 16, slow, most), 1);
        assert_eq!(eased(8, 16, most, most), 8);
        assert_eq!(eased(8, 16, quick, most), 10);
        assert_eq!(eased(200, 16, quick, most), 200);
    }
}
