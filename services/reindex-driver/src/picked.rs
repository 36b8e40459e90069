//! The server-driven way: the server picks what is not reindexed yet, and marks it.
//!
//! Who dies loses nothing: the marks are the server's. That all is done is believed only when the server says so to a
//! call that is alone: to others it says so too while the last resources are in the hands of calls that may fail.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use stoker_proto::reindex::v1::RunSpec;
use stoker_shared::pace::{Answer, Permit};
use stoker_shared::retry::Backoff;
use tokio::time::{Instant, sleep_until};

use crate::drive::{Drive, End, Stop, of_types};
use crate::hold::Hold;
use crate::limits::Limits;
use crate::runs::{Position, RunsError, Seen, Taken};
use crate::server::{Listing, Picked, Trouble};
use crate::some;
use crate::unsaved::Unsaved;

/// Drives a run until it is over, cannot go on, or is to be given back.
pub(crate) async fn drive(drive: &Drive, hold: Hold, taken: &Taken) -> Result<End, RunsError> {
    Picking::new(drive, hold, taken).run().await
}

struct Picking<'d> {
    drive: &'d Drive,
    hold: Hold,
    limits: Limits,
    unsaved: Unsaved,
    spec: RunSpec,
    /// Types that are not done, the first is at work.
    types: Vec<Option<String>>,
    flight: FuturesUnordered<BoxFuture<'static, Landing>>,
    asking: Option<BoxFuture<'static, Result<(), Trouble>>>,
    phase: Phase,
    /// Calls that failed since the last that went well.
    failures: u32,
    last_good: Instant,
    trouble: Option<Trouble>,
    backoff: Backoff,
    send_at: Instant,
    stop: Option<Stop>,
}

/// How sure it is that there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is.
    Picking,
    /// A call found none: the others are waited for.
    Draining,
    /// One call is alone.
    Probing,
}

struct Landing {
    items: usize,
    answer: Result<Picked, Trouble>,
}

enum Event {
    Landed(Landing),
    Asked(Result<(), Trouble>),
    Written(Result<(), RunsError>),
    MaySend(Permit),
    Told,
    Tick,
}

