//! How units, loads and jobs end, and what a lost lease means.

use chrono::{NaiveDateTime, TimeDelta};
use stoker_proto::common::v1::Source;
use stoker_proto::ledger::v1::{Disposition, Lease};

use super::{Conn, LedgerError, one_row};
use crate::ledger::text::{clean, int, join_key, nat, nat32};
use crate::ledger::{FinishedLoad, MAX_ATTEMPTS};

const LONGEST_PAUSE_S: i64 = 60;

/// Before a unit is tried again whose server or store is away.
const AWAY_PAUSE: TimeDelta = TimeDelta::seconds(10);

/// A unit under a lease that holds, its row locked.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Held {
    pub(super) resource_bundle_load_id: i64,
    pub(super) job_id: i64,
    pub(super) done_ranges: String,
    pub(super) attempts: i64,
    pub(super) loader_instance_id: Option<i64>,
}

/// The fence: fails with `LeaseLost` unless the unit is leased under just this token. An expired
/// lease holds as long as nobody else has taken the unit.
pub(super) async fn held(conn: &mut Conn, lease: &Lease) -> Result<Held, LedgerError> {
    let held: Option<Held> = sqlx::query_as(concat!(
        "SELECT resource_bundle_load_id, job_id, done_ranges, attempts, loader_instance_id \
         FROM load_units WHERE unit_id = $1 AND lease_token = $2 AND state = 'leased'",
        lock!()
    ))
    .bind(lease.unit_id)
    .bind(&lease.token)
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(held) = held {
        return Ok(held);
    }
    let reason = why_lost(conn, lease.unit_id).await?;
    Err(LedgerError::LeaseLost {
        unit_id: lease.unit_id,
        reason,
    })
}

/// Why a lease that does not hold does not hold, for a person.
pub(super) async fn why_lost(conn: &mut Conn, unit_id: i64) -> Result<String, LedgerError> {
    let row: Option<(String, String)> =
        sqlx::query_as("SELECT state, reason FROM load_units WHERE unit_id = $1")
            .bind(unit_id)
            .fetch_optional(conn)
            .await?;
    Ok(match row {
        None => "there is no such unit".to_owned(),
        Some((state, reason)) => match state.as_str() {
            "leased" => "it expired and another worker has taken the unit".to_owned(),
            "open" => "the unit was handed back".to_owned(),
            "done" => "the unit is finished already".to_owned(),
            "parked" => format!("the unit is parked: {reason}"),
            _ => reason,
        },
    })
}

/// Answers the load when it is over by this, and the job when it may be.
pub(super) async fn finish_unit(
    conn: &mut Conn,
    now: NaiveDateTime,
    lease: &Lease,
    lines: u64,
    decoded_bytes: u64,
) -> Result<(Option<FinishedLoad>, Option<i64>), LedgerError> {
    let held = match held(conn, lease).await {
        Err(lost @ LedgerError::LeaseLost { .. }) => {
            let finished = finished_under(conn, lease).await?;
            return Ok((None, unless_open(conn, finished.ok_or(lost)?).await?));
        }
        held => held?,
    };
    // The token stays, so that a repeat is known as one.
    let finished = sqlx::query(
        "UPDATE load_units SET state = 'done', lease_expiry = NULL, reason = '', lines = $3, \
           decoded_bytes = $4, source_bytes = range_end - range_start \
         WHERE unit_id = $1 AND lease_token = $2 AND state = 'leased'",
    )
    .bind(lease.unit_id)
    .bind(&lease.token)
    .bind(int(lines))
    .bind(int(decoded_bytes))
    .execute(&mut *conn)
    .await?;
    one_row(finished.rows_affected(), || changed(lease.unit_id))?;
    let finished = if load(conn, now, held.resource_bundle_load_id).await? {
        Some(describe(conn, held.resource_bundle_load_id).await?)
    } else {
        None
    };
    Ok((finished, unless_open(conn, held.job_id).await?))
}

