//! What is asked of the server besides reindexing: more ids, and whether it is well.

use futures::FutureExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::{Client, Listed};
use crate::drive::Stop;
use crate::server::{Listing, PAGE, Trouble};

/// Pages of ids at hand before another is asked for, in requests of the size in force for each place.
const AHEAD: usize = 2;

impl Client<'_> {
    /// Asks for more ids where few are at hand.
    pub(super) fn list(&mut self) {
        let is_full = self.queue.waiting() >= self.drive.settings.most_waiting;
        let waits = self.list_at > Instant::now() || self.health.is_in_doubt();
        if self.listing.is_some() || is_full || waits {
            return;
        }
        let enough = AHEAD * self.limits.batch() * self.limits.concurrency();
        let Some(ask) = self.lister.ask(&self.window, enough.min(16 * PAGE)) else {
            return;
        };
        let manner = self.manner.clone();
        self.listing = Some(
            async move {
                let listing = Listing {
                    of: ask.of.as_deref(),
                    ..manner.listing(ask.after, PAGE)
                };
                let answer = manner.server.list(listing).await;
                (ask, answer)
            }
            .boxed(),
        );
    }

    pub(super) fn listed(&mut self, (ask, answer): Listed) {
        self.listing = None;
        match answer {
            Ok(ids) => {
                self.health.good();
                self.list_pauses.reset();
                self.lister.took(&ask, &ids, &self.window);
                self.is_believed &= ids.is_empty();
            }
            Err(Trouble::Hopeless { reason }) => self.stop = Some(Stop::Cannot(reason)),
            Err(trouble) => {
                let asked = match &trouble {
                    Trouble::Throttled { retry_after, .. } => *retry_after,
                    _ => None,
                };
                let pause = self.list_pauses.pause(asked, &mut StdRng::from_os_rng());
                self.list_at = Instant::now() + pause;
                let error = trouble.for_log();
                tracing::warn!(error, ?pause, "ids cannot be listed; trying again");
                self.health.troubled(trouble);
            }
        }
    }

    /// Asks the server for something small where it is not known who is to blame.
    pub(super) fn ask(&mut self) {
        let is_due = self.health.ask_at() <= Instant::now();
        if !self.health.is_in_doubt() || self.asking.is_some() || !is_due {
            return;
        }
        let manner = self.manner.clone();
        self.asking = Some(
            async move {
                let answer = manner.server.list(manner.listing(None, 1)).await;
                answer.map(drop)
            }
            .boxed(),
        );
    }

    pub(super) fn asked(&mut self, answer: Result<(), Trouble>) {
        self.asking = None;
        match answer {
            Ok(()) => {
                for (work, trouble) in self.health.answered() {
                    self.blame(work, &trouble);
                }
            }
            Err(Trouble::Hopeless { reason }) => self.stop = Some(Stop::Cannot(reason)),
            Err(trouble) => {
                let error = trouble.for_log();
                tracing::warn!(error, "the server does not answer; asking again");
                self.health.not_answered(trouble);
            }
        }
    }
}