impl<'d> Picking<'d> {
    fn new(drive: &'d Drive, hold: Hold, taken: &Taken) -> Self {
        let settings = &drive.settings;
        let spec = taken.run.spec.clone().unwrap_or_default();
        Self {
            limits: Limits::new(&spec, settings, &drive.server),
            unsaved: Unsaved::new(taken),
            types: of_types(&spec),
            spec,
            flight: FuturesUnordered::new(),
            asking: None,
            phase: Phase::Picking,
            failures: 0,
            last_good: Instant::now(),
            trouble: None,
            backoff: Backoff::new(settings.first_pause, settings.max_pause),
            send_at: Instant::now(),
            stop: None,
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
            match self.event().await {
                Event::Landed(landing) => self.landed(landing),
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

    async fn event(&mut self) -> Event {
        let may_send = self.may_send();
        let due = self.due();
        let stopping = self.stop.is_some();
        let batch = self.limits.batch();
        tokio::select! {
            biased;
            () = self.drive.told(stopping) => Event::Told,
            written = self.hold.written() => Event::Written(written),
            Some(landing) = self.flight.next() => Event::Landed(landing),
            Some(answer) = some(&mut self.asking) => Event::Asked(answer),
            permit = self.limits.acquire(batch), if may_send => Event::MaySend(permit),
            () = sleep_until(due) => Event::Tick,
        }
    }

    fn look(&mut self) {
        if self.stop.is_none() {
            self.stop = Stop::now(self.drive, &self.hold, || self.given_up());
        }
    }

    fn given_up(&self) -> Option<String> {
        let trouble = self.trouble.as_ref()?;
        let after = self.drive.settings.give_up_after;
        (self.last_good.elapsed() > after).then(|| {
            let after = humantime::format_duration(after);
            format!("nothing has gone well for {after}: {trouble}")
        })
    }

    fn write(&mut self) {
        if self.hold.is_writing() {
            return;
        }
        let seen = self.seen();
        if self.unsaved.is_dirty() {
            self.hold
                .save(self.unsaved.begin(Position::default(), seen));
        } else if self.hold.due() <= Instant::now() {
            self.hold.renew(seen);
        }
    }

    fn seen(&mut self) -> Seen {
        let trouble = self.trouble.as_ref();
        self.drive.seen(&self.limits, &mut self.unsaved, trouble)
    }

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
        self.types.is_empty().then_some(End::Done)
    }

    fn may_send(&self) -> bool {
        let places = match self.phase {
            Phase::Picking => self.limits.concurrency(),
            Phase::Draining => 0,
            Phase::Probing => 1,
        };
        let open = self.flight.len() + self.unsaved.requests();
        self.stop.is_none()
            && !self.types.is_empty()
            && self.asking.is_none()
            && self.send_at <= Instant::now()
            && self.flight.len() < places
            && open < places + places.div_ceil(2)
    }

    fn send(&mut self, permit: Permit) {
        let Some(of) = self.types.first().cloned() else {
            return;
        };
        let items = self.limits.batch();
        let server = self.drive.server.clone();
        let (tstamp, force) = (self.spec.tstamp.clone(), self.spec.force);
        self.flight.push(
            async move {
                let answer = server.pick(of.as_deref(), &tstamp, items, force).await;
                permit.done(match &answer {
                    Ok(_) => Answer::Done,
                    Err(trouble) => trouble.answer(),
                });
                Landing { items, answer }
            }
            .boxed(),
        );
    }

    fn landed(&mut self, landing: Landing) {
        let Landing { items, answer } = landing;
        self.unsaved.answered(answer.is_err());
        self.drive
            .metrics
            .answered(answer.as_ref().err().map(Trouble::status));
        match answer {
            Ok(Picked::Some(count)) => {
                self.good();
                self.limits.went_well(items);
                self.unsaved.reindexed(count);
                self.drive
                    .metrics
                    .reindexed(usize::try_from(count).unwrap_or(usize::MAX));
                if self.phase == Phase::Probing {
                    self.phase = Phase::Picking;
                }
            }
            Ok(Picked::Complete) => {
                self.good();
                if self.phase == Phase::Probing {
                    self.types.remove(0);
                    self.phase = Phase::Picking;
                } else {
                    self.phase = Phase::Draining;
                }
            }
            Err(Trouble::Hopeless { reason }) => self.stop = Some(Stop::Cannot(reason)),
            Err(trouble) => self.failed(trouble, items),
        }
        if self.phase == Phase::Draining && self.flight.is_empty() {
            self.phase = Phase::Probing;
        }
    }

    fn good(&mut self) {
        self.failures = 0;
        self.last_good = Instant::now();
        self.trouble = None;
        self.backoff.reset();
    }

    fn failed(&mut self, trouble: Trouble, items: usize) {
        if matches!(trouble, Trouble::TimedOut { .. }) {
            self.limits.timed_out(items);
        }
        if !matches!(trouble, Trouble::Throttled { .. }) {
            self.failures += 1;
            let pause = self.backoff.pause(None, &mut StdRng::from_os_rng());
            self.send_at = Instant::now() + pause;
            let error = trouble.for_log();
            tracing::warn!(error, ?pause, "a call to reindex failed; trying again");
            if self.failures >= self.drive.settings.attempts && self.flight.is_empty() {
                self.ask();
            }
        }
        self.trouble = Some(trouble);
    }

    /// Whether the server fails everything, or only what it picks.
    fn ask(&mut self) {
        let server = self.drive.server.clone();
        let tstamp = self.spec.tstamp.clone();
        self.asking = Some(
            async move {
                let listing = Listing {
                    of: None,
                    not_modified_after: &tstamp,
                    after: None,
                    count: 1,
                };
                server.list(listing).await.map(drop)
            }
            .boxed(),
        );
    }

    fn asked(&mut self, answer: Result<(), Trouble>) {
        self.asking = None;
        if let (
            Err(Trouble::Hopeless { .. }),
            Some(refused @ Trouble::Failed { status: 400, .. }),
        ) = (&answer, &self.trouble)
        {
            let reason =
                format!("the server refuses what it is asked for: {refused}; check the time");
            self.stop = Some(Stop::Cannot(reason));
            return;
        }
        let may_be_one = !matches!(self.trouble, Some(Trouble::Unreachable { .. }) | None);
        if let (Ok(()), true, Some(trouble)) = (answer, may_be_one, &self.trouble) {
            self.stop = Some(Stop::Cannot(format!(
                "the server fails at what it picks, which is the same each time: {trouble}; reindex the rest with \
                 --client-driven, which sets aside what fails"
            )));
        }
    }

    fn due(&self) -> Instant {
        let now = Instant::now();
        let far = now + Duration::from_hours(1);
        let later = |at: Option<Instant>| at.filter(|at| *at > now).unwrap_or(far);
        let write = if self.hold.is_writing() {
            far
        } else {
            self.hold.due()
        };
        let stop = self.stop.as_ref().and_then(Stop::due).unwrap_or(far);
        write.min(stop).min(later(Some(self.send_at)))
    }
}
