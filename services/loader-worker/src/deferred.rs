//! What a unit holds and was refused because something it refers to is not there, which may be further down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::input::{Ask, Input, Request};
use crate::outcome::{Deferred, Settled};
use crate::read::key_of;

/// Bytes of inputs kept for later, of one unit. What is beyond is rejected at once, or taken apart.
const MOST_BYTES: usize = 8 << 20;

/// Kinds of requests: transactions or not, that can be repeated or not.
const KINDS: usize = 4;

/// What is left of the bytes that one unit may keep; shared by cloning.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room {
    taken: Arc<AtomicUsize>,
}

impl Room {
    /// Whether there was room for so many bytes; then it is taken.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let more = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= MOST_BYTES);
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok()
    }

    fn free(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Later {
    kept: Vec<Deferred>,
    room: Room,
}

impl Later {
    /// For Bundles of the user's, which take it before they are handed to [`Later::keep`].
    pub(crate) fn room(&self) -> Room {
        self.room.clone()
    }

    /// Takes what is deferred out of `settled`, as far as there is room; the rest is rejected there.
    pub(crate) fn keep(&mut self, settled: &mut Settled) {
        for mut deferred in std::mem::take(&mut settled.deferred) {
            if !is_own(&deferred) {
                if !self.room.take(deferred.request.size()) {
                    settled.give_up(deferred);
                    continue;
                }
                deferred.request.keys = keys_of(&deferred.request.inputs);
            }
            self.kept.push(deferred.detached());
        }
    }

    /// How many inputs are kept.
    pub(crate) fn len(&self) -> usize {
        let inputs = |deferred: &Deferred| deferred.request.inputs.len();
        self.kept.iter().map(inputs).sum()
    }

    /// Takes Bundles of the user's out that write what a later line writes too, or all: they are to be sent before that
    /// line, and for the last time.
    pub(crate) fn bundles(&mut self, before: Option<&[u64]>) -> Vec<Request> {
        let is_due = |deferred: &mut Deferred| {
            is_own(deferred) && before.is_none_or(|keys| shares(&deferred.request.keys, keys))
        };
        let due: Vec<Deferred> = self.kept.extract_if(.., is_due).collect();
        let sent = due.into_iter().map(|deferred| {
            self.room.free(deferred.request.size());
            Request {
                later: None,
                ..deferred.request
            }
        });
        in_order(sent.collect())
    }

    /// Gives up what a later line writes too: that one is to be the last.
    pub(crate) fn superseded_by(&mut self, keys: &[u64]) -> Settled {
        let is_written = |deferred: &mut Deferred| shares(&deferred.request.keys, keys);
        let mut settled = Settled::default();
        for deferred in self.kept.extract_if(.., is_written) {
            self.room.free(deferred.request.size());
            settled.give_up(deferred);
        }
        settled
    }

    /// The requests that send them all again, in their order, each of `batch` inputs about or a Bundle of the user's.
    pub(crate) fn again(&mut self, batch: usize) -> Vec<Request> {
        let kept = std::mem::take(&mut self.kept).into_iter();
        let kept = kept.map(|deferred| {
            self.room.free(deferred.request.size());
            deferred.request
        });
        let mut requests: Vec<Request> = Vec::new();
        for request in in_order(kept.collect()) {
            let has_room = |other: &&mut Request| {
                other.transaction == request.transaction
                    && other.bundle.is_none()
                    && request.bundle.is_none()
                    && other.repeatable() == request.repeatable()
                    && other.inputs.len() + request.inputs.len() <= batch
                    && !shares(&other.keys, &request.keys)
            };
            match requests.iter_mut().rev().take(KINDS).find(has_room) {
                Some(other) => {
                    other.inputs.extend(request.inputs);
                    other.keys.extend(request.keys);
                }
                None => requests.push(request),
            }
        }
        requests
    }

    /// Gives up what is kept.
    pub(crate) fn give_up(self) -> Settled {
        let mut settled = Settled::default();
        self.kept.into_iter().for_each(|one| settled.give_up(one));
        settled
    }
}

fn is_own(deferred: &Deferred) -> bool {
    deferred.request.bundle.is_some()
}

fn in_order(mut requests: Vec<Request>) -> Vec<Request> {
    requests.sort_by_key(|request| request.inputs.first().map(|input| input.place.bytes.start));
    requests
}

fn keys_of(inputs: &[Input]) -> Vec<u64> {
    let key = |input: &Input| match &input.ask {
        Ask::Put { id } => Some(key_of(&input.resource_type, id)),
        _ => None,
    };
    inputs.iter().filter_map(key).collect()
}

fn shares(some: &[u64], others: &[u64]) -> bool {
    some.iter().any(|key| others.contains(key))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::input::{OwnBundle, Place};
    use crate::outcome::Refusal;

    fn deferred(line: u64, id: Option<&str>, json: Bytes) -> Deferred {
        let input = Input {
            place: Place {
                bytes: line * 10..line * 10 + 9,
                covers: line * 10..line * 10 + 10,
                line,
                entry: None,
            },
            resource_type: "Organization".into(),
            ask: id.map_or(Ask::Post, |id| Ask::Put { id: id.into() }),
            json,
        };
        Deferred {
            request: Request::group(vec![input], Vec::new()),
            why: Refusal::new(409, "not there", Bytes::new()),
            response_ms: 1,
        }
    }

    fn later(deferred: impl IntoIterator<Item = Deferred>) -> (Later, Settled) {
        let mut settled = Settled {
            deferred: deferred.into_iter().collect(),
            ..Settled::default()
        };
        let mut later = Later::default();
        later.keep(&mut settled);
        (later, settled)
    }

    #[test]
    fn they_are_sent_again_in_their_order_puts_apart_from_posts() {
        let json = Bytes::from_static(b"{}");
        let lines = [(7, Some("a")), (3, None), (1, Some("b")), (2, Some("c"))];
        let lines = lines.map(|(line, id)| deferred(line, id, json.clone()));
        let (mut later, settled) = later(lines);
        assert!(settled.outcomes.is_empty());
        let lines: Vec<Vec<u64>> = later
            .again(2)
            .iter()
            .map(|request| request.inputs.iter().map(|i| i.place.line).collect())
            .collect();
        assert_eq!(lines, [vec![1, 2], vec![3], vec![7]]);
        assert_eq!(later.len(), 0);
    }

    #[test]
    fn a_later_line_of_the_same_id_is_the_last() {
        let json = Bytes::from_static(b"{}");
        let lines = [
            deferred(1, Some("a"), json.clone()),
            deferred(2, Some("b"), json),
        ];
        let (mut later, _) = later(lines);
        let given_up = later.superseded_by(&[key_of("Organization", "a")]);
        assert_eq!(given_up.outcomes.len(), 1);
        assert_eq!(given_up.done.first(), Some(&(10..20)));
        assert_eq!(later.len(), 1);
    }

    #[test]
    fn what_is_too_much_to_keep_is_rejected() {
        let large = Bytes::from(vec![b' '; MOST_BYTES / 2]);
        let (later, settled) = later((0..3).map(|n| deferred(n, None, large.clone())));
        assert_eq!((later.len(), settled.outcomes.len()), (2, 1));
        assert_eq!(later.give_up().outcomes.len(), 2);
    }

    /// A transaction of the user's of two entries, which took its room; and what it writes.
    fn own(later: &Later) -> (Deferred, u64) {
        let json = Bytes::from_static(b"{\"entry\":[{\"a\":1},{\"b\":2}]}");
        let place = |bytes: std::ops::Range<u64>, entry| Place {
            covers: bytes.clone(),
            bytes,
            line: 0,
            entry,
        };
        let entry = |n: u32, start: usize| Input {
            place: place(start as u64..start as u64 + 7, Some(n)),
            resource_type: "Organization".into(),
            ask: Ask::AsEntry { repeatable: true },
            json: json.slice(start..start + 7),
        };
        let entries = vec![entry(0, 10), entry(1, 18)];
        let own = OwnBundle {
            json: json.clone(),
            place: place(0..27, None),
        };
        let key = key_of("Organization", "a");
        let request = Request {
            later: Some(later.room()),
            ..Request::own(own, true, entries, vec![key])
        };
        assert!(later.room().take(request.size()));
        let deferred = Deferred {
            request,
            why: Refusal::new(409, "not there", Bytes::new()),
            response_ms: 1,
        };
        (deferred, key)
    }

    #[test]
    fn a_bundle_is_sent_again_whole_and_for_the_last_time_before_who_writes_the_same() {
        let (mut later, _) = later([deferred(9, Some("b"), Bytes::from_static(b"{}"))]);
        let (kept, key) = own(&later);
        let mut settled = Settled {
            deferred: vec![kept],
            ..Settled::default()
        };
        later.keep(&mut settled);
        assert_eq!(later.len(), 3);
        let again = later.again(100);
        let inputs: Vec<usize> = again.iter().map(|request| request.inputs.len()).collect();
        assert_eq!(inputs, [2, 1], "no other line is put into it");
        let bundle = again[0].bundle.as_ref().unwrap();
        let texts: Vec<&[u8]> = again[0].inputs.iter().map(|input| &*input.json).collect();
        assert_eq!(texts, [b"{\"a\":1}", b"{\"b\":2}"]);
        assert!(
            bundle.json.as_ptr_range().contains(&texts[0].as_ptr()),
            "kept once"
        );

        settled.deferred = vec![own(&later).0];
        later.keep(&mut settled);
        assert!(
            later
                .bundles(Some(&[key_of("Organization", "b")]))
                .is_empty()
        );
        let last = later.bundles(Some(&[key]));
        assert_eq!(last.len(), 1);
        assert!(last[0].later.is_none());
        assert!(later.room().take(MOST_BYTES), "its room is free");
    }
}
