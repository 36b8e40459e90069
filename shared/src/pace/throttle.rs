//! Learns the rate that a server allows from what it refuses, and stays just below it.
//!
//! A refusal says that the server's allowance is used up at that moment. What it takes until the next refusal,
//! by the time between them, is therefore the rate at which the allowance grows, however much of it can be saved up.

use std::time::Duration;

use super::measure::count;
use super::{Answer, Observation};

/// How long a server is left alone that does not say when to come back.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// While the rate is learned, requests are sent this much faster than is known to be allowed.
const LEARNING: f64 = 1.25;
/// Learning ends after so long without a refusal: the rate is higher than the limits let through.
const LEARNED_AT_MOST: Duration = Duration::from_secs(8);

/// Once it is known, this much of it is used; the rest keeps a little of the allowance saved up.
const USED: f64 = 0.985;
/// How fast what is used grows in a second: up to where the rate may be for all that is known, and beyond, lest
/// the server's limit has been raised.
const GROWS: f64 = 0.01;
const GROWS_BEYOND: f64 = 0.001;

/// Requests that were due while nothing woke us may follow within this.
const CATCH_UP: Duration = Duration::from_millis(20);

/// So many refusals in so long are not about a rate.
const POINTLESS: usize = 4;
const POINTLESS_WITHIN: Duration = Duration::from_secs(20);

/// Batches differ enough to tell what the server counts.
const DIFFERENT: f64 = 1.25;
/// What is used of a rate that turned out too high.
const LESS: f64 = 0.93;
/// No allowance that was saved up lasts for so long when such batches are sent at the rate of smaller ones.
const SAVED_UP: Duration = Duration::from_secs(10);
/// In a longer interval some of the allowance may have been lost, since not all can be saved up.
const EXACT: Duration = Duration::from_secs(10);
/// The rate may be this much higher than what was taken, part of which was a pause.
const PERHAPS: f64 = 1.2;
/// Shorter intervals tell nothing.
const TOO_SHORT: Duration = Duration::from_millis(200);

/// What the server counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Requests,
    Items,
}

/// What was taken from one refusal on.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    since: Duration,
    /// When sending began again.
    resumed: Duration,
    requests: f64,
    items: f64,
}

impl Taken {
    fn add(&mut self, seen: &Observation) {
        self.requests += 1.0;
        self.items += count(seen.items);
    }
}

/// A rate as measured between two refusals, in both units.
#[derive(Debug, Clone, Copy)]
struct Rate {
    requests: f64,
    items: f64,
}

impl Rate {
    fn batch(self) -> f64 {
        self.items / self.requests
    }

