//! How units, loads and jobs end, and what a lost lease means.

use std::collections::{BTreeSet, HashMap};

use chrono::{NaiveDateTime, TimeDelta};
use stoker_proto::ledger::v1::{Disposition, JobState, Lease};
use stoker_shared::store::rows::ints;

use super::finish::Over;
use super::{Conn, KEEP_STATEMENTS, LedgerError, damaged, keep, one_row, rows, waves};
use crate::ledger::text::{clean, nat32};
use crate::ledger::{EndedJob, MAX_ATTEMPTS};

const LONGEST_PAUSE_S: i64 = 60;

/// Before a unit is tried again whose server or store is away.
const AWAY_PAUSE: TimeDelta = TimeDelta::seconds(10);

/// A unit as it is now, its row locked.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct UnitNow {
    pub(super) unit_id: i64,
    pub(super) resource_bundle_load_id: i64,
    pub(super) job_id: i64,
    pub(super) state: String,
    pub(super) lease_token: Option<String>,
    pub(super) reason: String,
    pub(super) done_ranges: String,
    pub(super) begun_ranges: String,
    pub(super) wave: i64,
    pub(super) attempts: i64,
    pub(super) loader_instance_id: Option<i64>,
}

impl UnitNow {
    pub(super) fn has_token(&self, lease: &Lease) -> bool {
        self.lease_token.as_ref() == Some(&lease.token)
    }
}

/// Units by id. Locked in the order of their ids, so that two calls never wait for each other in a
/// circle.
pub(super) async fn lock_units(
    conn: &mut Conn,
    unit_ids: impl IntoIterator<Item = i64>,
) -> Result<HashMap<i64, UnitNow>, LedgerError> {
    let unit_ids: Vec<i64> = unit_ids.into_iter().collect();
    let count = unit_ids.len();
    let mut find = rows("id", &[ints(unit_ids)]);
    find.push(concat!(
        "SELECT unit_id, resource_bundle_load_id, job_id, state, lease_token, reason, \
           done_ranges, begun_ranges, wave, attempts, loader_instance_id \
         FROM load_units WHERE unit_id IN (SELECT r.id FROM r) ORDER BY unit_id",
        lock!()
    ));
    let found: Vec<UnitNow> = find
        .build_query_as()
        .persistent(keep(count))
        .fetch_all(conn)
        .await?;
    Ok(found.into_iter().map(|unit| (unit.unit_id, unit)).collect())
}

/// The fence: fails with `LeaseLost` unless the unit is leased under just this token. An expired
/// lease holds as long as nobody else has taken the unit.
pub(super) fn held<'u>(
    units: &'u HashMap<i64, UnitNow>,
    lease: &Lease,
) -> Result<&'u UnitNow, LedgerError> {
    let unit = units.get(&lease.unit_id);
    let held = unit.filter(|unit| unit.state == "leased" && unit.has_token(lease));
    held.ok_or_else(|| LedgerError::LeaseLost {
        unit_id: lease.unit_id,
        reason: why_lost(unit),
    })
}

/// For a person.
fn why_lost(unit: Option<&UnitNow>) -> String {
    let Some(unit) = unit else {
        return "there is no such unit".to_owned();
    };
    match unit.state.as_str() {
        "leased" => "it expired and another worker has taken the unit".to_owned(),
        "open" => "the unit was handed back".to_owned(),
        "done" => "the unit is finished already".to_owned(),
        "parked" => format!("the unit is parked: {}", unit.reason),
        _ => unit.reason.clone(),
    }
}

/// Answers what may be over by this.
pub(super) async fn release_unit(
    conn: &mut Conn,
    now: NaiveDateTime,
    lease: &Lease,
    disposition: Disposition,
    reason: &str,
) -> Result<Over, LedgerError> {
    let units = lock_units(conn, [lease.unit_id]).await?;
    let held = held(&units, lease)?;
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
    let wave = BTreeSet::from([(held.job_id, held.wave)]);
    Ok(Over {
        load: None,
        job: without_open(conn, [held.job_id]).await?.pop(),
        wave_of: waves::over(conn, &wave).await?.first().map(|(job, _)| *job),
    })
}

/// 1 s after the first attempt, twice as long after each further one.
fn pause_after(attempts: u32) -> TimeDelta {
    let doubled = 1_i64
        .checked_shl(attempts.saturating_sub(1))
        .unwrap_or(LONGEST_PAUSE_S);
    TimeDelta::seconds(doubled.clamp(1, LONGEST_PAUSE_S))
}

