//! What became of inputs, made durable.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDateTime;
use sqlx::QueryBuilder;
use stoker_proto::ledger::v1::{
    CommitHeader, EntryOutcome, Lease, LoadErrorKind, OutcomeKind, Position, TypeCount,
};
use stoker_shared::ranges::RangeSet;
use tonic::codegen::http::StatusCode;

use super::settle::{self, Held};
use super::work::parse_ranges;
use super::{Conn, Db, LedgerError, one_row};
use crate::ledger::Commit;
use crate::ledger::text::{Spelled, clean, int, name};

/// Rows of one statement: 9 numbers each, of the 32 766 that SQLite takes.
const ROWS_AT_ONCE: usize = 1000;

pub(super) async fn commit(
    conn: &mut Conn,
    now: NaiveDateTime,
    commit: &Commit,
) -> Result<(), LedgerError> {
    let lease = commit.header.lease.clone().unwrap_or_default();
    let refuse = |reason: String| LedgerError::BadCommit {
        unit_id: lease.unit_id,
        reason,
    };
    let outcomes = checked(commit).map_err(refuse)?;
    let held = settle::held(conn, &lease).await?;
    let mut done = parse_ranges(&held.done_ranges)?;
    if is_repeat(&commit.header, &done) {
        return Ok(());
    }
    for range in &commit.header.done {
        done.insert(range.start..range.end);
    }
    mark_done(conn, &lease, &done, &commit.header).await?;
    add_counts(conn, held.resource_bundle_load_id, &commit.header).await?;
    let created: Vec<&Checked<'_>> = outcomes.iter().filter(|o| o.error.is_none()).collect();
    add_created(conn, now, &held, &created).await?;
    for (index, outcome) in outcomes.iter().enumerate() {
        if let Some(kind) = outcome.error {
            let parts = commit.quarantine.iter().filter(|(of, _)| *of == index);
            let parts: Vec<&[u8]> = parts.map(|(_, data)| data.as_ref()).collect();
            let error_id =
                add_error(conn, now, &held, lease.unit_id, outcome, kind, &parts).await?;
            add_quarantine(conn, error_id, &parts).await?;
        }
    }
    Ok(())
}

/// An outcome that says all it must.
struct Checked<'c> {
    outcome: &'c EntryOutcome,
    position: Position,
    /// None when the resource was created.
    error: Option<LoadErrorKind>,
}

fn checked(commit: &Commit) -> Result<Vec<Checked<'_>>, String> {
    let header = &commit.header;
    if header.done.iter().any(|r| r.start >= r.end) {
        return Err("a range of it is empty".to_owned());
    }
    let check = |outcome| {
        let outcome: &EntryOutcome = outcome;
        let error = match outcome.kind() {
            OutcomeKind::Created => None,
            OutcomeKind::Rejected => Some(LoadErrorKind::Rejected),
            OutcomeKind::InDoubt => Some(LoadErrorKind::InDoubt),
            OutcomeKind::Unspecified => return Err("an outcome has no kind".to_owned()),
        };
        let position = outcome.position.ok_or("an outcome has no position")?;
        Ok(Checked {
            outcome,
            position,
            error,
        })
    };
    let outcomes: Vec<Checked<'_>> = commit
        .outcomes
        .iter()
        .map(check)
        .collect::<Result<_, String>>()?;
    for (index, _) in &commit.quarantine {
        if outcomes.get(*index).is_none_or(|o| o.error.is_none()) {
            return Err(format!(
                "there is no rejected outcome {index} to quarantine"
            ));
        }
    }
    Ok(outcomes)
}

/// A commit whose ranges are all committed is one whose answer got lost.
fn is_repeat(header: &CommitHeader, done: &RangeSet) -> bool {
    let ranges = &header.done;
    !ranges.is_empty() && ranges.iter().all(|r| done.covers(r.start..r.end))
}

async fn mark_done(
    conn: &mut Conn,
    lease: &Lease,
    done: &RangeSet,
    header: &CommitHeader,
) -> Result<(), LedgerError> {
    // Ranges that were not done before: a unit that gets on is not near its end, however often its
    // worker is killed.
    let marked = sqlx::query(
        "UPDATE load_units SET done_ranges = $3, attempts = CASE WHEN $5 THEN 1 ELSE attempts END, \
           source_bytes = CASE WHEN source_bytes > $4 THEN source_bytes ELSE $4 END \
         WHERE unit_id = $1 AND lease_token = $2 AND state = 'leased'",
    )
    .bind(lease.unit_id)
    .bind(&lease.token)
    .bind(done.to_string())
    .bind(int(header.source_bytes))
    .bind(!header.done.is_empty())
    .execute(conn)
    .await?;
    one_row(marked.rows_affected(), || settle::changed(lease.unit_id))
}

