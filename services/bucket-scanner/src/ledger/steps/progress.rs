//! How far jobs are. SQLite counts at every look; PostgreSQL keeps the sums by triggers, in the transaction of
//! whatever changes them (`migrations/postgres/0008_job_sums.sql`).

use std::collections::HashMap;

use chrono::NaiveDateTime;
use sqlx::FromRow;
use stoker_proto::ledger::v1::{JobProgress, TypeCount};

use super::jobs::JobRow;
use super::{Conn, FOLD_SUMS, LedgerError, UnitCounts};
use crate::ledger::text::nat;

/// Counts of the job's present run, and of its whole life.
pub(super) async fn of(
    conn: &mut Conn,
    job: &JobRow,
) -> Result<(JobProgress, JobProgress), LedgerError> {
    let (mut run, mut total) = (JobProgress::default(), JobProgress::default());
    for sums in sums(conn, job.job_id).await? {
        sums.add(&mut total);
        if sums.run == job.run {
            sums.add(&mut run);
        }
    }
    for (of_run, objects) in parked(conn, job.job_id).await? {
        total.objects_parked += nat(objects);
        if of_run == job.run {
            run.objects_parked += nat(objects);
        }
    }
    let issues = issues(conn, job.job_id).await?;
    issues.add(&mut total);
    total.objects_ignored = nat(job.objects_ignored);
    if job.scan_run == job.run {
        issues.add(&mut run);
        run.objects_ignored = total.objects_ignored;
        run.objects_unchanged = nat(job.objects_unchanged);
    }
    Ok((run, total))
}

/// Of the loads that count for a job.
#[derive(Debug, FromRow)]
struct Sums {
    run: i64,
    /// None: these are of no type.
    resource_type: Option<String>,
    objects: i64,
    objects_done: i64,
    requests: i64,
    retries: i64,
    bytes: i64,
    bytes_done: i64,
    created: i64,
    updated: i64,
    rejected: i64,
    in_doubt: i64,
}

impl Sums {
    fn add(&self, to: &mut JobProgress) {
        let Some(resource_type) = &self.resource_type else {
            to.objects += nat(self.objects);
            to.objects_done += nat(self.objects_done);
            to.requests += nat(self.requests);
            to.retries += nat(self.retries);
            to.bytes += nat(self.bytes);
            to.bytes_done += nat(self.bytes_done);
            return;
        };
        let known = to
            .counts
            .iter()
            .position(|c| c.resource_type == *resource_type);
        let at = known.unwrap_or_else(|| {
            to.counts.push(TypeCount {
                resource_type: resource_type.clone(),
                ..TypeCount::default()
            });
            to.counts.len() - 1
        });
        if let Some(count) = to.counts.get_mut(at) {
            count.created += nat(self.created);
            count.updated += nat(self.updated);
            count.rejected += nat(self.rejected);
            count.in_doubt += nat(self.in_doubt);
        }
    }
}

/// By run and type. A type of which nothing counts any more is not told.
async fn sums(conn: &mut Conn, job_id: i64) -> Result<Vec<Sums>, LedgerError> {
    let sums = sqlx::query_as(
        "SELECT run, resource_type, CAST(SUM(objects) AS BIGINT) AS objects, \
           CAST(SUM(objects_done) AS BIGINT) AS objects_done, \
           CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(retries) AS BIGINT) AS retries, \
           CAST(SUM(bytes) AS BIGINT) AS bytes, CAST(SUM(bytes_done) AS BIGINT) AS bytes_done, \
           CAST(SUM(created) AS BIGINT) AS created, CAST(SUM(updated) AS BIGINT) AS updated, \
           CAST(SUM(rejected) AS BIGINT) AS rejected, CAST(SUM(in_doubt) AS BIGINT) AS in_doubt \
         FROM job_sums WHERE job_id = $1 GROUP BY run, resource_type \
         HAVING resource_type IS NULL OR SUM(created) <> 0 OR SUM(updated) <> 0 \
           OR SUM(rejected) <> 0 OR SUM(in_doubt) <> 0 \
         ORDER BY resource_type, run",
    );
    Ok(sums.bind(job_id).fetch_all(conn).await?)
}

