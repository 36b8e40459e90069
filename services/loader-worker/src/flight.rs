//! The requests of one unit that are under way.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::deferred::Later;
use crate::input::Request;
use crate::outcome::Settled;
use crate::record::{Place, Recording};
use crate::send::{Sender, Stop, Stops, Writes};
use crate::unit::UnitEnd;

/// Requests that wait for a place on the wire, for the next one to be at hand.
const WAITING: usize = 4;

/// Requests under way; dropping it abandons them.
pub(crate) struct Flight {
    sender: Arc<Sender>,
    stops: Stops,
    waiting: Option<(Request, Place)>,
    requests: FuturesUnordered<BoxFuture<'static, Landing>>,
    /// What is settled of requests that go on.
    parts: mpsc::Receiver<Settled>,
    part: mpsc::Sender<Settled>,
    later: Later,
}

/// The end of one request, or of a part of one.
pub(crate) struct Landing {
    settled: Settled,
    stop: Option<Stop>,
    /// None of a part: the request goes on.
    end: Option<(Place, Writes)>,
}

impl Flight {
    pub(crate) fn new(sender: Arc<Sender>, stops: Stops) -> Self {
        let (part, parts) = mpsc::channel(1);
        Self {
            sender,
            stops,
            waiting: None,
            requests: FuturesUnordered::new(),
            parts,
            part,
            later: Later::default(),
        }
    }

    /// Takes a request that waits for memory; one at a time.
    pub(crate) fn wait(&mut self, request: Request, place: Place) {
        self.waiting = Some((request, place));
    }

    /// Whether there are as many requests as the wire is busy with, and a few more that wait for it: of this unit, those
    /// that pause among them, or of all units. It looks again only when one of its own ends, which may be late: so it
    /// may have as many as keep half of the wire busy, should the others end.
    pub(crate) fn is_ahead(&self) -> bool {
        let concurrency = self.sender.pacer().limits().concurrency;
        let (own, enough) = (self.requests.len(), concurrency + WAITING);
        own >= enough || (own > concurrency / 2 && self.sender.under_way().count() >= enough)
    }

    /// Bytes of the request that waits, if any.
    pub(crate) fn waiting_bytes(&self) -> Option<usize> {
        self.waiting.as_ref().map(|(request, _)| request.size())
    }

    /// Starts the request that waits, as soon as none under way writes what it writes.
    pub(crate) async fn start(
        &mut self,
        memory: OwnedSemaphorePermit,
        recording: &Recording,
    ) -> Result<(), UnitEnd> {
        match self.waiting.take() {
            Some((mut request, place)) => {
                request.held = None;
                self.send(request, place.with(memory), recording).await
            }
            None => Ok(()),
        }
    }

    async fn send(
        &mut self,
        mut request: Request,
        place: Place,
        recording: &Recording,
    ) -> Result<(), UnitEnd> {
        let keys = if request.transaction && request.bundle.is_some() {
            request.later = Some(self.later.room());
            request.keys.clone()
        } else {
            std::mem::take(&mut request.keys)
        };
        let mut writes = self.writes(keys, recording).await?;
        loop {
            let bundles = self.later.bundles(Some(writes.keys()));
            if bundles.is_empty() {
                break;
            }
            let keys = writes.keys().to_vec();
            drop(writes);
            self.send_last(bundles, recording).await?;
            writes = self.writes(keys, recording).await?;
        }
        let superseded = self.later.superseded_by(writes.keys());
        if !superseded.outcomes.is_empty() {
            recording.hand_over(superseded, None).await?;
        }
        self.launch(request, place, writes, recording);
        Ok(())
    }

    /// Bundles of the user's that wait no longer for what they refer to: refused again, they are taken apart.
    async fn send_last(
        &mut self,
        bundles: Vec<Request>,
        recording: &Recording,
    ) -> Result<(), UnitEnd> {
        for bundle in bundles {
            let place = self.place(recording).await?;
            let writes = self.writes(bundle.keys.clone(), recording).await?;
            self.launch(bundle, place, writes, recording);
        }
        Ok(())
    }

