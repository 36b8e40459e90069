//! Every metric of the backup-agent.
//!
//! What is told of sources is read from the catalog, so that each agent over it shows the same, from its start on.

use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use stoker_shared::health::Metrics;

use crate::catalog::{Run, RunState, Task};
use crate::manifest::Manifest;
use crate::troubles::{self, KINDS};
use crate::watch::Standing;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySource {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTask {
    source: String,
    task: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    source: String,
    task: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByForm {
    source: String,
    form: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    source: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

type Number = Gauge<f64, AtomicU64>;

/// Handles of the metrics; cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct BackupMetrics {
    looked: Number,
    held: Family<BySource, Gauge>,
    held_bytes: Family<BySource, Number>,
    success: Family<BySource, Number>,
    size: Family<ByForm, Number>,
    seconds: Family<BySource, Number>,
    next_due: Family<BySource, Number>,
    late: Family<BySource, Number>,
    verified: Family<BySource, Number>,
    verified_good: Family<BySource, Gauge>,
    proven: Family<BySource, Number>,
    proof: Family<BySource, Number>,
    proof_good: Family<BySource, Gauge>,
    recovery: Family<BySource, Number>,
    troubles: Family<ByKind, Gauge>,
    running: Family<ByTask, Number>,
    progress: Family<ByTask, Number>,
    runs: Family<ByOutcome, Counter>,
    pruned: Family<BySource, Counter>,
    notices: Family<ByResult, Counter>,
}

impl BackupMetrics {
    /// Makes them part of what `/metrics` shows.
    pub fn register(&self, metrics: &Metrics) {
        let help = "When the catalog was read last, in seconds since 1970";
        metrics.register(&name("looked_timestamp_seconds"), help, self.looked.clone());
        self.register_last_backup(metrics);
        self.register_checks(metrics);
        let help = "What is wrong at the moment, by kind";
        metrics.register(&name("troubles"), help, self.troubles.clone());
        let help = "How long a run has been under way; 0 while none is";
        metrics.register(&name("running_seconds"), help, self.running.clone());
        let help = "Bytes that the run under way has done of its phase; 0 while none is";
        metrics.register(&name("progress_bytes"), help, self.progress.clone());
        let help = "Runs of this agent that are over, by outcome";
        metrics.register(&name("runs"), help, self.runs.clone());
        let help = "Backups that this agent has deleted, since they had no place any more";
        metrics.register(&name("pruned"), help, self.pruned.clone());
        let help = "Notices that this agent has sent, by what came of it";
        metrics.register(&name("notices"), help, self.notices.clone());
        // So that a first failure is an increase.
        for result in [true, false] {
            drop(self.notices.get_or_create(&by_result(result)));
        }
    }

    fn register_last_backup(&self, metrics: &Metrics) {
        let help = "Backups that there are";
        metrics.register(&name("held"), help, self.held.clone());
        let help = "Their stored bytes";
        metrics.register(&name("held_bytes"), help, self.held_bytes.clone());
        let help = "When the last good backup was whole, in seconds since 1970";
        let success = self.success.clone();
        metrics.register(&name("last_success_timestamp_seconds"), help, success);
        let help = "Bytes of the last good backup, raw and stored";
        metrics.register(&name("last_bytes"), help, self.size.clone());
        let help = "How long the last good backup took to make";
        metrics.register(&name("last_seconds"), help, self.seconds.clone());
        let help = "When the next backup is due, in seconds since 1970";
        let next_due = self.next_due.clone();
        metrics.register(&name("next_due_timestamp_seconds"), help, next_due);
        let help = "When the next backup is late unless it is there, in seconds since 1970";
        metrics.register(&name("late_timestamp_seconds"), help, self.late.clone());
    }

    fn register_checks(&self, metrics: &Metrics) {
        let help = "When a backup was read back last, in seconds since 1970";
        let verified = self.verified.clone();
        metrics.register(&name("verified_timestamp_seconds"), help, verified);
        let help = "1 when it was as it was written, 0 when it was not";
        metrics.register(&name("verified_good"), help, self.verified_good.clone());
        let help = "When a backup was restored for proof last, in seconds since 1970";
        metrics.register(&name("proof_timestamp_seconds"), help, self.proof.clone());
        let help = "1 when all was as it should be, 0 when it was not";
        metrics.register(&name("proof_good"), help, self.proof_good.clone());
        let help = "When a backup was restored for proof with success last, in seconds since 1970";
        metrics.register(&name("proven_timestamp_seconds"), help, self.proven.clone());
        let help = "How long that took, from the first byte read to a server that answers";
        metrics.register(&name("recovery_seconds"), help, self.recovery.clone());
    }

    /// Counts a run of this agent that is over.
    pub fn run_ended(&self, run: &Run) {
        let outcome = match run.state {
            RunState::Running => return,
            RunState::Done => "done",
            RunState::Failed => "failed",
            RunState::Lost => "lost",
        };
        let label = ByOutcome {
            source: run.source.clone(),
            task: run.task.name(),
            outcome,
        };
        self.runs.get_or_create(&label).inc();
    }

    /// Counts backups that this agent has deleted, since they had no place any more.
    pub fn pruned(&self, source: &str, count: usize) {
        let pruned = self.pruned.get_or_create(&by_source(source));
        pruned.inc_by(count as u64);
    }

    pub(crate) fn sent(&self, is_taken: bool) {
        self.notices.get_or_create(&by_result(is_taken)).inc();
    }

    pub(crate) fn looked(&self, now: DateTime<Utc>) {
        self.looked.set(seconds_of(now));
    }

    /// Shows how a source stands.
    pub(crate) fn stands(&self, source: &str, standing: &Standing, now: DateTime<Utc>) {
        let source = by_source(source);
        // A gauge needs a place in its family before it can be set.
        let set = |family: &Family<BySource, Number>, value: f64| {
            family.get_or_create(&source).set(value);
        };
        let count = i64::try_from(standing.backups.len()).unwrap_or(i64::MAX);
        self.held.get_or_create(&source).set(count);
        set(&self.held_bytes, float(standing.stored_bytes()));
        // What is not there any more is not shown, or an old time would be taken for a new one's.
        for (family, time) in [
            (&self.next_due, standing.next_due),
            (&self.late, standing.awaited.map(|awaited| awaited.by)),
        ] {
            match time {
                Some(time) => set(family, seconds_of(time)),
                None => drop(family.remove(&source)),
            }
        }
        self.show_last(&source, standing.last_good(now));
        self.show_checks(&source, standing);
        self.show_troubles(&source, standing);
        self.show_runs(&source, standing, now);
    }

    fn show_last(&self, source: &BySource, last: Option<&Manifest>) {
        let by_form = |form| ByForm {
            source: source.source.clone(),
            form,
        };
        let Some(last) = last else {
            self.success.remove(source);
            self.seconds.remove(source);
            self.size.remove(&by_form("raw"));
            self.size.remove(&by_form("stored"));
            return;
        };
        let seconds = seconds_of(last.ended) - seconds_of(last.started);
        self.success
            .get_or_create(source)
            .set(seconds_of(last.ended));
        self.seconds.get_or_create(source).set(seconds);
        for (form, bytes) in [("raw", last.raw_bytes()), ("stored", last.stored_bytes())] {
            self.size.get_or_create(&by_form(form)).set(float(bytes));
        }
    }

    fn show_checks(&self, source: &BySource, standing: &Standing) {
        if let Some(verified) = standing.last_verified() {
            self.verified
                .get_or_create(source)
                .set(seconds_of(verified.at));
            let good = self.verified_good.get_or_create(source);
            good.set(verified.good.into());
        }
        if let Some(last) = standing.proofs.first().map(|proven| &proven.proof) {
            self.proof.get_or_create(source).set(seconds_of(last.at));
            self.proof_good.get_or_create(source).set(last.good.into());
        }
        if let Some(good) = troubles::last_proof(&standing.proofs) {
            let took = float(good.proof.recovery_ms) / 1000.0;
            self.proven
                .get_or_create(source)
                .set(seconds_of(good.proof.at));
            self.recovery.get_or_create(source).set(took);
        }
    }

    fn show_troubles(&self, source: &BySource, standing: &Standing) {
        for (kind, name) in KINDS {
            let of_kind = standing
                .troubles
                .iter()
                .filter(|trouble| trouble.kind() == kind);
            let count = i64::try_from(of_kind.count()).unwrap_or(i64::MAX);
            let label = ByKind {
                source: source.source.clone(),
                kind: name,
            };
            self.troubles.get_or_create(&label).set(count);
        }
    }

    fn show_runs(&self, source: &BySource, standing: &Standing, now: DateTime<Utc>) {
        for task in Task::all() {
            let mut running = standing
                .runs
                .iter()
                .filter(|run| run.state == RunState::Running && !run.is_waiting());
            let running = running.find(|run| run.task == task);
            let label = ByTask {
                source: source.source.clone(),
                task: task.name(),
            };
            let seconds = running.map_or(0.0, |run| seconds_of(now) - seconds_of(run.started));
            let bytes = running.map_or(0.0, |run| float(run.bytes));
            self.running.get_or_create(&label).set(seconds.max(0.0));
            self.progress.get_or_create(&label).set(bytes);
        }
    }
}

fn name(noun: &str) -> String {
    format!("stoker_backup_{noun}")
}

fn by_source(source: &str) -> BySource {
    BySource {
        source: source.to_owned(),
    }
}

fn by_result(is_taken: bool) -> ByResult {
    ByResult {
        result: if is_taken { "taken" } else { "failed" },
    }
}

/// Since 1970, to the millisecond.
fn seconds_of(time: DateTime<Utc>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact up to the year 287396")]
    let millis = time.timestamp_millis() as f64;
    millis / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
fn float(number: u64) -> f64 {
    number as f64
}
