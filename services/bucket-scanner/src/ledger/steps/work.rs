//! Workers, and the leases they hold.

use chrono::{NaiveDateTime, TimeDelta};
use sqlx::FromRow;
use stoker_proto::ledger::v1::{
    Lease, LeaseUnitsRequest, RegisterWorkerRequest, RenewedLease, Unit,
};
use stoker_shared::ranges::RangeSet;
use stoker_shared::store::rows::ints;
use uuid::Uuid;

use super::pick::{Wanted, pick};
use super::take::take;
use super::{Conn, KEEP_STATEMENTS, LedgerError, damaged, one_row, rows, settle, waves};
use crate::ledger::text::{clean, timestamp};

/// A worker that gave no sign for so long is shown as stopped.
const WORKER_SILENCE: TimeDelta = TimeDelta::seconds(60);

pub(super) async fn register_worker(
    conn: &mut Conn,
    now: NaiveDateTime,
    worker: &RegisterWorkerRequest,
) -> Result<i64, LedgerError> {
    stop_silent(conn, now).await?;
    let id = sqlx::query_scalar(
        "INSERT INTO loader_instances (loader_instance_key, hostname, pid, heartbeat_tstamp, \
           status, version) \
         VALUES ($1, $2, $3, $4, 'RUNNING', $5) RETURNING loader_instance_id",
    )
    .bind(Uuid::new_v4().to_string())
    .bind(clean(&worker.hostname))
    .bind(i64::from(worker.pid))
    .bind(now)
    .bind(clean(&worker.version));
    Ok(id.fetch_one(conn).await?)
}

pub(super) async fn stop_silent(conn: &mut Conn, now: NaiveDateTime) -> Result<u64, LedgerError> {
    let stopped = sqlx::query(
        "UPDATE loader_instances SET status = 'STOPPED' \
         WHERE status = 'RUNNING' AND heartbeat_tstamp <= $1",
    )
    .bind(now - WORKER_SILENCE)
    .execute(conn)
    .await?;
    Ok(stopped.rows_affected())
}

pub(super) async fn heartbeat(
    conn: &mut Conn,
    now: NaiveDateTime,
    worker_id: i64,
) -> Result<(), LedgerError> {
    let beat = sqlx::query(
        "UPDATE loader_instances SET heartbeat_tstamp = $2, status = 'RUNNING' \
         WHERE loader_instance_id = $1",
    )
    .bind(worker_id)
    .bind(now)
    .execute(conn)
    .await?;
    one_row(beat.rows_affected(), || unknown(worker_id))
}

fn unknown(worker_id: i64) -> LedgerError {
    LedgerError::NotFound {
        what: "worker",
        id: worker_id,
    }
}

/// A worker that outlived the ledger it registered at is told so before it is given units.
async fn is_known(conn: &mut Conn, worker_id: i64) -> Result<bool, LedgerError> {
    let known = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM loader_instances WHERE loader_instance_id = $1)",
    );
    Ok(known.bind(worker_id).fetch_one(conn).await?)
}

/// Answers the units, jobs that may be over, and jobs of which a wave is.
pub(super) async fn lease(
    conn: &mut Conn,
    now: NaiveDateTime,
    length: TimeDelta,
    request: &LeaseUnitsRequest,
) -> Result<(Vec<Unit>, Vec<i64>, Vec<i64>), LedgerError> {
    let jobs = leasable_jobs(conn, request.worker_id).await?;
    let worker_is_known = match jobs.first() {
        Some(job) => job.worker_is_known,
        None => is_known(conn, request.worker_id).await?,
    };
    if !worker_is_known {
        return Err(unknown(request.worker_id));
    }
    let mut units = Vec::new();
    let mut wanted = Wanted::by(conn, request).await?;
    for job in &jobs {
        let meant = request.job_ids.is_empty() || request.job_ids.contains(&job.job_id);
        let reachable = job.reach.is_empty() || request.reaches.contains(&job.reach);
        let may_have = !wanted.only_expired || job.has_expired(now);
        if !meant || !reachable || !may_have || wanted.is_met() {
            continue;
        }
        let picked = pick(conn, now, job, &mut wanted).await?;
        units.extend(take(conn, now, now + length, request.worker_id, &picked, job).await?);
    }
    // Who asks for what has expired asks often: it ends jobs only by what it gave up.
    let looks_for_ends = !wanted.only_expired || !wanted.given_up.is_empty();
    let over = if units.is_empty() && looks_for_ends {
        jobs_without_work(conn).await?
    } else {
        Vec::new()
    };
    let waves = waves::over(conn, &wanted.given_up).await?;
    Ok((units, over, waves.into_iter().map(|(job, _)| job).collect()))
}

