//! Jobs in numbers.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use serde_json::{Value, json};
use stoker_proto::ledger::v1::{GetJobRequest, Job, JobProgress, ListJobsRequest};
use stoker_shared::clock::{Clock as _, SystemClock};

use super::show::{NOTHING_YET, Sums, between, to_json};
use super::{Client, sentence};
use crate::output::Output;
use crate::report::state_name;

/// Shows one job, or all of them.
pub(super) async fn stats(
    mut client: Client,
    job_id: Option<i64>,
    output: &Output,
) -> anyhow::Result<()> {
    let jobs: Vec<Job> = if let Some(job_id) = job_id {
        let job = client.get_job(GetJobRequest { job_id }).await;
        let job = job.map_err(sentence)?.into_inner().job;
        job.into_iter().collect()
    } else {
        let jobs = client.list_jobs(ListJobsRequest {}).await;
        jobs.map_err(sentence)?.into_inner().jobs
    };
    let now = SystemClock.now();
    let values: Vec<Value> = jobs.iter().map(|job| numbers(job, now)).collect();
    output.result(&values, || {
        if jobs.is_empty() {
            return NOTHING_YET.to_owned();
        }
        let tables: Vec<String> = jobs.iter().map(|job| table(job, now)).collect();
        tables.join("\n")
    })
}

/// The job as elsewhere, and what is worked out here.
fn numbers(job: &Job, now: DateTime<Utc>) -> Value {
    let mut value = to_json(job);
    let seconds = seconds(job, now);
    value["seconds"] = json!(seconds);
    value["resources_per_s"] = json!(rate(job, seconds));
    value
}

/// Since the job was last started, to its end or to now.
fn seconds(job: &Job, now: DateTime<Utc>) -> f64 {
    let time = |t: Timestamp| DateTime::from_timestamp(t.seconds, t.nanos.unsigned_abs());
    let Some(started) = job.started.and_then(time) else {
        return 0.0;
    };
    let ended = job.ended.and_then(time).unwrap_or(now);
    (ended - started).as_seconds_f64().max(0.0)
}

/// Resources with an outcome a second.
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate for people; counts are far below 2^52"
)]
fn rate(job: &Job, seconds: f64) -> f64 {
    let sums = Sums::of(&job.run.clone().unwrap_or_default());
    let all = sums.loaded + sums.rejected + sums.in_doubt;
    if seconds > 0.0 {
        all as f64 / seconds
    } else {
        0.0
    }
}

fn table(job: &Job, now: DateTime<Utc>) -> String {
    let run = column(&job.run.clone().unwrap_or_default());
    let total = column(&job.total.clone().unwrap_or_default());
    let mut out = format!(
        "job {}: {}, {}\n{:<18}{:>16}{:>16}\n",
        job.job_id,
        state_name(job.state()),
        between(job),
        "",
        "this run",
        "all runs"
    );
    for ((name, run), (_, total)) in run.into_iter().zip(total) {
        let _ = writeln!(out, "{name:<18}{run:>16}{total:>16}");
    }
    let seconds = seconds(job, now);
    let _ = writeln!(out, "{:<18}{seconds:>16.1}", "seconds");
    let _ = writeln!(out, "{:<18}{:>16.1}", "resources/s", rate(job, seconds));
    out
}

fn column(progress: &JobProgress) -> [(&'static str, u64); 11] {
    let sum = |of: fn(&stoker_proto::ledger::v1::TypeCount) -> u64| -> u64 {
        progress.counts.iter().map(of).sum()
    };
    [
        ("files", progress.objects),
        ("files loaded", progress.objects_done),
        ("files unreadable", progress.objects_parked),
        ("bytes", progress.bytes),
        ("bytes read", progress.bytes_done),
        ("created", sum(|c| c.created)),
        ("updated", sum(|c| c.updated)),
        ("rejected", sum(|c| c.rejected)),
        ("in doubt", sum(|c| c.in_doubt)),
        ("requests", progress.requests),
        ("retries", progress.retries),
    ]
}

#[cfg(test)]
mod tests {
    use stoker_proto::ledger::v1::TypeCount;

    use super::*;

    #[test]
    fn the_rate_is_that_of_the_run() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let mut job = Job {
            started: at(100),
            ended: at(110),
            run: Some(JobProgress {
                counts: vec![TypeCount {
                    created: 15,
                    rejected: 5,
                    ..TypeCount::default()
                }],
                ..JobProgress::default()
            }),
            ..Job::default()
        };
        let now = DateTime::from_timestamp(140, 0).unwrap();
        assert_eq!(numbers(&job, now)["resources_per_s"], 2.0);
        job.ended = None;
        assert_eq!(numbers(&job, now)["resources_per_s"], 0.5);
        assert!(table(&job, now).contains("40.0"), "{}", table(&job, now));
        job.started = None;
        assert_eq!(numbers(&job, now)["resources_per_s"], 0.0);
    }
}
