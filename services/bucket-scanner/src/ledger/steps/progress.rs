//! How far jobs are, counted anew at every call: there is no second count that could differ.

use sqlx::FromRow;
use stoker_proto::ledger::v1::{JobProgress, TypeCount};

use super::jobs::JobRow;
use super::{Conn, LedgerError, UnitCounts};
use crate::ledger::text::nat;

/// Counts of the job's present run, and of its whole life.
pub(super) async fn of(
    conn: &mut Conn,
    job: &JobRow,
) -> Result<(JobProgress, JobProgress), LedgerError> {
    let (mut run, mut total) = (JobProgress::default(), JobProgress::default());
    for row in loads(conn, job).await? {
        row.add(&mut total);
        if row.this_run == 1 {
            row.add(&mut run);
        }
    }
    for row in units(conn, job).await? {
        row.add(&mut total);
        if row.this_run == 1 {
            row.add(&mut run);
        }
    }
    for row in counts(conn, job).await? {
        row.add(&mut total);
        if row.this_run == 1 {
            row.add(&mut run);
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

#[derive(Debug, FromRow)]
struct LoadSums {
    this_run: i64,
    objects: i64,
    done: i64,
    requests: i64,
    retries: i64,
}

impl LoadSums {
    fn add(&self, to: &mut JobProgress) {
        to.objects += nat(self.objects);
        to.objects_done += nat(self.done);
        to.requests += nat(self.requests);
        to.retries += nat(self.retries);
    }
}

async fn loads(conn: &mut Conn, job: &JobRow) -> Result<Vec<LoadSums>, LedgerError> {
    let sums = sqlx::query_as(
        "SELECT CAST(CASE WHEN run = $2 THEN 1 ELSE 0 END AS BIGINT) AS this_run, \
           COUNT(*) AS objects, COUNT(load_completed) AS done, \
           CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(retries) AS BIGINT) AS retries \
         FROM resource_bundle_loads WHERE job_id = $1 AND latest GROUP BY 1",
    );
    Ok(sums.bind(job.job_id).bind(job.run).fetch_all(conn).await?)
}

#[derive(Debug, FromRow)]
struct UnitSums {
    this_run: i64,
    parked: i64,
    bytes: i64,
    bytes_done: i64,
}

impl UnitSums {
    fn add(&self, to: &mut JobProgress) {
        to.objects_parked += nat(self.parked);
        to.bytes += nat(self.bytes);
        to.bytes_done += nat(self.bytes_done);
    }
}

async fn units(conn: &mut Conn, job: &JobRow) -> Result<Vec<UnitSums>, LedgerError> {
    let sums = sqlx::query_as(
        "SELECT CAST(CASE WHEN l.run = $2 THEN 1 ELSE 0 END AS BIGINT) AS this_run, \
           COUNT(DISTINCT CASE WHEN u.state = 'parked' THEN u.resource_bundle_load_id END) \
             AS parked, \
           CAST(SUM(u.range_end - u.range_start) AS BIGINT) AS bytes, \
           CAST(SUM(CASE WHEN u.state = 'done' OR u.source_bytes > u.range_end - u.range_start \
             THEN u.range_end - u.range_start ELSE u.source_bytes END) AS BIGINT) AS bytes_done \
         FROM resource_bundle_loads l \
         JOIN load_units u ON u.resource_bundle_load_id = l.resource_bundle_load_id \
         WHERE l.job_id = $1 AND l.latest GROUP BY 1",
    );
    Ok(sums.bind(job.job_id).bind(job.run).fetch_all(conn).await?)
}

#[derive(Debug, FromRow)]
struct CountSums {
    this_run: i64,
    resource_type: String,
    created: i64,
    updated: i64,
    rejected: i64,
    in_doubt: i64,
}

impl CountSums {
    fn add(&self, to: &mut JobProgress) {
        let at = to
            .counts
            .iter()
            .position(|c| c.resource_type == self.resource_type);
        let at = at.unwrap_or_else(|| {
            to.counts.push(TypeCount {
                resource_type: self.resource_type.clone(),
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

async fn counts(conn: &mut Conn, job: &JobRow) -> Result<Vec<CountSums>, LedgerError> {
    let sums = sqlx::query_as(
        "SELECT CAST(CASE WHEN l.run = $2 THEN 1 ELSE 0 END AS BIGINT) AS this_run, \
           c.resource_type, CAST(SUM(c.created) AS BIGINT) AS created, \
           CAST(SUM(c.updated) AS BIGINT) AS updated, \
           CAST(SUM(c.rejected) AS BIGINT) AS rejected, \
           CAST(SUM(c.in_doubt) AS BIGINT) AS in_doubt \
         FROM resource_bundle_loads l \
         JOIN load_counts c ON c.resource_bundle_load_id = l.resource_bundle_load_id \
         WHERE l.job_id = $1 AND l.latest GROUP BY 1, 2 ORDER BY 2",
    );
    Ok(sums.bind(job.job_id).bind(job.run).fetch_all(conn).await?)
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

pub(super) async fn unit_counts(conn: &mut Conn) -> Result<UnitCounts, LedgerError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT state, COUNT(*) FROM load_units \
         WHERE state IN ('open', 'leased', 'parked') GROUP BY state",
    )
    .fetch_all(conn)
    .await?;
    let of = |state: &str| {
        let row = rows.iter().find(|(found, _)| found == state);
        row.map_or(0, |(_, count)| nat(*count))
    };
    Ok(UnitCounts {
        open: of("open"),
        leased: of("leased"),
        parked: of("parked"),
    })
}
