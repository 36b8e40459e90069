//! Takes a request that was refused as a whole apart, until what is to blame is alone.
//!
//! The first half of what is suspected is sent. When it is taken, the other half has what is to blame, and need
//! not be sent to know it; when it is refused, the other half is put aside as unproven. Once the culprit is
//! alone and refused, all that is unproven is sent together. One culprit among n is found with
//! log2 n + 4 requests at most, those included that load the rest.

use crate::bundle;
use crate::input::{Input, Request};
use crate::outcome::Refusal;

/// With more culprits than this the unproven parts are sent one by one: many together would be refused
/// again and again.
const FEW: usize = 2;

/// Entries that are sent together or not at all.
type Group = Vec<Input>;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Search {
    transaction: bool,
    /// Entries of the transaction of the user's that was refused, which what is refused now was part of.
    part_of: Option<usize>,
    /// Known to have something to blame among them, when not empty.
    suspects: Vec<Group>,
    /// Parts that may have, the first at the end.
    unproven: Vec<Vec<Group>>,
    /// On the wire.
    sent: Vec<Group>,
    /// What is on the wire was named by the server as to blame.
    named: bool,
    /// The server has named nothing that it took then.
    trusts_names: bool,
    culprits: usize,
}

impl Search {
    /// Takes a refused request apart; gives it back as it was when it is all of a piece.
    pub(super) fn begin(request: Request, why: &Refusal) -> Result<Self, Box<Request>> {
        if request.inputs.len() < 2 || (request.transaction && !may_be_about_entries(why.status)) {
            return Err(Box::new(request));
        }
        let Request {
            bundle,
            transaction,
            inputs,
            keys,
            ..
        } = request;
        let entries = inputs.len();
        let mut groups: Vec<Group> = if transaction {
            bundle::groups(inputs)
        } else {
            inputs.into_iter().map(|input| vec![input]).collect()
        };
        if groups.len() == 1 {
            let inputs = groups.pop().unwrap_or_default();
            return Err(Box::new(Request {
                bundle,
                transaction,
                ..Request::group(inputs, keys)
            }));
        }
        let mut search = Self {
            transaction,
            part_of: (transaction && bundle.is_some()).then_some(entries),
            suspects: Vec::new(),
            unproven: Vec::new(),
            sent: groups,
            named: false,
            trusts_names: true,
            culprits: 0,
        };
        search.suspect_sent(why);
        Ok(search)
    }

    /// Whether what is on the wire can be taken apart further.
    pub(super) fn sent_several(&self) -> bool {
        self.sent.len() > 1
    }

    /// What to send next; none at the end of the search.
    pub(super) fn next(&mut self) -> Option<Request> {
        if self.sent.is_empty() {
            self.choose();
        }
        let inputs: Vec<Input> = self.sent.iter().flatten().cloned().collect();
        (!inputs.is_empty()).then(|| self.request(inputs))
    }

    fn request(&self, inputs: Vec<Input>) -> Request {
        if self.transaction {
            Request::transaction(inputs, Vec::new())
        } else {
            Request::group(inputs, Vec::new())
        }
    }

    fn choose(&mut self) {
        self.named = false;
        if self.suspects.is_empty() {
            let parts = if self.culprits > FEW {
                self.unproven.len().min(1)
            } else {
                self.unproven.len()
            };
            let parts = self.unproven.split_off(self.unproven.len() - parts);
            self.sent = parts.into_iter().rev().flatten().collect();
        } else {
            let half = self.suspects.len().div_ceil(2);
            let rest = self.suspects.split_off(half);
            self.sent = std::mem::replace(&mut self.suspects, rest);
        }
    }

    /// The server took what was sent.
    pub(super) fn taken(&mut self) {
        self.sent.clear();
        self.trusts_names &= !self.named;
    }

    /// What became of what was sent is not known, so that nothing is known of the rest either.
    pub(super) fn in_doubt(&mut self) {
        self.sent.clear();
        self.put_suspects_aside();
    }

