//! How many requests at a time, and how many items to a request: found while the work goes on.
//!
//! Nobody knows the best values for a server beforehand, and they differ by orders of magnitude. [`Pace`] finds
//! them by what counts, items done per second, and within [`Bounds`]: it starts small, tries its neighbours on
//! a lattice of half octaves, and goes where all that was measured lets it expect a better rate. What a server refuses
//! (429) teaches the rate it allows; what it fails makes a place less attractive than its rate says. [`Pace`] is
//! pure: it has no clock and does no I/O. [`Pacer`] is its face for tasks, shared by all requests to one server.

use std::time::Duration;

mod choice;
mod measure;
mod pacer;
mod places;
mod search;
mod surface;
mod throttle;

#[cfg(test)]
mod tests;

pub use choice::Choice;
pub use pacer::{Pacer, Permit};

use measure::{Reading, Window};
use search::Search;
use throttle::Throttle;

/// What one value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    start: usize,
    least: usize,
    most: usize,
}

impl Axis {
    /// Always `value`, at least 1.
    pub fn fixed(value: usize) -> Self {
        Self::auto(value, value, value)
    }

    /// Between `least` (at least 1) and `most`, beginning with `start`.
    pub fn auto(start: usize, least: usize, most: usize) -> Self {
        let least = least.max(1);
        let most = most.max(least);
        Self {
            start: start.clamp(least, most),
            least,
            most,
        }
    }

    /// The largest value it may take.
    pub fn most(&self) -> usize {
        self.most
    }

    fn is_fixed(self) -> bool {
        self.least == self.most
    }
}

/// What both values may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Requests at a time.
    pub concurrency: Axis,
    /// Items to a request.
    pub batch: Axis,
}

/// What is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limits {
    /// Requests at a time; a large one may count for several.
    pub concurrency: usize,
    /// Items to a request.
    pub batch: usize,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The server did its work, whatever it said of single items.
    Done,
    /// The server wants fewer requests (429, or a busy one that says when to come back).
    Throttled {
        /// When to come back, from now.
        retry_after: Option<Duration>,
    },
    /// Nothing came of it: no answer in time, an error of the server's own, a conflict with another request.
    Failed,
}

/// How one request went.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    /// When it was sent.
    pub sent_at: Duration,
    /// Items that it had.
    pub items: usize,
    /// Places that it took, of those that [`Limits::concurrency`] counts.
    pub places: usize,
    /// What became of it.
    pub answer: Answer,
}

/// Finds the limits that a server does best with. Times are since any one moment, and never go back.
#[derive(Debug)]
pub struct Pace {
    search: Search,
    window: Window,
    throttle: Throttle,
    in_flight: usize,
    /// Places that those in flight take.
    taken: usize,
    learns: bool,
}

impl Pace {
    /// Begins at the start of each axis; `seed` spreads what several processes try over time.
    pub fn new(bounds: Bounds, now: Duration, seed: u64) -> Self {
        let search = Search::new(bounds, now, seed);
        Self {
            window: Window::open(now, search.limits(), search.limits()),
            search,
            throttle: Throttle::new(now),
            in_flight: 0,
            taken: 0,
            learns: !(bounds.concurrency.is_fixed() && bounds.batch.is_fixed()),
        }
    }

    /// What is in force.
    pub fn limits(&self) -> Limits {
        self.search.limits()
    }

    /// When the next request may be sent: in the past, or when the server wants to hear from us again, or when
    /// the rate that it allows has room.
    pub fn not_before(&self) -> Duration {
        self.throttle.not_before()
    }

    /// Places that are free.
    pub fn free(&self) -> usize {
        self.limits().concurrency.saturating_sub(self.taken)
    }

    /// A request of `items` that takes `places` is sent.
    pub fn began(&mut self, now: Duration, items: usize, places: usize) {
        self.window.in_use(now, self.taken);
        self.in_flight += 1;
        self.taken += places;
        self.throttle.began(now, items);
    }

    /// A request that took `places` was given up by ourselves, which tells nothing of the server.
    pub fn dropped(&mut self, now: Duration, places: usize) {
        self.window.in_use(now, self.taken);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.taken = self.taken.saturating_sub(places);
    }

    /// A request ended.
    pub fn ended(&mut self, now: Duration, seen: &Observation) {
        let in_flight = self.in_flight;
        self.dropped(now, seen.places);
        if let Answer::Throttled { retry_after } = seen.answer {
            let pause = retry_after.unwrap_or(throttle::PAUSE);
            let fresh = self.throttle.throttled(now, seen, pause, self.learns);
            if fresh && self.learns {
                self.throttled(now);
            }
            return;
        }
        if seen.answer == Answer::Done && self.throttle.done(now, seen) {
            let before = self.limits();
            self.search.begin_anew(now);
            self.reopen(now, before);
        }
        if self.learns {
            let reading = self.window.ended(now, seen, in_flight);
            self.follow(now, reading);
        }
    }

    /// The first refusal after a time without: what was measured was not the server's best.
    fn throttled(&mut self, now: Duration) {
        if self.throttle.is_pointless() {
            self.search.back_off(now);
        }
        self.reopen(now, self.window.limits());
    }

    fn follow(&mut self, now: Duration, reading: Reading) {
        let before = self.limits();
        match reading {
            Reading::None => return,
            Reading::Overloaded => self.search.back_off(now),
            Reading::Slice if self.throttle.is_learning(now) => {
                self.window.start_over(now);
                return;
            }
            Reading::Slice => {
                if !self.search.judge(now, &self.window, &self.throttle) {
                    return;
                }
            }
        }
        let after = self.limits();
        if after == before && reading == Reading::Slice {
            self.window.start_over(now);
        } else {
            self.reopen(now, before);
        }
    }

    fn reopen(&mut self, now: Duration, before: Limits) {
        self.window = Window::open(now, self.limits(), before);
    }
}