/// The job of a unit that was finished under just this lease.
async fn finished_under(conn: &mut Conn, lease: &Lease) -> Result<Option<i64>, LedgerError> {
    let repeat = sqlx::query_scalar(
        "SELECT job_id FROM load_units WHERE unit_id = $1 AND lease_token = $2 AND state = 'done'",
    );
    Ok(repeat
        .bind(lease.unit_id)
        .bind(&lease.token)
        .fetch_optional(conn)
        .await?)
}

/// Answers the job when it may be over by this.
pub(super) async fn release_unit(
    conn: &mut Conn,
    now: NaiveDateTime,
    lease: &Lease,
    disposition: Disposition,
    reason: &str,
) -> Result<Option<i64>, LedgerError> {
    let held = held(conn, lease).await?;
    let attempts = nat32(held.attempts);
    match disposition {
        Disposition::HandBack => reopen(conn, lease, held.attempts - 1, now, "").await?,
        Disposition::Later => {
            reopen(conn, lease, held.attempts - 1, now + AWAY_PAUSE, reason).await?;
        }
        Disposition::Retry if attempts < MAX_ATTEMPTS => {
            let again = now + pause_after(attempts);
            reopen(conn, lease, held.attempts, again, reason).await?;
        }
        Disposition::Retry => give_up(conn, now, lease.unit_id, reason).await?,
        Disposition::Park => park(conn, now, lease.unit_id, reason).await?,
        Disposition::Unspecified => {
            let reason = "say what is to happen to the unit".to_owned();
            return Err(LedgerError::NotNow(reason));
        }
    }
    unless_open(conn, held.job_id).await
}

/// 1 s after the first attempt, twice as long after each further one.
fn pause_after(attempts: u32) -> TimeDelta {
    let doubled = 1_i64
        .checked_shl(attempts.saturating_sub(1))
        .unwrap_or(LONGEST_PAUSE_S);
    TimeDelta::seconds(doubled.clamp(1, LONGEST_PAUSE_S))
}

async fn reopen(
    conn: &mut Conn,
    lease: &Lease,
    attempts: i64,
    not_before: NaiveDateTime,
    reason: &str,
) -> Result<(), LedgerError> {
    let opened = sqlx::query(
        "UPDATE load_units SET state = 'open', lease_token = NULL, lease_expiry = NULL, \
           attempts = $3, not_before = $4, reason = $5 \
         WHERE unit_id = $1 AND lease_token = $2 AND state = 'leased'",
    )
    .bind(lease.unit_id)
    .bind(&lease.token)
    .bind(attempts)
    .bind(not_before)
    .bind(clean(reason))
    .execute(conn)
    .await?;
    one_row(opened.rows_affected(), || changed(lease.unit_id))
}

/// Parks a unit whose attempts are used up.
pub(super) async fn give_up(
    conn: &mut Conn,
    now: NaiveDateTime,
    unit_id: i64,
    last_reason: &str,
) -> Result<(), LedgerError> {
    let last = if last_reason.is_empty() {
        "its worker fell silent while loading it"
    } else {
        last_reason
    };
    let reason = format!("given up after {MAX_ATTEMPTS} attempts: {last}");
    park(conn, now, unit_id, &reason).await
}

/// Sets a unit aside whose row is locked.
async fn park(
    conn: &mut Conn,
    now: NaiveDateTime,
    unit_id: i64,
    reason: &str,
) -> Result<(), LedgerError> {
    let parked = sqlx::query(
        "UPDATE load_units SET state = 'parked', reason = $2, not_before = $3, \
           lease_token = NULL, lease_expiry = NULL \
         WHERE unit_id = $1 AND state = 'leased'",
    )
    .bind(unit_id)
    .bind(clean(reason))
    .bind(now)
    .execute(conn)
    .await?;
    one_row(parked.rows_affected(), || changed(unit_id))
}

/// Ends a unit, whose row is locked, of a load that counts no more.
pub(super) async fn rescind(conn: &mut Conn, unit_id: i64) -> Result<(), LedgerError> {
    let rescinded = sqlx::query(
        "UPDATE load_units SET state = 'rescinded', reason = 'the object has changed', \
           lease_token = NULL, lease_expiry = NULL \
         WHERE unit_id = $1 AND state IN ('open', 'leased')",
    )
    .bind(unit_id)
    .execute(conn)
    .await?;
    one_row(rescinded.rows_affected(), || changed(unit_id))
}

