//! Inputs that were refused, and units set aside, taken up again.

use chrono::NaiveDateTime;
use sqlx::FromRow;
use stoker_proto::ledger::v1::{JobState, LoadErrorKind};

use super::work::parse_ranges;
use super::{Conn, LedgerError, Retried, adopt, jobs, one_row, settle};
use crate::ledger::is_over;
use crate::ledger::text::{Spelled, nat};

const UNITS_AT_ONCE: i64 = 100;
const ERRORS_AT_ONCE: i64 = 1000;

pub(super) async fn run(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
) -> Result<Retried, LedgerError> {
    let state = jobs::state(conn, job_id).await?;
    if state == JobState::Cancelled {
        let reason = format!("job {job_id} was cancelled; start its load again instead");
        return Err(LedgerError::NotNow(reason));
    }
    if adopt::history(conn)
        .await?
        .is_some_and(|(_, history)| history == job_id)
    {
        let reason = "is what fhir-bucket did; start a load of the same objects, and retry that";
        return Err(LedgerError::NotNow(format!("job {job_id} {reason}")));
    }
    let mut retried = Retried::default();
    let mut after = 0;
    loop {
        let units = units_with_errors(conn, job_id, after).await?;
        let Some(last) = units.last() else { break };
        after = last.unit_id;
        for unit in &units {
            retried.inputs += forget_errors(conn, now, unit).await?;
            retried.units += 1;
        }
    }
    retried.units += open_parked(conn, now, job_id).await?;
    if retried.units > 0 {
        reopen_job(conn, now, job_id, is_over(state)).await?;
    }
    Ok(retried)
}

#[derive(Debug, FromRow)]
struct UnitRow {
    unit_id: i64,
    resource_bundle_load_id: i64,
    state: String,
    done_ranges: String,
    lease_expiry: Option<NaiveDateTime>,
}

async fn units_with_errors(
    conn: &mut Conn,
    job_id: i64,
    after: i64,
) -> Result<Vec<UnitRow>, LedgerError> {
    let units = sqlx::query_as(concat!(
        "SELECT unit_id, resource_bundle_load_id, state, done_ranges, lease_expiry \
         FROM load_units WHERE unit_id IN ( \
           SELECT DISTINCT e.unit_id FROM resource_bundle_errors e \
           JOIN resource_bundle_loads l \
             ON l.resource_bundle_load_id = e.resource_bundle_load_id \
           JOIN resource_bundles b ON b.resource_bundle_id = l.resource_bundle_id \
           WHERE l.job_id = $1 AND l.latest AND l.version >= b.content_version \
             AND e.unit_id > $2 AND e.kind <> 'repeated' AND e.input_offset >= 0 \
           ORDER BY e.unit_id LIMIT $3) ORDER BY unit_id",
        lock!()
    ));
    Ok(units
        .bind(job_id)
        .bind(after)
        .bind(UNITS_AT_ONCE)
        .fetch_all(conn)
        .await?)
}

/// Makes the rejected and doubtful inputs of a unit such as were never sent; answers how many.
async fn forget_errors(
    conn: &mut Conn,
    now: NaiveDateTime,
    unit: &UnitRow,
) -> Result<u64, LedgerError> {
    if unit.state == "leased" && unit.lease_expiry.is_some_and(|expiry| expiry > now) {
        return Err(LedgerError::NotNow(
            "a file with rejected inputs is being loaded; retry when the job has ended".to_owned(),
        ));
    }
    let mut done = parse_ranges(&unit.done_ranges)?;
    let (mut after, mut inputs) = (0, 0);
    loop {
        let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
            "SELECT error_id, input_offset, input_length FROM resource_bundle_errors \
             WHERE unit_id = $1 AND error_id > $2 AND kind <> 'repeated' ORDER BY error_id LIMIT $3",
        )
        .bind(unit.unit_id)
        .bind(after)
        .bind(ERRORS_AT_ONCE)
        .fetch_all(&mut *conn)
        .await?;
        let Some(last) = rows.last() else { break };
        after = last.0;
        for (_, offset, length) in rows {
            done.remove(nat(offset)..nat(offset.saturating_add(length)));
            inputs += 1;
        }
    }
    subtract_counts(conn, unit).await?;
    delete_errors(conn, unit.unit_id).await?;
    let opened = sqlx::query(
        "UPDATE load_units SET state = 'open', done_ranges = $2, attempts = 0, not_before = $3, \
           reason = '', lease_token = NULL, lease_expiry = NULL \
         WHERE unit_id = $1 AND state IN ('open', 'leased', 'done', 'parked')",
    )
    .bind(unit.unit_id)
    .bind(done.to_string())
    .bind(now)
    .execute(conn)
    .await?;
    one_row(opened.rows_affected(), || settle::changed(unit.unit_id))?;
    Ok(inputs)
}

