//! Objects loaded again some time after they were loaded, as their next version.

use chrono::{NaiveDateTime, TimeDelta};
use sqlx::FromRow;
use stoker_shared::store::rows::ints;

use super::objects::{Known, known_columns};
use super::{Conn, KEEP_STATEMENTS, LedgerError, Limits, Page, plan, rows};
use crate::ledger::text::int;

/// Running jobs that load objects again.
pub(super) async fn jobs(conn: &mut Conn) -> Result<Vec<i64>, LedgerError> {
    let find = sqlx::query_scalar(
        "SELECT job_id FROM jobs WHERE recycle_after_ms IS NOT NULL \
         AND state IN ('scanning', 'loading') ORDER BY job_id",
    );
    Ok(find.fetch_all(conn).await?)
}

#[derive(Debug, FromRow)]
struct Recycling {
    run: i64,
    recycle_after_ms: i64,
}

/// Plans some of the loads that are due of a job again; answers how many. The job is locked first, as
/// a scan locks it, then the objects.
pub(super) async fn some(
    conn: &mut Conn,
    now: NaiveDateTime,
    limits: Limits,
    job_id: i64,
) -> Result<u64, LedgerError> {
    let job: Option<Recycling> = sqlx::query_as(concat!(
        "SELECT run, recycle_after_ms FROM jobs WHERE job_id = $1 \
         AND recycle_after_ms IS NOT NULL AND state IN ('scanning', 'loading')",
        lock!()
    ))
    .bind(job_id)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(job) = job else { return Ok(0) };
    let age = TimeDelta::try_milliseconds(job.recycle_after_ms);
    let Some(before) = age.and_then(|age| now.checked_sub_signed(age)) else {
        return Ok(0);
    };
    let due = due(conn, job_id, before).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let loads: Vec<i64> = due.iter().map(|(load, _)| *load).collect();
    let objects = next_versions(conn, due.iter().map(|(_, object)| *object)).await?;
    plan::replace(conn, &loads).await?;
    let objects: Vec<&Known> = objects.iter().collect();
    plan::insert(conn, now, (job_id, job.run), &objects, limits.unit_bytes).await?;
    Ok(objects.len() as u64)
}

/// Loads of present content that were completed at this time or before, with their objects.
async fn due(
    conn: &mut Conn,
    job_id: i64,
    before: NaiveDateTime,
) -> Result<Vec<(i64, i64)>, LedgerError> {
    let find = sqlx::query_as(
        "SELECT l.resource_bundle_load_id, l.resource_bundle_id FROM resource_bundle_loads l \
         JOIN resource_bundles b ON b.resource_bundle_id = l.resource_bundle_id \
         WHERE l.job_id = $1 AND l.latest AND l.load_completed <= $2 \
           AND l.version >= b.content_version AND b.object_size > 0 \
         ORDER BY l.load_completed LIMIT $3",
    );
    let most = int(Page::MAX_OBJECTS as u64);
    let find = find.bind(job_id).bind(before).bind(most);
    Ok(find.fetch_all(conn).await?)
}

/// The objects in the next version of the same content: what other jobs load or have loaded of it
/// stays what it is.
async fn next_versions(
    conn: &mut Conn,
    objects: impl Iterator<Item = i64>,
) -> Result<Vec<Known>, LedgerError> {
    let mut next = rows("id", &[ints(objects)]);
    next.push(concat!(
        "UPDATE resource_bundles SET version = version + 1, allocation_id = NULL, \
           loader_instance_id = NULL, load_started = NULL, load_completed = NULL \
         WHERE resource_bundle_id IN (SELECT r.id FROM r) RETURNING ",
        known_columns!()
    ));
    let next = next.build_query_as().persistent(KEEP_STATEMENTS);
    Ok(next.fetch_all(conn).await?)
}
