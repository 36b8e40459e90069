//! Measures the rate of items done while the limits stand still.

use std::time::Duration;

use super::{Answer, Limits, Observation};

/// Failed requests that make an overload, when they are also [`OVERLOAD`] of all.
const FAILED: f64 = 4.0;
const OVERLOAD: f64 = 0.15;

/// A slice that took this many times as long as the middle one was a stall, if it is the only one.
const STALL: f64 = 5.0;

/// Nothing ended for so many seconds, and for so many times as long as usual: a stall.
const STALL_S: f64 = 0.8;
const STALL_TIMES: f64 = 30.0;

/// The spread that is assumed until there is enough to tell it from, the least there is, and how many slices the usual
/// one counts for.
const SPREAD: f64 = 0.12;
const LEAST_SPREAD: f64 = 0.03;
const USUAL_SLICES: f64 = 3.0;

/// So much of the spread at least is taken for noise.
const WAVES: f64 = 0.15;

/// Fewer slices tell nothing of the spread.
const FEW: f64 = 4.0;

/// Slices that take longer are of fewer requests.
const SLOW: f64 = 0.4;

/// So many times the requests on the wire must end before the rate is steady: those sent together also end together,
/// the quick ones first.
const SETTLED: usize = 1;

/// Requests that the reader has ready when the size of a batch changes, besides one for each place.
const READY: usize = 32;

/// What the end of a request completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    None,
    /// Another slice is measured.
    Slice,
    /// A good part of the requests fails.
    Overloaded,
}

/// Sums over slices, each of about as many requests as run at a time, so that a wave of answers falls into one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) secs: f64,
    pub(super) items: f64,
    pub(super) slices: f64,
    /// Of the slices' times per item: squared deviation from the mean, relative to it.
    pub(super) spread: f64,
    pub(super) requests: f64,
    pub(super) failed: f64,
}

impl Sample {
    /// Items per second.
    pub(super) fn rate(&self) -> f64 {
        self.items / self.secs.max(1e-9)
    }

    /// Variance of the time that a request takes, relative to its square; none when too little was seen.
    pub(super) fn variance(&self) -> Option<f64> {
        let requests = self.requests / self.slices.max(1e-9);
        (self.slices >= FEW).then(|| self.spread / self.slices * requests)
    }

    /// Standard error of the rate, relative to it, where requests vary by `usual` elsewhere.
    pub(super) fn error(&self, usual: Option<f64>) -> f64 {
        let slices = self.slices.max(1e-9);
        let usual = usual.map_or(SPREAD, |variance| {
            let of_slice = variance * slices / self.requests.max(1.0);
            of_slice.sqrt().max(LEAST_SPREAD)
        });
        let assumed = USUAL_SLICES * usual * usual;
        let variance = (self.spread + assumed) / (slices + USUAL_SLICES);
        (variance / slices.max(1.0)).sqrt()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.secs += other.secs;
        self.items += other.items;
        self.slices += other.slices;
        self.spread += other.spread;
        self.requests += other.requests;
        self.failed += other.failed;
    }

    pub(super) fn fade(&mut self, factor: f64) {
        self.secs *= factor;
        self.items *= factor;
        self.slices *= factor;
        self.spread *= factor;
        self.requests *= factor;
        self.failed *= factor;
    }
}

#[derive(Debug, Clone, Copy)]
struct Slice {
    since: Duration,
    secs: f64,
    items: f64,
    requests: f64,
    failed: f64,
}

impl Slice {
    fn new(since: Duration) -> Self {
        Self {
            since,
            secs: 0.0,
            items: 0.0,
            requests: 0.0,
            failed: 0.0,
        }
    }
}

/// A time in which the same limits are in force.
#[derive(Debug)]
pub(super) struct Window {
    limits: Limits,
    before: Limits,
    opened: Duration,
    /// Requests that are to end before the new limits show in the rate; `None` while not even the first request
    /// with the new batch was seen.
    to_settle: Option<usize>,
    ended: usize,
    all: f64,
    failed: f64,
    slice: Option<Slice>,
    slices: Vec<Slice>,
    /// When the last request ended.
    last: Duration,
    /// Nothing ended for a while, once already.
    stalled: bool,
    /// For the average number of places in use.
    changed: Duration,
    busy: f64,
}

impl Window {
    /// Limits are in force from `now` on, instead of those `before`.
    pub(super) fn open(now: Duration, limits: Limits, before: Limits) -> Self {
        let same = limits.batch == before.batch;
        Self {
            limits,
            before,
            opened: now,
            to_settle: same.then_some(SETTLED * limits.concurrency),
            ended: 0,
            all: 0.0,
            failed: 0.0,
            slice: None,
            slices: Vec::new(),
            last: now,
            stalled: false,
            changed: now,
            busy: 0.0,
        }
    }

