//! Inputs that were refused, and taken later from somebody else than a worker.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::NaiveDateTime;
use sqlx::FromRow;
use stoker_proto::common::v1::Target;
use stoker_proto::ledger::v1::{LoadErrorKind, SettledError};
use stoker_shared::store::rows::{ints, texts};

use super::{Conn, LedgerError, rows, settle};
use crate::ledger::text::{Spelled, timestamp};

pub(super) async fn settle(
    conn: &mut Conn,
    _now: NaiveDateTime,
    job_id: i64,
    target: &Target,
    errors: &[SettledError],
) -> Result<u64, LedgerError> {
    is_of(conn, job_id, target).await?;
    // A retry of the job, and a worker, lock them too before they touch what hangs on them.
    let units: BTreeSet<i64> = listed(conn, job_id, errors)
        .await?
        .iter()
        .map(|e| e.unit_id)
        .collect();
    settle::lock_units(conn, units).await?;
    let struck = listed(conn, job_id, errors).await?;
    if struck.is_empty() {
        return Ok(0);
    }
    lower_loads(conn, &struck).await?;
    lower_counts(conn, &struck).await?;
    strike(conn, &struck).await?;
    Ok(struck.len() as u64)
}

/// Fails where what took the inputs is not what the job loads into.
async fn is_of(conn: &mut Conn, job_id: i64, target: &Target) -> Result<(), LedgerError> {
    let find = sqlx::query_as("SELECT base_url, tenant FROM jobs WHERE job_id = $1");
    let found: Option<(String, String)> = find.bind(job_id).fetch_optional(conn).await?;
    let (base_url, tenant) = found.ok_or(LedgerError::NotFound {
        what: "job",
        id: job_id,
    })?;
    if (&base_url, &tenant) == (&target.base_url, &target.tenant) {
        return Ok(());
    }
    let tenant = if tenant.is_empty() {
        String::new()
    } else {
        format!(", tenant {tenant}")
    };
    Err(LedgerError::NotNow(format!(
        "job {job_id} loads into {base_url}{tenant}, where its inputs are still missing"
    )))
}

#[derive(Debug, FromRow)]
struct Listed {
    error_id: i64,
    unit_id: i64,
    load_id: i64,
    kind: String,
    resource_type: String,
    error_tstamp: NaiveDateTime,
}

/// Those that are listed as these errors.
async fn listed(
    conn: &mut Conn,
    job_id: i64,
    errors: &[SettledError],
) -> Result<Vec<Listed>, LedgerError> {
    let times: HashMap<i64, _> = errors.iter().map(|e| (e.error_id, e.time)).collect();
    let mut find = rows("id", &[ints(times.keys().copied())]);
    find.push(
        "SELECT e.error_id, e.unit_id, e.resource_bundle_load_id AS load_id, e.kind, \
           e.resource_type, e.error_tstamp \
         FROM resource_bundle_errors e JOIN resource_bundle_loads l \
           ON l.resource_bundle_load_id = e.resource_bundle_load_id \
         WHERE e.error_id IN (SELECT r.id FROM r) AND e.kind IN ('rejected', 'in_doubt') \
           AND l.latest AND l.job_id = ",
    );
    find.push_bind(job_id);
    let mut found: Vec<Listed> = find.build_query_as().fetch_all(conn).await?;
    found.retain(|e| times.get(&e.error_id) == Some(&Some(timestamp(e.error_tstamp))));
    Ok(found)
}

/// What a load that has ended says of itself stays the sum of its counts.
async fn lower_loads(conn: &mut Conn, struck: &[Listed]) -> Result<(), LedgerError> {
    let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
    for error in struck {
        *sums.entry(error.load_id).or_default() += 1;
    }
    let columns = [ints(sums.keys().copied()), ints(sums.values().copied())];
    let mut lower = rows("id, fewer", &columns);
    lower.push(
        "UPDATE resource_bundle_loads AS l SET rows_processed = l.rows_processed - r.fewer, \
           failure_count = l.failure_count - r.fewer \
         FROM r WHERE l.resource_bundle_load_id = r.id",
    );
    let lowered = lower.build().execute(conn).await?.rows_affected();
    settle::all_rows(lowered, sums.len())
}

async fn lower_counts(conn: &mut Conn, struck: &[Listed]) -> Result<(), LedgerError> {
    let mut sums: BTreeMap<(i64, &str), (i64, i64)> = BTreeMap::new();
    for error in struck {
        let sum = sums
            .entry((error.load_id, &error.resource_type))
            .or_default();
        if LoadErrorKind::read(&error.kind)? == LoadErrorKind::InDoubt {
            sum.1 += 1;
        } else {
            sum.0 += 1;
        }
    }
    let columns = [
        ints(sums.keys().map(|(load, _)| *load)),
        texts(sums.keys().map(|(_, name)| *name)),
        ints(sums.values().map(|(rejected, _)| *rejected)),
        ints(sums.values().map(|(_, in_doubt)| *in_doubt)),
    ];
    let mut lower = rows("id, name, rejected, in_doubt", &columns);
    lower.push(
        "UPDATE load_counts AS c SET rejected = c.rejected - r.rejected, \
           in_doubt = c.in_doubt - r.in_doubt \
         FROM r WHERE c.resource_bundle_load_id = r.id AND c.resource_type = r.name",
    );
    let lowered = lower.build().execute(conn).await?.rows_affected();
    settle::all_rows(lowered, sums.len())
}

async fn strike(conn: &mut Conn, struck: &[Listed]) -> Result<(), LedgerError> {
    let ids = [ints(struck.iter().map(|e| e.error_id))];
    let mut bytes = rows("id", &ids);
    bytes.push("DELETE FROM quarantine WHERE error_id IN (SELECT r.id FROM r)");
    bytes.build().execute(&mut *conn).await?;
    let mut errors = rows("id", &ids);
    errors.push("DELETE FROM resource_bundle_errors WHERE error_id IN (SELECT r.id FROM r)");
    let gone = errors.build().execute(conn).await?.rows_affected();
    settle::all_rows(gone, struck.len())
}
