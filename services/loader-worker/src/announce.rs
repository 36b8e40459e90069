//! What a worker announces of one unit, and says of it in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use stoker_proto::common::v1::Compression;
use stoker_proto::events::v1::event::Kind;
use stoker_proto::events::v1::{InputRejected, ObjectRef, UnitDone};
use stoker_proto::ledger::v1::{EntryOutcome, OutcomeKind, TypeCount, Unit};
use stoker_shared::kafka::{Events, object_key};

/// The log's target of the line about each unit that is finished.
const COMPLETED: &str = "loader_worker::completed";

/// Announces for one unit; names places, never content.
#[derive(Debug, Clone)]
pub(crate) struct Announcer {
    events: Events,
    object: ObjectRef,
    job_id: i64,
    unit_id: i64,
    /// Decoded bytes of the object before the unit, where they are known.
    bytes_before: Option<u64>,
    /// Nothing of the object comes before it: its lines are the object's.
    is_first: bool,
    begun: Instant,
    tally: Arc<Tally>,
}

/// Entries of the unit whose outcomes are durable, since its lease.
#[derive(Debug, Default)]
struct Tally {
    loaded: AtomicU64,
    failed: AtomicU64,
}

impl Announcer {
    pub(crate) fn new(events: Events, unit: &Unit) -> Self {
        let object = unit.object.clone().unwrap_or_default();
        let from = unit.range.unwrap_or_default().start;
        let is_stored_as_it_is = object.compression() == Compression::None;
        Self {
            events,
            bytes_before: (from == 0 || is_stored_as_it_is).then_some(from),
            is_first: from == 0,
            object: ObjectRef {
                source: unit.source.clone(),
                bucket_name: object.bucket_name,
                key: object.key,
                version: object.version,
            },
            job_id: unit.job_id,
            unit_id: unit.lease.as_ref().map_or(0, |lease| lease.unit_id),
            begun: Instant::now(),
            tally: Arc::default(),
        }
    }

    /// To be called once the outcomes are durable.
    pub(crate) fn recorded(&self, outcomes: &[EntryOutcome]) {
        for outcome in outcomes {
            if outcome.kind() != OutcomeKind::Rejected {
                continue;
            }
            let position = outcome.position.unwrap_or_default();
            self.announce(Kind::InputRejected(InputRejected {
                object: Some(self.object.clone()),
                job_id: self.job_id,
                offset: self.bytes_before.map(|before| before + position.offset),
                line: self.is_first.then_some(position.line),
                http_status: outcome.http_status,
            }));
        }
    }

    /// To be called once the counts are durable.
    pub(crate) fn counted(&self, counts: &[TypeCount]) {
        for count in counts {
            let Tally { loaded, failed } = &*self.tally;
            loaded.fetch_add(count.created + count.updated, Ordering::Relaxed);
            failed.fetch_add(count.rejected + count.in_doubt, Ordering::Relaxed);
        }
    }

    /// To be called once the ledger knows that the unit is finished.
    pub(crate) fn unit_done(&self) {
        self.log_completed();
        self.announce(Kind::UnitDone(UnitDone {
            object: Some(self.object.clone()),
            job_id: self.job_id,
            unit_id: self.unit_id,
        }));
    }

    /// The line that users of the Java fhir-bucket look for, with the unit's number in the place of the
    /// key, which can name a patient.
    fn log_completed(&self) {
        let loaded = self.tally.loaded.load(Ordering::Relaxed);
        let failed = self.tally.failed.load(Ordering::Relaxed);
        let took = self.begun.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate to read")]
        let rate = if took > 0.0 {
            loaded as f64 / took
        } else {
            0.0
        };
        tracing::debug!(
            target: COMPLETED,
            "Completed entry: <job {} unit {} [v{}: {}/{} failed={failed}]> [took {took:.3} secs, \
             resources: {loaded}, rate: {rate:.1} resources/sec]",
            self.job_id,
            self.unit_id,
            self.object.version,
            loaded + failed,
            loaded + failed,
        );
    }

    fn announce(&self, kind: Kind) {
        self.events.announce(&object_key(&self.object), kind);
    }
}
