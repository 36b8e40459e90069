//! What a job has to load of the objects a scan found.

use std::collections::HashMap;
use std::ops::Range;

use chrono::{NaiveDateTime, TimeDelta};
use sqlx::FromRow;
use stoker_proto::common::v1::{Compression, FileType};
use stoker_shared::store::rows::{Column, ints, texts};

use super::objects::Known;
use super::{Conn, KEEP_STATEMENTS, LedgerError, Page, rows, settle};
use crate::classify;
use crate::ledger::cut::{can_be_cut, cut};
use crate::ledger::text::{Spelled, all_or_has, clean, int, nat};
use crate::ledger::{FoundObject, Issue, LedgerOptions};

/// Units of one statement: 6 values each, of the 32 766 that SQLite takes.
const UNITS_AT_ONCE: usize = 5000;

/// What planning goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Of the leave to scan.
    pub(super) lease: TimeDelta,
    pub(super) unit_bytes: u64,
}

impl Limits {
    pub(super) fn of(options: &LedgerOptions) -> Self {
        Self {
            lease: TimeDelta::from_std(options.lease).unwrap_or(TimeDelta::MAX),
            unit_bytes: options.unit_bytes,
        }
    }
}

pub(super) async fn running_jobs(conn: &mut Conn, source_id: i64) -> Result<Vec<i64>, LedgerError> {
    let find = "SELECT job_id FROM jobs \
         WHERE source_id = $1 AND state IN ('scanning', 'loading') ORDER BY job_id";
    Ok(sqlx::query_scalar(find)
        .bind(source_id)
        .fetch_all(conn)
        .await?)
}

/// The lists of file types that running jobs of a source take, each once.
pub(super) async fn file_types(
    conn: &mut Conn,
    source_id: i64,
) -> Result<Vec<String>, LedgerError> {
    let find = "SELECT DISTINCT file_types FROM jobs \
         WHERE source_id = $1 AND state IN ('scanning', 'loading')";
    Ok(sqlx::query_scalar(find)
        .bind(source_id)
        .fetch_all(conn)
        .await?)
}

/// Those that a scan of what is known is for.
pub(super) async fn jobs_for_known(
    conn: &mut Conn,
    source_id: i64,
) -> Result<Vec<i64>, LedgerError> {
    let find = "SELECT job_id FROM jobs WHERE source_id = $1 AND state = 'scanning' \
         AND no_scan AND scan_begun = scan_wanted ORDER BY job_id";
    Ok(sqlx::query_scalar(find)
        .bind(source_id)
        .fetch_all(conn)
        .await?)
}

/// Locks all jobs of a source, also those that are over, before anything of theirs: a person who
/// retries or cancels one takes locks in this order too.
pub(super) async fn lock_jobs(conn: &mut Conn, source_id: i64) -> Result<(), LedgerError> {
    let all = concat!(
        "SELECT job_id FROM jobs WHERE source_id = $1 ORDER BY job_id",
        lock!()
    );
    sqlx::query(all).bind(source_id).execute(conn).await?;
    Ok(())
}

#[derive(Debug, FromRow)]
struct Planned {
    run: i64,
    reload: bool,
    file_types: String,
    /// The scan is for this job: others learn of new objects by it, and no more.
    listing: bool,
}

/// Plans the loads of a page for one job, whose row is locked; answers how many.
pub(super) async fn page(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
    page: &Page,
    known: &[Known],
    unit_bytes: u64,
) -> Result<u64, LedgerError> {
    let job: Planned = sqlx::query_as(
        "SELECT run, reload, file_types, (state = 'scanning' AND scan_begun = scan_wanted) AS listing \
         FROM jobs WHERE job_id = $1",
    )
    .bind(job_id)
    .fetch_one(&mut *conn)
    .await?;
    let loads = latest_loads(conn, job_id, known).await?;
    let Sorted {
        wanted,
        replaced,
        unchanged,
    } = sorted(&job, known, &loads);
    replace(conn, &replaced).await?;
    insert(conn, now, (job_id, job.run), &wanted, unit_bytes).await?;
    if job.listing {
        note_issues(conn, now, job_id, job.run, &page.issues).await?;
        let ignored = page.ignored + of_other_types(&job.file_types, &page.objects)?;
        count(conn, job_id, unchanged, ignored).await?;
    }
    Ok(wanted.len() as u64)
}

