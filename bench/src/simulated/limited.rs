//! A server behind a gateway that allows a rate.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use stoker_shared::pace::Answer;

use super::workers::noise;
use super::{Agenda, Request, Server, to_f64};

/// A token bucket in front of a server that is fast enough; a refusal names the whole seconds to wait.
#[derive(Debug)]
pub struct RateLimited {
    counts_items: bool,
    per_s: f64,
    bucket: f64,
    tokens: f64,
    filled: f64,
    request_s: f64,
    item_s: f64,
}

impl RateLimited {
    /// One of many such servers, whose gateway counts requests or resources.
    pub fn new(counts_items: bool, rng: &mut StdRng) -> Self {
        let per_s = if counts_items {
            rng.random_range(1500.0..6000.0)
        } else {
            rng.random_range(20.0..60.0)
        };
        let bucket = per_s * rng.random_range(0.8..3.0);
        Self {
            counts_items,
            per_s,
            bucket,
            tokens: bucket,
            filled: 0.0,
            request_s: rng.random_range(0.010..0.030),
            item_s: rng.random_range(2e-4..6e-4),
        }
    }
}

impl Server for RateLimited {
    fn arrive(&mut self, now: f64, request: Request, agenda: &mut Agenda) {
        self.tokens = (self.tokens + (now - self.filled) * self.per_s).min(self.bucket);
        self.filled = now;
        let items = to_f64(request.items as u64);
        let cost = if self.counts_items { items } else { 1.0 };
        if cost <= self.tokens {
            self.tokens -= cost;
            let work = (self.request_s + self.item_s * items) * noise(0.2, &mut agenda.rng);
            agenda.answer(now + work, request.id, Answer::Done);
        } else {
            let wait = ((cost - self.tokens) / self.per_s).ceil().max(1.0);
            let retry_after = Some(Duration::from_secs_f64(wait));
            let throttled = Answer::Throttled { retry_after };
            agenda.answer(now + 0.003, request.id, throttled);
        }
    }

    fn answers(&mut self, _now: f64, _id: u64, _agenda: &mut Agenda) -> bool {
        true
    }
}