    /// Waits until nothing under way writes any of these.
    async fn writes(&mut self, keys: Vec<u64>, recording: &Recording) -> Result<Writes, UnitEnd> {
        let stop = self.stops.stop.clone();
        let taken = self.sender.keys().clone();
        let writes = taken.take(keys);
        tokio::pin!(writes);
        loop {
            tokio::select! {
                biased;
                writes = &mut writes => return Ok(writes),
                () = stop.cancelled() => return Err(UnitEnd::Interrupted),
                Some(landing) = self.next() => self.land(landing, recording).await?,
            }
        }
    }

    fn launch(&mut self, request: Request, place: Place, writes: Writes, recording: &Recording) {
        let sender = Arc::clone(&self.sender);
        let (stops, part) = (self.stops.clone(), self.part.clone());
        let beginnings = recording.beginnings();
        // Counts until the sender counts it.
        let under_way = sender.under_way().clone();
        let settling = async move {
            let may_be_sent = beginnings.begin(&request).await;
            drop(under_way);
            if may_be_sent {
                sender.settle(request, &stops, &part).await
            } else {
                (Settled::default(), Some(Stop::Shutdown))
            }
        };
        let task = tokio::spawn(settling.in_current_span());
        let task = AbortOnDropHandle::new(task);
        self.requests.push(Box::pin(async move {
            let (settled, stop) = match task.await {
                Ok(end) => end,
                Err(e) => match e.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => (Settled::default(), Some(Stop::Shutdown)),
                },
            };
            Landing {
                settled,
                stop,
                end: Some((place, writes)),
            }
        }));
    }

    /// The next request to end, or part of one; `None` when none is under way.
    pub(crate) async fn next(&mut self) -> Option<Landing> {
        tokio::select! {
            biased;
            // What is settled of a request before its end.
            Some(settled) = self.parts.recv(), if !self.requests.is_empty() => Some(Landing {
                settled,
                stop: None,
                end: None,
            }),
            landing = self.requests.next() => landing,
        }
    }

    /// Has the end of one request recorded; an error when the load cannot go on.
    pub(crate) async fn land(
        &mut self,
        mut landing: Landing,
        recording: &Recording,
    ) -> Result<(), UnitEnd> {
        self.later.keep(&mut landing.settled);
        let place = landing.end.map(|(place, _written)| place);
        recording.hand_over(landing.settled, place).await?;
        landing.stop.map_or(Ok(()), |stop| Err(stop.into()))
    }

    /// Has the ends of all requests recorded; the first error, after all have ended.
    pub(crate) async fn land_all(&mut self, recording: &Recording) -> Result<(), UnitEnd> {
        let mut result = Ok(());
        while let Some(landing) = self.next().await {
            let landed = self.land(landing, recording).await;
            result = result.and(landed);
        }
        result
    }

    /// Sends again what was refused because something that it refers to was not there, as long as
    /// that gets more of it taken. For the end of a unit, when all the others are there.
    pub(crate) async fn send_deferred(
        &mut self,
        batch: usize,
        recording: &Recording,
    ) -> Result<(), UnitEnd> {
        loop {
            self.send_while_taken(batch, recording).await?;
            let bundles = self.later.bundles(None);
            if bundles.is_empty() {
                break;
            }
            // Of what they hold apart from what is to blame, others may wait for some.
            self.send_last(bundles, recording).await?;
            self.land_all(recording).await?;
        }
        let given_up = std::mem::take(&mut self.later).give_up();
        recording.hand_over(given_up, None).await
    }

    async fn send_while_taken(
        &mut self,
        batch: usize,
        recording: &Recording,
    ) -> Result<(), UnitEnd> {
        let mut before = usize::MAX;
        while (1..before).contains(&self.later.len()) {
            before = self.later.len();
            for request in self.later.again(batch) {
                let place = self.place(recording).await?;
                self.send(request, place, recording).await?;
            }
            self.land_all(recording).await?;
        }
        Ok(())
    }

    /// Waits for a free place, which requests under way hold until they have landed.
    async fn place(&mut self, recording: &Recording) -> Result<Place, UnitEnd> {
        loop {
            tokio::select! {
                biased;
                place = recording.place() => return Ok(place),
                Some(landing) = self.next() => self.land(landing, recording).await?,
            }
        }
    }
}
