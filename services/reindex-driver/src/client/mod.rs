//! The client-driven way: list index ids, have them reindexed, write down which are.
//!
//! An id is *open* from when it is listed until it is settled: confirmed, gone, or set aside. Only what is settled
//! and written down is never asked for again, so a driver that dies repeats at most what is open. Places on the wire
//! become free when what they did is written down: that keeps what is open few.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use stoker_shared::pace::Permit;
use stoker_shared::retry::Backoff;
use tokio::time::{Instant, sleep_until};

mod ask;
mod health;
mod land;
mod lister;
mod queue;
mod send;
mod window;

use crate::drive::{Drive, End, Stop};
use crate::hold::Hold;
use crate::limits::Limits;
use crate::runs::{Position, RunsError, Seen, Taken};
use crate::server::Trouble;
use crate::some;
use crate::unsaved::Unsaved;
use health::Health;
use lister::{Ask, Lister};
use queue::{Queue, Work};
use send::{Landing, Manner};
use window::Window;

type Listed = (Ask, Result<Vec<i64>, Trouble>);

/// Drives a run until it is over, cannot go on, or is to be given back.
pub(crate) async fn drive(drive: &Drive, hold: Hold, taken: &Taken) -> Result<End, RunsError> {
    Client::new(drive, hold, taken).run().await
}

struct Client<'d> {
    drive: &'d Drive,
    hold: Hold,
    manner: Manner,
    limits: Limits,
    window: Window,
    lister: Lister,
    queue: Queue,
    health: Health,
    unsaved: Unsaved,
    /// What is sent when there is a place.
    next: Option<Work>,
    flight: FuturesUnordered<BoxFuture<'static, Landing>>,
    listing: Option<BoxFuture<'static, Listed>>,
    list_at: Instant,
    list_pauses: Backoff,
    asking: Option<BoxFuture<'static, Result<(), Trouble>>>,
    /// The end of the listing was found again after all else was done.
    is_believed: bool,
    given_up_in_a_row: u32,
    stop: Option<Stop>,
}

enum Event {
    Landed(Landing),
    Listed(Listed),
    Asked(Result<(), Trouble>),
    Written(Result<(), RunsError>),
    MaySend(Permit),
    Told,
    Tick,
}

impl<'d> Client<'d> {
    fn new(drive: &'d Drive, hold: Hold, taken: &Taken) -> Self {
        let settings = &drive.settings;
        let spec = taken.run.spec.clone().unwrap_or_default();
        let mut position = taken.position.clone();
        if let (None, Some(first)) = (position.frontier, spec.start_with_index_id) {
            position.frontier = Some(first.saturating_sub(1));
        }
        Self {
            limits: Limits::new(&spec, settings, &drive.server),
            window: Window::new(&position),
            lister: Lister::new(&spec.resource_types),
            queue: Queue::new(settings, &taken.waiting),
            health: Health::new(settings),
            unsaved: Unsaved::new(taken),
            next: None,
            flight: FuturesUnordered::new(),
            listing: None,
            list_at: Instant::now(),
            list_pauses: Backoff::new(settings.first_pause, settings.max_pause),
            asking: None,
            is_believed: false,
            given_up_in_a_row: 0,
            stop: None,
            manner: Manner {
                server: drive.server.clone(),
                force: spec.force,
                not_modified_after: spec.tstamp,
            },
            drive,
            hold,
        }
    }

    async fn run(mut self) -> Result<End, RunsError> {
        loop {
            self.look();
            self.write();
            if let Some(end) = self.end() {
                return Ok(end);
            }
            if self.stop.is_none() {
                self.list();
                self.ask();
                self.prepare();
            }
            match self.event().await {
                Event::Landed(landing) => self.landed(landing),
                Event::Listed(listed) => self.listed(listed),
                Event::Asked(answer) => self.asked(answer),
                Event::Written(written) => {
                    written?;
                    self.unsaved.written();
                }
                Event::MaySend(permit) => self.send(permit),
                Event::Told => self.hold.hurry(),
                Event::Tick => {}
            }
        }
    }