    fn of(self, unit: Unit) -> f64 {
        match unit {
            Unit::Requests => self.requests,
            Unit::Items => self.items,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Cap {
    unit: Unit,
    /// Units per second that are used.
    used: f64,
    set: Duration,
    /// Up to where it may be right.
    perhaps: f64,
    learning: bool,
}

impl Cap {
    /// It has held requests back for `secs` and nothing was refused.
    fn grow(&mut self, secs: f64) {
        let growth = if self.used < self.perhaps {
            GROWS
        } else {
            GROWS_BEYOND
        };
        self.used *= (growth * secs).exp();
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Throttle {
    held_until: Duration,
    next: Duration,
    cap: Option<Cap>,
    /// What was taken up to the latest refusal, at the second value, as far as it is answered.
    closed: Option<(Taken, Duration)>,
    open: Taken,
    /// Nothing was refused before `open`.
    first: bool,
    known: Option<Rate>,
    unit: Option<Unit>,
    /// Since when batches are [`DIFFERENT`] from those of the known rate, and larger.
    larger_since: Option<Duration>,
    /// When such a batch was refused.
    suspected: Option<Duration>,
    /// When the last refusals were.
    refusals: Vec<Duration>,
}

impl Throttle {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            held_until: now,
            next: now,
            cap: None,
            closed: None,
            open: Taken {
                since: now,
                resumed: now,
                ..Taken::default()
            },
            first: true,
            known: None,
            unit: None,
            larger_since: None,
            suspected: None,
            refusals: Vec::new(),
        }
    }

    pub(super) fn not_before(&self) -> Duration {
        self.held_until.max(self.next)
    }

    pub(super) fn hold(&mut self, until: Duration) {
        self.held_until = self.held_until.max(until);
    }

    /// Items per second that batches of a size can bring at most.
    pub(super) fn allows(&self, batch: usize) -> f64 {
        self.cap.map_or(f64::MAX, |cap| match cap.unit {
            _ if cap.learning => f64::MAX,
            Unit::Requests => cap.used * count(batch),
            Unit::Items => cap.used,
        })
    }

    /// The limits are not to be judged by what is measured.
    pub(super) fn is_learning(&mut self, now: Duration) -> bool {
        let Some(cap) = &mut self.cap else {
            return false;
        };
        if cap.learning && now.saturating_sub(cap.set) > LEARNED_AT_MOST {
            cap.learning = false;
            cap.perhaps = f64::MAX;
        }
        cap.learning
    }

    /// Keeping to a rate does not help.
    pub(super) fn is_pointless(&self) -> bool {
        self.refusals.len() >= POINTLESS
    }

    pub(super) fn began(&mut self, now: Duration, items: usize) {
        self.watch_batch(now, items);
        if let Some(cap) = &mut self.cap {
            let units = match cap.unit {
                Unit::Requests => 1.0,
                Unit::Items => count(items),
            };
            let earliest = now.saturating_sub(CATCH_UP);
            let takes = (units / cap.used).min(60.0);
            if self.next > earliest && !cap.learning {
                cap.grow(takes);
            }
            self.next = self.next.max(earliest) + Duration::from_secs_f64(takes);
        }
    }

    /// True when it makes a new rate of what was seen.
    pub(super) fn done(&mut self, now: Duration, seen: &Observation) -> bool {
        if let Some((closed, end)) = &mut self.closed
            && seen.sent_at <= *end
        {
            closed.add(seen);
            return false;
        }
        if seen.sent_at >= self.open.since {
            self.open.add(seen);
        }
        // The answers to what was sent before the pause are in.
        let before = self.cap.map(|cap| (cap.unit, cap.used));
        if seen.sent_at >= self.held_until {
            self.conclude(now);
        }
        match (before, self.cap) {
            (Some((unit, used)), Some(cap)) => {
                unit != cap.unit || (cap.used / used).ln().abs() > 0.1
            }
            (None, Some(_)) => true,
            _ => false,
        }
    }

    /// True for the first refusal after others were done; what was on the wire with it is refused too.
    pub(super) fn throttled(
        &mut self,
        now: Duration,
        seen: &Observation,
        pause: Duration,
        learns: bool,
    ) -> bool {
        debug_assert!(
            matches!(seen.answer, Answer::Throttled { .. }),
            "only refusals"
        );
        let fresh = seen.sent_at >= self.held_until;
        if learns && fresh {
            self.conclude(now);
            self.closed = Some((self.open, seen.sent_at));
            self.open = Taken {
                since: seen.sent_at,
                ..Taken::default()
            };
            self.refusals.push(now);
            self.refusals
                .retain(|at| now.saturating_sub(*at) <= POINTLESS_WITHIN);
        }
        self.hold(now + pause);
        self.open.resumed = self.held_until;
        fresh
    }

    fn watch_batch(&mut self, now: Duration, items: usize) {
        let Some(known) = self.known else {
            return;
        };
        if count(items) < DIFFERENT * known.batch() {
            self.larger_since = None;
            return;
        }
        let since = *self.larger_since.get_or_insert(now);
        if self.unit.is_none() && now.saturating_sub(since) > SAVED_UP {
            self.unit = Some(Unit::Requests);
        }
    }

    /// As many requests were no trouble while they were smaller: once, the rate may have been taken for a little
    /// too high; twice, it is about items. The interval, of batches of both sizes, tells nothing else.
    fn suspect_items(&mut self, refused: Duration, now: Duration) -> bool {
        let (None, Some(_), Some(known)) = (self.unit, self.larger_since.take(), &mut self.known)
        else {
            return false;
        };
        let before = self.suspected.replace(refused);
        let (unit, used) = if before.is_some_and(|b| refused.saturating_sub(b) < SAVED_UP) {
            self.unit = Some(Unit::Items);
            (Unit::Items, USED * known.items)
        } else {
            (Unit::Requests, LESS * known.requests)
        };
        self.cap = Some(Cap {
            unit,
            used,
            set: now,
            perhaps: USED * known.of(unit),
            learning: false,
        });
        true
    }

    /// Draws from the interval that a refusal has ended what can be known of the rate.
    fn conclude(&mut self, now: Duration) {
        let Some((taken, end)) = self.closed.take() else {
            return;
        };
        let length = end.saturating_sub(taken.since);
        if length < TOO_SHORT || taken.requests < 1.0 {
            return;
        }
        if self.suspect_items(end, now) {
            return;
        }
        let unit = self.unit.unwrap_or(Unit::Requests);
        let least = taken.requests / length.as_secs_f64();
        let items = taken.items / taken.requests;
        let mut rate = Rate {
            requests: least,
            items: least * items,
        };
        if std::mem::take(&mut self.first) {
            self.cap = Some(Cap {
                unit,
                used: LEARNING * rate.of(unit),
                set: now,
                perhaps: f64::MAX,
                learning: true,
            });
            return;
        }
        let sending = end.saturating_sub(taken.resumed).max(length / 10);
        let mut perhaps = rate.of(unit) * length.as_secs_f64() / sending.as_secs_f64();
        perhaps = perhaps.min(PERHAPS * rate.of(unit));
        if let Some(known) = self.known
            && length > EXACT
        {
            // Part of the allowance may have been lost, but what was once taken is allowed.
            let factor = (known.of(unit) / rate.of(unit)).max(1.0);
            rate.requests *= factor;
            rate.items *= factor;
            perhaps = rate.of(unit);
        }
        self.known = Some(rate);
        self.cap = Some(Cap {
            unit,
            used: USED * rate.of(unit),
            set: now,
            perhaps: USED * perhaps,
            learning: false,
        });
    }
}
