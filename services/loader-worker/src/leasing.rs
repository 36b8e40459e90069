//! How a worker comes by units: it asks for as many as it has room for, and is woken when there may be some.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use stoker_proto::events::v1::event::Kind;
use stoker_proto::ledger::v1::{LeaseUnitsRequest, Unit, UnitLimit};
use stoker_shared::kafka::Listener;
use stoker_shared::object_store;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::leases::Guard;
use crate::ledger::LedgerFault;
use crate::worker::{Leased, Running, TROUBLE_PAUSE};
use stoker_shared::pace::Choice;

/// How long the ledger may hold a call when there is no work; never longer than a third of a lease.
const LONG_POLL: Duration = Duration::from_secs(20);

/// How long a worker that hears events waits for one before it asks again: some may be lost.
const QUIET: Duration = Duration::from_secs(5);

/// How long after its lease's end a unit whose worker is gone may lie there.
const RESCUE: Duration = Duration::from_secs(1);

/// Such a look that takes longer is of a ledger in trouble.
const RESCUE_LIMIT: Duration = Duration::from_secs(5);

/// Events come by the thousand; so long they are gathered before one call.
const GATHER: Duration = Duration::from_millis(50);

/// Stored bytes of a unit from which on a few of them are enough.
const LARGE_UNIT: u64 = 4 << 20;

/// Calls for units before a ledger that is away is trouble.
const LEASE_TRIES: u32 = 5;

/// Calls for units that are under way: one for each file type that is limited, so that a type with no
/// room keeps none of another waiting, else one for all. And one more, once a second, for units whose worker is gone: who
/// is busy takes up as many of them as it has room for in all, and so holds twice as many until they are done.
///
/// A call is not dropped half way while work goes on: what it leased would wait for its lease to run out.
pub(crate) struct Calls {
    lanes: Vec<Lane>,
    rescue: Option<AbortHandle>,
    under_way: JoinSet<Leased>,
}

struct Lane {
    limit: Option<UnitLimit>,
    call: Option<AbortHandle>,
}

impl Calls {
    pub(crate) fn new(limits: &[UnitLimit]) -> Self {
        let mut limits: Vec<_> = limits.iter().copied().map(Some).collect();
        if limits.is_empty() {
            limits.push(None);
        }
        let lane = |limit| Lane { limit, call: None };
        Self {
            lanes: limits.into_iter().map(lane).collect(),
            rescue: None,
            under_way: JoinSet::new(),
        }
    }

    /// Calls for as many units as there is room for.
    pub(crate) fn start(&mut self, running: &Arc<Running>) {
        for lane in &mut self.lanes {
            let room = running.room(lane.limit, 1);
            if room == 0 || is_busy(lane.call.as_ref()) {
                continue;
            }
            let limit = lane.limit.map(|limit| of_room(limit, room));
            let running = Arc::clone(running);
            let call = async move { running.lease(room, limit).await };
            lane.call = Some(self.under_way.spawn(call));
        }
        if !is_busy(self.rescue.as_ref()) {
            let running = Arc::clone(running);
            let call = async move { running.rescue().await };
            self.rescue = Some(self.under_way.spawn(call));
        }
    }

    /// Waits for a call to end; for ever when there is none.
    pub(crate) async fn next(&mut self) -> Leased {
        match self.under_way.join_next().await {
            Some(Ok(leased)) => leased,
            Some(Err(e)) => Err(LedgerFault::Failed(e.to_string())),
            None => std::future::pending().await,
        }
    }

    /// What calls that have ended brought; the others are dropped.
    pub(crate) fn last(mut self) -> Vec<Leased> {
        let ended = std::iter::from_fn(|| self.under_way.try_join_next());
        ended.filter_map(Result::ok).collect()
    }
}

fn is_busy(call: Option<&AbortHandle>) -> bool {
    call.is_some_and(|call| !call.is_finished())
}

fn of_room(limit: UnitLimit, room: usize) -> UnitLimit {
    UnitLimit {
        max_units: u32::try_from(room).unwrap_or(u32::MAX),
        ..limit
    }
}

impl Running {
    /// How many more units there is room for, in all or of a type that is limited, when so many times the usual
    /// are held.
    fn room(&self, limit: Option<UnitLimit>, times: usize) -> usize {
        let Some(limit) = limit else {
            let settings = &self.worker.settings;
            let room = (times * settings.units()).saturating_sub(self.leases.count());
            return match settings.units {
                Choice::Auto => room.min(self.room_by_size(times)),
                Choice::Fixed(_) => room,
            };
        };
        let held = self.leases.count_of(limit.file_type());
        (times * limit.max_units as usize).saturating_sub(held)
    }