    /// Whatever can happen next. Nothing is lost when one thing happens before another.
    async fn event(&mut self) -> Event {
        let may_send = self.may_send();
        let due = self.due();
        let stopping = self.stop.is_some();
        let next = self.next.as_ref().map_or(0, |work| work.ids.len());
        tokio::select! {
            biased;
            () = self.drive.told(stopping) => Event::Told,
            written = self.hold.written() => Event::Written(written),
            Some(landing) = self.flight.next() => Event::Landed(landing),
            Some(answer) = some(&mut self.asking) => Event::Asked(answer),
            Some(listed) = some(&mut self.listing) => Event::Listed(listed),
            permit = self.limits.acquire(next), if may_send => Event::MaySend(permit),
            () = sleep_until(due) => Event::Tick,
        }
    }

    /// Whether it is to stop.
    fn look(&mut self) {
        if self.stop.is_none() {
            self.stop = Stop::now(self.drive, &self.hold, || self.health.given_up());
        }
    }

    /// Begins a write where there is something to write, or time for it.
    fn write(&mut self) {
        if self.hold.is_writing() {
            return;
        }
        if self.unsaved.is_dirty() {
            let position = self.position();
            let seen = self.seen();
            self.hold.save(self.unsaved.begin(position, seen));
        } else if self.hold.due() <= Instant::now() {
            let seen = self.seen();
            self.hold.renew(seen);
        }
    }

    fn position(&self) -> Position {
        self.window.position()
    }

    fn seen(&mut self) -> Seen {
        let trouble = self.health.trouble();
        self.drive.seen(&self.limits, &mut self.unsaved, trouble)
    }

    /// How it ends, once all that was on the wire is written down.
    fn end(&mut self) -> Option<End> {
        let stop = self.stop.as_ref();
        if stop.is_some_and(|stop| stop.is_overdue(true)) {
            self.flight.clear();
        }
        if stop.is_some_and(|stop| stop.is_overdue(false)) {
            return Some(End::GivenBack);
        }
        let is_quiet =
            self.flight.is_empty() && !self.unsaved.is_dirty() && !self.hold.is_writing();
        if !is_quiet {
            return None;
        }
        if let Some(stop) = self.stop.take() {
            return Some(stop.end());
        }
        let is_done = self.lister.is_ended()
            && self.queue.is_empty()
            && self.next.is_none()
            && !self.health.is_in_doubt()
            && self.listing.is_none();
        if is_done && self.is_believed {
            return Some(End::Done);
        }
        if is_done {
            self.is_believed = true;
            self.lister.ask_again();
        }
        None
    }

    /// What is sent next: what was tried before, then what is new.
    fn prepare(&mut self) {
        if self.next.is_some() {
            return;
        }
        self.next = self.queue.next();
        if self.next.is_some() || self.queue.waiting() >= self.drive.settings.most_waiting {
            return;
        }
        let ids = self.lister.next(self.limits.batch());
        if !ids.is_empty() {
            for id in &ids {
                self.window.take(*id);
            }
            self.next = Some(Work::fresh(ids));
        }
    }

    /// A quarter as many requests again as fit on the wire may wait to be written down.
    fn may_send(&self) -> bool {
        let places = self.limits.concurrency();
        let open = self.flight.len() + self.unsaved.requests();
        self.stop.is_none()
            && self.next.is_some()
            && !self.health.is_in_doubt()
            && self.flight.len() < places
            && open < places + places / 4
    }

    fn send(&mut self, permit: Permit) {
        if let Some(work) = self.next.take() {
            let sending = self.manner.clone().send(work, permit);
            self.flight.push(sending.boxed());
        }
    }

    /// When something is to be done though nothing happens.
    fn due(&self) -> Instant {
        let far = Instant::now() + Duration::from_hours(1);
        let write = if self.hold.is_writing() {
            far
        } else {
            self.hold.due()
        };
        let stop = self.stop.as_ref().and_then(Stop::due).unwrap_or(far);
        let mut due = write.min(stop);
        if self.stop.is_none() {
            let again = match &self.next {
                Some(_) => None,
                None => self.queue.due(),
            };
            let ask = self.health.is_in_doubt() && self.asking.is_none();
            let list = self.listing.is_none() && self.list_at > Instant::now();
            due = due
                .min(again.unwrap_or(far))
                .min(if ask { self.health.ask_at() } else { far })
                .min(if list { self.list_at } else { far });
        }
        due
    }
}
