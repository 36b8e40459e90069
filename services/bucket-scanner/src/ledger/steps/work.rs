//! Workers, and the leases they hold.

use chrono::{NaiveDateTime, TimeDelta};
use sqlx::FromRow;
use stoker_proto::common::v1::{ByteRange, Compression, FileType, Interaction, Source, Target};
use stoker_proto::ledger::v1::{
    Lease, LeaseUnitsRequest, ObjectVersion, RegisterWorkerRequest, RenewedLease, Unit,
};
use stoker_shared::ranges::RangeSet;
use uuid::Uuid;

use super::{Conn, LedgerError, one_row, settle};
use crate::ledger::MAX_ATTEMPTS;
use crate::ledger::text::{Spelled, clean, join_key, nat, nat32, timestamp};

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
async fn is_known(conn: &mut Conn, worker_id: i64) -> Result<(), LedgerError> {
    let known = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM loader_instances WHERE loader_instance_id = $1)",
    );
    if known.bind(worker_id).fetch_one(conn).await? {
        Ok(())
    } else {
        Err(unknown(worker_id))
    }
}

/// Answers the units, and jobs that may be over.
pub(super) async fn lease(
    conn: &mut Conn,
    now: NaiveDateTime,
    length: TimeDelta,
    request: &LeaseUnitsRequest,
) -> Result<(Vec<Unit>, Vec<i64>), LedgerError> {
    is_known(conn, request.worker_id).await?;
    let mut units = Vec::new();
    let held = json(&request.held_unit_ids);
    let jobs = leasable_jobs(conn).await?;
    for job in &jobs {
        let wanted = request.job_ids.is_empty() || request.job_ids.contains(&job.job_id);
        let reachable = job.reach.is_empty() || request.reaches.contains(&job.reach);
        let room = i64::from(request.max_units) - i64::try_from(units.len()).unwrap_or(i64::MAX);
        if !wanted || !reachable || room <= 0 {
            continue;
        }
        for unit_id in pick(conn, now, job.job_id, &held, room).await? {
            units.extend(take(conn, now, now + length, request.worker_id, unit_id, job).await?);
        }
    }
    let over = if units.is_empty() {
        jobs_without_work(conn).await?
    } else {
        Vec::new()
    };
    Ok((units, over))
}

/// Listed jobs with nothing open or leased: whoever was to end them may have died before, and a unit
/// that was given up here may have been the last.
async fn jobs_without_work(conn: &mut Conn) -> Result<Vec<i64>, LedgerError> {
    let waiting_for_nothing = sqlx::query_scalar(
        "SELECT j.job_id FROM jobs j WHERE j.state = 'loading' \
         AND NOT EXISTS \
           (SELECT 1 FROM load_units u WHERE u.job_id = j.job_id AND u.state = 'open') \
         AND NOT EXISTS \
           (SELECT 1 FROM load_units u WHERE u.job_id = j.job_id AND u.state = 'leased') \
         ORDER BY j.job_id",
    );
    Ok(waiting_for_nothing.fetch_all(conn).await?)
}

#[derive(Debug, FromRow)]
struct LeasableJob {
    job_id: i64,
    uri: String,
    reach: String,
    base_url: String,
    tenant: String,
    interaction: String,
}

/// Running jobs, those with the fewest units at work first: a big job does not hold up a small one.
async fn leasable_jobs(conn: &mut Conn) -> Result<Vec<LeasableJob>, LedgerError> {
    let jobs = sqlx::query_as(
        "SELECT j.job_id, s.uri, s.reach, j.base_url, j.tenant, j.interaction \
         FROM jobs j JOIN sources s ON s.source_id = j.source_id \
         WHERE j.state IN ('scanning', 'loading') \
         ORDER BY (SELECT COUNT(*) FROM load_units u \
           WHERE u.job_id = j.job_id AND u.state = 'leased'), j.job_id",
    );
    Ok(jobs.fetch_all(conn).await?)
}

fn json(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    format!("[{}]", numbers.join(","))
}

