//! Units that were read to their end; loads end with the last of theirs.

use std::collections::{BTreeSet, HashMap};

use chrono::NaiveDateTime;
use stoker_proto::common::v1::Source;
use stoker_proto::ledger::v1::Lease;
use stoker_shared::store::rows::ints;

use super::settle::{self, UnitNow};
use super::{Conn, KEEP_STATEMENTS, LedgerError, rows, waves};
use crate::ledger::FinishedLoad;
use crate::ledger::text::{int, join_key, nat, nat32};

/// A unit that was read to its end.
#[derive(Debug, Clone)]
pub(super) struct Finish {
    pub(super) lease: Lease,
    pub(super) lines: u64,
    pub(super) decoded_bytes: u64,
}

/// What is over by a write.
#[derive(Debug, Default)]
pub(super) struct Over {
    pub(super) load: Option<FinishedLoad>,
    /// It may be.
    pub(super) job: Option<i64>,
    /// A wave of this job is, and units of the next wait.
    pub(super) wave_of: Option<i64>,
}

/// Of each what it ended, or why it was refused.
pub(super) async fn finish(
    conn: &mut Conn,
    now: NaiveDateTime,
    finishes: &[&Finish],
) -> Result<Vec<Result<Over, LedgerError>>, LedgerError> {
    if finishes.is_empty() {
        return Ok(Vec::new());
    }
    let unit_ids: BTreeSet<i64> = finishes.iter().map(|f| f.lease.unit_id).collect();
    let units = settle::lock_units(conn, unit_ids).await?;
    let admissions: Vec<_> = finishes
        .iter()
        .map(|finish| admitted(&units, &finish.lease))
        .collect();
    // Of two that are the same, the second repeats the first.
    let mut ends = HashMap::new();
    for (finish, unit) in finishes.iter().zip(&admissions) {
        if let Ok(unit) = unit
            && unit.state == "leased"
        {
            ends.entry(unit.unit_id).or_insert((*finish, *unit));
        }
    }
    let load_ids: BTreeSet<i64> = ends
        .values()
        .map(|(_, u)| u.resource_bundle_load_id)
        .collect();
    // First: of two units that finish at once, the later must see the earlier done; and a load must not
    // change its run while its units are summed.
    settle::lock_loads(conn, &load_ids).await?;
    end_units(
        conn,
        &ends.values().map(|(finish, _)| *finish).collect::<Vec<_>>(),
    )
    .await?;
    let mut loads = end_loads(conn, now, &load_ids).await?;
    let job_ids: BTreeSet<i64> = admissions
        .iter()
        .flatten()
        .map(|unit| unit.job_id)
        .collect();
    let waves: BTreeSet<_> = ends.values().map(|(_, u)| (u.job_id, u.wave)).collect();
    let waves = waves::over(conn, &waves).await?;
    let over: BTreeSet<i64> = settle::without_open(conn, job_ids)
        .await?
        .into_iter()
        .collect();
    let answers = admissions.into_iter().map(|unit| {
        let unit = unit?;
        let load = loads.remove(&unit.resource_bundle_load_id);
        Ok(Over {
            load,
            job: over.get(&unit.job_id).copied(),
            wave_of: waves
                .contains(&(unit.job_id, unit.wave))
                .then_some(unit.job_id),
        })
    });
    Ok(answers.collect())
}

/// A unit that is held, or was finished under just this lease: a repeat changes nothing.
fn admitted<'u>(
    units: &'u HashMap<i64, UnitNow>,
    lease: &Lease,
) -> Result<&'u UnitNow, LedgerError> {
    match units.get(&lease.unit_id) {
        Some(unit) if unit.state == "done" && unit.has_token(lease) => Ok(unit),
        _ => settle::held(units, lease),
    }
}

/// Ends units that are held.
async fn end_units(conn: &mut Conn, finishes: &[&Finish]) -> Result<(), LedgerError> {
    if finishes.is_empty() {
        return Ok(());
    }
    let columns = [
        ints(finishes.iter().map(|f| f.lease.unit_id)),
        ints(finishes.iter().map(|f| int(f.lines))),
        ints(finishes.iter().map(|f| int(f.decoded_bytes))),
    ];
    // The token stays, so that a repeat is known as one.
    let mut end = rows("id, line_count, byte_count", &columns);
    end.push(
        "UPDATE load_units AS u SET state = 'done', lease_expiry = NULL, reason = '', \
           begun_ranges = '', lines = r.line_count, decoded_bytes = r.byte_count, \
           source_bytes = u.range_end - u.range_start \
         FROM r WHERE u.unit_id = r.id AND u.state = 'leased'",
    );
    let end = end.build().persistent(KEEP_STATEMENTS);
    let ended = end.execute(conn).await?.rows_affected();
    settle::all_rows(ended, finishes.len())
}