fn of_other_types(types: &str, objects: &[FoundObject]) -> Result<u64, LedgerError> {
    let mut others = 0;
    for object in objects {
        others += u64::from(!all_or_has(types, object.file_type.spell()?));
    }
    Ok(others)
}

/// What is to become of the objects of a page.
#[derive(Default)]
struct Sorted<'o> {
    wanted: Vec<&'o Known>,
    /// Loads that count no more.
    replaced: Vec<i64>,
    unchanged: i64,
}

fn sorted<'o>(job: &Planned, known: &'o [Known], loads: &HashMap<i64, LoadRow>) -> Sorted<'o> {
    let mut sorted = Sorted::default();
    let of_its_types = |object: &&Known| all_or_has(&job.file_types, &object.file_type);
    for object in known.iter().filter(of_its_types) {
        let load = loads.get(&object.resource_bundle_id);
        let stays = match load {
            None => false,
            Some(load) if load.version < object.content_version => false,
            Some(load) if load.run == job.run => true,
            Some(_) if job.reload && object.object_size > 0 => false,
            Some(_) => {
                sorted.unchanged += 1;
                true
            }
        };
        if stays {
            continue;
        }
        let replaced = load.map(|load| load.resource_bundle_load_id);
        sorted.replaced.extend(replaced);
        if object.object_size > 0 {
            sorted.wanted.push(object);
        }
    }
    sorted
}

#[derive(Debug, FromRow)]
struct LoadRow {
    resource_bundle_load_id: i64,
    resource_bundle_id: i64,
    version: i64,
    run: i64,
}

/// Loads that count for the job, by object.
async fn latest_loads(
    conn: &mut Conn,
    job_id: i64,
    objects: &[Known],
) -> Result<HashMap<i64, LoadRow>, LedgerError> {
    let older = objects.iter().filter(|o| !o.is_new);
    let ids: Vec<i64> = older.map(|o| o.resource_bundle_id).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let ids = Column::Ints(ids);
    let mut find = rows("id", &[ids]);
    find.push(
        "SELECT l.resource_bundle_load_id, l.resource_bundle_id, l.version, l.run \
         FROM r JOIN resource_bundle_loads l ON l.resource_bundle_load_id = \
           (SELECT x.resource_bundle_load_id FROM resource_bundle_loads x \
            WHERE x.resource_bundle_id = r.id AND x.latest AND x.job_id = ",
    );
    // Each by its key: of a join PostgreSQL believes, while the table grows, that a job has few rows.
    find.push_bind(job_id).push(")");
    let loads: Vec<LoadRow> = find
        .build_query_as()
        .persistent(false)
        .fetch_all(conn)
        .await?;
    Ok(loads
        .into_iter()
        .map(|load| (load.resource_bundle_id, load))
        .collect())
}

/// Loads that count no more for their job.
pub(super) async fn replace(conn: &mut Conn, loads: &[i64]) -> Result<(), LedgerError> {
    if loads.is_empty() {
        return Ok(());
    }
    let mut replace = rows("id", &[ints(loads.iter().copied())]);
    replace.push(
        "UPDATE resource_bundle_loads SET latest = FALSE \
         WHERE latest AND resource_bundle_load_id IN (SELECT r.id FROM r)",
    );
    let replace = replace.build().persistent(false);
    let replaced = replace.execute(conn).await?.rows_affected();
    settle::all_rows(replaced, loads.len())
}

/// A load for each object, with units that together cover all of it.
pub(super) async fn insert(
    conn: &mut Conn,
    now: NaiveDateTime,
    (job_id, run): (i64, i64),
    objects: &[&Known],
    unit_bytes: u64,
) -> Result<(), LedgerError> {
    if objects.is_empty() {
        return Ok(());
    }
    let columns = [
        ints(objects.iter().map(|o| o.resource_bundle_id)),
        ints(objects.iter().map(|o| o.version)),
    ];
    let mut add = rows("id, version", &columns);
    add.push(
        "INSERT INTO resource_bundle_loads (resource_bundle_id, version, latest, requests, \
           retries, job_id, run, planned) SELECT r.id, r.version, TRUE, 0, 0, ",
    );
    add.push_bind(job_id).push(", ").push_bind(run);
    add.push(", ").push_bind(now);
    add.push(" FROM r RETURNING resource_bundle_load_id, resource_bundle_id");
    let loads: Vec<(i64, i64)> = add
        .build_query_as()
        .persistent(KEEP_STATEMENTS)
        .fetch_all(&mut *conn)
        .await?;
    let of: HashMap<i64, &Known> = objects.iter().map(|o| (o.resource_bundle_id, *o)).collect();
    let mut units = Vec::with_capacity(loads.len());
    for (load, object) in loads {
        if let Some(object) = of.get(&object) {
            units_of(&mut units, load, object, unit_bytes)?;
        }
    }
    for units in units.chunks(UNITS_AT_ONCE) {
        insert_units(conn, now, job_id, units).await?;
    }
    Ok(())
}

