//! Units as they go to a worker: all of one call together.

use std::collections::HashMap;
use std::ops::Range;

use chrono::NaiveDateTime;
use sqlx::FromRow;
use stoker_proto::common::v1::{ByteRange, Compression, FileType, Interaction, Source, Target};
use stoker_proto::ledger::v1::{Lease, ObjectVersion, Unit};
use stoker_shared::store::rows::{ints, texts};
use uuid::Uuid;

use super::work::{LeasableJob, parse_ranges};
use super::{Conn, KEEP_STATEMENTS, LedgerError, begun, rows, settle};
use crate::ledger::text::{Spelled, join_key, nat, nat32, timestamp};

/// Leases units of a job whose rows are locked; not those of a load that counts no more.
pub(super) async fn take(
    conn: &mut Conn,
    now: NaiveDateTime,
    expiry: NaiveDateTime,
    worker_id: i64,
    unit_ids: &[i64],
    job: &LeasableJob,
) -> Result<Vec<Unit>, LedgerError> {
    if unit_ids.is_empty() {
        return Ok(Vec::new());
    }
    let found = read_units(conn, unit_ids).await?;
    let (current, past): (Vec<_>, Vec<_>) = found.into_iter().partition(|unit| unit.current);
    let past: Vec<i64> = past.iter().map(|unit| unit.unit_id).collect();
    settle::rescind(conn, &past).await?;
    if current.is_empty() {
        return Ok(Vec::new());
    }
    let mut leased = lease(conn, expiry, worker_id, &current).await?;
    note_start(conn, now, worker_id, &current).await?;
    begun::tell(conn, now, &current).await?;
    let mut units = Vec::with_capacity(current.len());
    for mut unit in current {
        let (attempts, lease) = leased
            .remove(&unit.unit_id)
            .ok_or_else(|| settle::changed(unit.unit_id))?;
        unit.attempts = attempts;
        units.push(unit.into_unit(lease, expiry, job)?);
    }
    Ok(units)
}

/// Each under a new token; answers its attempt and its lease.
async fn lease(
    conn: &mut Conn,
    expiry: NaiveDateTime,
    worker_id: i64,
    units: &[UnitRow],
) -> Result<HashMap<i64, (i64, Lease)>, LedgerError> {
    let tokens: HashMap<i64, String> = units
        .iter()
        .map(|unit| (unit.unit_id, Uuid::new_v4().to_string()))
        .collect();
    let columns = [
        ints(tokens.keys().copied()),
        texts(tokens.values().map(String::as_str)),
    ];
    let mut lease = rows("id, token", &columns);
    lease.push(
        "UPDATE load_units AS u SET state = 'leased', lease_token = r.token, \
           attempts = u.attempts + 1, reason = '', lease_expiry = ",
    );
    lease.push_bind(expiry).push(", loader_instance_id = ");
    lease.push_bind(worker_id);
    lease.push(
        " FROM r WHERE u.unit_id = r.id AND u.state IN ('open', 'leased') \
         RETURNING unit_id, attempts, lease_token",
    );
    let taken: Vec<(i64, i64, String)> = lease
        .build_query_as()
        .persistent(KEEP_STATEMENTS)
        .fetch_all(conn)
        .await?;
    let leases = taken
        .into_iter()
        .map(|(unit_id, attempts, token)| (unit_id, (attempts, Lease { unit_id, token })));
    Ok(leases.collect())
}

