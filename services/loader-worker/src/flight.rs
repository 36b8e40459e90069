//! The requests of one unit that are under way.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::input::Request;
use crate::outcome::Settled;
use crate::record::{Place, Recording};
use crate::send::{Sender, Stop, Stops};
use crate::unit::UnitEnd;

/// Requests under way; dropping it abandons them.
pub(crate) struct Flight {
    sender: Arc<Sender>,
    stops: Stops,
    waiting: Option<(Request, Place)>,
    requests: FuturesUnordered<BoxFuture<'static, Landing>>,
    keys: HashSet<u64>,
}

/// The end of one request.
pub(crate) struct Landing {
    keys: Vec<u64>,
    settled: Settled,
    stop: Option<Stop>,
    place: Place,
}

impl Flight {
    pub(crate) fn new(sender: Arc<Sender>, stops: Stops) -> Self {
        Self {
            sender,
            stops,
            waiting: None,
            requests: FuturesUnordered::new(),
            keys: HashSet::new(),
        }
    }

    /// Takes a request that waits for memory; one at a time.
    pub(crate) fn wait(&mut self, request: Request, place: Place) {
        self.waiting = Some((request, place));
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
        let Some((mut request, place)) = self.waiting.take() else {
            return Ok(());
        };
        while request.keys.iter().any(|key| self.keys.contains(key)) {
            let Some(landing) = self.next().await else {
                break;
            };
            self.land(landing, recording).await?;
        }
        let sender = Arc::clone(&self.sender);
        let keys = std::mem::take(&mut request.keys);
        self.keys.extend(&keys);
        let stops = self.stops.clone();
        let settling = async move { sender.settle(request, &stops).await };
        let task = tokio::spawn(settling.in_current_span());
        let task = AbortOnDropHandle::new(task);
        let place = place.with(memory);
        self.requests.push(Box::pin(async move {
            let (settled, stop) = match task.await {
                Ok(end) => end,
                Err(e) => match e.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => (Settled::default(), Some(Stop::Shutdown)),
                },
            };
            Landing {
                keys,
                settled,
                stop,
                place,
            }
        }));
        Ok(())
    }

    /// The next request to end; `None` when none is under way.
    pub(crate) async fn next(&mut self) -> Option<Landing> {
        self.requests.next().await
    }

    /// Has the end of one request recorded; an error when the load cannot go on.
    pub(crate) async fn land(
        &mut self,
        landing: Landing,
        recording: &Recording,
    ) -> Result<(), UnitEnd> {
        for key in landing.keys {
            self.keys.remove(&key);
        }
        recording.hand_over(landing.settled, landing.place).await?;
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
}