/// A unit to be.
struct NewUnit<'o> {
    load: i64,
    range: Range<u64>,
    wave: i64,
    object: &'o Known,
}

fn units_of<'o>(
    units: &mut Vec<NewUnit<'o>>,
    load: i64,
    object: &'o Known,
    unit_bytes: u64,
) -> Result<(), LedgerError> {
    let file_type = FileType::read(&object.file_type)?;
    let compression = Compression::read(&object.compression)?;
    let size = nat(object.object_size);
    let at_most = if can_be_cut(file_type, compression, object.several_frames) {
        unit_bytes
    } else {
        size
    };
    let wave = i64::from(classify::wave(&object.object_name, file_type));
    units.extend(cut(size, at_most).map(|range| NewUnit {
        load,
        range,
        wave,
        object,
    }));
    Ok(())
}

/// Those of a load in the order of the object: so are their ids.
async fn insert_units(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
    units: &[NewUnit<'_>],
) -> Result<(), LedgerError> {
    let columns = [
        ints(units.iter().map(|u| u.load)),
        ints(units.iter().map(|u| int(u.range.start))),
        ints(units.iter().map(|u| int(u.range.end))),
        ints(units.iter().map(|u| u.wave)),
        texts(units.iter().map(|u| u.object.file_type.as_str())),
        ints(units.iter().map(|u| u.object.bucket_path_id)),
    ];
    let mut add = rows("load, start_at, end_at, wave, file_type, path", &columns);
    add.push(
        "INSERT INTO load_units (resource_bundle_load_id, range_start, range_end, wave, \
           file_type, bucket_path_id, state, done_ranges, attempts, reason, source_bytes, lines, \
           decoded_bytes, job_id, not_before) \
         SELECT r.load, r.start_at, r.end_at, r.wave, r.file_type, r.path, 'open', '', 0, '', 0, \
           0, 0, ",
    );
    add.push_bind(job_id).push(", ").push_bind(now);
    add.push(" FROM r");
    let add = add.build().persistent(KEEP_STATEMENTS);
    add.execute(conn).await?;
    Ok(())
}

async fn note_issues(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
    run: i64,
    issues: &[Issue],
) -> Result<(), LedgerError> {
    if issues.is_empty() {
        return Ok(());
    }
    let columns = [
        texts(issues.iter().map(|issue| clean(&issue.name))),
        texts(issues.iter().map(|issue| clean(&issue.reason))),
        Column::Flags(issues.iter().map(|issue| issue.unreadable).collect()),
    ];
    let mut add = rows("name, reason, unreadable", &columns);
    add.push(
        "INSERT INTO scan_issues (name, reason, unreadable, job_id, run, found) \
         SELECT r.name, r.reason, r.unreadable, ",
    );
    add.push_bind(job_id).push(", ").push_bind(run);
    add.push(", ").push_bind(now).push(" FROM r");
    let add = add.build().persistent(KEEP_STATEMENTS);
    add.execute(conn).await?;
    Ok(())
}

async fn count(
    conn: &mut Conn,
    job_id: i64,
    unchanged: i64,
    ignored: u64,
) -> Result<(), LedgerError> {
    if unchanged == 0 && ignored == 0 {
        return Ok(());
    }
    sqlx::query(
        "UPDATE jobs SET objects_unchanged = objects_unchanged + $2, \
         objects_ignored = objects_ignored + $3 WHERE job_id = $1",
    )
    .bind(job_id)
    .bind(unchanged)
    .bind(int(ignored))
    .execute(conn)
    .await?;
    Ok(())
}
