//! What a load did: as JSON for machines (`docs/report.md`) and as a table for people.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use loader_worker::stats::Latency;
use serde::Serialize;
use stoker_proto::common::v1::Target;
use stoker_proto::ledger::v1::{Job, JobProgress, JobState, LoadError, LoadErrorKind, TypeCount};

/// Problems kept in a report; `problems_total` has the true number.
pub const MAX_PROBLEMS: usize = 10_000;

mod notes;
mod place;
mod table;

pub use place::InFile;

/// How a load ended; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Everything there was to load is loaded: exit code 0.
    Loaded,
    /// It could not run: exit code 1.
    Failed,
    /// Some inputs were rejected, are in doubt, or could not be read: exit code 2.
    SomeRejected,
    /// It stopped before its end and can be gone on with: exit code 3.
    Interrupted,
}

impl Ending {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Loaded => 0,
            Self::Failed => 1,
            Self::SomeRejected => 2,
            Self::Interrupted => 3,
        }
    }
}

/// The report of one `stoker load`. Its fields are documented in `docs/report.md`.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(rename = "report_version")]
    version: u32,
    stoker_version: &'static str,
    result: Ending,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    target: TargetReport,
    interaction: String,
    started: DateTime<Utc>,
    ended: DateTime<Utc>,
    seconds: f64,
    sources: Vec<SourceReport>,
    files: Files,
    resources: Resources,
    requests: Requests,
    problems_total: u64,
    problems: Vec<Problem>,
    /// See [`Facts::ledger_again`].
    #[serde(skip)]
    ledger_again: Option<String>,
}

#[derive(Debug, Serialize)]
struct TargetReport {
    base_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tenant: String,
}

#[derive(Debug, Serialize)]
struct SourceReport {
    uri: String,
    job_id: i64,
    state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    rejected_before: u64,
    in_doubt_before: u64,
}

#[derive(Debug, Default, Serialize)]
struct Files {
    to_load: u64,
    loaded: u64,
    unreadable: u64,
    unchanged: u64,
    ignored: u64,
    warnings: u64,
    bytes_to_load: u64,
    bytes_read: u64,
}

#[derive(Debug, Default, Serialize)]
struct Resources {
    loaded: u64,
    created: u64,
    updated: u64,
    rejected: u64,
    in_doubt: u64,
    rejected_before: u64,
    in_doubt_before: u64,
    per_second: f64,
    by_type: BTreeMap<String, Counts>,
}

#[derive(Debug, Default, Clone, Serialize)]
struct Counts {
    created: u64,
    updated: u64,
    rejected: u64,
    in_doubt: u64,
}

#[derive(Debug, Serialize)]
struct Requests {
    sent: u64,
    retried: u64,
    latency: Latency,
}

#[derive(Debug, Serialize)]
struct Problem {
    kind: &'static str,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u32>,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation_outcome: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_id: Option<i64>,
}

/// How a load ended that nothing ended early.
fn natural_ending(files: &Files, resources: &Resources) -> Ending {
    if files.loaded + files.unreadable < files.to_load {
        Ending::Interrupted
    } else if resources.rejected + resources.in_doubt + files.unreadable > 0 {
        Ending::SomeRejected
    } else {
        Ending::Loaded
    }
}

/// What a report is made of.
#[derive(Debug)]
pub struct Facts {
    /// The jobs, as they stood at the end.
    pub jobs: Vec<Job>,
    /// What went wrong, at most [`MAX_PROBLEMS`].
    pub problems: Vec<LoadError>,
    /// How much went wrong.
    pub problems_total: u64,
    /// How long requests took.
    pub latency: Latency,
    /// When the command started.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// Where it went.
    pub target: Target,
    /// `auto`, `create` or `update`.
    pub interaction: String,
    /// Why it ended early, when it did, and how.
    pub early: Option<(Ending, String)>,
    /// What to append to a later command so that it uses the same ledger; none when the ledger is
    /// gone with this process.
    pub ledger_again: Option<String>,
}