/// The first lease of a load is its start.
async fn note_start(
    conn: &mut Conn,
    now: NaiveDateTime,
    worker_id: i64,
    units: &[UnitRow],
) -> Result<(), LedgerError> {
    let fresh = units.iter().filter(|unit| unit.fresh);
    let loads: Vec<i64> = fresh.map(|unit| unit.resource_bundle_load_id).collect();
    if loads.is_empty() {
        return Ok(());
    }
    let mut start = rows("id", &[ints(loads)]);
    start.push("UPDATE resource_bundle_loads SET load_started = ");
    start.push_bind(now).push(", loader_instance_id = ");
    start.push_bind(worker_id);
    start.push(
        ", allocation_id = resource_bundle_load_id \
         WHERE load_started IS NULL AND resource_bundle_load_id IN (SELECT r.id FROM r) \
         RETURNING resource_bundle_load_id, resource_bundle_id",
    );
    let started: Vec<(i64, i64)> = start
        .build_query_as()
        .persistent(KEEP_STATEMENTS)
        .fetch_all(&mut *conn)
        .await?;
    if started.is_empty() {
        return Ok(());
    }
    let columns = [
        ints(started.iter().map(|(load, _)| *load)),
        ints(started.iter().map(|(_, object)| *object)),
    ];
    let mut start = rows("load, id", &columns);
    start.push(
        "UPDATE resource_bundles AS b SET allocation_id = r.load, load_completed = NULL, \
           load_started = ",
    );
    start.push_bind(now).push(", loader_instance_id = ");
    start.push_bind(worker_id);
    start.push(" FROM r WHERE b.resource_bundle_id = r.id");
    let start = start.build().persistent(KEEP_STATEMENTS);
    start.execute(conn).await?;
    Ok(())
}

#[derive(Debug, FromRow)]
pub(super) struct UnitRow {
    pub(super) unit_id: i64,
    pub(super) resource_bundle_load_id: i64,
    range_start: i64,
    range_end: i64,
    done_ranges: String,
    pub(super) begun_ranges: String,
    pub(super) told_ranges: String,
    attempts: i64,
    /// Its load was never leased before.
    fresh: bool,
    /// It is of the object's present content, and of the load that counts for the job.
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

/// In the order of their ids as given.
async fn read_units(conn: &mut Conn, unit_ids: &[i64]) -> Result<Vec<UnitRow>, LedgerError> {
    let columns = [ints(unit_ids.iter().copied()), ints(0..int_len(unit_ids))];
    let mut find = rows("id, place", &columns);
    find.push(
        "SELECT u.unit_id, u.resource_bundle_load_id, u.range_start, u.range_end, u.done_ranges, \
           u.begun_ranges, u.told_ranges, u.attempts, \
           (l.load_started IS NULL) AS fresh, \
           (l.latest AND l.version >= b.content_version) AS current, l.version, \
           p.bucket_name, p.bucket_path, b.object_name, b.object_size, b.file_type, \
           b.compression, b.etag, b.last_modified \
         FROM r JOIN load_units u ON u.unit_id = r.id \
         JOIN resource_bundle_loads l ON l.resource_bundle_load_id = u.resource_bundle_load_id \
         JOIN resource_bundles b ON b.resource_bundle_id = l.resource_bundle_id \
         JOIN bucket_paths p ON p.bucket_path_id = b.bucket_path_id ORDER BY r.place",
    );
    let found = find.build_query_as().persistent(KEEP_STATEMENTS);
    Ok(found.fetch_all(conn).await?)
}

fn int_len(ids: &[i64]) -> i64 {
    i64::try_from(ids.len()).unwrap_or(i64::MAX)
}

impl UnitRow {
    fn into_unit(
        self,
        lease: Lease,
        expiry: NaiveDateTime,
        job: &LeasableJob,
    ) -> Result<Unit, LedgerError> {
        Ok(Unit {
            lease: Some(lease),
            lease_expiry: Some(timestamp(expiry)),
            attempt: nat32(self.attempts),
            job_id: job.job_id,
            source: Some(Source {
                uri: job.uri.clone(),
                reach: job.reach.clone(),
            }),
            range: Some(ByteRange {
                start: nat(self.range_start),
                end: nat(self.range_end),
            }),
            done: byte_ranges(&self.done_ranges)?,
            target: Some(Target {
                base_url: job.base_url.clone(),
                tenant: job.tenant.clone(),
            }),
            interaction: Interaction::read(&job.interaction)?.into(),
            begun: byte_ranges(&self.begun_ranges)?,
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

fn byte_ranges(text: &str) -> Result<Vec<ByteRange>, LedgerError> {
    let ranges = parse_ranges(text)?;
    let ranges = ranges
        .iter()
        .map(|Range { start, end }| ByteRange { start, end });
    Ok(ranges.collect())
}
