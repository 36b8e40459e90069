//! Workers of a server, who take requests in the order of arrival.

use std::collections::VecDeque;

use rand::Rng;
use rand::rngs::StdRng;

use super::Request;

#[derive(Debug)]
pub(super) struct Workers {
    free: usize,
    waiting: VecDeque<Request>,
}

impl Workers {
    pub(super) fn new(count: usize) -> Self {
        Self {
            free: count,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn arrive(&mut self, request: Request) {
        self.waiting.push_back(request);
    }

    /// One has ended its request.
    pub(super) fn leave(&mut self) {
        self.free += 1;
    }

    /// The next request that a free worker takes.
    pub(super) fn next(&mut self) -> Option<Request> {
        let request = (self.free > 0).then(|| self.waiting.pop_front())??;
        self.free -= 1;
        Some(request)
    }
}

/// A factor of mean 1 whose logarithm is normal with `spread`.
pub(super) fn noise(spread: f64, rng: &mut StdRng) -> f64 {
    let (u, v): (f64, f64) = (rng.random_range(1e-12..1.0), rng.random());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    (spread * normal - spread * spread / 2.0).exp()
}
