//! What all that was measured says of any place: where answers spread wide, each place is known badly by itself, but
//! its neighbours say something of it too.
//!
//! A Gaussian process (kriging) over octaves of both values: near places have like rates, and what one value does is
//! mostly the same whatever the other is, so the prior is a function of each alone, and a little of both.

use std::f64::consts::LN_2;

use super::Limits;
use super::measure::count;

/// Standard deviations before anything is measured: of what each value does alone, and of what both do together.
const ALONE: f64 = 1.0;
const TOGETHER: f64 = 0.08;
/// Of the level, which is the same for all places.
const LEVEL: f64 = 2.0;

/// Octaves over which places have much in common.
const REACH: f64 = 4.0;

/// No place is known better than this: the server's rate is not quite the same all the time.
const CERTAINTY: f64 = 0.01;

/// One measured place: the logarithm of its score, and the standard error of that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) at: Limits,
    pub(super) value: f64,
    pub(super) error: f64,
}

/// By what one place seems better than another, as logarithm, and how uncertain that is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gain {
    pub(super) gain: f64,
    pub(super) error: f64,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Surface {
    places: Vec<Octaves>,
    /// The lower triangle of the measurements' covariance, decomposed (Cholesky), and its inverse times the values.
    factor: Vec<Vec<f64>>,
    weights: Vec<f64>,
}

/// A place by logarithms.
type Octaves = (f64, f64);

impl Surface {
    pub(super) fn through(points: &[Point]) -> Self {
        let places: Vec<Octaves> = points.iter().map(|p| octaves(p.at)).collect();
        let mean = points.iter().map(|p| p.value).sum::<f64>() / count(points.len().max(1));
        let mut factor: Vec<Vec<f64>> = Vec::with_capacity(points.len());
        for (n, point) in points.iter().enumerate() {
            let noise = point.error * point.error + CERTAINTY * CERTAINTY;
            let covariances: Vec<f64> = places[..n].iter().map(|p| alike(*p, places[n])).collect();
            let mut row = solve_lower(&factor, covariances);
            let rest = alike(places[n], places[n]) + noise - dot(&row, &row);
            row.push(rest.max(1e-9).sqrt());
            factor.push(row);
        }
        let values = points.iter().map(|p| p.value - mean).collect();
        let halfway = solve_lower(&factor, values);
        let weights = solve_upper(&factor, halfway);
        Self {
            places,
            factor,
            weights,
        }
    }

    /// What `to` has over `from`.
    pub(super) fn gain(&self, from: Limits, to: Limits) -> Gain {
        let (from, to) = (octaves(from), octaves(to));
        let shared = self.places.iter().map(|p| alike(*p, to) - alike(*p, from));
        let shared: Vec<f64> = shared.collect();
        let gain = dot(&shared, &self.weights);
        let explained = solve_lower(&self.factor, shared);
        let before = alike(to, to) + alike(from, from) - 2.0 * alike(from, to);
        let left = before - dot(&explained, &explained);
        Gain {
            gain,
            error: left.max(0.0).sqrt(),
        }
    }
}

fn octaves(at: Limits) -> Octaves {
    let octaves = |n: usize| count(n).ln() / LN_2;
    (octaves(at.concurrency), octaves(at.batch))
}

/// The covariance of two places before anything is measured.
fn alike(a: Octaves, b: Octaves) -> f64 {
    let (x, y) = ((a.0 - b.0).abs(), (a.1 - b.1).abs());
    LEVEL * LEVEL
        + ALONE * ALONE * (smooth(x) + smooth(y))
        + TOGETHER * TOGETHER * smooth(x.hypot(y))
}