pub(super) fn changed(unit_id: i64) -> LedgerError {
    LedgerError::Damaged(format!("unit {unit_id} changed under its lock"))
}

/// Ends a load when all its units are done; answers whether they were.
async fn load(conn: &mut Conn, now: NaiveDateTime, load_id: i64) -> Result<bool, LedgerError> {
    // Locked first: of two units that finish at once, the later must see the earlier done.
    sqlx::query(concat!(
        "SELECT 1 FROM resource_bundle_loads WHERE resource_bundle_load_id = $1",
        lock!()
    ))
    .bind(load_id)
    .execute(&mut *conn)
    .await?;
    let completed = sqlx::query(
        "UPDATE resource_bundle_loads SET load_completed = $2, \
           rows_processed = (SELECT CAST(COALESCE(SUM(created + updated + rejected + in_doubt), 0) \
             AS BIGINT) FROM load_counts WHERE resource_bundle_load_id = $1), \
           failure_count = (SELECT CAST(COALESCE(SUM(rejected + in_doubt), 0) AS BIGINT) \
             FROM load_counts WHERE resource_bundle_load_id = $1) \
         WHERE resource_bundle_load_id = $1 AND load_completed IS NULL AND NOT EXISTS \
           (SELECT 1 FROM load_units WHERE resource_bundle_load_id = $1 AND state <> 'done')",
    )
    .bind(load_id)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    let over = completed.rows_affected() == 1;
    if over {
        sqlx::query(
            "UPDATE resource_bundles SET load_completed = $2 \
             WHERE allocation_id = $1 AND resource_bundle_id = \
               (SELECT resource_bundle_id FROM resource_bundle_loads \
                WHERE resource_bundle_load_id = $1)",
        )
        .bind(load_id)
        .bind(now)
        .execute(conn)
        .await?;
    }
    Ok(over)
}

#[derive(Debug, sqlx::FromRow)]
struct LoadRow {
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

async fn describe(conn: &mut Conn, load_id: i64) -> Result<FinishedLoad, LedgerError> {
    let row: LoadRow = sqlx::query_as(
        "SELECT l.job_id, s.uri, s.reach, p.bucket_name, p.bucket_path, b.object_name, l.version, \
           l.rows_processed, l.failure_count FROM resource_bundle_loads l \
         JOIN resource_bundles b ON b.resource_bundle_id = l.resource_bundle_id \
         JOIN bucket_paths p ON p.bucket_path_id = b.bucket_path_id \
         JOIN sources s ON s.source_id = b.source_id WHERE l.resource_bundle_load_id = $1",
    )
    .bind(load_id)
    .fetch_one(conn)
    .await?;
    Ok(FinishedLoad {
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
    })
}

/// The job, unless it has open units: whoever ends the last of them looks again, so most units end
/// without a look at their job.
async fn unless_open(conn: &mut Conn, job_id: i64) -> Result<Option<i64>, LedgerError> {
    let open: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM load_units WHERE job_id = $1 AND state = 'open')",
    )
    .bind(job_id)
    .fetch_one(conn)
    .await?;
    Ok((!open).then_some(job_id))
}

/// Ends a job that is listed and has nothing open or leased; answers whether it was. Not in a transaction that has locked
/// units: who cancels or retries a job locks it before its units.
pub(super) async fn job(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
) -> Result<bool, LedgerError> {
    sqlx::query(concat!("SELECT 1 FROM jobs WHERE job_id = $1", lock!()))
        .bind(job_id)
        .execute(&mut *conn)
        .await?;
    let ended = sqlx::query(
        "UPDATE jobs SET state = 'done', ended = $2 WHERE job_id = $1 AND state = 'loading' \
         AND NOT EXISTS (SELECT 1 FROM load_units WHERE job_id = $1 AND state = 'open') \
         AND NOT EXISTS (SELECT 1 FROM load_units WHERE job_id = $1 AND state = 'leased')",
    )
    .bind(job_id)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(ended.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses: Vec<i64> = (0..9).map(|n| pause_after(n).num_seconds()).collect();
        assert_eq!(pauses, [1, 1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