    /// The server refused what was sent; the culprits, when they are alone now.
    pub(super) fn refused(&mut self, why: &Refusal) -> Option<(Request, Refusal)> {
        self.put_suspects_aside();
        if self.sent.len() > 1 {
            self.suspect_sent(why);
            return None;
        }
        self.culprits += 1;
        let culprits = self.sent.pop()?;
        let culprits = self.request(culprits);
        let mut why = why.clone();
        if let Some(entries) = self.part_of {
            why.text = format!(
                "{} (sent apart from the other entries of a transaction of {entries} that was refused as a whole)",
                why.text
            );
        }
        Some((culprits, why))
    }

    fn put_suspects_aside(&mut self) {
        if !self.suspects.is_empty() {
            let suspects = std::mem::take(&mut self.suspects);
            self.unproven.push(suspects);
        }
    }

    /// What the server names as to blame is sent alone first, as long as it is right.
    fn suspect_sent(&mut self, why: &Refusal) {
        self.suspects = std::mem::take(&mut self.sent);
        let named = named_entry(why).filter(|_| self.trusts_names);
        if let Some(group) = named.and_then(|entry| group_of(&self.suspects, entry)) {
            self.sent = vec![self.suspects.remove(group)];
            self.named = true;
        }
    }
}

/// Whether a refusal of a transaction can be one of some of its entries. The others are about the request.
pub(super) fn may_be_about_entries(status: u16) -> bool {
    !matches!(status, 405 | 415 | 501)
}

/// Which of the groups holds the entry that has this place among all of theirs.
fn group_of(groups: &[Group], entry: usize) -> Option<usize> {
    let mut before = 0;
    groups.iter().position(|group| {
        before += group.len();
        entry < before
    })
}

