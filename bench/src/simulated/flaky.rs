//! A server with bad days: slow answers, lost answers, stalls.

use std::collections::{HashMap, HashSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use stoker_shared::pace::Answer;

use super::workers::{Workers, noise};
use super::{Agenda, Request, Server, to_f64};

/// How long the client waits for an answer.
const TIMEOUT: f64 = 10.0;
const STALL: f64 = 5.0;

/// Times spread wide, some requests are refused, the answers to some are lost on the way so that the client waits in
/// vain, and now and then nothing happens for 5 s.
#[derive(Debug)]
pub struct Flaky {
    workers: Workers,
    request_s: f64,
    item_s: f64,
    spread: f64,
    refused: f64,
    lost: f64,
    /// Starts of stalls.
    stalls: Vec<f64>,
    /// Requests whose answers will be lost, and when the client gives them up.
    unanswered: HashMap<u64, f64>,
    /// Those whose answers are lost.
    unheard: HashSet<u64>,
}

impl Flaky {
    /// One of many such servers.
    pub fn new(rng: &mut StdRng) -> Self {
        let mut times = StdRng::seed_from_u64(rng.random());
        let mut at = 0.0;
        let stalls = std::iter::repeat_with(|| {
            at += times.random_range(20.0..60.0);
            at
        });
        let stalls = stalls.take(20).collect();
        Self {
            workers: Workers::new(rng.random_range(12..=24)),
            request_s: rng.random_range(0.006..0.012),
            item_s: rng.random_range(0.0005..0.001),
            spread: rng.random_range(0.5..0.8),
            refused: rng.random_range(0.001..0.003),
            lost: rng.random_range(0.0002..0.001),
            stalls,
            unanswered: HashMap::new(),
            unheard: HashSet::new(),
        }
    }

    /// When work of `secs` ends that begins `now`.
    fn end(&self, now: f64, secs: f64) -> f64 {
        let (mut at, mut left) = (now, secs);
        for start in &self.stalls {
            let end = start + STALL;
            if at >= end {
                continue;
            }
            if at + left <= *start {
                break;
            }
            left -= (start - at).max(0.0);
            at = end;
        }
        at + left
    }

    fn begin_work(&mut self, now: f64, agenda: &mut Agenda) {
        while let Some(request) = self.workers.next() {
            let work = self.request_s + self.item_s * to_f64(request.items as u64);
            let work = work * noise(self.spread, &mut agenda.rng);
            let dice: f64 = agenda.rng.random();
            if dice < self.refused {
                agenda.answer(self.end(now, 0.002), request.id, Answer::Failed);
            } else if dice < self.refused + self.lost {
                self.unanswered.insert(request.id, now + TIMEOUT);
                agenda.answer(self.end(now, work), request.id, Answer::Failed);
            } else {
                agenda.answer(self.end(now, work), request.id, Answer::Done);
            }
        }
    }
}

impl Server for Flaky {
    fn arrive(&mut self, now: f64, request: Request, agenda: &mut Agenda) {
        self.workers.arrive(request);
        self.begin_work(now, agenda);
    }

    fn answers(&mut self, now: f64, id: u64, agenda: &mut Agenda) -> bool {
        if self.unheard.remove(&id) {
            return true;
        }
        self.workers.leave();
        self.begin_work(now, agenda);
        let Some(until) = self.unanswered.remove(&id) else {
            return true;
        };
        self.unheard.insert(id);
        agenda.answer(until.max(now), id, Answer::Failed);
        false
    }
}
