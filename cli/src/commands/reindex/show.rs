//! Runs as text and as JSON.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use stoker_proto::reindex::v1::{Failure, Method, Run, RunProgress, RunSpec, RunState};

/// What to say of a store without runs.
pub(super) const NOTHING_YET: &str =
    "nothing has been reindexed yet; `stoker reindex --help` shows how";

pub(super) fn list(runs: &[Run]) -> String {
    if runs.is_empty() {
        return NOTHING_YET.to_owned();
    }
    let mut out = format!(
        "{:>5}  {:<10}{:>12}{:>12}{:>9}  target\n",
        "run", "state", "reindexed", "of", "failed"
    );
    for run in runs {
        let progress = run.progress.clone().unwrap_or_default();
        let total = progress.total.map_or_else(String::new, |n| n.to_string());
        let _ = writeln!(
            out,
            "{:>5}  {:<10}{:>12}{total:>12}{:>9}  {}",
            run.run_id,
            stands(run),
            progress.reindexed,
            progress.failed,
            about(run)
        );
    }
    out
}

/// Where a run stands, for a person: one that nobody works on is not running.
pub(super) fn stands(run: &Run) -> &'static str {
    if run.state() == RunState::Running && run.driver.is_empty() {
        return "waiting";
    }
    state_name(run.state())
}

/// What is reindexed, and how.
pub(super) fn about(run: &Run) -> String {
    let spec = run.spec.clone().unwrap_or_default();
    let target = spec.target.clone().unwrap_or_default();
    let mut out = target.base_url;
    if !target.tenant.is_empty() {
        let _ = write!(out, " (tenant {})", target.tenant);
    }
    let _ = write!(out, ", {}", method_name(spec.method()));
    if !spec.tstamp.is_empty() {
        let _ = write!(out, ", {}", spec.tstamp);
    }
    if spec.force {
        out.push_str(", forced");
    }
    let of = [spec.resource_types, spec.urls].concat();
    if !of.is_empty() {
        let _ = write!(out, ", of {}", of.join(" "));
    }
    out
}

pub(super) fn detail(run: &Run) -> String {
    let progress = run.progress.clone().unwrap_or_default();
    let mut out = format!("run {}: {}\n{}\n", run.run_id, stands(run), about(run));
    let mut line = |name: &str, text: &str| {
        if !text.is_empty() {
            let _ = writeln!(out, "{name:<11}{text}");
        }
    };
    line("reason", &run.reason);
    line("started", &run.started.map_or_else(String::new, time));
    line("ended", &run.ended.map_or_else(String::new, time));
    line("driver", &run.driver);
    line("trouble", &progress.trouble);
    if !progress.job_id.is_empty() {
        let job = format!("{} {}", progress.job_id, progress.job_state);
        line("server job", job.trim_end());
    }
    let number = |n: Option<i64>| n.map_or_else(String::new, |n| n.to_string());
    line("checkpoint", &number(progress.checkpoint));
    line("asked to", &number(progress.frontier));
    out.push_str(&counts(&progress));
    out
}

/// A line for each count that says something.
pub(super) fn counts(progress: &RunProgress) -> String {
    let mut out = format!("reindexed  {}", progress.reindexed);
    if let Some(total) = progress.total {
        let _ = write!(out, " of {total}");
    }
    out.push('\n');
    if progress.gone > 0 {
        let _ = writeln!(
            out,
            "gone       {}, deleted or changed before their turn came",
            progress.gone
        );
    }
    let waiting = match progress.waiting {
        0 => String::new(),
        n => format!(", {n} more to be tried again"),
    };
    let _ = writeln!(out, "failed     {}{waiting}", progress.failed);
    let _ = writeln!(
        out,
        "requests   {}, {} of them failed",
        progress.requests, progress.failed_requests
    );
    if progress.concurrency > 0 {
        let _ = writeln!(
            out,
            "pace       {} requests at a time of {} resources, {:.0} resources/s",
            progress.concurrency, progress.batch, progress.per_second
        );
    }
    out
}

pub(super) fn state_name(state: RunState) -> &'static str {
    match state {
        RunState::Unspecified => "unknown",
        RunState::Running => "running",
        RunState::Paused => "paused",
        RunState::Done => "done",
        RunState::Stopped => "stopped",
        RunState::Cancelled => "cancelled",
    }
}

fn method_name(method: Method) -> &'static str {
    match method {
        Method::Unspecified => "unknown",
        Method::ServerDriven => "server-driven",
        Method::ClientDriven => "client-driven",
        Method::HapiJob => "hapi-job",
    }
}