/// Matérn's function for what is twice differentiable, but may bend.
fn smooth(distance: f64) -> f64 {
    let d = 5.0_f64.sqrt() * distance / REACH;
    (1.0 + d + d * d / 3.0) * (-d).exp()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Solves L·x = b for the rows that `values` has.
fn solve_lower(factor: &[Vec<f64>], mut values: Vec<f64>) -> Vec<f64> {
    for n in 0..values.len() {
        let (before, row) = (&values[..n], &factor[n]);
        values[n] = (values[n] - dot(&row[..n], before)) / row[n];
    }
    values
}

/// Solves Lᵀ·x = b.
fn solve_upper(factor: &[Vec<f64>], mut values: Vec<f64>) -> Vec<f64> {
    for n in (0..values.len()).rev() {
        let later = (n + 1..values.len()).map(|m| factor[m][n] * values[m]);
        values[n] = (values[n] - later.sum::<f64>()) / factor[n][n];
    }
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(concurrency: usize, batch: usize, value: f64, error: f64) -> Point {
        let at = Limits { concurrency, batch };
        Point { at, value, error }
    }

    fn value(at: Limits) -> f64 {
        let (x, y) = octaves(at);
        0.3 * x - 0.03 * x * x - (0.1 + 10.0 / y.exp2()).ln()
    }

    #[test]
    fn what_lies_between_is_known_from_its_neighbours() {
        let all = [4, 8, 16, 32]
            .iter()
            .flat_map(|c| [25, 50, 200].map(|b| (*c, b)));
        let points = all.map(|(concurrency, batch)| {
            let value = value(Limits { concurrency, batch });
            point(concurrency, batch, value, 0.02)
        });
        let surface = Surface::through(&points.collect::<Vec<_>>());
        let (from, to) = (
            Limits {
                concurrency: 8,
                batch: 50,
            },
            Limits {
                concurrency: 11,
                batch: 100,
            },
        );
        let seen = surface.gain(from, to);
        let off = (seen.gain - (value(to) - value(from))).abs();
        assert!(off < seen.error, "{seen:?}, off by {off}");
        assert!(seen.error < 0.1, "{seen:?}");
    }

    #[test]
    fn what_batches_do_is_learned_at_any_concurrency() {
        let points = [
            point(4, 50, 1.0, 0.01),
            point(4, 100, 1.3, 0.01),
            point(8, 50, 1.5, 0.01),
        ];
        let (from, to) = (
            Limits {
                concurrency: 8,
                batch: 50,
            },
            Limits {
                concurrency: 8,
                batch: 100,
            },
        );
        let seen = Surface::through(&points).gain(from, to);
        assert!((seen.gain - 0.3).abs() < 2.0 * seen.error, "{seen:?}");
        assert!(seen.error < 0.15, "{seen:?}");
    }

    proptest! {
        #[test]
        fn whatever_was_measured_gains_are_numbers_and_no_place_gains_on_itself(
            measured in proptest::collection::vec((1_usize..65, 1_usize..501, -20.0..20.0, 0.0..2.0), 0..40),
            (a, b) in ((1_usize..65, 1_usize..501), (1_usize..65, 1_usize..501)),
        ) {
            let points = measured.into_iter();
            let points = points.map(|(concurrency, batch, value, error)| point(concurrency, batch, value, error));
            let points: Vec<Point> = points.collect();
            let surface = Surface::through(&points);
            let [a, b] = [a, b].map(|(concurrency, batch)| Limits { concurrency, batch });
            let (there, back) = (surface.gain(a, b), surface.gain(b, a));
            prop_assert!(there.gain.is_finite() && there.error.is_finite(), "{there:?}");
            prop_assert!((there.gain + back.gain).abs() < 1e-6, "{there:?} {back:?}");
            let none = surface.gain(a, a);
            prop_assert!(none.gain.abs() < 1e-9 && none.error < 1e-6, "{none:?}");
        }
    }

    #[test]
    fn nothing_measured_is_nothing_known() {
        let (from, to) = (
            Limits {
                concurrency: 8,
                batch: 50,
            },
            Limits {
                concurrency: 16,
                batch: 50,
            },
        );
        let seen = Surface::through(&[]).gain(from, to);
        assert!(seen.gain.abs() < 1e-9 && seen.error > 0.2, "{seen:?}");
        assert!(Surface::through(&[]).gain(from, from).error < 1e-9);
    }
}
