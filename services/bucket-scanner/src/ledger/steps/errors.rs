//! What went wrong, listed in pages.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use sqlx::FromRow;
use stoker_proto::common::v1::Compression;
use stoker_proto::ledger::v1::{LoadError, LoadErrorKind, Position, QuarantinePart};

use super::{Conn, Db, ErrorCursor, ErrorPage, LedgerError, QuarantineCursor, QuarantinePage};
use crate::ledger::text::{Spelled, int, join_key, nat, nat32, timestamp};

const ERRORS_AT_ONCE: usize = 100;
/// Of at most 1 MiB each.
const PARTS_AT_ONCE: i64 = 16;

pub(super) async fn list(
    conn: &mut Conn,
    job_id: i64,
    this_run: bool,
    after: ErrorCursor,
) -> Result<ErrorPage, LedgerError> {
    let run = run_of(conn, job_id).await?;
    let only_run = this_run.then_some(run);
    match after {
        ErrorCursor::Inputs(load, unit, offset, id) => {
            inputs(conn, job_id, only_run, (load, unit, offset, id)).await
        }
        ErrorCursor::Issues(id) => issues(conn, job_id, only_run, id).await,
    }
}

async fn run_of(conn: &mut Conn, job_id: i64) -> Result<i64, LedgerError> {
    let run = sqlx::query_scalar("SELECT run FROM jobs WHERE job_id = $1");
    let run: Option<i64> = run.bind(job_id).fetch_optional(conn).await?;
    run.ok_or(LedgerError::NotFound {
        what: "job",
        id: job_id,
    })
}

#[derive(Debug, FromRow)]
struct ErrorRow {
    load_id: i64,
    unit_id: i64,
    /// Where the unit begins in the stored bytes.
    range_start: i64,
    input_offset: i64,
    /// Of the error; of the unit when it is parked.
    id: i64,
    kind: String,
    input_length: i64,
    line_number: i64,
    entry_index: Option<i64>,
    resource_type: String,
    http_status: Option<i64>,
    error_text: String,
    operation_outcome: Option<Vec<u8>>,
    quarantined_bytes: i64,
    tstamp: NaiveDateTime,
    version: i64,
    bucket_path: String,
    object_name: String,
    compression: String,
}

impl ErrorRow {
    fn place(&self) -> Place {
        (self.load_id, self.unit_id, self.input_offset, self.id)
    }
}

/// Where an error stands: load, unit, offset in it, id. A parked unit stands at offset -1, before its
/// inputs.
type Place = (i64, i64, i64, i64);

async fn inputs(
    conn: &mut Conn,
    job_id: i64,
    only_run: Option<i64>,
    after: Place,
) -> Result<ErrorPage, LedgerError> {
    let mut rows = refused(conn, job_id, only_run, after).await?;
    rows.extend(parked(conn, job_id, only_run, after).await?);
    rows.sort_by_key(ErrorRow::place);
    rows.truncate(ERRORS_AT_ONCE);
    let next = match rows.last().map(ErrorRow::place) {
        Some((load, unit, offset, id)) => ErrorCursor::Inputs(load, unit, offset, id),
        None => ErrorCursor::Issues(0),
    };
    let mut bases = HashMap::new();
    let mut errors = Vec::with_capacity(rows.len());
    for row in rows {
        let base = match bases.get(&row.unit_id) {
            Some(base) => *base,
            None => base_of(conn, &row).await?,
        };
        bases.insert(row.unit_id, base);
        errors.push(row.into_error(base)?);
    }
    Ok(ErrorPage {
        errors,
        next: Some(next),
    })
}

/// What comes before a unit in its object.
#[derive(Debug, Clone, Copy, Default, FromRow)]
struct Base {
    lines: i64,
    decoded_bytes: i64,
    unfinished: i64,
}

async fn base_of(conn: &mut Conn, row: &ErrorRow) -> Result<Base, LedgerError> {
    if row.range_start == 0 {
        return Ok(Base::default());
    }
    let before = sqlx::query_as(
        "SELECT CAST(SUM(lines) AS BIGINT) AS lines, \
           CAST(SUM(decoded_bytes) AS BIGINT) AS decoded_bytes, \
           COUNT(CASE WHEN state = 'done' THEN NULL ELSE 1 END) AS unfinished \
         FROM load_units WHERE resource_bundle_load_id = $1 AND range_start < $2",
    );
    let before = before.bind(row.load_id).bind(row.range_start);
    Ok(before.fetch_one(conn).await?)
}

