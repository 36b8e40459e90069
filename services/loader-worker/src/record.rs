//! Makes outcomes durable in the ledger.
//!
//! If the process dies before a commit, what it covers was sent but is not settled: the next lease of the unit
//! sends it again (a `PUT` then changes nothing, a `POST` may double what was in flight). If it dies after, the
//! next lease skips it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_proto::common::v1::ByteRange;
use stoker_proto::ledger::v1::commit_outcomes_request::Part;
use stoker_proto::ledger::v1::{
    CommitHeader, CommitOutcomesRequest, EntryOutcome, Lease, OutcomeKind, OutcomeList, Position,
    QuarantineChunk, TypeCount,
};
use stoker_shared::ranges::RangeSet;
use stoker_shared::retry::Backoff;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::announce::Announcer;
use crate::ledger::{Ledger, LedgerFault};
use crate::outcome::{Fate, Outcome, Refusal, Settled};
use crate::stats::Stats;
use crate::unit::UnitEnd;

/// Bytes of an input in one message: well below gRPC's usual limit of 4 MiB.
const QUARANTINE_CHUNK: usize = 1 << 20;

/// Bytes of rejected inputs in one commit, about.
const COMMIT_BYTES: usize = 32 << 20;

/// Bytes of outcomes in one message, about: as for [`QUARANTINE_CHUNK`].
const OUTCOMES_MESSAGE: usize = 1 << 20;

/// Most text of one reason.
const MAX_ERROR_TEXT: usize = 8 << 10;

/// Most text of one OperationOutcome that is kept.
const MAX_OPERATION_OUTCOME: usize = 256 << 10;

/// Commits for one unit.
#[derive(Debug)]
pub(crate) struct Recorder {
    ledger: Ledger,
    lease: Lease,
    stats: Arc<Stats>,
    announcer: Announcer,
    waits_for_room: bool,
    rng: StdRng,
}

impl Recorder {
    /// With `waits_for_room` a full ledger is waited for like one that is away.
    pub(crate) fn new(
        ledger: Ledger,
        lease: Lease,
        stats: Arc<Stats>,
        announcer: Announcer,
        waits_for_room: bool,
        seed: u64,
    ) -> Self {
        Self {
            ledger,
            lease,
            stats,
            announcer,
            waits_for_room,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Starts to commit what is handed over. At most `window` requests are sent and not yet
    /// committed: so much a crash can repeat.
    pub(crate) fn start(mut self, window: usize, source_bytes: Arc<AtomicU64>) -> Recording {
        let (settled, mut waiting) = mpsc::channel::<(Settled, Place)>(window);
        let committing = async move {
            let mut together = Vec::new();
            // Whatever is settled while one commit runs goes into the next.
            while waiting.recv_many(&mut together, window).await > 0 {
                while !together.is_empty() {
                    let some = together.drain(..fitting(&together));
                    let (settled, places): (Vec<_>, Vec<_>) = some.unzip();
                    let bytes = source_bytes.load(Ordering::Relaxed);
                    self.commit(settled, bytes).await?;
                    drop(places);
                }
            }
            Ok(())
        };
        Recording {
            settled,
            window: Arc::new(Semaphore::new(window)),
            task: AbortOnDropHandle::new(tokio::spawn(committing.in_current_span())),
        }
    }

    /// Commits; while the ledger is away it tries again, for as long as the caller lets it.
    async fn commit(
        &mut self,
        settled: Vec<Settled>,
        source_bytes: u64,
    ) -> Result<(), LedgerFault> {
        let parts = parts(&self.lease, settled, source_bytes);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match self.ledger.commit(parts.clone()).await {
                Ok(()) => break,
                Err(e) if e.may_pass() || (e.is_full() && self.waits_for_room) => {
                    tracing::warn!(error = %e, "the ledger is away, committing again");
                    tokio::time::sleep(backoff.pause(None, &mut self.rng)).await;
                }
                Err(e) => return Err(e),
            }
        }
        for part in parts.into_iter().filter_map(|part| part.part) {
            match part {
                Part::Header(header) => self.count(&header.counts),
                Part::Outcomes(list) => self.announcer.recorded(&list.outcomes),
                Part::Quarantine(_) => {}
            }
        }
        Ok(())
    }

    fn count(&self, counts: &[TypeCount]) {
        let metrics = self.stats.metrics();
        for count in counts {
            metrics.resources("created", count.created);
            metrics.resources("updated", count.updated);
            metrics.resources("rejected", count.rejected);
            metrics.resources("in_doubt", count.in_doubt);
        }
    }
}

/// The task that commits what is settled; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Recording {
    settled: mpsc::Sender<(Settled, Place)>,
    window: Arc<Semaphore>,
    task: AbortOnDropHandle<Result<(), LedgerFault>>,
}

