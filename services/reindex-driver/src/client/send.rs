//! One request to reindex, and what it did.

use tokio::time::Instant;

use stoker_shared::pace::{Answer, Permit};

use super::queue::Work;
use crate::server::{Listing, PAGE, Server, Trouble};

/// The end of a request.
#[derive(Debug)]
pub(super) struct Landing {
    pub(super) work: Work,
    pub(super) sent: Instant,
    pub(super) took: Took,
}

/// What a request did.
#[derive(Debug)]
pub(super) enum Took {
    /// All but these were reindexed; these are deleted or changed, and not to be reindexed any more.
    All { gone: Vec<i64> },
    /// Some were not, and are there; which, the answer does not tell.
    Some { gone: Vec<i64> },
    /// Nothing is known to be done.
    Nothing(Trouble),
}

/// How a run asks.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) server: Server,
    pub(super) force: bool,
    pub(super) not_modified_after: String,
}

impl Manner {
    /// Sends one request; more only where the answer leaves open what was done.
    pub(super) async fn send(self, work: Work, permit: Permit) -> Landing {
        let sent = Instant::now();
        let answer = self.server.reindex(&work.ids, self.force).await;
        match &answer {
            Ok(_) => permit.done(Answer::Done),
            // What is known to fail tells nothing of the server.
            Err(Trouble::Failed { .. }) if work.is_again => drop(permit),
            Err(trouble) => permit.done(trouble.answer()),
        }
        let took = match answer {
            Ok(done) if done >= work.ids.len() => Took::All { gone: Vec::new() },
            Ok(done) => self.explain(&work.ids, done).await,
            Err(trouble) => Took::Nothing(trouble),
        };
        Landing { work, sent, took }
    }

    /// The server did fewer than it was asked for: those that it no longer lists are not to be done.
    async fn explain(&self, ids: &[i64], done: usize) -> Took {
        match self.still_listed(ids).await {
            Err(trouble) => Took::Nothing(trouble),
            Ok(listed) => {
                let is_gone = |id: &&i64| listed.binary_search(id).is_err();
                let gone: Vec<i64> = ids.iter().filter(is_gone).copied().collect();
                if gone.len() + done >= ids.len() {
                    Took::All { gone }
                } else {
                    Took::Some { gone }
                }
            }
        }
    }

    /// What the server lists from the first of these to the last.
    async fn still_listed(&self, ids: &[i64]) -> Result<Vec<i64>, Trouble> {
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
            return Ok(Vec::new());
        };
        let mut listed = Vec::new();
        let mut after = first.saturating_sub(1);
        while after < *last {
            let page = self.server.list(self.listing(Some(after), PAGE)).await?;
            let Some(end) = page.last() else { break };
            after = *end;
            listed.extend(page);
        }
        Ok(listed)
    }

    pub(super) fn listing(&self, after: Option<i64>, count: usize) -> Listing<'_> {
        Listing {
            of: None,
            not_modified_after: &self.not_modified_after,
            after,
            count,
        }
    }
}
