//! Makes outcomes durable in the ledger.
//!
//! If the process dies before a commit, what it covers was sent but is not settled: the next lease of the unit
//! sends it again (a `PUT` then changes nothing, a `POST` may double what was in flight). If it dies after, the
//! next lease skips it. What cannot be repeated safely is first noted as begun, so that the ledger can name what
//! a `POST` may have doubled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_proto::ledger::v1::commit_outcomes_request::Part;
use stoker_proto::ledger::v1::{Lease, TypeCount};
use stoker_shared::retry::Backoff;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

mod messages;

use crate::announce::Announcer;
use crate::input::Request;
use crate::ledger::{Ledger, LedgerFault};
use crate::outcome::Settled;
use crate::stats::Stats;
use crate::unit::UnitEnd;
use messages::parts;

/// Bytes of rejected inputs in one commit, about.
const COMMIT_BYTES: usize = 32 << 20;

/// How long a commit waits for more to go into it: so much that was answered a crash may have sent again, besides what
/// is on the wire.
const GATHER: Duration = Duration::from_millis(20);

/// Commits for one unit.
#[derive(Debug)]
pub(crate) struct Recorder {
    ledger: Ledger,
    lease: Lease,
    stats: Arc<Stats>,
    announcer: Announcer,
    waits_for_room: bool,
    rng: StdRng,
}

impl Recorder {
    /// With `waits_for_room` a full ledger is waited for like one that is away.
    pub(crate) fn new(
        ledger: Ledger,
        lease: Lease,
        stats: Arc<Stats>,
        announcer: Announcer,
        waits_for_room: bool,
        seed: u64,
    ) -> Self {
        Self {
            ledger,
            lease,
            stats,
            announcer,
            waits_for_room,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Starts to commit what is handed over. At most `window` requests are sent and not yet
    /// committed: so much a crash can repeat.
    pub(crate) fn start(mut self, window: usize, source_bytes: Arc<AtomicU64>) -> Recording {
        let (settled, mut waiting) = mpsc::channel::<(Settled, Waits)>(window);
        let committing = async move {
            let mut together = Vec::new();
            // Whatever is settled while one commit runs goes into the next.
            while waiting.recv_many(&mut together, window).await > 0 {
                gather(&mut waiting, &mut together, window).await;
                while !together.is_empty() {
                    let some = together.drain(..fitting(&together));
                    let (settled, waits): (Vec<_>, Vec<_>) = some.unzip();
                    let bytes = source_bytes.load(Ordering::Relaxed);
                    self.commit(settled, bytes).await?;
                    waits.into_iter().for_each(Waits::end);
                }
            }
            Ok(())
        };
        Recording {
            settled,
            window: Arc::new(Semaphore::new(window)),
            task: AbortOnDropHandle::new(tokio::spawn(committing.in_current_span())),
        }
    }

    /// Commits; while the ledger is away it tries again, for as long as the caller lets it.
    async fn commit(
        &mut self,
        settled: Vec<Settled>,
        source_bytes: u64,
    ) -> Result<(), LedgerFault> {
        let parts = parts(&self.lease, settled, source_bytes);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match self.ledger.commit(parts.clone()).await {
                Ok(()) => break,
                Err(e) if e.may_pass() || (e.is_full() && self.waits_for_room) => {
                    tracing::warn!(error = %e, "the ledger is away, committing again");
                    tokio::time::sleep(backoff.pause(None, &mut self.rng)).await;
                }
                Err(e) => return Err(e),
            }
        }
        for part in parts.into_iter().filter_map(|part| part.part) {
            match part {
                Part::Header(header) => {
                    self.count(&header.counts);
                    self.announcer.counted(&header.counts);
                }
                Part::Outcomes(list) => self.announcer.recorded(&list.outcomes),
                Part::Quarantine(_) => {}
            }
        }
        Ok(())
    }

    fn count(&self, counts: &[TypeCount]) {
        let metrics = self.stats.metrics();
        for count in counts {
            metrics.resources("created", count.created);
            metrics.resources("updated", count.updated);
            metrics.resources("rejected", count.rejected);
            metrics.resources("in_doubt", count.in_doubt);
        }
    }
}

/// The task that commits what is settled; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Recording {
    settled: mpsc::Sender<(Settled, Waits)>,
    window: Arc<Semaphore>,
    task: AbortOnDropHandle<Result<(), LedgerFault>>,
}