/// The entry that the server's OperationOutcome speaks of, as in `Bundle.entry[17].resource`.
fn named_entry(why: &Refusal) -> Option<usize> {
    const BEFORE: &[u8] = b"Bundle.entry[";
    let outcome = &why.operation_outcome;
    let at = memchr::memmem::find(outcome, BEFORE)? + BEFORE.len();
    let digits = outcome[at..].iter().take_while(|b| b.is_ascii_digit());
    std::str::from_utf8(&outcome[at..at + digits.count()])
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::input::{Ask, OwnBundle, Place};

    fn place(n: u32) -> Place {
        let at = u64::from(n);
        Place {
            bytes: at..at + 1,
            covers: at..at + 1,
            line: 0,
            entry: Some(n),
        }
    }

    /// Entries of which each names the one of its number in `pairs` as well.
    fn bundle(entries: u32, transaction: bool, pairs: &[(u32, u32)]) -> Request {
        let entry = |n: u32| {
            let others = pairs.iter().filter(|(a, _)| *a == n);
            let names: Vec<String> = others.map(|(_, b)| format!(",\"urn:uuid:{b}\"")).collect();
            let names = names.concat();
            Input {
                place: place(n),
                resource_type: "Basic".into(),
                ask: Ask::AsEntry { repeatable: true },
                json: Bytes::from(format!(r#"{{"fullUrl":"urn:uuid:{n}","x":[1{names}]}}"#)),
            }
        };
        let own = OwnBundle {
            json: Bytes::new(),
            place: place(0),
        };
        Request::own(own, transaction, (0..entries).map(entry).collect(), vec![])
    }

    fn numbers(request: &Request) -> Vec<u32> {
        let numbers = request.inputs.iter().filter_map(|i| i.place.entry);
        numbers.collect()
    }

    /// What a server that refuses `bad` took and refused in the end, and how many requests that cost;
    /// it names the entry that `hint` picks among those sent.
    fn load(
        request: Request,
        bad: &[u32],
        hint: impl Fn(&[u32]) -> Option<usize>,
    ) -> (Vec<u32>, Vec<u32>, usize) {
        let refuse = |sent: &[u32]| {
            let is_refused = sent.iter().any(|n| bad.contains(n));
            is_refused.then(|| {
                let place = hint(sent).map(|n| format!("Bundle.entry[{n}].resource"));
                Refusal::new(400, "no", Bytes::from(place.unwrap_or_default()))
            })
        };
        let (mut taken, mut refused, mut requests) = (Vec::new(), Vec::new(), 1);
        let why = refuse(&numbers(&request)).unwrap();
        let mut search = Search::begin(request, &why).unwrap();
        while let Some(part) = search.next() {
            requests += 1;
            let sent = numbers(&part);
            match refuse(&sent) {
                None => {
                    taken.extend(sent);
                    search.taken();
                }
                Some(why) => {
                    let culprits = search.refused(&why);
                    refused.extend(culprits.iter().flat_map(|(culprits, _)| numbers(culprits)));
                }
            }
        }
        (taken, refused, requests)
    }

    #[test]
    fn one_bad_entry_of_500_is_found_in_few_requests() {
        for bad in 0..500 {
            let (taken, refused, requests) = load(bundle(500, true, &[]), &[bad], |_| None);
            assert_eq!((taken.len(), &refused[..]), (499, &[bad][..]));
            assert!(requests <= 13, "{bad}: {requests} requests");
        }
    }

    #[test]
    fn an_entry_that_the_server_names_is_tried_first_and_not_taken_on_trust() {
        let named = |sent: &[u32]| sent.iter().position(|n| *n == 321);
        let (taken, refused, requests) = load(bundle(500, true, &[]), &[321], named);
        assert_eq!((taken.len(), &refused[..], requests), (499, &[321][..], 3));
        let (taken, refused, requests) = load(bundle(500, true, &[]), &[321], |_| Some(0));
        assert_eq!((taken.len(), &refused[..]), (499, &[321][..]));
        assert!(requests <= 14, "{requests} requests");
        let beyond = load(bundle(500, true, &[]), &[321], |_| Some(10_000));
        assert!(beyond.2 <= 13, "{} requests", beyond.2);
    }

    #[test]
    fn entries_that_name_each_other_are_sent_and_refused_together() {
        let pairs = [(3, 17), (17, 40)];
        let (taken, refused, _) = load(bundle(64, true, &pairs), &[17], |_| None);
        assert_eq!((taken.len(), &refused[..]), (61, &[3, 17, 40][..]));
        let all: Vec<(u32, u32)> = (1..64).map(|n| (n, n - 1)).collect();
        let why = Refusal::new(400, "no", Bytes::new());
        let whole = Search::begin(bundle(64, true, &all), &why).unwrap_err();
        assert_eq!(whole.inputs.len(), 64);
        assert!(whole.bundle.is_some() && whole.transaction);
    }

    #[test]
    fn a_server_that_takes_no_transactions_is_not_asked_again_and_again() {
        let why = Refusal::new(405, "no", Bytes::new());
        assert!(Search::begin(bundle(500, true, &[]), &why).is_err());
        assert!(Search::begin(bundle(500, false, &[]), &why).is_ok());
    }

    #[test]
    fn when_all_are_bad_each_is_refused_in_two_requests_at_most() {
        let all: Vec<u32> = (0..500).collect();
        let (taken, refused, requests) = load(bundle(500, false, &[]), &all, |_| None);
        assert_eq!((taken.len(), refused.len()), (0, 500));
        assert!(requests <= 1030, "{requests} requests");
    }

    #[test]
    fn doubt_about_a_part_proves_nothing_of_the_rest() {
        let why = Refusal::new(400, "no", Bytes::new());
        let mut search = Search::begin(bundle(8, true, &[]), &why).unwrap();
        let first = search.next().unwrap();
        assert_eq!(numbers(&first), [0, 1, 2, 3]);
        search.in_doubt();
        assert_eq!(numbers(&search.next().unwrap()), [4, 5, 6, 7]);
        search.taken();
        assert!(search.next().is_none());
    }

    proptest! {
        #[test]
        fn every_entry_is_taken_or_refused_once_whatever_the_server_names(
            entries in 2_u32..80,
            bad in prop::collection::btree_set(0_u32..80, 1..8),
            pairs in prop::collection::vec((0_u32..80, 0_u32..80), 0..20),
            named in prop::option::of(0_usize..90),
            transaction in any::<bool>(),
        ) {
            let bad: Vec<u32> = bad.into_iter().map(|n| n % entries).collect();
            let request = bundle(entries, transaction, &pairs);
            let why = Refusal::new(400, "no", Bytes::new());
            prop_assume!(Search::begin(request.clone(), &why).is_ok());
            let (taken, refused, requests) = load(request, &bad, |_| named);
            let mut all = [taken, refused.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..entries).collect::<Vec<u32>>());
            prop_assert!(bad.iter().all(|n| refused.contains(n)));
            prop_assert!(requests <= 2 * entries as usize + 20);
        }
    }
}
