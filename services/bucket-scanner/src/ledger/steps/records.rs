//! Rows of single resources: those that the server created under an id of its own, and those that it
//! refused or that are in doubt.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::NaiveDateTime;
use stoker_shared::store::rows::{Column, ints, texts};
use tonic::codegen::http::StatusCode;

use super::outcomes::{Checked, Taken};
use super::settle::{self, UnitNow};
use super::{Conn, KEEP_STATEMENTS, LedgerError, rows};
use crate::ledger::text::{Spelled, clean, int, name};

/// Rows of one statement: 16 numbers each at most, of the 32 766 that SQLite takes.
pub(super) const ROWS_AT_ONCE: usize = 1000;
/// And bytes of one, unless a row alone has more.
const BYTES_AT_ONCE: usize = 4 << 20;

/// An outcome, and the unit it is of.
type Of<'c> = (&'c UnitNow, &'c Checked<'c>);

/// Of loads, each with its object.
pub(super) async fn add_created(
    conn: &mut Conn,
    now: NaiveDateTime,
    objects: &HashMap<i64, i64>,
    taken: &[Taken<'_>],
) -> Result<(), LedgerError> {
    let created: Vec<Of<'_>> = of(taken).filter(|(_, o)| o.error.is_none()).collect();
    if created.is_empty() {
        return Ok(());
    }
    let types = type_ids(conn, &created).await?;
    let type_id = |o: &Checked<'_>| types.get(&*name(&o.outcome.resource_type)).copied();
    for some in created.chunks(ROWS_AT_ONCE) {
        let load = |unit: &UnitNow| unit.resource_bundle_load_id;
        let columns = [
            Column::MaybeInts(some.iter().map(|(_, o)| type_id(o)).collect()),
            texts(some.iter().map(|(_, o)| name(&o.outcome.logical_id))),
            ints(some.iter().map(|(unit, _)| load(unit))),
            Column::MaybeInts(
                some.iter()
                    .map(|(u, _)| objects.get(&load(u)).copied())
                    .collect(),
            ),
            Column::MaybeInts(
                some.iter()
                    .map(|(unit, _)| unit.loader_instance_id)
                    .collect(),
            ),
            ints(some.iter().map(|(_, o)| int(o.position.line))),
            Column::MaybeInts(
                some.iter()
                    .map(|(_, o)| o.position.entry.map(i64::from))
                    .collect(),
            ),
            ints(some.iter().map(|(_, o)| i64::from(o.outcome.response_ms))),
        ];
        let mut add = rows(
            "type, id, load, object, worker, line, entry, took",
            &columns,
        );
        add.push(
            "INSERT INTO logical_resources (resource_type_id, logical_id, \
               resource_bundle_load_id, resource_bundle_id, loader_instance_id, line_number, \
               entry_index, response_time_ms, created_tstamp) \
             SELECT r.type, r.id, r.load, r.object, r.worker, r.line, r.entry, r.took, ",
        );
        add.push_bind(now).push(" FROM r");
        let add = add.build().persistent(KEEP_STATEMENTS);
        add.execute(&mut *conn).await?;
    }
    Ok(())
}

fn of<'c>(taken: &'c [Taken<'c>]) -> impl Iterator<Item = Of<'c>> {
    taken
        .iter()
        .flat_map(|commit| commit.outcomes.iter().map(|outcome| (commit.unit, outcome)))
}

/// Ids of the resource types of some outcomes; unknown types are added.
async fn type_ids(
    conn: &mut Conn,
    created: &[Of<'_>],
) -> Result<BTreeMap<String, i64>, LedgerError> {
    let wanted: BTreeSet<_> = created
        .iter()
        .map(|(_, o)| name(&o.outcome.resource_type))
        .collect();
    let column = || texts(wanted.iter().map(|name| &**name));
    let mut known = known_types(conn, column()).await?;
    if known.len() < wanted.len() {
        // Sorted, so that scanners that add the same types never wait for each other in a circle.
        let mut add = rows("name", &[column()]);
        add.push(
            "INSERT INTO resource_types (resource_type) \
             SELECT r.name FROM r WHERE TRUE ORDER BY r.name ON CONFLICT DO NOTHING",
        );
        let add = add.build().persistent(KEEP_STATEMENTS);
        add.execute(&mut *conn).await?;
        known = known_types(conn, column()).await?;
    }
    Ok(known)
}

async fn known_types(
    conn: &mut Conn,
    names: Column<'_>,
) -> Result<BTreeMap<String, i64>, LedgerError> {
    let mut find = rows("name", &[names]);
    find.push(
        "SELECT t.resource_type, t.resource_type_id \
         FROM r JOIN resource_types t ON t.resource_type = r.name",
    );
    let found: Vec<(String, i64)> = find
        .build_query_as()
        .persistent(KEEP_STATEMENTS)
        .fetch_all(conn)
        .await?;
    Ok(found.into_iter().collect())
}

pub(super) async fn add_errors(
    conn: &mut Conn,
    now: NaiveDateTime,
    taken: &[Taken<'_>],
) -> Result<(), LedgerError> {
    let errors: Vec<Of<'_>> = of(taken).filter(|(_, o)| o.error.is_some()).collect();
    for some in batches(&errors, |(_, o)| {
        o.outcome.operation_outcome.len() + o.outcome.error_text.len()
    }) {
        let error_ids = insert_errors(conn, now, some).await?;
        settle::all_rows(error_ids.len() as u64, some.len())?;
        let parts = error_ids.iter().zip(some).flat_map(|(id, (_, o))| {
            let numbered = (0_i64..).zip(o.quarantine.iter().copied());
            numbered.map(|(number, data)| (*id, number, data))
        });
        add_quarantine(conn, &parts.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Runs of some items that go into one statement each.
fn batches<T>(items: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut batches = Vec::new();
    let (mut start, mut sum) = (0, 0);
    for (at, item) in items.iter().enumerate() {
        let size = bytes(item);
        if at > start && (sum + size > BYTES_AT_ONCE || at - start == ROWS_AT_ONCE) {
            batches.extend(items.get(start..at));
            (start, sum) = (at, 0);
        }
        sum += size;
    }
    batches.extend(items.get(start..).filter(|rest| !rest.is_empty()));
    batches
}

/// Answers their ids in the same order.
async fn insert_errors(
    conn: &mut Conn,
    now: NaiveDateTime,
    errors: &[Of<'_>],
) -> Result<Vec<i64>, LedgerError> {
    let mut kinds = Vec::with_capacity(errors.len());
    for (_, error) in errors {
        kinds.push(error.error.unwrap_or_default().spell()?);
    }
    let outcomes = || errors.iter().map(|(_, error)| error.outcome);
    let positions = || errors.iter().map(|(_, error)| error.position);
    let bytes = |o: &Checked<'_>| o.quarantine.iter().map(|part| part.len()).sum::<usize>() as u64;
    let status = |status: u32| (status != 0).then(|| i64::from(status));
    let columns = [
        ints((0..).take(errors.len())),
        ints(errors.iter().map(|(unit, _)| unit.resource_bundle_load_id)),
        ints(errors.iter().map(|(unit, _)| unit.unit_id)),
        texts(kinds),
        ints(positions().map(|p| int(p.line))),
        Column::MaybeInts(positions().map(|p| p.entry.map(i64::from)).collect()),
        ints(positions().map(|p| int(p.offset))),
        ints(positions().map(|p| int(p.length))),
        texts(outcomes().map(|o| name(&o.resource_type))),
        texts(outcomes().map(|o| clean(&o.error_text))),
        ints(outcomes().map(|o| i64::from(o.response_ms))),
        Column::MaybeInts(outcomes().map(|o| status(o.http_status)).collect()),
        Column::MaybeTexts(outcomes().map(|o| reason_phrase(o.http_status)).collect()),
        Column::Bytes(outcomes().map(|o| &*o.operation_outcome).collect()),
        ints(errors.iter().map(|(_, o)| int(bytes(o)))),
        ints(errors.iter().map(|(_, o)| int(o.quarantine.len() as u64))),
    ];
    let names = "place, load, unit, kind, line, entry, start, length, type, error, took, status, \
                 phrase, outcome, kept, parts";
    let mut add = rows(names, &columns);
    add.push(
        "INSERT INTO resource_bundle_errors (resource_bundle_load_id, unit_id, kind, \
           line_number, entry_index, input_offset, input_length, resource_type, error_text, \
           response_time_ms, http_status_code, http_status_text, operation_outcome, \
           quarantined_bytes, quarantine_parts, error_tstamp) \
         SELECT r.load, r.unit, r.kind, r.line, r.entry, r.start, r.length, r.type, r.error, \
           r.took, r.status, r.phrase, r.outcome, r.kept, r.parts, ",
    );
    add.push_bind(now);
    // In this order they get their ids, which come back in any.
    add.push(" FROM r ORDER BY r.place RETURNING error_id");
    let mut error_ids: Vec<i64> = add
        .build_query_scalar()
        .persistent(KEEP_STATEMENTS)
        .fetch_all(conn)
        .await?;
    error_ids.sort_unstable();
    Ok(error_ids)
}

/// The standard's own words: HTTP/2 sends none.
fn reason_phrase(status: u32) -> Option<&'static str> {
    let status = StatusCode::from_u16(u16::try_from(status).ok()?).ok()?;
    status.canonical_reason()
}

/// Parts of inputs: error, number, bytes.
async fn add_quarantine(conn: &mut Conn, parts: &[(i64, i64, &[u8])]) -> Result<(), LedgerError> {
    for some in batches(parts, |(_, _, data)| data.len()) {
        let columns = [
            ints(some.iter().map(|(error, _, _)| *error)),
            ints(some.iter().map(|(_, number, _)| *number)),
            Column::Bytes(some.iter().map(|(_, _, data)| *data).collect()),
        ];
        let mut add = rows("error, number, data", &columns);
        add.push(
            "INSERT INTO quarantine (error_id, part_number, data) \
             SELECT r.error, r.number, r.data FROM r",
        );
        let add = add.build().persistent(KEEP_STATEMENTS);
        add.execute(&mut *conn).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_neither_too_long_nor_too_large() {
        let sizes = |items: &[usize]| {
            let batches = batches(items, |size| *size);
            batches.iter().map(|b| b.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&vec![1; 2500]), [1000, 1000, 500]);
        let half = BYTES_AT_ONCE / 2;
        assert_eq!(sizes(&[half, half, 1, 9 * half, 1, half]), [2, 1, 1, 2]);
    }
}
