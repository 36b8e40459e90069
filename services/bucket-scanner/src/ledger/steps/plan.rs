//! What a job has to load of the objects a scan found.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use sqlx::{FromRow, QueryBuilder};

use super::objects::Known;
use super::{Conn, Db, LedgerError, Page, one_row};
use crate::ledger::Issue;
use crate::ledger::text::{clean, int};

pub(super) async fn running_jobs(conn: &mut Conn, source_id: i64) -> Result<Vec<i64>, LedgerError> {
    let find = "SELECT job_id FROM jobs \
         WHERE source_id = $1 AND state IN ('scanning', 'loading') ORDER BY job_id";
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
    /// The listing is for this job: others learn of new objects by it, and no more.
    listing: bool,
}

/// Plans the loads of a page for one job, whose row is locked; answers how many.
pub(super) async fn page(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
    page: &Page,
    known: &[Known],
) -> Result<u64, LedgerError> {
    let job: Planned = sqlx::query_as(
        "SELECT run, reload, (state = 'scanning' AND scan_begun = scan_wanted) AS listing \
         FROM jobs WHERE job_id = $1",
    )
    .bind(job_id)
    .fetch_one(&mut *conn)
    .await?;
    let loads = latest_loads(conn, job_id, known).await?;
    let (mut wanted, mut replaced, mut unchanged) = (Vec::new(), Vec::new(), 0);
    for object in known {
        let load = loads.get(&object.resource_bundle_id);
        let stays = match load {
            None => false,
            Some(load) if load.version != object.version => false,
            Some(load) if load.run == job.run => true,
            Some(_) if job.reload && object.object_size > 0 => false,
            Some(_) => {
                unchanged += 1;
                true
            }
        };
        if stays {
            continue;
        }
        replaced.extend(load.map(|load| load.resource_bundle_load_id));
        if object.object_size > 0 {
            wanted.push(*object);
        }
    }
    replace(conn, &replaced).await?;
    insert(conn, now, job_id, job.run, &wanted).await?;
    if job.listing {
        note_issues(conn, now, job_id, job.run, &page.issues).await?;
        count(conn, job_id, unchanged, page.ignored).await?;
    }
    Ok(wanted.len() as u64)
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
    if objects.is_empty() {
        return Ok(HashMap::new());
    }
    let mut find = QueryBuilder::<Db>::new(
        "SELECT resource_bundle_load_id, resource_bundle_id, version, run \
         FROM resource_bundle_loads WHERE latest AND job_id = ",
    );
    find.push_bind(job_id).push(" AND resource_bundle_id IN (");
    let mut ids = find.separated(", ");
    for object in objects {
        ids.push_bind(object.resource_bundle_id);
    }
    find.push(")");
    let rows: Vec<LoadRow> = find
        .build_query_as()
        .persistent(false)
        .fetch_all(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.resource_bundle_id, row))
        .collect())
}

/// Loads that count no more for their job.
async fn replace(conn: &mut Conn, loads: &[i64]) -> Result<(), LedgerError> {
    for load in loads {
        let replaced = sqlx::query(
            "UPDATE resource_bundle_loads SET latest = FALSE \
             WHERE resource_bundle_load_id = $1 AND latest",
        )
        .bind(load)
        .execute(&mut *conn)
        .await?;
        one_row(replaced.rows_affected(), || {
            LedgerError::Damaged(format!("load {load} changed under its job's lock"))
        })?;
    }
    Ok(())
}

/// A load for each object, with one unit that covers all of it.
async fn insert(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
    run: i64,
    objects: &[Known],
) -> Result<(), LedgerError> {
    if objects.is_empty() {
        return Ok(());
    }
    let mut add = QueryBuilder::<Db>::new(
        "INSERT INTO resource_bundle_loads (resource_bundle_id, job_id, version, run, latest, \
           planned, requests, retries) ",
    );
    add.push_values(objects, |mut row, object| {
        row.push_bind(object.resource_bundle_id)
            .push_bind(job_id)
            .push_bind(object.version)
            .push_bind(run)
            .push("TRUE")
            .push_bind(now)
            .push("0, 0");
    });
    add.push(" RETURNING resource_bundle_load_id, resource_bundle_id");
    let loads: Vec<(i64, i64)> = add
        .build_query_as()
        .persistent(false)
        .fetch_all(&mut *conn)
        .await?;
    let sizes: HashMap<i64, i64> = objects
        .iter()
        .map(|o| (o.resource_bundle_id, o.object_size))
        .collect();
    let mut add = QueryBuilder::<Db>::new(
        "INSERT INTO load_units (resource_bundle_load_id, job_id, state, range_start, range_end, \
           done_ranges, attempts, not_before, reason, source_bytes, lines, decoded_bytes) ",
    );
    add.push_values(loads, |mut row, (load_id, object_id)| {
        row.push_bind(load_id)
            .push_bind(job_id)
            .push("'open', 0")
            .push_bind(sizes.get(&object_id).copied().unwrap_or(0))
            .push("'', 0")
            .push_bind(now)
            .push("'', 0, 0, 0");
    });
    add.build().persistent(false).execute(conn).await?;
    Ok(())
}

async fn note_issues(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
    run: i64,
    issues: &[Issue],
) -> Result<(), LedgerError> {
    for issue in issues {
        sqlx::query(
            "INSERT INTO scan_issues (job_id, run, name, reason, unreadable, found) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(job_id)
        .bind(run)
        .bind(clean(&issue.name))
        .bind(clean(&issue.reason))
        .bind(issue.unreadable)
        .bind(now)
        .execute(&mut *conn)
        .await?;
    }
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
