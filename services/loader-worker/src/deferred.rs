//! Inputs of a unit that were refused because something they refer to is not there, which may be further down.

use crate::input::{Ask, Input, Request};
use crate::outcome::{Deferred, Settled};
use crate::read::key_of;

/// Bytes of inputs kept for later, of one unit. What is beyond is rejected at once.
const MOST_BYTES: usize = 8 << 20;

/// Kinds of requests: transactions or not, that can be repeated or not.
const KINDS: usize = 4;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Later {
    kept: Vec<Deferred>,
    bytes: usize,
}

impl Later {
    /// Takes what is deferred out of `settled`, as far as there is room; the rest is rejected there.
    pub(crate) fn keep(&mut self, settled: &mut Settled) {
        for mut deferred in std::mem::take(&mut settled.deferred) {
            let bytes = deferred.request.size();
            if self.bytes + bytes > MOST_BYTES {
                settled.give_up(deferred);
                continue;
            }
            self.bytes += bytes;
            deferred.request.keys = keys_of(&deferred.request.inputs);
            self.kept.push(deferred.detached());
        }
    }

    /// How many inputs are kept.
    pub(crate) fn len(&self) -> usize {
        let inputs = |deferred: &Deferred| deferred.request.inputs.len();
        self.kept.iter().map(inputs).sum()
    }

    /// Gives up what a later line writes too: that one is to be the last.
    pub(crate) fn superseded_by(&mut self, keys: &[u64]) -> Settled {
        let is_written = |deferred: &mut Deferred| shares(&deferred.request.keys, keys);
        let mut settled = Settled::default();
        for deferred in self.kept.extract_if(.., is_written) {
            self.bytes -= deferred.request.size();
            settled.give_up(deferred);
        }
        settled
    }

    /// The requests that send them all again, in their order, each of `batch` inputs about.
    pub(crate) fn again(&mut self, batch: usize) -> Vec<Request> {
        self.bytes = 0;
        let mut kept = std::mem::take(&mut self.kept);
        kept.sort_by_key(|d| {
            d.request
                .inputs
                .first()
                .map(|input| input.place.bytes.start)
        });
        let mut requests: Vec<Request> = Vec::new();
        for Deferred { request, .. } in kept {
            let has_room = |other: &&mut Request| {
                other.transaction == request.transaction
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
    use crate::input::Place;
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
}
