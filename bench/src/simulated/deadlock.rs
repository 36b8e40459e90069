//! A server whose transactions write the same rows, in any order.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::rngs::StdRng;
use stoker_shared::pace::Answer;

use super::workers::{Workers, noise};
use super::{Agenda, Request, Server, to_f64};

/// How long PostgreSQL waits before it looks for a deadlock, if not told otherwise.
const DETECTED_AFTER: f64 = 1.0;

/// Two transactions lock each other out the more often, the more run and the more they write. After a second one of
/// them fails and the other goes on.
#[derive(Debug)]
pub struct Deadlocking {
    workers: Workers,
    running: BTreeSet<u64>,
    /// Held up by a deadlock until then.
    held_up: BTreeMap<u64, f64>,
    request_s: f64,
    item_s: f64,
    risk: f64,
}

impl Deadlocking {
    /// One of many such servers.
    pub fn new(rng: &mut StdRng) -> Self {
        Self {
            workers: Workers::new(rng.random_range(16..=32)),
            running: BTreeSet::new(),
            held_up: BTreeMap::new(),
            request_s: rng.random_range(0.004..0.010),
            item_s: rng.random_range(0.0006..0.0015),
            risk: rng.random_range(5e-8..4e-7),
        }
    }

    fn begin_work(&mut self, now: f64, agenda: &mut Agenda) {
        while let Some(request) = self.workers.next() {
            let items = to_f64(request.items as u64);
            let others = self.running.len();
            let work = self.request_s + self.item_s * items;
            let end = now + work * noise(0.25, &mut agenda.rng);
            let risk = self.risk * items * items * to_f64(others as u64);
            if agenda.rng.random::<f64>() < 1.0 - (-risk).exp() {
                let other = agenda.rng.random_range(0..others);
                if let Some(other) = self.running.iter().nth(other) {
                    self.held_up.insert(*other, end + DETECTED_AFTER);
                }
                agenda.answer(end + DETECTED_AFTER, request.id, Answer::Failed);
            } else {
                agenda.answer(end, request.id, Answer::Done);
            }
            self.running.insert(request.id);
        }
    }
}

impl Server for Deadlocking {
    fn arrive(&mut self, now: f64, request: Request, agenda: &mut Agenda) {
        self.workers.arrive(request);
        self.begin_work(now, agenda);
    }

    fn answers(&mut self, now: f64, id: u64, agenda: &mut Agenda) -> bool {
        if let Some(until) = self.held_up.remove(&id)
            && until > now
        {
            agenda.answer(until, id, Answer::Done);
            return false;
        }
        self.running.remove(&id);
        self.workers.leave();
        self.begin_work(now, agenda);
        true
    }
}