fn time(time: prost_types::Timestamp) -> String {
    DateTime::from_timestamp(time.seconds, time.nanos.unsigned_abs())
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

pub(super) fn to_json(run: &Run) -> Value {
    let spec = run.spec.clone().unwrap_or_default();
    let target = spec.target.clone().unwrap_or_default();
    json!({
        "run_id": run.run_id,
        "state": state_name(run.state()),
        "reason": run.reason,
        "target": {"base_url": target.base_url, "tenant": target.tenant},
        "spec": spec_to_json(&spec),
        "started": run.started.map(time),
        "ended": run.ended.map(time),
        "driver": run.driver,
        "progress": progress_to_json(&run.progress.clone().unwrap_or_default()),
    })
}

fn spec_to_json(spec: &RunSpec) -> Value {
    let or_auto = |n: u32| {
        if n == 0 { json!("auto") } else { json!(n) }
    };
    json!({
        "method": method_name(spec.method()), "tstamp": spec.tstamp, "force": spec.force,
        "resource_types": spec.resource_types, "urls": spec.urls,
        "concurrency": or_auto(spec.concurrency), "batch": or_auto(spec.batch),
        "start_with_index_id": spec.start_with_index_id, "max_server_latency_ms": spec.max_server_latency_ms,
    })
}

fn progress_to_json(progress: &RunProgress) -> Value {
    json!({
        "reindexed": progress.reindexed, "gone": progress.gone, "failed": progress.failed,
        "waiting": progress.waiting, "total": progress.total,
        "checkpoint": progress.checkpoint, "frontier": progress.frontier,
        "requests": progress.requests, "failed_requests": progress.failed_requests,
        "concurrency": progress.concurrency, "batch": progress.batch,
        "per_second": progress.per_second, "trouble": progress.trouble,
        "job_id": progress.job_id, "job_state": progress.job_state,
    })
}

pub(super) fn failure_text(failure: &Failure) -> String {
    let status = match failure.http_status {
        0 => String::new(),
        status => format!("status {status}, "),
    };
    format!(
        "index id {} ({status}tried {} times): {}",
        failure.index_id, failure.attempts, failure.reason
    )
}

pub(super) fn failure_to_json(failure: &Failure) -> Value {
    json!({
        "index_id": failure.index_id, "http_status": failure.http_status, "reason": failure.reason,
        "attempts": failure.attempts, "time": failure.time.map(time),
    })
}

#[cfg(test)]
mod tests {
    use stoker_proto::common::v1::Target;

    use super::*;

    fn run() -> Run {
        Run {
            run_id: 3,
            spec: Some(RunSpec {
                target: Some(Target {
                    base_url: "http://fhir".to_owned(),
                    tenant: "a".to_owned(),
                }),
                method: Method::ClientDriven.into(),
                tstamp: "2020-12-01".to_owned(),
                resource_types: vec!["Patient".to_owned()],
                concurrency: 20,
                ..RunSpec::default()
            }),
            state: RunState::Running.into(),
            progress: Some(RunProgress {
                reindexed: 10,
                failed: 1,
                total: Some(100),
                checkpoint: Some(24),
                ..RunProgress::default()
            }),
            ..Run::default()
        }
    }

    #[test]
    fn a_run_that_nobody_drives_waits() {
        let mut run = run();
        assert_eq!(stands(&run), "waiting");
        assert!(
            list(std::slice::from_ref(&run))
                .contains("    3  waiting             10         100        1  http://fhir")
        );
        run.driver = "here/1".to_owned();
        assert_eq!(stands(&run), "running");
        assert_eq!(list(&[]), NOTHING_YET);
    }

    #[test]
    fn details_name_what_is_known() {
        let text = detail(&run());
        for part in [
            "run 3: waiting",
            "http://fhir (tenant a), client-driven, 2020-12-01, of Patient",
            "checkpoint 24",
            "reindexed  10 of 100",
            "failed     1\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            !text.contains("trouble") && !text.contains("pace"),
            "{text}"
        );
        let value = to_json(&run());
        assert_eq!(value["spec"]["concurrency"], 20);
        assert_eq!(value["spec"]["batch"], "auto");
        assert_eq!(value["progress"]["total"], 100);
        assert_eq!(value["started"], Value::Null);
    }

    #[test]
    fn a_failure_is_a_sentence() {
        let mut failure = Failure {
            index_id: 12,
            http_status: 500,
            reason: "no".to_owned(),
            attempts: 5,
            time: None,
        };
        assert_eq!(
            failure_text(&failure),
            "index id 12 (status 500, tried 5 times): no"
        );
        failure.http_status = 0;
        assert_eq!(failure_text(&failure), "index id 12 (tried 5 times): no");
    }
}