async fn add_counts(
    conn: &mut Conn,
    load_id: i64,
    header: &CommitHeader,
) -> Result<(), LedgerError> {
    sqlx::query(
        "UPDATE resource_bundle_loads SET requests = requests + $2, retries = retries + $3 \
         WHERE resource_bundle_load_id = $1",
    )
    .bind(load_id)
    .bind(int(header.requests))
    .bind(int(header.retries))
    .execute(&mut *conn)
    .await?;
    // Sorted, so that workers on one load never wait for each other in a circle.
    let mut counts: Vec<&TypeCount> = header.counts.iter().collect();
    counts.sort_by(|a, b| a.resource_type.cmp(&b.resource_type));
    for count in counts {
        sqlx::query(
            "INSERT INTO load_counts AS c (resource_bundle_load_id, resource_type, created, \
               updated, rejected, in_doubt) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (resource_bundle_load_id, resource_type) DO UPDATE SET \
               created = c.created + excluded.created, updated = c.updated + excluded.updated, \
               rejected = c.rejected + excluded.rejected, \
               in_doubt = c.in_doubt + excluded.in_doubt",
        )
        .bind(load_id)
        .bind(name(&count.resource_type))
        .bind(int(count.created))
        .bind(int(count.updated))
        .bind(int(count.rejected))
        .bind(int(count.in_doubt))
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

async fn add_created(
    conn: &mut Conn,
    now: NaiveDateTime,
    held: &Held,
    created: &[&Checked<'_>],
) -> Result<(), LedgerError> {
    if created.is_empty() {
        return Ok(());
    }
    let types = type_ids(conn, created).await?;
    let object_id: i64 = sqlx::query_scalar(
        "SELECT resource_bundle_id FROM resource_bundle_loads WHERE resource_bundle_load_id = $1",
    )
    .bind(held.resource_bundle_load_id)
    .fetch_one(&mut *conn)
    .await?;
    for rows in created.chunks(ROWS_AT_ONCE) {
        let mut add = QueryBuilder::<Db>::new(
            "INSERT INTO logical_resources (resource_type_id, logical_id, \
               resource_bundle_load_id, resource_bundle_id, loader_instance_id, line_number, \
               entry_index, created_tstamp, response_time_ms) ",
        );
        add.push_values(rows, |mut row, created| {
            let outcome = created.outcome;
            let type_id = types.get(&*name(&outcome.resource_type));
            row.push_bind(type_id.copied())
                .push_bind(name(&outcome.logical_id).into_owned())
                .push_bind(held.resource_bundle_load_id)
                .push_bind(object_id)
                .push_bind(held.loader_instance_id)
                .push_bind(int(created.position.line))
                .push_bind(created.position.entry.map(i64::from))
                .push_bind(now)
                .push_bind(i64::from(outcome.response_ms));
        });
        add.build().persistent(false).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Ids of the resource types of some outcomes; unknown types are added.
async fn type_ids(
    conn: &mut Conn,
    created: &[&Checked<'_>],
) -> Result<BTreeMap<String, i64>, LedgerError> {
    let types: BTreeSet<_> = created
        .iter()
        .map(|c| name(&c.outcome.resource_type))
        .collect();
    let mut ids = BTreeMap::new();
    for of in types {
        let find = "SELECT resource_type_id FROM resource_types WHERE resource_type = $1";
        let known: Option<i64> = sqlx::query_scalar(find)
            .bind(&*of)
            .fetch_optional(&mut *conn)
            .await?;
        let id = match known {
            Some(id) => id,
            None => add_type(conn, &of).await?,
        };
        ids.insert(of.into_owned(), id);
    }
    Ok(ids)
}

async fn add_type(conn: &mut Conn, name: &str) -> Result<i64, LedgerError> {
    // The update changes nothing; it has the row answered also when another worker was faster.
    let id = sqlx::query_scalar(
        "INSERT INTO resource_types (resource_type) VALUES ($1) \
         ON CONFLICT (resource_type) DO UPDATE SET resource_type = excluded.resource_type \
         RETURNING resource_type_id",
    );
    Ok(id.bind(name).fetch_one(conn).await?)
}

async fn add_error(
    conn: &mut Conn,
    now: NaiveDateTime,
    held: &Held,
    unit_id: i64,
    checked: &Checked<'_>,
    kind: LoadErrorKind,
    parts: &[&[u8]],
) -> Result<i64, LedgerError> {
    let Checked {
        outcome, position, ..
    } = checked;
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let status = (outcome.http_status != 0).then(|| i64::from(outcome.http_status));
    let id = sqlx::query_scalar(
        "INSERT INTO resource_bundle_errors (resource_bundle_load_id, unit_id, kind, \
           line_number, entry_index, input_offset, input_length, resource_type, error_text, \
           error_tstamp, response_time_ms, http_status_code, http_status_text, \
           operation_outcome, quarantined_bytes, quarantine_parts) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
         RETURNING error_id",
    )
    .bind(held.resource_bundle_load_id)
    .bind(unit_id)
    .bind(kind.spell()?)
    .bind(int(position.line))
    .bind(position.entry.map(i64::from))
    .bind(int(position.offset))
    .bind(int(position.length))
    .bind(name(&outcome.resource_type))
    .bind(clean(&outcome.error_text))
    .bind(now)
    .bind(i64::from(outcome.response_ms))
    .bind(status)
    .bind(reason_phrase(outcome.http_status))
    .bind(outcome.operation_outcome.as_ref())
    .bind(int(bytes as u64))
    .bind(int(parts.len() as u64));
    Ok(id.fetch_one(conn).await?)
}

/// The standard's own words: HTTP/2 sends none.
fn reason_phrase(status: u32) -> Option<&'static str> {
    let status = StatusCode::from_u16(u16::try_from(status).ok()?).ok()?;
    status.canonical_reason()
}

async fn add_quarantine(
    conn: &mut Conn,
    error_id: i64,
    parts: &[&[u8]],
) -> Result<(), LedgerError> {
    for (number, part) in (0_i64..).zip(parts) {
        sqlx::query("INSERT INTO quarantine (error_id, part_number, data) VALUES ($1, $2, $3)")
            .bind(error_id)
            .bind(number)
            .bind(*part)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}
