//! Brings requests to an end: sends, waits, takes apart, until the fate of every input is known.
//!
//! What is safe to repeat is repeated; the rest ends "in doubt". A Bundle refused as a whole is taken apart until
//! the bad input is alone (`bisect.rs`).

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_shared::fhir::FhirClient;
use stoker_shared::pace::Pacer;
use stoker_shared::retry::Backoff;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod answer;
mod attempt;
mod bisect;
mod course;
mod health;
mod keys;
mod pending;
mod verdict;

pub use verdict::Stop;

use crate::input::Request;
use crate::leases::LeaseEnd;
use crate::outcome::Settled;
use crate::stats::Stats;
use attempt::until_stopped;
use course::Course;
use health::ServerHealth;
pub(crate) use keys::{Keys, Writes};
use pending::{Failure, Pending};
use verdict::{Again, EntryVerdict, Verdict};

/// How long the one request that meets errors of the server's own (500) is tried when nothing else
/// is sent that would show whether the server is well; then a read is asked for to show it.
const LONELY: Duration = Duration::from_secs(10);

/// How patient to be.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Tries of a request that fails while others succeed.
    pub attempts: u32,
    /// How long a server may be unavailable before the load stops.
    pub give_up_after: Duration,
    /// The first pause; later ones double.
    pub first_pause: Duration,
    /// The longest pause.
    pub max_pause: Duration,
}

impl Patience {
    fn backoff(&self) -> Backoff {
        Backoff::new(self.first_pause, self.max_pause)
    }
}

/// When to end before all is sent.
#[derive(Debug, Clone, Default)]
pub struct Stops {
    /// Send nothing more; what is on the wire is awaited.
    pub stop: CancellationToken,
    /// Do not await it any longer.
    pub abandon: CancellationToken,
    /// Nothing is sent under a lease that has ended; none when there is no lease.
    pub lease: Option<LeaseEnd>,
}

/// Sends to one FHIR server.
#[derive(Debug)]
pub struct Sender {
    client: FhirClient,
    pacer: Pacer,
    /// Places on the wire that a Bundle of the user's takes for each of its entries.
    bundle_cost: f64,
    health: ServerHealth,
    /// Held by the one that asks whether the server is well again.
    asking: Mutex<()>,
    patience: Patience,
    stats: Arc<Stats>,
    rng: Mutex<StdRng>,
    keys: Keys,
    under_way: UnderWay,
}

/// Requests of all units that are on the wire to a server or wait for a place there: one for each clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnderWay(Arc<()>);

impl UnderWay {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

impl Sender {
    /// Sends with `client` as many requests at a time as `pacer` finds best.
    pub fn new(
        client: FhirClient,
        pacer: Pacer,
        patience: Patience,
        stats: Arc<Stats>,
        seed: u64,
    ) -> Self {
        Self {
            client,
            pacer,
            bundle_cost: 0.0,
            health: ServerHealth::default(),
            asking: Mutex::default(),
            patience,
            stats,
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            keys: Keys::default(),
            under_way: UnderWay::default(),
        }
    }

    /// What it has learned of the server's pace.
    pub(crate) fn pacer(&self) -> &Pacer {
        &self.pacer
    }

    /// Has a Bundle of the user's take `factor` of the places on the wire for each of its entries, rounded down: one
    /// at least, as many as there are at most.
    #[must_use]
    pub fn with_bundle_cost(mut self, factor: f64) -> Self {
        self.bundle_cost = factor;
        self
    }

    /// What is on the wire or waits for it.
    pub(crate) fn under_way(&self) -> &UnderWay {
        &self.under_way
    }

    /// What requests under way to this server write, of whatever unit.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Sends until every input is settled, or until it is clear that none will be. What is settled
    /// while more is to be sent is handed to `parts` at once: it may take long until the rest is. What
    /// was settled last, before a stop too, is the answer.
    pub async fn settle(
        &self,
        request: Request,
        stops: &Stops,
        parts: &mpsc::Sender<Settled>,
    ) -> (Settled, Option<Stop>) {
        let mut course = Course::default();
        course
            .waiting
            .push_back(Pending::new(request, &self.patience));
        while let Some(next) = course.waiting.pop_back() {
            if let Err(stop) = self.step(next, &mut course, stops).await {
                return (course.settled, Some(stop));
            }
            if !course.waiting.is_empty() && !course.settled.done.is_empty() {
                // Nobody to take it: nobody waits for the rest either.
                let _ = parts.send(std::mem::take(&mut course.settled)).await;
            }
        }
        (course.settled, None)
    }

    /// One attempt of one request, and what follows from it.
    async fn step<'s>(
        &'s self,
        mut pending: Pending,
        course: &mut Course<'s>,
        stops: &Stops,
    ) -> Result<(), Stop> {
        self.sleep_until(pending.not_before, stops).await?;
        let (verdict, ms) = self
            .attempt(&mut pending, stops, &mut course.settled)
            .await?;
        match verdict {
            Verdict::Answered(answers) => {
                self.answered(pending, answers, ms, course, stops).await?;
            }
            Verdict::Refused(why) => course.refused(pending, &why, ms, &self.patience),
            Verdict::Again(again) => self.again(pending, again, ms, course, stops).await?,
            Verdict::InDoubt(why) | Verdict::OddTransaction(why) => {
                course.in_doubt(pending, &why, ms, &self.patience);
            }
            Verdict::Stop(stop) => return Err(stop),
        }
        Ok(())
    }

