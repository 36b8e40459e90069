//! The messages of a commit.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use stoker_proto::common::v1::ByteRange;
use stoker_proto::ledger::v1::commit_outcomes_request::Part;
use stoker_proto::ledger::v1::{
    CommitHeader, CommitOutcomesRequest, EntryOutcome, Lease, OutcomeKind, OutcomeList, Position,
    QuarantineChunk, TypeCount,
};
use stoker_shared::ranges::RangeSet;

use crate::outcome::{Fate, Outcome, Refusal, Settled};

/// Bytes of an input in one message: well below gRPC's usual limit of 4 MiB.
const QUARANTINE_CHUNK: usize = 1 << 20;

/// Bytes of outcomes in one message, about: as for [`QUARANTINE_CHUNK`].
const OUTCOMES_MESSAGE: usize = 1 << 20;

/// Most text of one reason.
const MAX_ERROR_TEXT: usize = 8 << 10;

/// Most text of one OperationOutcome that is kept.
const MAX_OPERATION_OUTCOME: usize = 256 << 10;

/// The messages of one commit: header, outcomes, quarantine.
pub(super) fn parts(
    lease: &Lease,
    settled: Vec<Settled>,
    source_bytes: u64,
) -> Vec<CommitOutcomesRequest> {
    let mut done = RangeSet::new();
    let mut counts = Counts::default();
    let mut header = CommitHeader {
        lease: Some(lease.clone()),
        source_bytes,
        ..CommitHeader::default()
    };
    let mut recorded = Vec::new();
    let mut quarantine = Vec::new();
    let mut begun = RangeSet::new();
    for one in settled {
        header.requests += one.requests;
        header.retries += one.retries;
        one.done.into_iter().for_each(|range| done.insert(range));
        one.begun.into_iter().for_each(|range| begun.insert(range));
        for outcome in one.outcomes {
            counts.count(&outcome);
            let index = u32::try_from(recorded.len()).unwrap_or(u32::MAX);
            if let Some((entry, input)) = record(outcome) {
                quarantine.extend(chunks(index, &input));
                recorded.push(entry);
            }
        }
    }
    header.done = ranges(&done);
    header.begun = ranges(&begun);
    header.counts = counts.by_name();
    let outcomes = messages(recorded).into_iter().map(Part::Outcomes);
    std::iter::once(Part::Header(header))
        .chain(outcomes)
        .chain(quarantine.into_iter().map(Part::Quarantine))
        .map(|part| CommitOutcomesRequest { part: Some(part) })
        .collect()
}

fn ranges(set: &RangeSet) -> Vec<ByteRange> {
    let range = |range: std::ops::Range<u64>| ByteRange {
        start: range.start,
        end: range.end,
    };
    set.iter().map(range).collect()
}

/// Outcomes in lists that each fit in a message.
fn messages(outcomes: Vec<EntryOutcome>) -> Vec<OutcomeList> {
    let mut lists: Vec<OutcomeList> = Vec::new();
    let mut room = 0;
    for outcome in outcomes {
        let size = outcome.encoded_len();
        if lists.is_empty() || size > room {
            lists.push(OutcomeList::default());
            room = OUTCOMES_MESSAGE;
        }
        room = room.saturating_sub(size);
        if let Some(list) = lists.last_mut() {
            list.outcomes.push(outcome);
        }
    }
    lists
}

/// Counts by type: of a few types, so that looking through them is faster than a map.
#[derive(Default)]
struct Counts(Vec<(Arc<str>, TypeCount)>);

impl Counts {
    fn count(&mut self, outcome: &Outcome) {
        let count = self.of(&outcome.resource_type);
        match &outcome.fate {
            Fate::Created(_) => count.created += 1,
            Fate::Updated => count.updated += 1,
            Fate::Rejected(_) => count.rejected += 1,
            Fate::InDoubt(_) => count.in_doubt += 1,
        }
    }