/// Units of a job to lease: expired ones first, or they would wait for all open ones; of those none
/// in the JSON array `held`.
async fn pick(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
    held: &str,
    room: i64,
) -> Result<Vec<i64>, LedgerError> {
    let expired: Vec<(i64, i64, String)> = sqlx::query_as(concat!(
        "SELECT unit_id, attempts, reason FROM load_units \
         WHERE job_id = $1 AND state = 'leased' AND lease_expiry <= $2 AND unit_id NOT IN (",
        numbers_in!("$4"),
        ") ORDER BY lease_expiry LIMIT $3",
        skip_locked!()
    ))
    .bind(job_id)
    .bind(now)
    .bind(room)
    .bind(held)
    .fetch_all(&mut *conn)
    .await?;
    let mut picked = Vec::new();
    for (unit_id, attempts, reason) in expired {
        if nat32(attempts) < MAX_ATTEMPTS {
            picked.push(unit_id);
        } else {
            settle::give_up(conn, now, unit_id, &reason).await?;
        }
    }
    // An open unit is held by nobody, whatever a worker believed when it asked.
    let open: Vec<i64> = sqlx::query_scalar(concat!(
        "SELECT unit_id FROM load_units \
         WHERE job_id = $1 AND state = 'open' AND not_before <= $2 \
         ORDER BY not_before, unit_id LIMIT $3",
        skip_locked!()
    ))
    .bind(job_id)
    .bind(now)
    .bind(room - i64::try_from(picked.len()).unwrap_or(room))
    .fetch_all(conn)
    .await?;
    picked.extend(open);
    Ok(picked)
}

/// Leases a unit whose row is locked; none when it is of a load that counts no more.
async fn take(
    conn: &mut Conn,
    now: NaiveDateTime,
    expiry: NaiveDateTime,
    worker_id: i64,
    unit_id: i64,
    job: &LeasableJob,
) -> Result<Option<Unit>, LedgerError> {
    let mut row = read_unit(conn, unit_id).await?;
    if !row.current {
        settle::rescind(conn, unit_id).await?;
        return Ok(None);
    }
    let token = Uuid::new_v4().to_string();
    let attempts: Option<i64> = sqlx::query_scalar(
        "UPDATE load_units SET state = 'leased', lease_token = $2, lease_expiry = $3, \
           attempts = attempts + 1, loader_instance_id = $4, reason = '' \
         WHERE unit_id = $1 AND state IN ('open', 'leased') RETURNING attempts",
    )
    .bind(unit_id)
    .bind(&token)
    .bind(expiry)
    .bind(worker_id)
    .fetch_optional(&mut *conn)
    .await?;
    row.attempts = attempts.ok_or_else(|| settle::changed(unit_id))?;
    note_start(conn, now, worker_id, row.resource_bundle_load_id).await?;
    row.into_unit(Lease { unit_id, token }, expiry, job)
        .map(Some)
}

/// The first lease of a load is its start.
async fn note_start(
    conn: &mut Conn,
    now: NaiveDateTime,
    worker_id: i64,
    load_id: i64,
) -> Result<(), LedgerError> {
    let started = sqlx::query(
        "UPDATE resource_bundle_loads \
         SET load_started = $2, loader_instance_id = $3, allocation_id = $1 \
         WHERE resource_bundle_load_id = $1 AND load_started IS NULL",
    )
    .bind(load_id)
    .bind(now)
    .bind(worker_id)
    .execute(&mut *conn)
    .await?;
    if started.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query(
        "UPDATE resource_bundles SET load_started = $2, loader_instance_id = $3, \
           allocation_id = $1, load_completed = NULL \
         WHERE resource_bundle_id = (SELECT resource_bundle_id FROM resource_bundle_loads \
           WHERE resource_bundle_load_id = $1)",
    )
    .bind(load_id)
    .bind(now)
    .bind(worker_id)
    .execute(conn)
    .await?;
    Ok(())
}