/// Ends loads, which are locked, all of whose units are done; answers those.
async fn end_loads(
    conn: &mut Conn,
    now: NaiveDateTime,
    load_ids: &BTreeSet<i64>,
) -> Result<HashMap<i64, FinishedLoad>, LedgerError> {
    if load_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let mut end = rows("id", &[ints(load_ids.iter().copied())]);
    end.push("UPDATE resource_bundle_loads AS l SET load_completed = ");
    end.push_bind(now);
    end.push(
        ", rows_processed = (SELECT CAST(COALESCE(SUM(created + updated + rejected + in_doubt), 0) \
             AS BIGINT) FROM load_counts c \
             WHERE c.resource_bundle_load_id = l.resource_bundle_load_id), \
           failure_count = (SELECT CAST(COALESCE(SUM(rejected + in_doubt), 0) AS BIGINT) \
             FROM load_counts c WHERE c.resource_bundle_load_id = l.resource_bundle_load_id) \
         FROM r WHERE l.resource_bundle_load_id = r.id AND l.load_completed IS NULL \
           AND NOT EXISTS (SELECT 1 FROM load_units u \
             WHERE u.resource_bundle_load_id = r.id AND u.state <> 'done') \
         RETURNING resource_bundle_load_id",
    );
    let ended: Vec<i64> = end
        .build_query_scalar()
        .persistent(KEEP_STATEMENTS)
        .fetch_all(&mut *conn)
        .await?;
    if ended.is_empty() {
        return Ok(HashMap::new());
    }
    let mut tell = rows("id", &[ints(ended.iter().copied())]);
    tell.push("UPDATE resource_bundles AS b SET load_completed = ");
    tell.push_bind(now);
    tell.push(
        " FROM r JOIN resource_bundle_loads l ON l.resource_bundle_load_id = r.id \
         WHERE b.resource_bundle_id = l.resource_bundle_id AND b.allocation_id = r.id",
    );
    let tell = tell.build().persistent(KEEP_STATEMENTS);
    tell.execute(&mut *conn).await?;
    describe(conn, &ended).await
}

#[derive(Debug, sqlx::FromRow)]
struct LoadRow {
    resource_bundle_load_id: i64,
    job_id: i64,
    uri: String,
    reach: String,
    bucket_name: String,
    bucket_path: String,
    object_name: String,
    version: i64,
    rows_processed: i64,
    failure_count: i64,
}

async fn describe(
    conn: &mut Conn,
    load_ids: &[i64],
) -> Result<HashMap<i64, FinishedLoad>, LedgerError> {
    let mut find = rows("id", &[ints(load_ids.iter().copied())]);
    find.push(
        "SELECT l.resource_bundle_load_id, l.job_id, s.uri, s.reach, p.bucket_name, \
           p.bucket_path, b.object_name, l.version, l.rows_processed, l.failure_count \
         FROM r JOIN resource_bundle_loads l ON l.resource_bundle_load_id = r.id \
         JOIN resource_bundles b ON b.resource_bundle_id = l.resource_bundle_id \
         JOIN bucket_paths p ON p.bucket_path_id = b.bucket_path_id \
         JOIN sources s ON s.source_id = b.source_id",
    );
    let found: Vec<LoadRow> = find
        .build_query_as()
        .persistent(KEEP_STATEMENTS)
        .fetch_all(conn)
        .await?;
    Ok(found
        .into_iter()
        .map(|row| (row.resource_bundle_load_id, row.into()))
        .collect())
}

impl From<LoadRow> for FinishedLoad {
    fn from(row: LoadRow) -> Self {
        Self {
            job_id: row.job_id,
            source: Source {
                uri: row.uri,
                reach: row.reach,
            },
            bucket_name: row.bucket_name,
            key: join_key(&row.bucket_path, &row.object_name),
            version: nat32(row.version),
            loaded: nat(row.rows_processed - row.failure_count),
            rejected: nat(row.failure_count),
        }
    }
}