/// By run, objects of which a unit is set aside: few, which an index of their own finds.
async fn parked(conn: &mut Conn, job_id: i64) -> Result<Vec<(i64, i64)>, LedgerError> {
    let objects = sqlx::query_as(
        "SELECT l.run, COUNT(DISTINCT u.resource_bundle_load_id) FROM load_units u \
         JOIN resource_bundle_loads l ON l.resource_bundle_load_id = u.resource_bundle_load_id \
         WHERE u.job_id = $1 AND u.state = 'parked' AND l.latest GROUP BY l.run",
    );
    Ok(objects.bind(job_id).fetch_all(conn).await?)
}

pub(super) async fn fold(conn: &mut Conn, _now: NaiveDateTime) -> Result<(), LedgerError> {
    if let Some(fold) = FOLD_SUMS {
        sqlx::query(fold).execute(conn).await?;
    }
    Ok(())
}

#[derive(Debug, FromRow)]
struct IssueSums {
    warnings: i64,
    unreadable: i64,
}

impl IssueSums {
    /// What cannot be read is an object and parked: so loaded and parked ones make up all.
    fn add(&self, to: &mut JobProgress) {
        to.warnings += nat(self.warnings);
        to.objects += nat(self.unreadable);
        to.objects_parked += nat(self.unreadable);
    }
}

async fn issues(conn: &mut Conn, job_id: i64) -> Result<IssueSums, LedgerError> {
    let sums = sqlx::query_as(
        "SELECT COUNT(CASE WHEN unreadable THEN NULL ELSE 1 END) AS warnings, \
           COUNT(CASE WHEN unreadable THEN 1 END) AS unreadable \
         FROM scan_issues WHERE job_id = $1",
    );
    Ok(sums.bind(job_id).fetch_one(conn).await?)
}

/// Units of a job, a state and a wave.
#[derive(Debug, FromRow)]
struct Counted {
    job_id: i64,
    state: String,
    wave: i64,
    units: i64,
    /// Those that do not wait out a pause.
    due: i64,
    /// Of the job: it is at work; its units are leased in no order; its source was listed to the end.
    running: bool,
    unordered: bool,
    listed: bool,
}

/// Each unit is looked at once: while a statement runs, what others delete stays in their way.
pub(super) async fn unit_counts(
    conn: &mut Conn,
    now: NaiveDateTime,
) -> Result<UnitCounts, LedgerError> {
    let counted: Vec<Counted> = sqlx::query_as(
        "SELECT c.job_id, c.state, c.wave, c.units, c.due, j.unordered, \
           j.state IN ('scanning', 'loading') AS running, \
           (j.state = 'loading' OR j.listed_run = j.run) AS listed \
         FROM (SELECT job_id, state, wave, COUNT(*) AS units, \
             COUNT(CASE WHEN not_before <= $1 THEN 1 END) AS due FROM load_units \
           WHERE state IN ('open', 'leased', 'parked') GROUP BY job_id, state, wave) AS c \
         JOIN jobs j ON j.job_id = c.job_id",
    )
    .bind(now)
    .fetch_all(conn)
    .await?;
    let of = |state: &str| {
        let found = counted.iter().filter(|c| c.state == state);
        nat(found.map(|c| c.units).sum())
    };
    Ok(UnitCounts {
        // Those of jobs that were cancelled stay as they are.
        open: nat(counted
            .iter()
            .filter(|c| c.state == "open" && c.running)
            .map(|c| c.units)
            .sum()),
        claimable: claimable(&counted),
        leased: of("leased"),
        parked: of("parked"),
    })
}

/// Units that [`pick`](super::pick::pick) would choose from, were it asked by a worker that can read all sources.
fn claimable(counted: &[Counted]) -> u64 {
    let at_work = |c: &&Counted| c.running && c.state != "parked";
    let mut first: HashMap<i64, i64> = HashMap::new();
    for c in counted.iter().filter(at_work) {
        let wave = first.entry(c.job_id).or_insert(c.wave);
        *wave = c.wave.min(*wave);
    }
    let comes_first =
        |c: &&Counted| first.get(&c.job_id) == Some(&c.wave) && (c.wave == 0 || c.listed);
    let open = counted.iter().filter(at_work).filter(|c| c.state == "open");
    nat(open
        .filter(|c| c.unordered || comes_first(c))
        .map(|c| c.due)
        .sum())
}
