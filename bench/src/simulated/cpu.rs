//! A server that computes: cores, and contention when more wants to run than there are.

use rand::Rng;
use rand::rngs::StdRng;
use stoker_shared::pace::Answer;

use super::workers::{Workers, noise};
use super::{Agenda, Request, Server, to_f64};

/// Each request costs, each item costs, and large batches cost a little more for each item.
#[derive(Debug)]
pub struct CpuBound {
    cores: usize,
    workers: Workers,
    in_system: usize,
    request_s: f64,
    item_s: f64,
    large_s: f64,
    contention: f64,
}

impl CpuBound {
    /// One of many such servers.
    pub fn new(rng: &mut StdRng) -> Self {
        let cores = rng.random_range(4..=16);
        Self {
            cores,
            workers: Workers::new(cores),
            in_system: 0,
            request_s: rng.random_range(0.003..0.008),
            item_s: rng.random_range(0.0008..0.002),
            large_s: rng.random_range(5e-7..4e-6),
            contention: rng.random_range(0.03..0.15),
        }
    }

    fn begin_work(&mut self, now: f64, agenda: &mut Agenda) {
        while let Some(request) = self.workers.next() {
            let items = to_f64(request.items as u64);
            let work = self.request_s + self.item_s * items + self.large_s * items * items;
            let too_many = self.in_system.saturating_sub(self.cores);
            let crowd = to_f64(too_many as u64) / to_f64(self.cores as u64);
            let work = work * (1.0 + self.contention * crowd) * noise(0.3, &mut agenda.rng);
            agenda.answer(now + work, request.id, Answer::Done);
        }
    }
}

impl Server for CpuBound {
    fn arrive(&mut self, now: f64, request: Request, agenda: &mut Agenda) {
        self.in_system += 1;
        self.workers.arrive(request);
        self.begin_work(now, agenda);
    }

    fn answers(&mut self, now: f64, _id: u64, agenda: &mut Agenda) -> bool {
        self.in_system -= 1;
        self.workers.leave();
        self.begin_work(now, agenda);
        true
    }
}
