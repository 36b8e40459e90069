//! What was about to be sent in a way that must not be repeated, and is not done: where its worker
//! died, it may have arrived.

use std::ops::Range;

use chrono::NaiveDateTime;
use stoker_proto::common::v1::ByteRange;
use stoker_proto::ledger::v1::LoadErrorKind;
use stoker_shared::ranges::RangeSet;
use stoker_shared::store::rows::ints;

use super::take::UnitRow;
use super::work::parse_ranges;
use super::{Conn, KEEP_STATEMENTS, LedgerError, rows};
use crate::ledger::text::{Spelled, int};

const TEXT: &str = "was sent when its worker died, and is sent again; where the server assigns ids \
                    it may hold it twice";

/// What is begun after a commit that begins some ranges, when these are done.
pub(super) fn after(begun: &mut RangeSet, begins: &[ByteRange], done: &RangeSet) {
    for range in begins {
        begun.insert(range.start..range.end);
    }
    if !begun.is_empty() {
        done.iter().for_each(|range| begun.remove(range));
    }
}

/// Notes of units, which are leased again, what was begun under earlier leases: as an error of kind
/// `repeated`, unless there is one already.
pub(super) async fn tell(
    conn: &mut Conn,
    now: NaiveDateTime,
    units: &[UnitRow],
) -> Result<(), LedgerError> {
    let (mut found, mut changed) = (Vec::new(), Vec::new());
    for unit in units {
        if unit.begun_ranges == unit.told_ranges {
            continue;
        }
        changed.push(unit.unit_id);
        let begun = parse_ranges(&unit.begun_ranges)?;
        let told = parse_ranges(&unit.told_ranges)?;
        found.extend(untold(begun, &told).into_iter().map(|range| (unit, range)));
    }
    if changed.is_empty() {
        return Ok(());
    }
    insert(conn, now, &found).await?;
    let mut note = rows("id", &[ints(changed)]);
    note.push(
        "UPDATE load_units SET told_ranges = begun_ranges WHERE unit_id IN (SELECT r.id FROM r)",
    );
    let note = note.build().persistent(KEEP_STATEMENTS);
    note.execute(conn).await?;
    Ok(())
}

fn untold(mut begun: RangeSet, told: &RangeSet) -> Vec<Range<u64>> {
    told.iter().for_each(|range| begun.remove(range));
    begun.iter().collect()
}

async fn insert(
    conn: &mut Conn,
    now: NaiveDateTime,
    found: &[(&UnitRow, Range<u64>)],
) -> Result<(), LedgerError> {
    if found.is_empty() {
        return Ok(());
    }
    let columns = [
        ints(found.iter().map(|(unit, _)| unit.resource_bundle_load_id)),
        ints(found.iter().map(|(unit, _)| unit.unit_id)),
        ints(found.iter().map(|(_, range)| int(range.start))),
        ints(found.iter().map(|(_, range)| int(range.end - range.start))),
    ];
    let mut add = rows("load, unit, start_at, length", &columns);
    add.push(
        "INSERT INTO resource_bundle_errors (resource_bundle_load_id, unit_id, input_offset, \
           input_length, line_number, resource_type, quarantined_bytes, quarantine_parts, kind, \
           error_text, error_tstamp, operation_outcome) \
         SELECT r.load, r.unit, r.start_at, r.length, 0, '', 0, 0, ",
    );
    add.push_bind(LoadErrorKind::Repeated.spell()?);
    add.push(", ").push_bind(TEXT);
    add.push(", ").push_bind(now);
    add.push(", ").push_bind(&b""[..]).push(" FROM r");
    let add = add.build().persistent(KEEP_STATEMENTS);
    add.execute(conn).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> RangeSet {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_done_is_begun_no_more() {
        let mut begun = set("0-10");
        let range = |start, end| ByteRange { start, end };
        after(&mut begun, &[range(10, 20), range(40, 50)], &set("5-12"));
        assert_eq!(begun, set("0-5,12-20,40-50"));
        after(&mut begun, &[], &set("0-50"));
        assert!(begun.is_empty());
    }

    #[test]
    fn what_is_told_is_not_told_again() {
        assert_eq!(untold(set("0-30"), &set("10-20,40-50")), [0..10, 20..30]);
        assert_eq!(untold(set("0-30"), &set("0-30")), []);
    }
}