/// A request's place among those not yet committed, with its share of the memory; free again when
/// dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _count: OwnedSemaphorePermit,
    memory: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Keeps `memory` for as long as the place is taken.
    pub(crate) fn with(mut self, memory: OwnedSemaphorePermit) -> Self {
        self.memory = Some(memory);
        self
    }
}

/// What waits for a commit.
#[derive(Debug)]
enum Waits {
    /// A place, which is free again then.
    Place { _until: Option<Place> },
    /// Who is about to send.
    Beginner(oneshot::Sender<()>),
}

impl Waits {
    fn end(self) {
        if let Self::Beginner(beginner) = self {
            // Who does not wait any more sends nothing.
            let _ = beginner.send(());
        }
    }
}

/// Notes in the ledger what is about to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Beginnings(mpsc::Sender<(Settled, Waits)>);

impl Beginnings {
    /// Waits until it is durable that a request is about to be sent, if it cannot be repeated; whether
    /// it may be sent.
    ///
    /// Died before: it was not sent, and is sent under the next lease. After: the ledger names it as
    /// one that may have arrived.
    pub(crate) async fn begin(&self, request: &Request) -> bool {
        if request.repeatable() {
            return true;
        }
        let begun = Settled {
            begun: request.covers(),
            ..Settled::default()
        };
        let (beginner, durable) = oneshot::channel();
        let handed = self.0.send((begun, Waits::Beginner(beginner))).await;
        handed.is_ok() && durable.await.is_ok()
    }
}

impl Recording {
    /// Waits for a free place.
    pub(crate) async fn place(&self) -> Place {
        match Arc::clone(&self.window).acquire_owned().await {
            Ok(count) => Place {
                _count: count,
                memory: None,
            },
            Err(_) => unreachable!("the window is never closed"),
        }
    }

    /// Has the outcome of a request recorded; without its place while the request goes on.
    pub(crate) async fn hand_over(
        &self,
        settled: Settled,
        place: impl Into<Option<Place>>,
    ) -> Result<(), UnitEnd> {
        // The task ends early only when it has failed; `end` tells its own error.
        let waits = Waits::Place {
            _until: place.into(),
        };
        let sent = self.settled.send((settled, waits)).await;
        sent.map_err(|_| UnitEnd::Interrupted)
    }

    /// Notes what cannot be repeated before it is sent.
    pub(crate) fn beginnings(&self) -> Beginnings {
        Beginnings(self.settled.clone())
    }

    /// Waits until everything handed over is committed.
    pub(crate) async fn end(self) -> Result<(), LedgerFault> {
        drop(self.settled);
        match self.task.await {
            Ok(result) => result,
            Err(e) => Err(LedgerFault::Failed(e.to_string())),
        }
    }
}

/// Waits for what is settled soon, so that a commit is not for one request alone: as long as nobody waits for
/// it, and half of the window is free, which keeps the wire busy.
async fn gather(
    waiting: &mut mpsc::Receiver<(Settled, Waits)>,
    together: &mut Vec<(Settled, Waits)>,
    window: usize,
) {
    let deadline = Instant::now() + GATHER;
    let is_awaited = |(_, waits): &(Settled, Waits)| matches!(waits, Waits::Beginner(_));
    while together.len() < window / 2 && !together.iter().any(is_awaited) {
        let more = waiting.recv_many(together, window);
        if !matches!(timeout_at(deadline, more).await, Ok(1..)) {
            break;
        }
    }
}

/// How many of the first go into one commit: at least one, and bytes as far as the ledger likes them.
fn fitting(settled: &[(Settled, Waits)]) -> usize {
    let mut bytes = 0;
    let fits = |(one, _): &&(Settled, Waits)| {
        bytes += one.kept_bytes();
        bytes <= COMMIT_BYTES
    };
    settled.iter().take_while(fits).count().max(1)
}
