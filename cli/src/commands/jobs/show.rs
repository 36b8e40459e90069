//! Jobs as text and as JSON.

use std::fmt::Write as _;

use chrono::DateTime;
use serde_json::{Value, json};
use stoker_proto::ledger::v1::{Job, JobProgress};

use crate::report::state_name;

/// What to say of a ledger without jobs.
pub(super) const NOTHING_YET: &str = "nothing has been loaded yet; `stoker load --help` shows how";

pub(super) fn list(jobs: &[Job]) -> String {
    if jobs.is_empty() {
        return NOTHING_YET.to_owned();
    }
    let mut out = format!(
        "{:>5}  {:<10}{:>12}{:>10}{:>9}  source -> target\n",
        "job", "state", "loaded", "rejected", "files"
    );
    for job in jobs {
        let total = job.total.clone().unwrap_or_default();
        let sums = Sums::of(&total);
        let _ = writeln!(
            out,
            "{:>5}  {:<10}{:>12}{:>10}{:>9}  {}",
            job.job_id,
            state_name(job.state()),
            sums.loaded,
            sums.rejected + sums.in_doubt,
            total.objects_done,
            between(job)
        );
    }
    out
}

pub(super) fn between(job: &Job) -> String {
    let source = job.source.clone().unwrap_or_default().uri;
    let target = job.target.clone().unwrap_or_default();
    let tenant = match target.tenant.as_str() {
        "" => String::new(),
        tenant => format!(" (tenant {tenant})"),
    };
    format!("{source} -> {}{tenant}", target.base_url)
}

pub(super) fn detail(job: &Job) -> String {
    let total = job.total.clone().unwrap_or_default();
    let sums = Sums::of(&total);
    let mut out = format!(
        "job {}: {}\n{}\n",
        job.job_id,
        state_name(job.state()),
        between(job)
    );
    if !job.reason.is_empty() {
        let _ = writeln!(out, "reason: {}", job.reason);
    }
    for (name, time) in [
        ("created", job.created),
        ("started", job.started),
        ("ended", job.ended),
    ] {
        if let Some(time) = time.and_then(|t| DateTime::from_timestamp(t.seconds, 0)) {
            let _ = writeln!(out, "{name:<8}{}", time.to_rfc3339());
        }
    }
    let _ = writeln!(
        out,
        "files   {} loaded, {} unreadable, {} in all\nloaded  {} resources, {} rejected, {} in doubt",
        total.objects_done,
        total.objects_parked,
        total.objects,
        sums.loaded,
        sums.rejected,
        sums.in_doubt
    );
    write_counts(&mut out, &total);
    out
}

fn write_counts(out: &mut String, progress: &JobProgress) {
    for count in &progress.counts {
        let name = if count.resource_type.is_empty() {
            "(no resource)"
        } else {
            &count.resource_type
        };
        let _ = writeln!(
            out,
            "  {name:<28}{:>10} created{:>10} updated{:>8} rejected",
            count.created, count.updated, count.rejected
        );
    }
}

#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) loaded: u64,
    pub(super) rejected: u64,
    pub(super) in_doubt: u64,
}

impl Sums {
    pub(super) fn of(progress: &JobProgress) -> Self {
        progress
            .counts
            .iter()
            .fold(Self::default(), |mut sums, count| {
                sums.loaded += count.created + count.updated;
                sums.rejected += count.rejected;
                sums.in_doubt += count.in_doubt;
                sums
            })
    }
}

pub(super) fn to_json(job: &Job) -> Value {
    let time = |t: Option<prost_types::Timestamp>| {
        let t = t.and_then(|t| DateTime::from_timestamp(t.seconds, t.nanos.unsigned_abs()));
        t.map(|t| t.to_rfc3339())
    };
    let target = job.target.clone().unwrap_or_default();
    json!({
        "job_id": job.job_id,
        "state": state_name(job.state()),
        "reason": job.reason,
        "source": job.source.clone().unwrap_or_default().uri,
        "target": {"base_url": target.base_url, "tenant": target.tenant},
        "created": time(job.created),
        "started": time(job.started),
        "ended": time(job.ended),
        "run": job.run.as_ref().map(progress_to_json),
        "total": job.total.as_ref().map(progress_to_json),
    })
}

fn progress_to_json(progress: &JobProgress) -> Value {
    let sums = Sums::of(progress);
    let counts = progress.counts.iter().map(|c| {
        let counts = json!({
            "created": c.created, "updated": c.updated, "rejected": c.rejected, "in_doubt": c.in_doubt
        });
        (c.resource_type.clone(), counts)
    });
    json!({
        "files": progress.objects, "files_loaded": progress.objects_done,
        "files_unreadable": progress.objects_parked, "files_unchanged": progress.objects_unchanged,
        "bytes": progress.bytes, "bytes_read": progress.bytes_done,
        "requests": progress.requests, "retries": progress.retries,
        "loaded": sums.loaded, "rejected": sums.rejected, "in_doubt": sums.in_doubt,
        "by_type": counts.collect::<serde_json::Map<_, _>>(),
    })
}