/// Listed jobs with nothing open or leased: whoever was to end them may have died before, and a unit
/// that was given up here may have been the last.
async fn jobs_without_work(conn: &mut Conn) -> Result<Vec<i64>, LedgerError> {
    let waiting_for_nothing = sqlx::query_scalar(
        "SELECT j.job_id FROM jobs j WHERE j.state = 'loading' AND j.recycle_after_ms IS NULL \
         AND NOT EXISTS \
           (SELECT 1 FROM load_units u WHERE u.job_id = j.job_id AND u.state = 'open') \
         AND NOT EXISTS \
           (SELECT 1 FROM load_units u WHERE u.job_id = j.job_id AND u.state = 'leased') \
         ORDER BY j.job_id",
    );
    Ok(waiting_for_nothing.fetch_all(conn).await?)
}

#[derive(Debug, FromRow)]
pub(super) struct LeasableJob {
    pub(super) job_id: i64,
    pub(super) uri: String,
    pub(super) reach: String,
    pub(super) base_url: String,
    pub(super) tenant: String,
    pub(super) interaction: String,
    /// Its units are leased in no order.
    pub(super) unordered: bool,
    /// Its source was listed to the end in this run.
    pub(super) listed: bool,
    /// The lowest wave of its open units, and of its leased ones.
    first_open: Option<i64>,
    first_leased: Option<i64>,
    /// When the first of its leases runs out.
    first_expiry: Option<NaiveDateTime>,
    /// The worker that asks is.
    worker_is_known: bool,
}

impl LeasableJob {
    /// The lowest wave of which a unit is open or leased.
    pub(super) fn first_wave(&self) -> Option<i64> {
        self.first_open.into_iter().chain(self.first_leased).min()
    }

    pub(super) fn has_expired(&self, now: NaiveDateTime) -> bool {
        self.first_expiry.is_some_and(|expiry| expiry <= now)
    }
}

/// Beyond so many, two jobs have equally many units at work.
const MOST_COUNTED: i64 = 1000;

/// Running jobs, those with the fewest units at work first: a big job does not hold up a small one. All of
/// one statement: a unit that goes from open to leased meanwhile is seen in either.
async fn leasable_jobs(conn: &mut Conn, worker_id: i64) -> Result<Vec<LeasableJob>, LedgerError> {
    let jobs = sqlx::query_as(
        "SELECT j.job_id, s.uri, s.reach, j.base_url, j.tenant, j.interaction, \
           j.unordered, (j.state = 'loading' OR j.listed_run = j.run) AS listed, \
           (SELECT u.wave FROM load_units u WHERE u.job_id = j.job_id AND u.state = 'open' \
             ORDER BY u.wave LIMIT 1) AS first_open, \
           (SELECT u.wave FROM load_units u WHERE u.job_id = j.job_id AND u.state = 'leased' \
             ORDER BY u.wave LIMIT 1) AS first_leased, \
           (SELECT u.lease_expiry FROM load_units u WHERE u.job_id = j.job_id AND u.state = 'leased' \
             ORDER BY u.lease_expiry LIMIT 1) AS first_expiry, \
           EXISTS (SELECT 1 FROM loader_instances \
             WHERE loader_instance_id = $2) AS worker_is_known \
         FROM jobs j JOIN sources s ON s.source_id = j.source_id \
         WHERE j.state IN ('scanning', 'loading') \
         ORDER BY (SELECT COUNT(*) FROM (SELECT 1 FROM load_units u \
           WHERE u.job_id = j.job_id AND u.state = 'leased' LIMIT $1) AS at_work), j.job_id",
    );
    let jobs = jobs.bind(MOST_COUNTED).bind(worker_id);
    Ok(jobs.fetch_all(conn).await?)
}

pub(super) fn parse_ranges(text: &str) -> Result<RangeSet, LedgerError> {
    text.parse().map_err(|e| damaged(format!("{e}")))
}

pub(super) async fn renew(
    conn: &mut Conn,
    now: NaiveDateTime,
    length: TimeDelta,
    leases: &[Lease],
) -> Result<Vec<RenewedLease>, LedgerError> {
    let expiry = now + length;
    let units = settle::lock_units(conn, leases.iter().map(|lease| lease.unit_id)).await?;
    let held = leases
        .iter()
        .filter(|lease| settle::held(&units, lease).is_ok());
    let mut renew = rows("id", &[ints(held.map(|lease| lease.unit_id))]);
    renew.push("UPDATE load_units SET lease_expiry = ");
    renew.push_bind(expiry);
    renew.push(" WHERE unit_id IN (SELECT r.id FROM r)");
    let renew = renew.build().persistent(KEEP_STATEMENTS);
    renew.execute(conn).await?;
    let renewed = leases.iter().map(|lease| {
        let lost = match settle::held(&units, lease) {
            Err(LedgerError::LeaseLost { reason, .. }) => reason,
            _ => String::new(),
        };
        RenewedLease {
            unit_id: lease.unit_id,
            lease_expiry: lost.is_empty().then(|| timestamp(expiry)),
            lost,
        }
    });
    Ok(renewed.collect())
}