async fn subtract_counts(conn: &mut Conn, unit: &UnitRow) -> Result<(), LedgerError> {
    let counts: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT resource_type, kind, COUNT(*) FROM resource_bundle_errors \
         WHERE unit_id = $1 AND kind <> 'repeated' GROUP BY resource_type, kind ORDER BY resource_type, kind",
    )
    .bind(unit.unit_id)
    .fetch_all(&mut *conn)
    .await?;
    for (resource_type, kind, count) in counts {
        let in_doubt = LoadErrorKind::read(&kind)? == LoadErrorKind::InDoubt;
        let (rejected, in_doubt) = if in_doubt { (0, count) } else { (count, 0) };
        sqlx::query(
            "UPDATE load_counts SET rejected = rejected - $3, in_doubt = in_doubt - $4 \
             WHERE resource_bundle_load_id = $1 AND resource_type = $2",
        )
        .bind(unit.resource_bundle_load_id)
        .bind(resource_type)
        .bind(rejected)
        .bind(in_doubt)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

async fn delete_errors(conn: &mut Conn, unit_id: i64) -> Result<(), LedgerError> {
    for sql in [
        "DELETE FROM quarantine WHERE error_id IN \
         (SELECT error_id FROM resource_bundle_errors WHERE unit_id = $1)",
        "DELETE FROM resource_bundle_errors WHERE unit_id = $1 AND kind <> 'repeated'",
    ] {
        sqlx::query(sql).bind(unit_id).execute(&mut *conn).await?;
    }
    Ok(())
}

async fn open_parked(conn: &mut Conn, now: NaiveDateTime, job_id: i64) -> Result<u64, LedgerError> {
    let opened = sqlx::query(
        "UPDATE load_units SET state = 'open', attempts = 0, not_before = $2, reason = '' \
         WHERE job_id = $1 AND state = 'parked'",
    )
    .bind(job_id)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(opened.rows_affected())
}

/// The job loads again, in a new run when it was over; loads with an open unit are of that run and
/// no longer complete.
async fn reopen_job(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
    over: bool,
) -> Result<(), LedgerError> {
    if over {
        sqlx::query(
            "UPDATE jobs SET state = 'loading', reason = '', started = $2, ended = NULL, \
             run = run + 1, reload = FALSE WHERE job_id = $1",
        )
        .bind(job_id)
        .bind(now)
        .execute(&mut *conn)
        .await?;
    }
    for sql in [
        "UPDATE resource_bundle_loads SET run = (SELECT run FROM jobs WHERE job_id = $1), \
           load_completed = NULL, rows_processed = NULL, failure_count = NULL \
         WHERE (load_completed IS NOT NULL OR run <> (SELECT run FROM jobs WHERE job_id = $1)) \
           AND resource_bundle_load_id IN \
           (SELECT resource_bundle_load_id FROM load_units WHERE job_id = $1 AND state = 'open')",
        "UPDATE resource_bundles SET load_completed = NULL \
         WHERE load_completed IS NOT NULL AND allocation_id IN \
           (SELECT resource_bundle_load_id FROM load_units WHERE job_id = $1 AND state = 'open')",
    ] {
        sqlx::query(sql).bind(job_id).execute(&mut *conn).await?;
    }
    Ok(())
}
