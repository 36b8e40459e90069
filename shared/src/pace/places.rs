//! The lattice of limits, and what is known of each place on it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::measure::{Sample, count};
use super::surface::{Point, Surface};
use super::{Axis, Bounds, Limits};

/// Seconds after which what was measured counts half, and not at all.
const HALF_LIFE: f64 = 60.0;
const TOO_OLD: f64 = 180.0;

/// The share of failed requests is pulled to that of all places as if so many more had been seen.
const PULL: f64 = 500.0;

/// From this share of failed requests on a place loses, and how fast.
const FAILED_FREELY: f64 = 0.004;
const FAILED_COSTS: f64 = 40.0;

/// What is measured in a second is off by this for what lasts about as long: flushes, collections, locks.
const MOMENT: f64 = 0.04;

/// A step on the lattice, in half octaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) concurrency: i32,
    pub(super) batch: i32,
}

impl Step {
    /// Those that ask less.
    pub(super) const LESS: [Self; 2] = [Self::new(-1, 0), Self::new(0, -1)];

    /// All that are tried, those that win most often first: octaves; further off, where a slow rise shows through
    /// noise; half octaves.
    pub(super) fn all() -> impl DoubleEndedIterator<Item = Self> {
        const DIRECTIONS: [(i32, i32); 6] = [(1, 0), (0, 1), (0, -1), (-1, 0), (1, -1), (-1, 1)];
        let near_first = [(2, 6), (4, 4), (1, 6)].into_iter();
        near_first.flat_map(|(far, directions)| {
            let directions = DIRECTIONS[..directions].iter();
            directions.map(move |(c, b)| Self::new(far * c, far * b))
        })
    }

    const fn new(concurrency: i32, batch: i32) -> Self {
        Self { concurrency, batch }
    }

    pub(super) fn back(self) -> Self {
        Self::new(-self.concurrency, -self.batch)
    }

    /// Whether it has the server work on more items at a time.
    pub(super) fn is_upward(self) -> bool {
        self.concurrency + self.batch > 0
    }

    /// Where it leads; `None` where that is out of bounds.
    pub(super) fn from(self, at: Limits, bounds: &Bounds) -> Option<Limits> {
        Some(Limits {
            concurrency: bounds.concurrency.moved(at.concurrency, self.concurrency)?,
            batch: bounds.batch.moved(at.batch, self.batch)?,
        })
    }
}

impl Axis {
    /// The next other value, `by` half octaves away or as little more as makes a difference.
    fn moved(self, value: usize, by: i32) -> Option<usize> {
        if by == 0 {
            return Some(value);
        }
        let octaves = (count(value) / count(self.start)).log2();
        let mut to = 2.0 * octaves + f64::from(by);
        to = to.round();
        loop {
            let moved = self.at(to);
            if moved != value {
                return Some(moved);
            }
            if moved == self.least && by < 0 || moved == self.most && by > 0 {
                return None;
            }
            to += f64::from(by.signum());
        }
    }

    /// The value `half_octaves` from the start.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between the bounds"
    )]
    fn at(self, half_octaves: f64) -> usize {
        let value = count(self.start) * (half_octaves / 2.0).exp2();
        value.round().clamp(count(self.least), count(self.most)) as usize
    }
}

/// What is known of the places.
#[derive(Debug, Default)]
pub(super) struct Places {
    known: BTreeMap<Limits, (Sample, Duration)>,
    all: Sample,
    seen: Duration,
}

impl Places {
    /// What is known of a place by now.
    pub(super) fn get(&self, at: Limits, now: Duration) -> Sample {
        let Some((mut sample, since)) = self.known.get(&at).copied() else {
            return Sample::default();
        };
        let age = now.saturating_sub(since).as_secs_f64();
        if age > TOO_OLD {
            return Sample::default();
        }
        sample.fade((-age / HALF_LIFE).exp2());
        sample
    }

    pub(super) fn add(&mut self, at: Limits, now: Duration, sample: &Sample) {
        let mut sum = self.get(at, now);
        sum.add(sample);
        self.known.insert(at, (sum, now));
        let age = now.saturating_sub(self.seen).as_secs_f64();
        self.all.fade((-age / HALF_LIFE).exp2());
        self.all.add(sample);
        self.seen = now;
    }

    /// The server is another than before, or in another state.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The share of requests that failed lately, wherever.
    pub(super) fn failing(&self) -> f64 {
        self.all.failed / self.all.requests.max(PULL)
    }

    /// Standard error of a rate, relative to it.
    pub(super) fn error(&self, sample: &Sample) -> f64 {
        sample.error(self.all.variance())
    }

    /// Whether a place was lately more than the server bears.
    pub(super) fn is_overload(&self, at: Limits, now: Duration) -> bool {
        let known = self.get(at, now);
        known.requests > 0.0 && known.items <= 0.0
    }

    /// What all that is known says of any place, and `more` that was just measured at one of them.
    pub(super) fn surface(&self, now: Duration, more: Option<(Limits, &Sample)>) -> Surface {
        let old = self.known.keys().map(|at| (*at, self.get(*at, now)));
        let mut known: BTreeMap<Limits, Sample> = old.collect();
        if let Some((at, sample)) = more {
            known.entry(at).or_default().add(sample);
        }
        // Where nothing was done at all there is no rate that would tell of the neighbours.
        known.retain(|_, sample| sample.slices >= 1.0 && sample.items > 0.0);
        let points = known.iter().map(|(at, sample)| Point {
            at: *at,
            value: self.score(sample).max(1e-9).ln(),
            error: self
                .error(sample)
                .hypot(MOMENT / sample.secs.max(0.01).sqrt()),
        });
        Surface::through(&points.collect::<Vec<_>>())
    }

    /// How good a place is: its rate, less what failing requests cost.
    fn score(&self, sample: &Sample) -> f64 {
        let failed = sample.failed + PULL * self.failing().min(FAILED_FREELY);
        let share = failed / (sample.requests + PULL);
        let loss = FAILED_COSTS * (share - FAILED_FREELY).max(0.0);
        sample.rate() * (1.0 - loss).max(0.05)
    }
}
