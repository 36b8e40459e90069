//! A request on its way, with what it has been through.

use std::time::Duration;

use stoker_shared::retry::Backoff;
use tokio::time::Instant;

use super::Patience;
use super::bisect::Search;
use super::health::ServerHealth;
use crate::input::Request;

/// What a try failed for that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    /// The server is busy and says so.
    Throttled,
    /// The server is not there, or nothing behind it is.
    Unavailable,
    /// An error about this very request.
    OfItself,
}

/// See the [module](self).
pub(super) struct Pending {
    pub(super) request: Request,
    pub(super) backoff: Backoff,
    /// It pauses until then.
    pub(super) not_before: Instant,
    tries: u32,
    /// Failed tries during which the server did its work for someone else.
    strikes: u32,
    first_sent: Option<Instant>,
    watched_from: Instant,
    /// Since when every try met an error about this very request.
    troubled_since: Option<Instant>,
    /// The server answered a read since then.
    pub(super) reads_answered: bool,
    /// The search that it is a part of.
    pub(super) search: Option<Box<Search>>,
    /// What the whole had been through when it was taken apart for troubling the server.
    pub(super) trouble: Option<Trouble>,
    /// It was tried to take it apart, in vain.
    pub(super) of_a_piece: bool,
}

/// See [`Pending::trouble`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble {
    strikes: u32,
    first_sent: Option<Instant>,
}

impl Pending {
    pub(super) fn new(request: Request, patience: &Patience) -> Self {
        Self {
            request,
            backoff: patience.backoff(),
            not_before: Instant::now(),
            tries: 0,
            strikes: 0,
            first_sent: None,
            watched_from: Instant::now(),
            troubled_since: None,
            reads_answered: false,
            search: None,
            trouble: None,
            of_a_piece: false,
        }
    }

    /// The next part of a search. One of a request that troubles the server is given two tries before
    /// it is taken apart further.
    pub(super) fn part(
        request: Request,
        search: Box<Search>,
        trouble: Option<Trouble>,
        patience: &Patience,
    ) -> Self {
        let mut part = Self::new(request, patience);
        part.search = Some(search);
        part.trouble = trouble;
        if let Some(trouble) = trouble {
            part.tries = patience.attempts.saturating_sub(2);
            part.strikes = trouble.strikes;
            part.first_sent = trouble.first_sent;
        }
        part
    }

    /// What it has been through.
    pub(super) fn trouble_so_far(&self) -> Trouble {
        Trouble {
            strikes: self.strikes,
            first_sent: self.first_sent,
        }
    }

    /// Whether it may be possible to send parts of it by themselves.
    pub(super) fn can_be_split(&self) -> bool {
        match &self.search {
            Some(search) => search.sent_several(),
            None => self.request.inputs.len() > 1 && !self.of_a_piece,
        }
    }

    /// To be called when it is sent; says whether it was sent before.
    pub(super) fn begin_try(&mut self) -> bool {
        let again = self.first_sent.is_some();
        if !again {
            let now = Instant::now();
            self.first_sent = Some(now);
            self.watched_from = now;
        }
        self.tries += 1;
        again
    }

    /// To be called when a try fails for a reason that may pass.
    pub(super) fn failed(&mut self, how: Failure, health: &ServerHealth) {
        let now = Instant::now();
        if how != Failure::Throttled {
            self.strikes += u32::from(health.good_since(self.watched_from));
        }
        self.watched_from = now;
        if how == Failure::OfItself {
            self.troubled_since.get_or_insert(now);
        } else {
            self.troubled_since = None;
            self.reads_answered = false;
        }
    }

    /// Tried often enough to look for the input that is to blame.
    pub(super) fn tried_enough(&self, patience: &Patience) -> bool {
        self.tries >= patience.attempts
    }

    /// Others got through again and again while this never did: it is this one.
    pub(super) fn is_to_blame(&self, patience: &Patience) -> bool {
        self.strikes >= patience.attempts
    }

    /// How long every try has met an error about this very request.
    pub(super) fn troubled_for(&self) -> Duration {
        self.troubled_since
            .map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// How long it has been tried.
    pub(super) fn waited(&self) -> Duration {
        self.first_sent.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// When it was first sent; now, when it was not.
    pub(super) fn since(&self) -> Instant {
        self.first_sent.unwrap_or_else(Instant::now)
    }
}