impl Report {
    /// Adds it all up.
    pub fn new(facts: Facts) -> Self {
        let milliseconds = (facts.ended - facts.started).num_milliseconds();
        let seconds = f64::from(u32::try_from(milliseconds).unwrap_or(u32::MAX)) / 1000.0;
        let mut files = Files::default();
        let mut resources = Resources::default();
        let mut requests = Requests {
            sent: 0,
            retried: 0,
            latency: facts.latency,
        };
        for run in facts.jobs.iter().filter_map(|job| job.run.as_ref()) {
            files.add(run);
            run.counts.iter().for_each(|count| resources.add(count));
            requests.sent += run.requests;
            requests.retried += run.retries;
        }
        let sources: Vec<_> = facts.jobs.iter().map(SourceReport::new).collect();
        resources.add_up(&sources, seconds);
        let (result, reason) = match facts.early {
            None => (natural_ending(&files, &resources), None),
            Some((ending, reason)) => (ending, Some(reason)),
        };
        Self {
            version: 1,
            stoker_version: env!("CARGO_PKG_VERSION"),
            result,
            exit_code: result.code(),
            reason,
            target: facts.target.into(),
            interaction: facts.interaction,
            started: facts.started,
            ended: facts.ended,
            seconds,
            sources,
            files,
            resources,
            requests,
            problems_total: facts.problems_total,
            problems: facts.problems.into_iter().map(Problem::new).collect(),
            ledger_again: facts.ledger_again,
        }
    }

    /// How the load ended.
    pub fn ending(&self) -> Ending {
        self.result
    }

    /// Why it ended early, when it did.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

impl Files {
    fn add(&mut self, run: &JobProgress) {
        self.to_load += run.objects;
        self.loaded += run.objects_done;
        self.unreadable += run.objects_parked;
        self.unchanged += run.objects_unchanged;
        self.ignored += run.objects_ignored;
        self.warnings += run.warnings;
        self.bytes_to_load += run.bytes;
        self.bytes_read += run.bytes_done;
    }
}

impl From<Target> for TargetReport {
    fn from(target: Target) -> Self {
        Self {
            base_url: target.base_url,
            tenant: target.tenant,
        }
    }
}

impl Resources {
    /// What follows from the counts of all jobs.
    fn add_up(&mut self, sources: &[SourceReport], seconds: f64) {
        self.loaded = self.created + self.updated;
        self.rejected_before = sources.iter().map(|s| s.rejected_before).sum();
        self.in_doubt_before = sources.iter().map(|s| s.in_doubt_before).sum();
        if seconds > 0.0 {
            let loaded = u32::try_from(self.loaded).unwrap_or(u32::MAX);
            self.per_second = (f64::from(loaded) / seconds).round();
        }
    }

    fn add(&mut self, count: &TypeCount) {
        let of_type = self.by_type.entry(count.resource_type.clone()).or_default();
        of_type.created += count.created;
        of_type.updated += count.updated;
        of_type.rejected += count.rejected;
        of_type.in_doubt += count.in_doubt;
        self.created += count.created;
        self.updated += count.updated;
        self.rejected += count.rejected;
        self.in_doubt += count.in_doubt;
    }
}

impl SourceReport {
    fn new(job: &Job) -> Self {
        let sum = |of: &Option<JobProgress>, count: fn(&TypeCount) -> u64| -> u64 {
            of.iter().flat_map(|p| &p.counts).map(count).sum()
        };
        // The total is of this run and all before it.
        let before = |count| sum(&job.total, count).saturating_sub(sum(&job.run, count));
        Self {
            rejected_before: before(|c| c.rejected),
            in_doubt_before: before(|c| c.in_doubt),
            uri: job
                .source
                .as_ref()
                .map(|s| s.uri.clone())
                .unwrap_or_default(),
            job_id: job.job_id,
            state: state_name(job.state()),
            reason: job.reason.clone(),
        }
    }
}

impl Problem {
    fn new(error: LoadError) -> Self {
        let place = InFile::of(&error);
        let outcome = serde_json::from_slice(&error.operation_outcome).ok();
        Self {
            kind: kind_name(error.kind()),
            line: place.line,
            entry: error.position.and_then(|p| p.entry),
            offset: place.offset,
            length: place.length,
            file: error.key,
            resource_type: error.resource_type,
            http_status: (error.http_status > 0).then_some(error.http_status),
            reason: error.error_text,
            operation_outcome: outcome,
            error_id: (error.error_id > 0).then_some(error.error_id),
        }
    }
}

/// A job's state in one word.
pub fn state_name(state: JobState) -> &'static str {
    match state {
        JobState::Scanning => "scanning",
        JobState::Loading => "loading",
        JobState::Done => "done",
        JobState::Cancelled => "cancelled",
        JobState::Failed => "failed",
        JobState::Unspecified => "unknown",
    }
}

/// A problem's kind in one word.
pub fn kind_name(kind: LoadErrorKind) -> &'static str {
    match kind {
        LoadErrorKind::Rejected => "rejected",
        LoadErrorKind::InDoubt => "in_doubt",
        LoadErrorKind::Parked => "unreadable",
        LoadErrorKind::Warning => "warning",
        LoadErrorKind::Repeated => "repeated",
        LoadErrorKind::Unspecified => "unknown",
    }
}
