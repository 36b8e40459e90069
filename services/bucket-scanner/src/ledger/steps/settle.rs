//! How units, loads and jobs end, and what a lost lease means.

use chrono::{NaiveDateTime, TimeDelta};
use stoker_proto::ledger::v1::{Disposition, Lease};

use super::{Conn, LedgerError, one_row};
use crate::ledger::MAX_ATTEMPTS;
use crate::ledger::text::{clean, int, nat32};

const LONGEST_PAUSE_S: i64 = 60;

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

pub(super) async fn finish_unit(
    conn: &mut Conn,
    now: NaiveDateTime,
    lease: &Lease,
    lines: u64,
    decoded_bytes: u64,
) -> Result<(), LedgerError> {
    let held = match held(conn, lease).await {
        Err(LedgerError::LeaseLost { .. }) if finished_under(conn, lease).await? => return Ok(()),
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
    load(conn, now, held.resource_bundle_load_id).await?;
    job(conn, now, held.job_id).await
}

async fn finished_under(conn: &mut Conn, lease: &Lease) -> Result<bool, LedgerError> {
    let repeat = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM load_units \
         WHERE unit_id = $1 AND lease_token = $2 AND state = 'done')",
    );
    Ok(repeat
        .bind(lease.unit_id)
        .bind(&lease.token)
        .fetch_one(conn)
        .await?)
}

pub(super) async fn release_unit(
    conn: &mut Conn,
    now: NaiveDateTime,
    lease: &Lease,
    disposition: Disposition,
    reason: &str,
) -> Result<(), LedgerError> {
    let held = held(conn, lease).await?;
    let attempts = nat32(held.attempts);
    match disposition {
        Disposition::HandBack => reopen(conn, lease, held.attempts - 1, now, "").await,
        Disposition::Retry if attempts < MAX_ATTEMPTS => {
            let again = now + pause_after(attempts);
            reopen(conn, lease, held.attempts, again, reason).await
        }
        Disposition::Retry => give_up(conn, now, lease.unit_id, reason).await,
        Disposition::Park => park(conn, now, lease.unit_id, reason).await,
        Disposition::Unspecified => Err(LedgerError::NotNow(
            "say what is to happen to the unit".to_owned(),
        )),
    }
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
    let parked: Option<i64> = sqlx::query_scalar(
        "UPDATE load_units SET state = 'parked', reason = $2, not_before = $3, \
           lease_token = NULL, lease_expiry = NULL \
         WHERE unit_id = $1 AND state = 'leased' RETURNING job_id",
    )
    .bind(unit_id)
    .bind(clean(reason))
    .bind(now)
    .fetch_optional(&mut *conn)
    .await?;
    job(conn, now, parked.ok_or_else(|| changed(unit_id))?).await
}

pub(super) fn changed(unit_id: i64) -> LedgerError {
    LedgerError::Damaged(format!("unit {unit_id} changed under its lock"))
}

/// Ends a load when all its units are done.
async fn load(conn: &mut Conn, now: NaiveDateTime, load_id: i64) -> Result<(), LedgerError> {
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
    if completed.rows_affected() == 1 {
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
    Ok(())
}

/// Ends a job that is listed and has nothing open or leased.
pub(super) async fn job(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
) -> Result<(), LedgerError> {
    let open: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM load_units WHERE job_id = $1 AND state = 'open')",
    )
    .bind(job_id)
    .fetch_one(&mut *conn)
    .await?;
    if open {
        // Whoever ends the last open unit looks again; so most units end without the job's lock.
        return Ok(());
    }
    sqlx::query(concat!("SELECT 1 FROM jobs WHERE job_id = $1", lock!()))
        .bind(job_id)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "UPDATE jobs SET state = 'done', ended = $2 WHERE job_id = $1 AND state = 'loading' \
         AND NOT EXISTS (SELECT 1 FROM load_units WHERE job_id = $1 AND state = 'open') \
         AND NOT EXISTS (SELECT 1 FROM load_units WHERE job_id = $1 AND state = 'leased')",
    )
    .bind(job_id)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
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
