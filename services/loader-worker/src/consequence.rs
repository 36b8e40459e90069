//! What the end of a unit's work means for the unit and for the worker.

use stoker_proto::ledger::v1::Disposition;
use stoker_shared::object_store::StoreError;

use crate::ledger::LedgerFault;
use crate::send::Stop;
use crate::unit::UnitEnd;
use crate::worker::WorkerError;

/// What to do with the unit, and whether the worker is in trouble beyond it.
pub(crate) fn consequence(end: UnitEnd) -> (Option<(Disposition, String)>, Option<WorkerError>) {
    let reason = end.to_string();
    match end {
        UnitEnd::Interrupted | UnitEnd::Stopped(Stop::Shutdown) => {
            (Some((Disposition::HandBack, String::new())), None)
        }
        UnitEnd::Stopped(stop) => (Some((Disposition::Later, reason)), Some(stop.into())),
        UnitEnd::Unreadable(e) if e.is_of_the_store() => {
            (Some((Disposition::Later, reason)), Some(e.into()))
        }
        UnitEnd::Unwritable(StoreError::Outside { .. }) => {
            (Some((Disposition::Park, reason)), None)
        }
        UnitEnd::Unwritable(e) => (Some((Disposition::Later, reason)), Some(e.into())),
        UnitEnd::ReaderFailed => (Some((Disposition::Retry, reason)), None),
        UnitEnd::Unreadable(e) if e.may_pass() => (Some((Disposition::Retry, reason)), None),
        UnitEnd::Unreadable(_) | UnitEnd::Damaged(_) | UnitEnd::Changed => {
            (Some((Disposition::Park, reason)), None)
        }
        UnitEnd::Ledger(LedgerFault::LeaseLost(why)) => {
            tracing::warn!(why, "lost the lease of a unit");
            (None, None)
        }
        UnitEnd::Ledger(fault) => (Some((Disposition::Retry, reason)), Some(fault.into())),
    }
}