// CROSS JOIN has SQLite take the tables in this order, so that their index gives the rows in theirs.

async fn refused(
    conn: &mut Conn,
    job_id: i64,
    only_run: Option<i64>,
    after: Place,
) -> Result<Vec<ErrorRow>, LedgerError> {
    let rows = sqlx::query_as(
        "SELECT e.resource_bundle_load_id AS load_id, e.unit_id, u.range_start, e.input_offset, \
           e.error_id AS id, e.kind, e.input_length, e.line_number, e.entry_index, e.resource_type, \
           e.http_status_code AS http_status, e.error_text, e.operation_outcome, \
           e.quarantined_bytes, e.error_tstamp AS tstamp, l.version, p.bucket_path, b.object_name, \
           b.compression \
         FROM resource_bundle_errors e CROSS JOIN resource_bundle_loads l \
         CROSS JOIN resource_bundles b CROSS JOIN bucket_paths p CROSS JOIN load_units u \
         WHERE u.unit_id = e.unit_id AND l.resource_bundle_load_id = e.resource_bundle_load_id \
           AND b.resource_bundle_id = l.resource_bundle_id \
           AND p.bucket_path_id = b.bucket_path_id \
           AND l.job_id = $1 AND l.latest AND ($2 IS NULL OR l.run = $2) \
           AND (e.resource_bundle_load_id, e.unit_id, e.input_offset, e.error_id) \
             > ($3, $4, $5, $6) \
         ORDER BY e.resource_bundle_load_id, e.unit_id, e.input_offset, e.error_id LIMIT $7",
    );
    page(conn, rows, job_id, only_run, after).await
}

async fn parked(
    conn: &mut Conn,
    job_id: i64,
    only_run: Option<i64>,
    after: Place,
) -> Result<Vec<ErrorRow>, LedgerError> {
    let rows = sqlx::query_as(
        "SELECT u.resource_bundle_load_id AS load_id, u.unit_id, u.range_start, CAST(-1 AS BIGINT) AS input_offset, \
           u.unit_id AS id, 'parked' AS kind, CAST(0 AS BIGINT) AS input_length, \
           CAST(0 AS BIGINT) AS line_number, CAST(NULL AS BIGINT) AS entry_index, \
           '' AS resource_type, CAST(NULL AS BIGINT) AS http_status, u.reason AS error_text, \
           NULL AS operation_outcome, CAST(0 AS BIGINT) AS quarantined_bytes, \
           u.not_before AS tstamp, l.version, p.bucket_path, b.object_name, b.compression \
         FROM load_units u CROSS JOIN resource_bundle_loads l \
         CROSS JOIN resource_bundles b CROSS JOIN bucket_paths p \
         WHERE u.job_id = $1 AND u.state = 'parked' \
           AND l.resource_bundle_load_id = u.resource_bundle_load_id \
           AND b.resource_bundle_id = l.resource_bundle_id \
           AND p.bucket_path_id = b.bucket_path_id \
           AND l.latest AND ($2 IS NULL OR l.run = $2) \
           AND u.resource_bundle_load_id >= $3 \
           AND (u.resource_bundle_load_id, u.unit_id, -1, u.unit_id) > ($3, $4, $5, $6) \
         ORDER BY u.resource_bundle_load_id, u.unit_id LIMIT $7",
    );
    page(conn, rows, job_id, only_run, after).await
}

type Query<'q> = sqlx::query::QueryAs<'q, Db, ErrorRow, <Db as sqlx::Database>::Arguments>;

async fn page(
    conn: &mut Conn,
    query: Query<'_>,
    job_id: i64,
    only_run: Option<i64>,
    (load, unit, offset, id): Place,
) -> Result<Vec<ErrorRow>, LedgerError> {
    let rows = query
        .bind(job_id)
        .bind(only_run)
        .bind(load)
        .bind(unit)
        .bind(offset)
        .bind(id)
        .bind(int(ERRORS_AT_ONCE as u64));
    Ok(rows.fetch_all(conn).await?)
}

