//! A smooth surface through what was measured around a place: where answers spread wide, single places are known
//! badly, but their neighbours say something of them too.

/// Coefficients: 1, x, y, x², xy, y².
const TERMS: usize = 6;

/// Points that a surface needs.
const POINTS: usize = 9;

/// Points count less, the further off they are in octaves, and not endlessly for being certain.
const REACH: f64 = 1.5;
const CERTAINTY: f64 = 0.015;

/// Keeps the equations solvable where points lie in line.
const RIDGE: f64 = 1e-3;

/// One measured place: octaves from the middle, the logarithm of its score, its standard error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) value: f64,
    pub(super) error: f64,
}

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(super) struct Surface([f64; TERMS]);

impl Surface {
    /// `None` when too few points are near.
    pub(super) fn through(points: &[Point]) -> Option<Self> {
        let near = points.iter().filter(|p| p.x.hypot(p.y) < 2.0 * REACH);
        if near.count() < POINTS {
            return None;
        }
        let mut matrix = [[0.0; TERMS + 1]; TERMS];
        for point in points {
            let terms = terms(point.x, point.y);
            let distance = point.x.hypot(point.y) / REACH;
            let variance = point.error.powi(2) + CERTAINTY * CERTAINTY;
            let weight = (-distance * distance / 2.0).exp() / variance;
            for (row, left) in matrix.iter_mut().zip(terms) {
                for (cell, right) in row.iter_mut().zip(terms) {
                    *cell += weight * left * right;
                }
                row[TERMS] += weight * left * point.value;
            }
        }
        for (n, row) in matrix.iter_mut().enumerate().skip(1) {
            row[n] += RIDGE * row[n] + RIDGE;
        }
        solve(matrix).map(Self)
    }

    /// The logarithm of the score at some octaves from the middle.
    pub(super) fn at(&self, x: f64, y: f64) -> f64 {
        let terms = terms(x, y);
        self.0.iter().zip(terms).map(|(c, t)| c * t).sum()
    }
}

fn terms(x: f64, y: f64) -> [f64; TERMS] {
    [1.0, x, y, x * x, x * y, y * y]
}

/// Gauss elimination with pivots.
fn solve(mut m: [[f64; TERMS + 1]; TERMS]) -> Option<[f64; TERMS]> {
    for column in 0..TERMS {
        let pivot =
            (column..TERMS).max_by(|a, b| m[*a][column].abs().total_cmp(&m[*b][column].abs()))?;
        if m[pivot][column].abs() < 1e-9 {
            return None;
        }
        m.swap(column, pivot);
        let lead = m[column];
        for (n, row) in m.iter_mut().enumerate() {
            if n != column {
                let factor = row[column] / lead[column];
                for (cell, above) in row.iter_mut().zip(lead) {
                    *cell -= factor * above;
                }
            }
        }
    }
    let mut solution = [0.0; TERMS];
    for (n, value) in solution.iter_mut().enumerate() {
        *value = m[n][TERMS] / m[n][n];
    }
    Some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(value: impl Fn(f64, f64) -> f64) -> Vec<Point> {
        let xs = [-1.0, 0.0, 1.0];
        let all = xs.iter().flat_map(|x| xs.iter().map(move |y| (*x, *y)));
        let point = |(x, y)| Point {
            x,
            y,
            value: value(x, y),
            error: 0.02,
        };
        all.map(point).collect()
    }

    #[test]
    fn a_quadratic_surface_is_found_again() {
        let value =
            |x: f64, y: f64| 3.0 + 0.2 * x - 0.1 * y - 0.3 * x * x + 0.05 * x * y - 0.02 * y * y;
        let surface = Surface::through(&grid(value)).unwrap();
        assert!((surface.at(0.5, -0.5) - value(0.5, -0.5)).abs() < 0.01);
    }

    #[test]
    fn few_points_or_points_in_line_are_no_trouble() {
        assert!(Surface::through(&grid(|_, _| 1.0)[..5]).is_none());
        let mut line = grid(|x, _| x);
        for p in &mut line {
            p.y = 0.0;
        }
        let surface = Surface::through(&line).unwrap();
        assert!((surface.at(0.5, 0.0) - 0.5).abs() < 0.05);
    }
}
