//! What one request has come to on its way: parts still to be sent, inputs whose fate is known.

use std::collections::VecDeque;

use super::Patience;
use super::bisect::{Search, may_be_about_entries};
use super::health::Failing;
use super::pending::{Pending, Trouble};
use super::verdict::EntryVerdict;
use crate::bundle;
use crate::input::{Ask, Input, Request};
use crate::outcome::{Deferred, Fate, Refusal, Settled};

/// See the [module](self).
#[derive(Default)]
pub(super) struct Course<'s> {
    /// Parts still to be sent: the next at the back, those that pause at the front.
    pub(super) waiting: VecDeque<Pending>,
    pub(super) settled: Settled,
    /// Held from the first error of the server's own on.
    pub(super) failing: Option<Failing<'s>>,
}

impl Course<'_> {
    /// The last answer about one input.
    pub(super) fn answered(&mut self, input: Input, answer: EntryVerdict, ms: u32) {
        let fate = match answer {
            EntryVerdict::Created(id) => Fate::Created(id),
            EntryVerdict::Updated => Fate::Updated,
            EntryVerdict::InDoubt(why) => Fate::InDoubt(why),
            EntryVerdict::Again { why, .. } => Fate::Rejected(why),
            EntryVerdict::Refused(why) => {
                let alone = Request::group(vec![input], Vec::new());
                return self.end_or_defer(alone, why, ms);
            }
        };
        self.settled.input(input, fate, ms);
    }

    /// A final no to a request as it is: it is kept for later, or taken apart as far as it can be.
    pub(super) fn refused(
        &mut self,
        pending: Pending,
        why: &Refusal,
        ms: u32,
        patience: &Patience,
    ) {
        let request = &pending.request;
        if let Some(room) = &request.later
            && bundle::misses_a_reference(why)
            && room.take(request.size())
        {
            return self.defer(pending.request, why.clone(), ms);
        }
        if let Some(pending) = self.take_apart_for(pending, why, false, patience) {
            self.rejected(pending, why, ms, patience);
        }
    }

    /// Takes a request apart that troubles the server; gives it back when it is all of a piece.
    pub(super) fn take_apart(
        &mut self,
        pending: Pending,
        why: &Refusal,
        patience: &Patience,
    ) -> Option<Pending> {
        self.take_apart_for(pending, why, true, patience)
    }

    fn take_apart_for(
        &mut self,
        mut pending: Pending,
        why: &Refusal,
        troubled: bool,
        patience: &Patience,
    ) -> Option<Pending> {
        if !pending.can_be_split() {
            return Some(pending);
        }
        let trouble = pending
            .trouble
            .or(troubled.then(|| pending.trouble_so_far()));
        if let Some(mut search) = pending.search.take() {
            search.refused(why);
            self.go_on(search, trouble, patience);
            return None;
        }
        let whole = std::mem::replace(&mut pending.request, Request::group(vec![], vec![]));
        match Search::begin(whole, why) {
            Ok(search) => {
                self.go_on(Box::new(search), trouble, patience);
                None
            }
            Err(whole) => {
                pending.request = *whole;
                pending.of_a_piece = true;
                Some(pending)
            }
        }
    }

    /// Sends the next part of a search, if there is one.
    pub(super) fn go_on(
        &mut self,
        mut search: Box<Search>,
        trouble: Option<Trouble>,
        patience: &Patience,
    ) {
        if let Some(request) = search.next() {
            let part = Pending::part(request, search, trouble, patience);
            self.waiting.push_back(part);
        }
    }

    /// Ends a request that cannot be taken apart further.
    pub(super) fn rejected(
        &mut self,
        mut pending: Pending,
        why: &Refusal,
        ms: u32,
        patience: &Patience,
    ) {
        let Some(mut search) = pending.search.take() else {
            let mut why = why.clone();
            let request = pending.request;
            if pending.of_a_piece && may_be_about_entries(why.status) {
                why.text += " (the Bundle is kept whole, since its entries refer to each other)";
            }
            return self.end_or_defer(request, why, ms);
        };
        if let Some((culprits, why)) = search.refused(why) {
            self.end_or_defer(culprits, why, ms);
        }
        self.go_on(search, pending.trouble, patience);
    }

    /// Ends a request that may have been taken or not.
    pub(super) fn in_doubt(
        &mut self,
        mut pending: Pending,
        why: &Refusal,
        ms: u32,
        patience: &Patience,
    ) {
        let search = pending.search.take();
        self.end(pending.request, || Fate::InDoubt(why.clone()), ms);
        if let Some(mut search) = search {
            search.in_doubt();
            self.go_on(search, pending.trouble, patience);
        }
    }

    fn end_or_defer(&mut self, request: Request, why: Refusal, ms: u32) {
        // What the user has put into a Bundle is not sent in another order.
        let is_an_entry = |input: &Input| matches!(input.ask, Ask::AsEntry { .. });
        if bundle::misses_a_reference(&why)
            && request.bundle.is_none()
            && !request.inputs.iter().any(is_an_entry)
        {
            self.defer(request, why, ms);
        } else {
            self.end(request, || Fate::Rejected(why.clone()), ms);
        }
    }

    fn defer(&mut self, request: Request, why: Refusal, ms: u32) {
        self.settled.deferred.push(Deferred {
            request,
            why,
            response_ms: ms,
        });
    }

    /// Gives every input of a request the same fate; the user's own transaction is one input.
    fn end(&mut self, request: Request, fate: impl Fn() -> Fate, ms: u32) {
        match request.bundle {
            Some(bundle) if request.transaction || request.inputs.is_empty() => {
                self.settled.bundle(bundle, fate(), ms);
            }
            _ => {
                for input in request.inputs {
                    self.settled.input(input, fate(), ms);
                }
            }
        }
    }
}