impl ErrorRow {
    fn into_error(self, base: Base) -> Result<LoadError, LedgerError> {
        let kind = LoadErrorKind::read(&self.kind)?;
        let parked = kind == LoadErrorKind::Parked;
        // Stored bytes are the decoded ones where nothing is compressed. Sums mean nothing as long
        // as some of their parts are missing.
        let whole = base.unfinished == 0;
        let bytes_before = if Compression::read(&self.compression)? == Compression::None {
            self.range_start
        } else if whole {
            base.decoded_bytes
        } else {
            0
        };
        let lines_before = if whole { base.lines } else { 0 };
        Ok(LoadError {
            error_id: if parked { 0 } else { self.id },
            kind: kind.into(),
            key: join_key(&self.bucket_path, &self.object_name),
            version: nat32(self.version),
            position: (!parked).then(|| Position {
                offset: nat(bytes_before + self.input_offset),
                length: nat(self.input_length),
                line: nat(lines_before + self.line_number),
                entry: self.entry_index.map(nat32),
            }),
            resource_type: self.resource_type,
            http_status: self.http_status.map_or(0, nat32),
            error_text: self.error_text,
            operation_outcome: self.operation_outcome.unwrap_or_default().into(),
            quarantined_bytes: nat(self.quarantined_bytes),
            time: Some(timestamp(self.tstamp)),
            position_in_unit: !parked && !whole,
        })
    }
}

async fn issues(
    conn: &mut Conn,
    job_id: i64,
    only_run: Option<i64>,
    after: i64,
) -> Result<ErrorPage, LedgerError> {
    let rows: Vec<(i64, String, String, bool, NaiveDateTime)> = sqlx::query_as(
        "SELECT scan_issue_id, name, reason, unreadable, found FROM scan_issues \
         WHERE job_id = $1 AND scan_issue_id > $2 AND ($3 IS NULL OR run = $3) \
         ORDER BY scan_issue_id LIMIT $4",
    )
    .bind(job_id)
    .bind(after)
    .bind(only_run)
    .bind(int(ERRORS_AT_ONCE as u64))
    .fetch_all(conn)
    .await?;
    let next = rows.last().map(|row| ErrorCursor::Issues(row.0));
    let error = |(_, key, error_text, unreadable, found)| LoadError {
        kind: if unreadable {
            LoadErrorKind::Parked.into()
        } else {
            LoadErrorKind::Warning.into()
        },
        key,
        error_text,
        time: Some(timestamp(found)),
        ..LoadError::default()
    };
    Ok(ErrorPage {
        errors: rows.into_iter().map(error).collect(),
        next,
    })
}

#[derive(Debug, FromRow)]
struct PartRow {
    load_id: i64,
    unit_id: i64,
    input_offset: i64,
    error_id: i64,
    part_number: i64,
    quarantine_parts: i64,
    data: Vec<u8>,
}

pub(super) async fn quarantine(
    conn: &mut Conn,
    job_id: i64,
    error_id: i64,
    after: QuarantineCursor,
) -> Result<QuarantinePage, LedgerError> {
    run_of(conn, job_id).await?;
    let rows: Vec<PartRow> = sqlx::query_as(
        "SELECT e.resource_bundle_load_id AS load_id, e.unit_id, e.input_offset, e.error_id, \
           q.part_number, e.quarantine_parts, q.data \
         FROM resource_bundle_errors e CROSS JOIN resource_bundle_loads l CROSS JOIN quarantine q \
         WHERE l.resource_bundle_load_id = e.resource_bundle_load_id \
           AND q.error_id = e.error_id \
           AND l.job_id = $1 AND l.latest AND ($2 = 0 OR e.error_id = $2) \
           AND (e.resource_bundle_load_id, e.unit_id, e.input_offset, e.error_id) \
             >= ($3, $4, $5, $6) \
           AND (e.resource_bundle_load_id, e.unit_id, e.input_offset, e.error_id, q.part_number) \
             > ($3, $4, $5, $6, $7) \
         ORDER BY e.resource_bundle_load_id, e.unit_id, e.input_offset, e.error_id, \
           q.part_number LIMIT $8",
    )
    .bind(job_id)
    .bind(error_id)
    .bind(after.0)
    .bind(after.1)
    .bind(after.2)
    .bind(after.3)
    .bind(after.4)
    .bind(PARTS_AT_ONCE)
    .fetch_all(conn)
    .await?;
    let cursor = |row: &PartRow| {
        let (load, unit, offset) = (row.load_id, row.unit_id, row.input_offset);
        QuarantineCursor(load, unit, offset, row.error_id, row.part_number)
    };
    let next = rows.last().map(cursor);
    let part = |row: PartRow| QuarantinePart {
        error_id: row.error_id,
        last: row.part_number + 1 == row.quarantine_parts,
        data: row.data.into(),
    };
    Ok(QuarantinePage {
        parts: rows.into_iter().map(part).collect(),
        next,
    })
}
