//! What a worker announces of one unit.

use stoker_proto::events::v1::event::Kind;
use stoker_proto::events::v1::{InputRejected, ObjectRef, UnitDone};
use stoker_proto::ledger::v1::{EntryOutcome, OutcomeKind, Unit};
use stoker_shared::kafka::{Events, object_key};

/// Announces for one unit; names places, never content.
#[derive(Debug, Clone)]
pub(crate) struct Announcer {
    events: Events,
    object: ObjectRef,
    job_id: i64,
    unit_id: i64,
}

impl Announcer {
    pub(crate) fn new(events: Events, unit: &Unit) -> Self {
        let object = unit.object.clone().unwrap_or_default();
        Self {
            events,
            object: ObjectRef {
                source: unit.source.clone(),
                bucket_name: object.bucket_name,
                key: object.key,
                version: object.version,
            },
            job_id: unit.job_id,
            unit_id: unit.lease.as_ref().map_or(0, |lease| lease.unit_id),
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
                offset: position.offset,
                line: position.line,
                http_status: outcome.http_status,
            }));
        }
    }

    /// To be called once the ledger knows that the unit is finished.
    pub(crate) fn unit_done(&self) {
        self.announce(Kind::UnitDone(UnitDone {
            object: Some(self.object.clone()),
            job_id: self.job_id,
            unit_id: self.unit_id,
        }));
    }

    fn announce(&self, kind: Kind) {
        self.events.announce(&object_key(&self.object), kind);
    }
}
