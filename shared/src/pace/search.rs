//! Climbs to the best place, and looks from time to time whether there is a better one.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::measure::{Sample, Window};
use super::places::{Places, Step};
use super::surface::{Gain, Surface};
use super::throttle::Throttle;
use super::{Bounds, Limits};

/// A place is tried if it may be better by this, and gone to if it certainly is, or if half of it is what is to be
/// expected after a while.
const GAIN: f64 = 0.02;

/// Slices and seconds that make a first judgement, and seconds at which it must be made; with fewer slices, later.
const FEWEST_SLICES: f64 = 2.0;
const FEW_SLICES: f64 = 5.0;
const SHORT: f64 = 0.25;
const LONG: f64 = 1.2;
const LATEST: f64 = 4.8;
/// What is less certain than this by then is measured for longer.
const UNSURE: f64 = 0.03;
const LONGER: f64 = 2.4;

/// A place found better by this after a rest may have better neighbours.
const LEAP: f64 = 0.1;

/// What is worse by so much is left sooner.
const FAR_WORSE: f64 = -0.1;

/// What is worse by so much than a base that is not yet well known is not looked at again.
const HOPELESS: f64 = -0.4;

/// Standard errors that make a difference certain.
const CERTAIN: f64 = 2.0;

/// Seconds between looks at other places, once all seem worse; more, so that looks cost no more than this part of
/// the rate.
const FIRST_PAUSE: f64 = 4.0;
const LONGEST_PAUSE: f64 = 10.0;
const COST: f64 = 0.015;
const LEAST_LOSS: f64 = 0.01;

/// Places are not tried above this share of failing requests, but for those that ask less of the server.
const FAILING: f64 = 0.006;

/// The rate of the same place that is another by this has another cause than noise.
const CHANGED: f64 = 0.3;

#[derive(Debug, Clone, Copy)]
struct Trial {
    at: Limits,
    step: Step,
    /// What it seems better by, and how uncertain that is.
    gain: f64,
    error: f64,
}

/// What a window shows.
#[derive(Debug)]
struct Seen {
    sample: Sample,
    /// A good part of the places was not in use.
    slack: bool,
    /// There was too little to send for the limits to matter.
    starved: bool,
}