    /// Settles what the server answered; what it may take later waits for another try.
    async fn answered<'s>(
        &'s self,
        mut pending: Pending,
        answers: Vec<EntryVerdict>,
        ms: u32,
        course: &mut Course<'s>,
        stops: &Stops,
    ) -> Result<(), Stop> {
        let failure = failure_among(&answers);
        if let Some(failure) = failure {
            pending.failed(failure, &self.health);
        }
        let hopeless = failure == Some(Failure::OfItself)
            && self.is_hopeless(&mut pending, course, stops).await;
        let patience = self.patience.give_up_after;
        let away = self.health.away_for(pending.since()) >= patience;
        let waited_enough = !away && pending.waited() >= patience;
        let (search, trouble) = (pending.search.take(), pending.trouble.take());
        if let (Some(bundle), true) = (&pending.request.bundle, pending.request.inputs.is_empty()) {
            course.settled.done.push(bundle.place.covers.clone());
        }
        let mut later = Vec::new();
        let mut last = String::new();
        course.settled.outcomes.reserve(answers.len());
        for (input, answer) in pending.request.inputs.drain(..).zip(answers) {
            match answer {
                EntryVerdict::Again { why, throttled }
                    if !waited_enough && (throttled || !hopeless) =>
                {
                    later.push(input);
                    last = why.text;
                }
                answer => course.answered(input, answer, ms),
            }
        }
        if !later.is_empty() {
            self.ensure_patience(pending.since(), &last)?;
            pending.request = Request::group(later, Vec::new());
            self.put_off(pending, None, course).await;
        }
        if let Some(mut search) = search {
            search.taken();
            course.go_on(search, trouble, &self.patience);
        }
        Ok(())
    }

    /// Decides between waiting, looking for the input that is to blame, and giving up.
    async fn again<'s>(
        &'s self,
        mut pending: Pending,
        again: Again,
        ms: u32,
        course: &mut Course<'s>,
        stops: &Stops,
    ) -> Result<(), Stop> {
        pending.failed(again.failure(), &self.health);
        let to_blame = pending.is_to_blame(&self.patience) && !again.throttled;
        let suspect = pending.tried_enough(&self.patience) && !again.unavailable;
        if pending.can_be_split() && (to_blame || suspect) {
            // This rejects nothing: in an outage the parts wait as the whole did.
            match course.take_apart(pending, &again.why, &self.patience) {
                None => return Ok(()),
                Some(of_a_piece) => pending = of_a_piece,
            }
        }
        if !pending.can_be_split()
            && (to_blame
                || (!again.unavailable && self.is_hopeless(&mut pending, course, stops).await))
        {
            course.rejected(pending, &again.why, ms, &self.patience);
            return Ok(());
        }
        self.ensure_patience(pending.since(), &again.why.text)?;
        let asked = again.pause.map(|p| p.min(self.patience.give_up_after));
        self.put_off(pending, asked, course).await;
        Ok(())
    }

    /// Whether errors of the server's own (500) will not pass: others got through again and again, or
    /// this is the only request that meets them, and met one more after the server answered a read.
    async fn is_hopeless<'s>(
        &'s self,
        pending: &mut Pending,
        course: &mut Course<'s>,
        stops: &Stops,
    ) -> bool {
        course.failing.get_or_insert_with(|| self.health.failing());
        if pending.is_to_blame(&self.patience) {
            return true;
        }
        if pending.troubled_for() < LONELY || self.health.failing_now() > 1 {
            return false;
        }
        let answered_before = pending.reads_answered;
        if !answered_before {
            pending.reads_answered = self.answers_reads(&pending.request, stops).await;
        }
        answered_before
    }

    /// Lets everything else of the same course go first.
    async fn put_off(
        &self,
        mut pending: Pending,
        asked: Option<Duration>,
        course: &mut Course<'_>,
    ) {
        let pause = pending.backoff.pause(asked, &mut *self.rng.lock().await);
        pending.not_before = Instant::now() + pause;
        course.waiting.push_front(pending);
    }

    fn ensure_patience(&self, since: Instant, last: &str) -> Result<(), Stop> {
        let away = self.health.away_for(since);
        if away < self.patience.give_up_after {
            return Ok(());
        }
        Err(Stop::Lost {
            away: Duration::from_secs(away.as_secs()),
            last: last.to_owned(),
        })
    }

    async fn pause(
        &self,
        backoff: &mut Backoff,
        asked: Option<Duration>,
        stops: &Stops,
    ) -> Result<(), Stop> {
        let pause = backoff.pause(asked, &mut *self.rng.lock().await);
        self.sleep_until(Instant::now() + pause, stops).await
    }

    async fn sleep_until(&self, until: Instant, stops: &Stops) -> Result<(), Stop> {
        let asleep = async {
            // The runtime's timers end at a whole millisecond: also one that is over already takes up to one.
            if until > Instant::now() {
                tokio::time::sleep_until(until).await;
            }
        };
        until_stopped(stops, asleep).await
    }
}

/// Why some entries failed that may not fail again; the worst of the reasons.
fn failure_among(answers: &[EntryVerdict]) -> Option<Failure> {
    let failures = answers.iter().filter_map(|answer| match answer {
        EntryVerdict::Again { throttled, .. } if *throttled => Some(Failure::Throttled),
        EntryVerdict::Again { .. } => Some(Failure::OfItself),
        _ => None,
    });
    failures.max()
}