    /// Measures anew under the same limits.
    pub(super) fn start_over(&mut self, now: Duration) {
        self.slices.clear();
        self.slice = Some(Slice::new(now));
        self.last = now;
        self.changed = now;
        self.busy = 0.0;
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// To be told of each change, with how many places were in use until then.
    pub(super) fn in_use(&mut self, now: Duration, until_now: usize) {
        if self.slice.is_some() {
            let secs = now.saturating_sub(self.changed).as_secs_f64();
            self.busy += secs * count(until_now);
            self.changed = now;
        }
    }

    /// Whether a good part of the places was not in use.
    pub(super) fn has_slack(&self) -> bool {
        let secs: f64 = self.slices.iter().map(|s| s.secs).sum();
        self.busy < 0.75 * secs * count(self.limits.concurrency)
    }

    /// A request ended; `in_flight` counts it.
    pub(super) fn ended(&mut self, now: Duration, seen: &Observation, in_flight: usize) -> Reading {
        let failed = seen.answer != Answer::Done;
        if seen.sent_at >= self.opened {
            self.all += 1.0;
            self.failed += f64::from(u8::from(failed));
        }
        if self.failed >= FAILED && self.failed >= OVERLOAD * self.all {
            return Reading::Overloaded;
        }
        if self.slice.is_none() {
            self.settle(now, seen, in_flight);
            return Reading::None;
        }
        let gap = now.saturating_sub(self.last).as_secs_f64();
        self.last = now;
        if gap > STALL_S && gap > STALL_TIMES * self.usual_gap() && !self.stalled {
            // Had it to do with the limits, it would come again.
            self.stalled = true;
            self.start_over(now);
            return Reading::None;
        }
        self.measure(now, seen, in_flight)
    }

    /// Seconds between two ends, so far.
    fn usual_gap(&self) -> f64 {
        let slices = || self.slices.iter().chain(&self.slice);
        let requests: f64 = slices().map(|s| s.requests).sum();
        slices().map(|s| s.secs).sum::<f64>() / requests.max(1.0)
    }

    fn settle(&mut self, now: Duration, seen: &Observation, in_flight: usize) {
        if seen.sent_at < self.opened {
            return;
        }
        self.ended += 1;
        match &mut self.to_settle {
            None => {
                let between = usize::midpoint(self.limits.batch, self.before.batch);
                let seen_new = if self.limits.batch > self.before.batch {
                    seen.items >= between
                } else {
                    seen.items <= between
                };
                if seen_new || self.ended >= 2 * self.limits.concurrency + READY {
                    self.to_settle = Some(SETTLED * in_flight);
                }
            }
            Some(left) => {
                *left = (left.saturating_sub(1)).min(SETTLED * in_flight - 1);
                if *left == 0 {
                    self.start_over(now);
                }
            }
        }
    }

    fn measure(&mut self, now: Duration, seen: &Observation, in_flight: usize) -> Reading {
        let slice = self.slice.get_or_insert_with(|| Slice::new(now));
        slice.requests += 1.0;
        if seen.answer == Answer::Done {
            slice.items += count(seen.items);
        } else {
            slice.failed += 1.0;
        }
        slice.secs = now.saturating_sub(slice.since).as_secs_f64();
        let enough = if slice.secs < SLOW {
            in_flight
        } else {
            in_flight / 4
        };
        if slice.requests < count(enough.max(4)) || slice.secs < 0.01 {
            return Reading::None;
        }
        self.slices.push(*slice);
        self.slice = Some(Slice::new(now));
        Reading::Slice
    }

    /// All that is measured, without a stall.
    pub(super) fn sample(&self) -> Sample {
        let mut times: Vec<f64> = self.slices.iter().map(|s| s.secs).collect();
        times.sort_by(f64::total_cmp);
        let middle = times.get(times.len() / 2).copied().unwrap_or_default();
        let longest = times.last().copied().unwrap_or_default();
        let stalled = times.len() >= 4 && longest > STALL * middle;
        let slices = || self.slices.iter().filter(|s| !stalled || s.secs < longest);
        let mut sample = Sample::default();
        for slice in slices() {
            sample.secs += slice.secs;
            sample.items += slice.items;
            sample.requests += slice.requests;
            sample.failed += slice.failed;
            sample.slices += 1.0;
        }
        let mean = (sample.secs / sample.slices.max(1.0)).max(1e-9);
        let (mut squares, mut neighbours, mut before) = (0.0, 0.0, 0.0);
        for slice in slices() {
            let deviation = slice.secs / mean - 1.0;
            squares += deviation * deviation;
            neighbours += deviation * before;
            before = deviation;
        }
        // Where answers come in waves, what one slice lacks the next has.
        sample.spread = (squares + 2.0 * neighbours).max(WAVES * squares);
        sample
    }
}

/// Counts stay far below where an `f64` is no longer exact.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of requests and items are small"
)]
pub(super) fn count(n: usize) -> f64 {
    n as f64
}