/// Opens a unit that its worker hands back. What the worker had begun it has also ended, or it was
/// never sent.
async fn reopen(
    conn: &mut Conn,
    lease: &Lease,
    attempts: i64,
    not_before: NaiveDateTime,
    reason: &str,
) -> Result<(), LedgerError> {
    let opened = sqlx::query(
        "UPDATE load_units SET state = 'open', lease_token = NULL, lease_expiry = NULL, \
           attempts = $3, not_before = $4, reason = $5, begun_ranges = '', told_ranges = '' \
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

/// Ends units, whose rows are locked, of loads that count no more.
pub(super) async fn rescind(conn: &mut Conn, unit_ids: &[i64]) -> Result<(), LedgerError> {
    if unit_ids.is_empty() {
        return Ok(());
    }
    let mut rescind = rows("id", &[ints(unit_ids.iter().copied())]);
    rescind.push(
        "UPDATE load_units SET state = 'rescinded', reason = 'the object has changed', \
           lease_token = NULL, lease_expiry = NULL \
         WHERE state IN ('open', 'leased') AND unit_id IN (SELECT r.id FROM r)",
    );
    let rescind = rescind.build().persistent(KEEP_STATEMENTS);
    rescind.execute(conn).await?;
    Ok(())
}

/// Locks loads, in the order of their ids; answers of each its object.
pub(super) async fn lock_loads(
    conn: &mut Conn,
    load_ids: &BTreeSet<i64>,
) -> Result<HashMap<i64, i64>, LedgerError> {
    let mut lock = rows("id", &[ints(load_ids.iter().copied())]);
    lock.push(concat!(
        "SELECT resource_bundle_load_id, resource_bundle_id FROM resource_bundle_loads \
         WHERE resource_bundle_load_id IN (SELECT r.id FROM r) ORDER BY resource_bundle_load_id",
        lock!()
    ));
    let found: Vec<(i64, i64)> = lock
        .build_query_as()
        .persistent(keep(load_ids.len()))
        .fetch_all(conn)
        .await?;
    Ok(found.into_iter().collect())
}

/// For a write over many rows that are locked: it must hit each.
pub(super) fn all_rows(hit: u64, meant: usize) -> Result<(), LedgerError> {
    if hit == meant as u64 {
        return Ok(());
    }
    let reason = format!("{meant} rows were to be changed, {hit} were");
    Err(damaged(reason))
}

pub(super) fn changed(unit_id: i64) -> LedgerError {
    damaged(format!("unit {unit_id} changed under its lock"))
}

/// Those of some jobs that have no open units: whoever ends the last of them looks again, so most
/// units end without a look at their job.
pub(super) async fn without_open(
    conn: &mut Conn,
    job_ids: impl IntoIterator<Item = i64>,
) -> Result<Vec<i64>, LedgerError> {
    let mut find = rows("id", &[ints(job_ids)]);
    find.push(
        "SELECT r.id FROM r WHERE NOT EXISTS \
           (SELECT 1 FROM load_units u WHERE u.job_id = r.id AND u.state = 'open')",
    );
    let found = find.build_query_scalar().persistent(KEEP_STATEMENTS);
    Ok(found.fetch_all(conn).await?)
}

/// Ends a job that is listed, has nothing open or leased and loads nothing again; answers it if it
/// was. Not in a transaction that has locked units: who cancels or retries a job locks it before its
/// units.
pub(super) async fn job(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
) -> Result<Option<EndedJob>, LedgerError> {
    sqlx::query(concat!("SELECT 1 FROM jobs WHERE job_id = $1", lock!()))
        .bind(job_id)
        .execute(&mut *conn)
        .await?;
    let ended = sqlx::query(
        "UPDATE jobs SET state = 'done', ended = $2 WHERE job_id = $1 AND state = 'loading' \
         AND recycle_after_ms IS NULL \
         AND NOT EXISTS (SELECT 1 FROM load_units WHERE job_id = $1 AND state = 'open') \
         AND NOT EXISTS (SELECT 1 FROM load_units WHERE job_id = $1 AND state = 'leased')",
    )
    .bind(job_id)
    .bind(now)
    .execute(conn)
    .await?;
    let state = JobState::Done;
    Ok((ended.rows_affected() == 1).then_some(EndedJob { job_id, state }))
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