/// A request's place among those not yet committed, with its share of the memory; free again when
/// dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _count: OwnedSemaphorePermit,
    memory: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Keeps `memory` for as long as the place is taken.
    pub(crate) fn with(mut self, memory: OwnedSemaphorePermit) -> Self {
        self.memory = Some(memory);
        self
    }
}

impl Recording {
    /// Waits for a free place.
    pub(crate) async fn place(&self) -> Place {
        match Arc::clone(&self.window).acquire_owned().await {
            Ok(count) => Place {
                _count: count,
                memory: None,
            },
            Err(_) => unreachable!("the window is never closed"),
        }
    }

    /// Has the outcome recorded.
    pub(crate) async fn hand_over(&self, settled: Settled, place: Place) -> Result<(), UnitEnd> {
        // The task ends early only when it has failed; `end` tells its own error.
        let sent = self.settled.send((settled, place)).await;
        sent.map_err(|_| UnitEnd::Interrupted)
    }

    /// Waits until everything handed over is committed.
    pub(crate) async fn end(self) -> Result<(), LedgerFault> {
        drop(self.settled);
        match self.task.await {
            Ok(result) => result,
            Err(e) => Err(LedgerFault::Failed(e.to_string())),
        }
    }
}

/// How many of the first go into one commit: at least one, and bytes as far as the ledger likes them.
fn fitting(settled: &[(Settled, Place)]) -> usize {
    let mut bytes = 0;
    let fits = |(one, _): &&(Settled, Place)| {
        bytes += one.kept_bytes();
        bytes <= COMMIT_BYTES
    };
    settled.iter().take_while(fits).count().max(1)
}

/// The messages of one commit: header, outcomes, quarantine.
fn parts(lease: &Lease, settled: Vec<Settled>, source_bytes: u64) -> Vec<CommitOutcomesRequest> {
    let mut done = RangeSet::new();
    let mut counts: BTreeMap<Arc<str>, TypeCount> = BTreeMap::new();
    let mut header = CommitHeader {
        lease: Some(lease.clone()),
        source_bytes,
        ..CommitHeader::default()
    };
    let mut recorded = Vec::new();
    let mut quarantine = Vec::new();
    for one in settled {
        header.requests += one.requests;
        header.retries += one.retries;
        one.done.into_iter().for_each(|range| done.insert(range));
        for outcome in one.outcomes {
            count(&mut counts, &outcome);
            let index = u32::try_from(recorded.len()).unwrap_or(u32::MAX);
            if let Some((entry, input)) = record(outcome) {
                quarantine.extend(chunks(index, &input));
                recorded.push(entry);
            }
        }
    }
    header.done = done
        .iter()
        .map(|r| ByteRange {
            start: r.start,
            end: r.end,
        })
        .collect();
    header.counts = counts.into_values().collect();
    let outcomes = messages(recorded).into_iter().map(Part::Outcomes);
    std::iter::once(Part::Header(header))
        .chain(outcomes)
        .chain(quarantine.into_iter().map(Part::Quarantine))
        .map(|part| CommitOutcomesRequest { part: Some(part) })
        .collect()
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

fn count(counts: &mut BTreeMap<Arc<str>, TypeCount>, outcome: &Outcome) {
    let count = counts
        .entry(Arc::clone(&outcome.resource_type))
        .or_insert_with(|| TypeCount {
            resource_type: outcome.resource_type.to_string(),
            ..TypeCount::default()
        });
    match &outcome.fate {
        Fate::Created(_) => count.created += 1,
        Fate::Updated => count.updated += 1,
        Fate::Rejected(_) => count.rejected += 1,
        Fate::InDoubt(_) => count.in_doubt += 1,
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