    fn of(&mut self, resource_type: &Arc<str>) -> &mut TypeCount {
        let is_it = |known: &Arc<str>| Arc::ptr_eq(known, resource_type) || known == resource_type;
        let at = self.0.iter().rposition(|(known, _)| is_it(known));
        let at = at.unwrap_or_else(|| {
            let count = TypeCount {
                resource_type: resource_type.to_string(),
                ..TypeCount::default()
            };
            self.0.push((Arc::clone(resource_type), count));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    fn by_name(self) -> Vec<TypeCount> {
        let mut counts: Vec<TypeCount> = self.0.into_iter().map(|(_, count)| count).collect();
        counts.sort_by(|a, b| a.resource_type.cmp(&b.resource_type));
        counts
    }
}

/// The record of an outcome that needs one, and the input's bytes.
fn record(outcome: Outcome) -> Option<(EntryOutcome, Bytes)> {
    let (kind, logical_id, refusal) = match outcome.fate {
        Fate::Updated | Fate::Created(None) => return None,
        Fate::Created(Some(id)) => {
            let nothing = Refusal::new(201, "", Bytes::new());
            (OutcomeKind::Created, id, nothing)
        }
        Fate::Rejected(refusal) => (OutcomeKind::Rejected, String::new(), refusal),
        Fate::InDoubt(refusal) => (OutcomeKind::InDoubt, String::new(), refusal),
    };
    let place = outcome.place;
    let mut operation_outcome = refusal.operation_outcome;
    operation_outcome.truncate(MAX_OPERATION_OUTCOME);
    let mut error_text = refusal.text;
    error_text.truncate(error_text.floor_char_boundary(MAX_ERROR_TEXT));
    let entry = EntryOutcome {
        position: Some(Position {
            offset: place.bytes.start,
            length: place.bytes.end - place.bytes.start,
            line: place.line,
            entry: place.entry,
        }),
        kind: kind.into(),
        resource_type: outcome.resource_type.to_string(),
        logical_id,
        response_ms: outcome.response_ms,
        http_status: refusal.status.into(),
        error_text,
        operation_outcome,
    };
    Some((entry, refusal.json))
}

fn chunks(outcome_index: u32, input: &Bytes) -> Vec<QuarantineChunk> {
    let cut = |start: usize| input.slice(start..input.len().min(start + QUARANTINE_CHUNK));
    (0..input.len())
        .step_by(QUARANTINE_CHUNK)
        .map(|start| QuarantineChunk {
            outcome_index,
            data: cut(start),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Place;

    fn outcome(line: u64, fate: Fate) -> Outcome {
        Outcome {
            place: Place {
                bytes: line * 10..line * 10 + 9,
                covers: line * 10..line * 10 + 10,
                line,
                entry: None,
            },
            resource_type: "Patient".into(),
            fate,
            response_ms: 5,
        }
    }

    #[test]
    fn every_message_stays_below_the_limit_of_grpc() {
        let long = || {
            let outcome = Bytes::from(vec![b'x'; 2 * MAX_OPERATION_OUTCOME]);
            Fate::Rejected(Refusal::new(422, "y".repeat(3000), outcome))
        };
        let settled = Settled {
            outcomes: (0..40).map(|line| outcome(line, long())).collect(),
            ..Settled::default()
        };
        let parts = parts(&Lease::default(), vec![settled], 0);
        assert!(parts.iter().all(|part| part.encoded_len() < 4 << 20));
        let lists = parts.into_iter().filter_map(|p| match p.part {
            Some(Part::Outcomes(list)) => Some(list.outcomes.len()),
            _ => None,
        });
        assert_eq!(lists.sum::<usize>(), 40, "none is left out");
    }

    #[test]
    fn a_commit_has_a_header_then_outcomes_then_every_byte_of_rejected_inputs() {
        let input: Vec<u8> = (0..QUARANTINE_CHUNK + 5)
            .map(|i| b'a' + u8::try_from(i % 26).unwrap())
            .collect();
        let mut refusal = Refusal::new(422, "bad", Bytes::new());
        refusal.json = Bytes::from(input.clone());
        let settled = Settled {
            outcomes: vec![
                outcome(0, Fate::Updated),
                outcome(1, Fate::Created(Some("srv".to_owned()))),
                outcome(2, Fate::Rejected(refusal)),
            ],
            done: vec![0..10, 10..20, 20..30],
            requests: 2,
            retries: 1,
            ..Settled::default()
        };
        let mut parts = parts(&Lease::default(), vec![settled], 99)
            .into_iter()
            .map(|p| p.part.unwrap());
        let Some(Part::Header(header)) = parts.next() else {
            panic!("no header")
        };
        assert_eq!(header.done, [ByteRange { start: 0, end: 30 }]);
        let count = &header.counts[0];
        assert_eq!((count.created, count.updated, count.rejected), (1, 1, 1));
        let Some(Part::Outcomes(list)) = parts.next() else {
            panic!("no outcomes")
        };
        assert_eq!(
            list.outcomes.len(),
            2,
            "an update of a known id needs no record"
        );
        assert_eq!(list.outcomes[0].logical_id, "srv");
        let mut kept = Vec::new();
        for part in parts {
            let Part::Quarantine(chunk) = part else {
                panic!("{part:?}")
            };
            assert_eq!(chunk.outcome_index, 1);
            kept.extend_from_slice(&chunk.data);
        }
        assert_eq!(kept, input);
    }
}