#[derive(Debug, FromRow)]
struct UnitRow {
    resource_bundle_load_id: i64,
    job_id: i64,
    range_start: i64,
    range_end: i64,
    done_ranges: String,
    attempts: i64,
    /// It is of the object's present version, and of the load that counts for the job.
    current: bool,
    version: i64,
    bucket_name: String,
    bucket_path: String,
    object_name: String,
    object_size: i64,
    file_type: String,
    compression: String,
    etag: String,
    last_modified: NaiveDateTime,
}

async fn read_unit(conn: &mut Conn, unit_id: i64) -> Result<UnitRow, LedgerError> {
    let unit = sqlx::query_as(
        "SELECT u.resource_bundle_load_id, u.job_id, u.range_start, u.range_end, u.done_ranges, \
           u.attempts, (l.latest AND l.version = b.version) AS current, l.version, p.bucket_name, p.bucket_path, b.object_name, b.object_size, \
           b.file_type, b.compression, b.etag, b.last_modified \
         FROM load_units u \
         JOIN resource_bundle_loads l ON l.resource_bundle_load_id = u.resource_bundle_load_id \
         JOIN resource_bundles b ON b.resource_bundle_id = l.resource_bundle_id \
         JOIN bucket_paths p ON p.bucket_path_id = b.bucket_path_id WHERE u.unit_id = $1",
    );
    Ok(unit.bind(unit_id).fetch_one(conn).await?)
}

impl UnitRow {
    fn into_unit(
        self,
        lease: Lease,
        expiry: NaiveDateTime,
        job: &LeasableJob,
    ) -> Result<Unit, LedgerError> {
        let done = parse_ranges(&self.done_ranges)?;
        Ok(Unit {
            lease: Some(lease),
            lease_expiry: Some(timestamp(expiry)),
            attempt: nat32(self.attempts),
            job_id: self.job_id,
            source: Some(Source {
                uri: job.uri.clone(),
                reach: job.reach.clone(),
            }),
            range: Some(ByteRange {
                start: nat(self.range_start),
                end: nat(self.range_end),
            }),
            done: done
                .iter()
                .map(|r| ByteRange {
                    start: r.start,
                    end: r.end,
                })
                .collect(),
            target: Some(Target {
                base_url: job.base_url.clone(),
                tenant: job.tenant.clone(),
            }),
            interaction: Interaction::read(&job.interaction)?.into(),
            begun: Vec::new(),
            object: Some(ObjectVersion {
                key: join_key(&self.bucket_path, &self.object_name),
                bucket_name: self.bucket_name,
                size: nat(self.object_size),
                etag: self.etag,
                last_modified: Some(timestamp(self.last_modified)),
                version: nat32(self.version),
                file_type: FileType::read(&self.file_type)?.into(),
                compression: Compression::read(&self.compression)?.into(),
            }),
        })
    }
}

pub(super) fn parse_ranges(text: &str) -> Result<RangeSet, LedgerError> {
    text.parse()
        .map_err(|e| LedgerError::Damaged(format!("{e}")))
}

pub(super) async fn renew(
    conn: &mut Conn,
    now: NaiveDateTime,
    length: TimeDelta,
    leases: &[Lease],
) -> Result<Vec<RenewedLease>, LedgerError> {
    let expiry = now + length;
    let mut renewed = Vec::with_capacity(leases.len());
    for lease in leases {
        let held = sqlx::query(
            "UPDATE load_units SET lease_expiry = $3 \
             WHERE unit_id = $1 AND lease_token = $2 AND state = 'leased'",
        )
        .bind(lease.unit_id)
        .bind(&lease.token)
        .bind(expiry)
        .execute(&mut *conn)
        .await?;
        let lost = if held.rows_affected() == 1 {
            String::new()
        } else {
            settle::why_lost(conn, lease.unit_id).await?
        };
        renewed.push(RenewedLease {
            unit_id: lease.unit_id,
            lease_expiry: lost.is_empty().then(|| timestamp(expiry)),
            lost,
        });
    }
    Ok(renewed)
}