/// What to do with a window.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Next {
    /// Measure on.
    Measure,
    /// It has seen enough; stay where we are.
    Stay,
    /// Go somewhere else.
    Try,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Judgement {
    Open,
    Better,
    Worse,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Search {
    bounds: Bounds,
    base: Limits,
    trial: Option<Trial>,
    places: Places,
    /// Steps not yet tried from here, the next one last.
    untried: Vec<Step>,
    /// More concurrency cannot help: not even what there is, is used.
    slack: bool,
    climbing: bool,
    pause: f64,
    next_look: Duration,
    /// Times in a row that the base was not what it had been.
    changes: u32,
    rng: StdRng,
}

impl Search {
    pub(super) fn new(bounds: Bounds, now: Duration, seed: u64) -> Self {
        Self {
            bounds,
            base: Limits {
                concurrency: bounds.concurrency.start,
                batch: bounds.batch.start,
            },
            trial: None,
            places: Places::default(),
            untried: all_steps(),
            slack: false,
            climbing: true,
            pause: FIRST_PAUSE,
            next_look: now,
            changes: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.trial.map_or(self.base, |trial| trial.at)
    }

    /// The limits are more than the server bears.
    pub(super) fn back_off(&mut self, now: Duration) {
        if let Some(trial) = self.trial.take() {
            let bad = Sample {
                secs: 1.0,
                slices: 4.0,
                requests: 1.0,
                failed: 1.0,
                ..Sample::default()
            };
            self.places.add(trial.at, now, &bad);
        } else {
            let less = Step::LESS;
            let mut less = less.iter().filter_map(|s| s.from(self.base, &self.bounds));
            self.base = less.next().unwrap_or(self.base);
            self.places.forget();
            self.climb_anew();
        }
        self.rest(now, 0.0, 1.0);
    }

    /// What was measured so far was under other conditions.
    pub(super) fn begin_anew(&mut self, now: Duration) {
        self.trial = None;
        self.places.forget();
        self.climb_anew();
        self.next_look = now;
    }

    /// Looks at what the window has measured; true when it has seen enough of it.
    pub(super) fn judge(&mut self, now: Duration, window: &Window, throttle: &Throttle) -> bool {
        let slack = window.has_slack();
        let seen = Seen {
            sample: window.sample(),
            slack,
            starved: slack && throttle.allows(self.limits().batch) >= f64::MAX,
        };
        let next = match self.trial {
            None => self.judge_base(now, &seen),
            Some(trial) => self.judge_trial(now, trial, &seen),
        };
        if next == Next::Try {
            self.try_next(now, throttle);
        }
        next != Next::Measure
    }

    fn judge_base(&mut self, now: Duration, seen: &Seen) -> Next {
        let sample = &seen.sample;
        let mut known = self.places.get(self.base, now);
        let first = known.slices < FEW_SLICES;
        known.add(sample);
        let precise = first || self.climbing && self.places.error(&known) < 0.75 * GAIN;
        let enough = sample.secs >= SHORT && (precise || sample.secs >= LONG);
        if !enough || sample.is_thin() {
            return Next::Measure;
        }
        if seen.starved {
            return Next::Stay;
        }
        self.slack = seen.slack;
        if !first && self.has_changed(now, sample) {
            self.places.forget();
            self.climb_anew();
        }
        self.places.add(self.base, now, sample);
        if now < self.next_look {
            Next::Stay
        } else {
            Next::Try
        }
    }

    fn has_changed(&mut self, now: Duration, sample: &Sample) -> bool {
        let known = self.places.get(self.base, now);
        let change = (sample.rate().max(1e-9) / known.rate().max(1e-9))
            .ln()
            .abs();
        let error = self.places.error(sample).hypot(self.places.error(&known));
        if change > CHANGED + CERTAIN * error {
            self.changes += 1;
        } else {
            self.changes = 0;
        }
        self.changes >= 3
    }

    fn judge_trial(&mut self, now: Duration, trial: Trial, seen: &Seen) -> Next {
        let sample = &seen.sample;
        if seen.starved && sample.secs >= SHORT {
            self.trial = None;
            self.rest(now, 0.0, 1.0);
            return Next::Stay;
        }
        let surface = self.places.surface(now, Some((trial.at, sample)));
        let Gain { gain, error } = surface.gain(self.base, trial.at);
        let judgement = Self::compare(gain, error, sample);
        if judgement == Judgement::Open {
            return Next::Measure;
        }
        self.trial = None;
        self.places.add(trial.at, now, sample);
        let leaps = judgement == Judgement::Better && (self.climbing || gain > LEAP);
        if judgement == Judgement::Better {
            self.move_to(trial, seen.slack);
        }
        if leaps {
            self.climb_on(trial.step);
            return Next::Try;
        }
        if !self.climbing {
            let loss = LEAST_LOSS + (-gain).clamp(0.0, 1.0);
            self.rest(now, loss * sample.secs, 1.2);
            return Next::Stay;
        }
        self.climb_past(now, trial, gain)
    }

    /// What comes after a trial that was not better, by `gain`.
    fn climb_past(&mut self, now: Duration, trial: Trial, gain: f64) -> Next {
        let base = self.places.get(self.base, now);
        if gain > HOPELESS && base.secs < LONG {
            // The base may owe its rate to luck: it is measured on, then the two are compared again.
            self.untried.push(trial.step);
            return Next::Stay;
        }
        // What all are compared with must be known best.
        let uncertain = self.places.error(&self.places.get(trial.at, now));
        if uncertain < GAIN || self.places.error(&base) < 0.8 * uncertain {
            Next::Try
        } else {
            Next::Stay
        }
    }

    fn move_to(&mut self, trial: Trial, slack: bool) {
        self.base = trial.at;
        self.slack = slack;
        self.pause = FIRST_PAUSE;
    }

    /// All directions again, the one that led here first.
    fn climb_on(&mut self, step: Step) {
        self.untried = all_steps();
        self.untried.retain(|s| *s != step && *s != step.back());
        self.untried.push(step);
        self.climbing = true;
    }

    fn compare(gain: f64, error: f64, sample: &Sample) -> Judgement {
        let certainly_worse = gain + CERTAIN * error < GAIN;
        if sample.slices < FEWEST_SLICES || sample.secs < SHORT / 2.0 {
            return Judgement::Open;
        }
        if certainly_worse && gain < FAR_WORSE {
            return Judgement::Worse;
        }
        if sample.is_thin() || sample.secs < SHORT {
            return Judgement::Open;
        }
        let unsure = error > UNSURE && gain.abs() < error;
        if gain - CERTAIN * error > GAIN {
            Judgement::Better
        } else if certainly_worse {
            Judgement::Worse
        } else if sample.secs < LONG || unsure && sample.secs < LONGER {
            Judgement::Open
        } else if gain > GAIN / 2.0 {
            Judgement::Better
        } else {
            Judgement::Worse
        }
    }

    /// The next place to try; rest when there is none.
    fn try_next(&mut self, now: Duration, throttle: &Throttle) {
        let surface = self.places.surface(now, None);
        while let Some(step) = self.untried.pop() {
            self.trial = self.worth_a_trial(&surface, step, throttle, now);
            if self.trial.is_some() {
                return;
            }
        }
        if std::mem::take(&mut self.climbing) {
            return self.rest(now, 0.0, 1.0);
        }
        // By luck as far as is not known: what may be better is looked at as often as it is likely to be.
        let trials: Vec<Trial> = all_steps()
            .into_iter()
            .filter_map(|step| self.worth_a_trial(&surface, step, throttle, now))
            .collect();
        let drawn = trials
            .into_iter()
            .map(|trial| (trial.gain + trial.error * self.luck(), trial));
        let drawn: Vec<(f64, Trial)> = drawn.collect();
        let best = drawn.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        self.trial = best.and_then(|(gain, trial)| (gain > GAIN / 2.0).then_some(trial));
        if self.trial.is_none() {
            self.rest(now, 0.0, 1.4);
        }
    }

    /// Whether a place may be better than the base, for all that is known.
    fn worth_a_trial(
        &self,
        surface: &Surface,
        step: Step,
        throttle: &Throttle,
        now: Duration,
    ) -> Option<Trial> {
        let upward_and_failing = step.is_upward() && self.places.failing() > FAILING;
        if upward_and_failing || step.concurrency != 0 && self.slack {
            return None;
        }
        let at = step.from(self.base, &self.bounds)?;
        if self.places.is_overload(at, now) {
            return None;
        }
        let Gain { gain, error } = surface.gain(self.base, at);
        let base = self.places.get(self.base, now).rate();
        let allowed = throttle.allows(at.batch).ln() - base.max(1e-9).ln();
        let hope = (gain + CERTAIN * error).min(allowed);
        (hope > GAIN).then_some(Trial {
            at,
            step,
            gain,
            error,
        })
    }

    /// A number of a standard normal distribution.
    fn luck(&mut self) -> f64 {
        (0..12).map(|_| self.rng.random::<f64>()).sum::<f64>() - 6.0
    }

    fn climb_anew(&mut self) {
        self.untried = all_steps();
        self.climbing = true;
        self.changes = 0;
        self.pause = FIRST_PAUSE;
    }

    /// Looks at nothing else for a while, after it was done at the cost of so many seconds' work.
    fn rest(&mut self, now: Duration, lost: f64, longer: f64) {
        let pause =
            self.pause.max(lost / COST).min(LONGEST_PAUSE) * self.rng.random_range(0.8..1.2);
        self.next_look = now + Duration::from_secs_f64(pause);
        self.pause = (self.pause * longer).min(LONGEST_PAUSE);
    }
}

impl Sample {
    /// It waits for more slices.
    fn is_thin(&self) -> bool {
        self.slices < FEW_SLICES && self.secs < LATEST
    }
}

fn all_steps() -> Vec<Step> {
    Step::all().rev().collect()
}