    /// Large units keep the wire busy by themselves, and each takes memory: as many as there are cores to read
    /// them. What is next is taken to be as large as what is held.
    fn room_by_size(&self, times: usize) -> usize {
        match self.leases.counts_by_size(LARGE_UNIT) {
            (0, 1..) => usize::MAX,
            (large, _) => (times * large_at_once()).saturating_sub(large),
        }
    }

    async fn lease(&self, room: usize, limit: Option<UnitLimit>) -> Leased {
        // From before the call, so that nothing is missed between its answer and the wait.
        let listener = self.worker.events.listen();
        let woken_by_events = self.worker.events.are_heard();
        let asked = Instant::now();
        let wait = if woken_by_events {
            Duration::ZERO
        } else {
            LONG_POLL.min(self.leases.length() / 3)
        };
        let request = LeaseUnitsRequest {
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
            ..self.request(room, limit.into_iter().collect())
        };
        let leased = self.lease_when_there(request).await?;
        if leased.is_empty() && woken_by_events {
            until_woken(listener).await;
        }
        Ok(self.hold(leased, asked))
    }

    /// Units whose worker is gone, room or not.
    async fn rescue(&self) -> Leased {
        sleep(RESCUE).await;
        let of_type = |limit: &UnitLimit| of_room(*limit, self.room(Some(*limit), 2));
        let limits: Vec<_> = self.worker.limits.iter().map(of_type).collect();
        let room = if limits.is_empty() {
            self.room(None, 2)
        } else {
            limits.iter().map(|limit| limit.max_units as usize).sum()
        };
        if room == 0 {
            return Ok(Vec::new());
        }
        let asked = Instant::now();
        let request = LeaseUnitsRequest {
            only_expired: true,
            ..self.request(room, limits)
        };
        let leased = timeout(RESCUE_LIMIT, self.worker.ledger.lease(request)).await;
        let Ok(Ok(leased)) = leased else {
            // The ledger is away, maybe for all: who is still there writes down what was done, between whose tries are
            // pauses of this length at most, before another takes its units.
            sleep(TROUBLE_PAUSE.min(self.leases.length() / 3)).await;
            return Ok(Vec::new());
        };
        Ok(self.hold(leased, asked))
    }

    fn request(&self, room: usize, limits: Vec<UnitLimit>) -> LeaseUnitsRequest {
        let mut reaches = vec![object_store::host_name()];
        reaches.extend(self.worker.reaches.iter().cloned());
        LeaseUnitsRequest {
            worker_id: self.worker_id.load(Ordering::Relaxed),
            max_units: u32::try_from(room).unwrap_or(u32::MAX),
            reaches,
            job_ids: self.worker.job_ids.clone(),
            held_unit_ids: self.leases.unit_ids(),
            limits,
            bucket_paths: self.worker.bucket_paths.clone(),
            ..LeaseUnitsRequest::default()
        }
    }

    fn hold(&self, leased: Vec<Unit>, asked: Instant) -> Vec<(Unit, Guard)> {
        let held = |unit: Unit| {
            let guard = self.leases.hold(&unit, asked, &self.stops.stop);
            (unit, guard)
        };
        leased.into_iter().map(held).collect()
    }

    /// A ledger that is away for a moment is no trouble yet.
    async fn lease_when_there(
        &self,
        mut request: LeaseUnitsRequest,
    ) -> Result<Vec<Unit>, LedgerFault> {
        for _ in 0..LEASE_TRIES {
            match self.worker.ledger.lease(request.clone()).await {
                Err(e) if e.may_pass() => tracing::warn!(error = %e, "the ledger is away"),
                Err(LedgerFault::UnknownWorker(why)) => {
                    tracing::warn!(why, "registering again");
                    let registered = self.worker.register().await?;
                    request.worker_id = registered.worker_id;
                    self.worker_id
                        .store(registered.worker_id, Ordering::Relaxed);
                    continue;
                }
                answer => return answer,
            }
            tokio::time::sleep(TROUBLE_PAUSE / 5).await;
        }
        self.worker.ledger.lease(request).await
    }
}

fn large_at_once() -> usize {
    thread::available_parallelism().map_or(2, |cores| cores.get().max(2))
}

/// Waits for an event that says there may be work.
async fn until_woken(mut listener: Listener) {
    let woken = async {
        loop {
            match listener.next().await.map(|heard| heard.event.kind.clone()) {
                None
                | Some(Some(
                    Kind::ObjectDiscovered(_)
                    | Kind::ObjectChanged(_)
                    | Kind::JobStarted(_)
                    | Kind::WaveEnded(_),
                )) => return,
                Some(_) => {}
            }
        }
    };
    // Either way it is time to ask again.
    let _ = timeout(QUIET, woken).await;
    sleep(GATHER).await;
}
