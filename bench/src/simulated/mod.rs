//! FHIR servers in simulated time, and a client that loads into them: minutes of a server's time pass in milliseconds.
//!
//! The client has always something to send. As in the real one, batches are grouped ahead of sending, so that a new
//! batch size reaches the wire some requests later.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_shared::pace::{Answer, Bounds, Observation, Pace};

mod cpu;
mod deadlock;
mod flaky;
mod fsync;
mod limited;
mod live;
mod workers;

pub use cpu::CpuBound;
pub use deadlock::Deadlocking;
pub use flaky::Flaky;
pub use fsync::FsyncBound;
pub use limited::RateLimited;
pub use live::Live;

/// Batches that the reader has grouped besides one for each request that may be on the wire.
const GROUPED_AHEAD: usize = 4;

/// A request as the server sees it.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Distinct among all.
    pub id: u64,
    /// Resources in it.
    pub items: usize,
}

/// A server: takes requests, and tells the [`Agenda`] when it answers them. Times are in seconds.
pub trait Server {
    /// A request arrives.
    fn arrive(&mut self, now: f64, request: Request, agenda: &mut Agenda);

    /// An answer that it announced is due; it may still put it off.
    fn answers(&mut self, now: f64, id: u64, agenda: &mut Agenda) -> bool;

    /// It asked to be woken.
    fn wake(&mut self, _now: f64, _agenda: &mut Agenda) {}
}

/// What happens when.
#[derive(Debug)]
pub struct Agenda {
    events: BinaryHeap<Reverse<Event>>,
    count: u64,
    /// The server's dice.
    pub rng: StdRng,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Answered(u64, Answer),
    ServerWakes,
    ClientWakes,
}

#[derive(Debug)]
struct Event {
    at: f64,
    number: u64,
    what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_time = self.at.total_cmp(&other.at);
        by_time.then(self.number.cmp(&other.number))
    }
}

impl Agenda {
    fn new(seed: u64) -> Self {
        Self {
            events: BinaryHeap::new(),
            count: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Request `id` is answered at `at`.
    pub fn answer(&mut self, at: f64, id: u64, answer: Answer) {
        self.push(at, What::Answered(id, answer));
    }

    /// The server is to be woken at `at`.
    pub fn wake_server(&mut self, at: f64) {
        self.push(at, What::ServerWakes);
    }

    fn push(&mut self, at: f64, what: What) {
        self.count += 1;
        self.events.push(Reverse(Event {
            at,
            number: self.count,
            what,
        }));
    }
}

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub struct Course {
    /// Resources that the server took, by second.
    pub done: Vec<u64>,
    /// Requests sent.
    pub requests: u64,
    /// Requests that did nothing.
    pub wasted: u64,
    /// Limits from a moment on, in seconds.
    pub limits: Vec<(f64, usize, usize)>,
}

impl Course {
    /// Resources a second between two seconds.
    pub fn rate(&self, from: usize, to: usize) -> f64 {
        let done = self.done.get(from..to).map_or(0, |s| s.iter().sum::<u64>());
        to_f64(done) / to_f64((to - from) as u64)
    }

    /// Wasted requests in percent.
    pub fn wasted_pct(&self) -> f64 {
        100.0 * to_f64(self.wasted) / to_f64(self.requests.max(1))
    }

    /// The second from which on the next five brought `rate`; `None` when there is none.
    pub fn reached(&self, rate: f64) -> Option<usize> {
        (0..self.done.len().saturating_sub(5)).find(|from| self.rate(*from, from + 5) >= rate)
    }
}

/// Loads into a server for some seconds.
pub fn run(server: &mut dyn Server, bounds: Bounds, seed: u64, seconds: usize) -> Course {
    let mut client = Client::new(bounds, seed, seconds);
    let mut agenda = Agenda::new(seed);
    let mut now = 0.0;
    loop {
        client.send_all(now, server, &mut agenda);
        let Some(Reverse(event)) = agenda.events.pop() else {
            return client.course;
        };
        now = event.at;
        if now >= to_f64(seconds as u64) {
            return client.course;
        }
        match event.what {
            What::ServerWakes => server.wake(now, &mut agenda),
            What::ClientWakes => client.wakes = false,
            What::Answered(id, answer) => {
                if server.answers(now, id, &mut agenda) {
                    client.answered(now, id, answer);
                }
            }
        }
    }
}

struct Client {
    pace: Pace,
    grouped: VecDeque<usize>,
    under_way: HashMap<u64, (f64, usize)>,
    /// It waits for its own time to come.
    wakes: bool,
    course: Course,
}

impl Client {
    fn new(bounds: Bounds, seed: u64, seconds: usize) -> Self {
        Self {
            pace: Pace::new(bounds, Duration::ZERO, seed),
            grouped: VecDeque::new(),
            under_way: HashMap::new(),
            wakes: false,
            course: Course {
                done: vec![0; seconds],
                ..Course::default()
            },
        }
    }

    fn send_all(&mut self, now: f64, server: &mut dyn Server, agenda: &mut Agenda) {
        let limits = self.pace.limits();
        let told = self.course.limits.last().map(|(_, c, b)| (*c, *b));
        if told != Some((limits.concurrency, limits.batch)) {
            let changed = (now, limits.concurrency, limits.batch);
            self.course.limits.push(changed);
        }
        while self.under_way.len() < limits.concurrency {
            let due = self.pace.not_before().as_secs_f64();
            if due > now {
                if !self.wakes {
                    self.wakes = true;
                    // Not before its time for being rounded.
                    agenda.push(due + 1e-9, What::ClientWakes);
                }
                return;
            }
            while self.grouped.len() < limits.concurrency + GROUPED_AHEAD {
                self.grouped.push_back(limits.batch);
            }
            let items = self.grouped.pop_front().unwrap_or(limits.batch);
            let id = self.course.requests;
            self.course.requests += 1;
            self.under_way.insert(id, (now, items));
            self.pace.began(Duration::from_secs_f64(now), items, 1);
            server.arrive(now, Request { id, items }, agenda);
        }
    }

    fn answered(&mut self, now: f64, id: u64, answer: Answer) {
        let Some((sent_at, items)) = self.under_way.remove(&id) else {
            return;
        };
        if answer == Answer::Done {
            // Seconds are counted from zero.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "small"
            )]
            if let Some(done) = self.course.done.get_mut(now as usize) {
                *done += items as u64;
            }
        } else {
            self.course.wasted += 1;
        }
        let seen = Observation {
            sent_at: Duration::from_secs_f64(sent_at),
            items,
            places: 1,
            answer,
        };
        self.pace.ended(Duration::from_secs_f64(now), &seen);
    }
}

/// Counts stay far below where an `f64` is no longer exact.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn to_f64(n: u64) -> f64 {
    n as f64
}
