//! A server whose database flushes its log once for all transactions that wait.

use std::collections::VecDeque;

use rand::Rng;
use rand::rngs::StdRng;
use stoker_shared::pace::Answer;

use super::workers::{Workers, noise};
use super::{Agenda, Request, Server, to_f64};

/// Work on requests is cheap; their commits wait for the next flush.
#[derive(Debug)]
pub struct FsyncBound {
    connections: Workers,
    flush: f64,
    bytes_per_s: f64,
    to_a_flush: usize,
    request_s: f64,
    item_s: f64,
    /// When work on a request ends and its commit begins.
    commits: Vec<(f64, Request)>,
    ready: VecDeque<Request>,
    flushing: Vec<Request>,
    flushes_until: Option<f64>,
}

impl FsyncBound {
    /// One of many such servers.
    pub fn new(rng: &mut StdRng) -> Self {
        Self {
            connections: Workers::new(rng.random_range(24..=48)),
            flush: rng.random_range(0.004..0.007),
            bytes_per_s: rng.random_range(8e7..2e8),
            to_a_flush: rng.random_range(18..=28),
            request_s: rng.random_range(0.001..0.002),
            item_s: rng.random_range(1e-4..3e-4),
            commits: Vec::new(),
            ready: VecDeque::new(),
            flushing: Vec::new(),
            flushes_until: None,
        }
    }

    /// The same, where work on a resource takes so many seconds.
    #[must_use]
    pub fn with_item_s(self, item_s: f64) -> Self {
        Self { item_s, ..self }
    }

    fn begin_work(&mut self, now: f64, agenda: &mut Agenda) {
        while let Some(request) = self.connections.next() {
            let work = self.request_s + self.item_s * to_f64(request.items as u64);
            let done = now + work * noise(0.2, &mut agenda.rng);
            self.commits.push((done, request));
            agenda.wake_server(done);
        }
    }

    fn begin_flush(&mut self, now: f64, agenda: &mut Agenda) {
        if self.flushes_until.is_some() || self.ready.is_empty() {
            return;
        }
        let count = self.ready.len().min(self.to_a_flush);
        self.flushing = self.ready.drain(..count).collect();
        let items: usize = self.flushing.iter().map(|r| r.items).sum();
        let write = 2100.0 * to_f64(items as u64) / self.bytes_per_s;
        let until = now + (self.flush + write) * noise(0.1, &mut agenda.rng);
        self.flushes_until = Some(until);
        agenda.wake_server(until);
    }
}

impl Server for FsyncBound {
    fn arrive(&mut self, now: f64, request: Request, agenda: &mut Agenda) {
        self.connections.arrive(request);
        self.begin_work(now, agenda);
    }

    fn answers(&mut self, now: f64, _id: u64, agenda: &mut Agenda) -> bool {
        self.connections.leave();
        self.begin_work(now, agenda);
        true
    }

    fn wake(&mut self, now: f64, agenda: &mut Agenda) {
        let (due, later) = self.commits.drain(..).partition(|(at, _)| *at <= now);
        self.commits = later;
        let due: Vec<(f64, Request)> = due;
        self.ready
            .extend(due.into_iter().map(|(_, request)| request));
        if self.flushes_until.is_some_and(|until| until <= now) {
            self.flushes_until = None;
            for request in self.flushing.drain(..) {
                agenda.answer(now, request.id, Answer::Done);
            }
        }
        self.begin_flush(now, agenda);
    }
}
