//! What is wrong with how a source is kept, as far as catalog and manifests tell. All of it is pure.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

mod late;
mod sentence;
mod sizes;
#[cfg(test)]
mod tests;

use crate::catalog::{Kept, Proven, Run, RunState, Task};
use crate::manifest::Manifest;
use crate::schedule::Timing;

pub use late::{Awaited, awaited};
use sizes::Shrinkage;
pub use sizes::is_empty;

/// What is further ahead of the clock was made while a clock was wrong, and says nothing of how old a backup is.
const AHEAD: TimeDelta = TimeDelta::hours(1);

/// When something is a trouble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// A backup is late so long after it was due and the jitter is over; unset: after the deadline of its run, and after
    /// half the time to the next one at the latest.
    #[serde(with = "humantime_serde::option")]
    pub late_after: Option<Duration>,
    /// A backup has shrunk when it has fewer percent than these of the median of the seven before it; 0: it never has.
    pub shrunk_percent: u8,
    /// A source that is proven at all is unproven when its last good proof is older; unset: it never is.
    #[serde(with = "humantime_serde::option")]
    pub unproven_after: Option<Duration>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            late_after: None,
            shrunk_percent: 50,
            unproven_after: Some(Duration::from_hours(7 * 24)),
        }
    }
}

/// What is known of a source.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// When its backups are made; none where only a person has them made.
    pub timing: Option<&'a Timing>,
    /// When the last backup that is over was due, whatever came of it; see
    /// [`Catalog::last_due`](crate::catalog::Catalog::last_due).
    pub last_due: DateTime<Utc>,
    /// The same of its drills; none where they have no schedule.
    pub last_drill_due: Option<DateTime<Utc>>,
    /// Whether its backups are restored for proof.
    pub is_proven: bool,
    /// Its backups, those begun last first.
    pub backups: &'a [Kept],
    /// Its last runs, the newest first.
    pub runs: &'a [Run],
    /// Its last proofs, the newest first.
    pub proofs: &'a [Proven],
}

/// What is wrong. Its text is a sentence for people, without the source's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There should be a newer good backup.
    Late {
        /// The last good one; none where there is none.
        last: Option<String>,
        /// What was due, and until when it was to be there.
        awaited: Awaited,
    },
    /// The newest backup is much smaller than those before.
    Shrunk {
        /// The backup.
        backup: String,
        /// Its bytes before compression.
        bytes: u64,
        /// The median of those before.
        usual: u64,
    },
    /// The newest backup has nothing in it.
    Empty {
        /// The backup.
        backup: String,
        /// Its bytes before compression.
        bytes: u64,
    },
    /// The last run of a task did not do what it was to do.
    FailedRun {
        /// The task.
        task: Task,
        /// The run.
        run_id: i64,
        /// Its agent gave no sign any more.
        lost: bool,
        /// Why.
        reason: String,
    },
    /// A backup is not as it was written.
    FailedVerification {
        /// The backup.
        backup: String,
        /// When that was seen.
        at: DateTime<Utc>,
        /// What is wrong with it.
        problem: String,
    },
    /// A backup could not be restored to a server that is as it should be.
    FailedProof {
        /// The backup.
        backup: String,
        /// When that was seen.
        at: DateTime<Utc>,
        /// What was not as it should be.
        problem: String,
    },
    /// No backup was proven for too long.
    Unproven {
        /// The last good proof; none where there was none.
        last: Option<DateTime<Utc>>,
        /// There should have been one until then.
        by: DateTime<Utc>,
    },
}

/// Kinds of troubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "see Trouble")]
pub enum Kind {
    Late,
    Shrunk,
    Empty,
    FailedRun,
    FailedVerification,
    FailedProof,
    Unproven,
}

/// How kinds are spelled in metrics, messages and the catalog.
pub const KINDS: [(Kind, &str); 7] = [
    (Kind::Late, "late"),
    (Kind::Shrunk, "shrunk"),
    (Kind::Empty, "empty"),
    (Kind::FailedRun, "failed_run"),
    (Kind::FailedVerification, "failed_verification"),
    (Kind::FailedProof, "failed_proof"),
    (Kind::Unproven, "unproven"),
];

/// All that is wrong with a source.
pub fn of(rules: &Rules, known: &Known<'_>, now: DateTime<Utc>) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    troubles.extend(late::late(rules, known, now));
    troubles.extend(size(rules, known));
    troubles.extend(failed_runs(known));
    for kept in known.backups {
        troubles.extend(failed_verification(&kept.manifest));
        troubles.extend(failed_proof(&kept.manifest));
    }
    troubles.extend(unproven(rules, known, now));
    troubles
}

/// Backups that are whole and, as far as is known, good; those begun last first.
pub fn good(backups: &[Kept], now: DateTime<Utc>) -> impl Iterator<Item = &Manifest> {
    let all = backups.iter().map(|kept| &kept.manifest);
    all.filter(move |backup| backup.started <= now + AHEAD)
        .filter(|backup| !has_nothing(backup) && !is_refuted(backup))
}

/// The last time that a backup was restored for proof with success, also of one that is gone.
pub fn last_proof(proofs: &[Proven]) -> Option<&Proven> {
    proofs.iter().find(|proven| proven.proof.good)
}

fn has_nothing(backup: &Manifest) -> bool {
    is_empty(&backup.parts, backup.elsewhere.as_ref())
}

fn is_refuted(backup: &Manifest) -> bool {
    let verified = backup.verified.as_ref().map(|verified| verified.good);
    let proof = backup.proof.as_ref().map(|proof| proof.good);
    verified == Some(false) || proof == Some(false)
}

/// Of the newest backup; those before it are past mending.
fn size(rules: &Rules, known: &Known<'_>) -> Option<Trouble> {
    let (newest, before) = known.backups.split_first()?;
    let newest = &newest.manifest;
    let bytes = newest.raw_bytes();
    let backup = newest.name.clone();
    if has_nothing(newest) {
        return Some(Trouble::Empty { backup, bytes });
    }
    let before = before.iter().map(|kept| &kept.manifest);
    let before = before.filter(|backup| !has_nothing(backup) && !is_refuted(backup));
    let Shrinkage { bytes, usual } = sizes::shrunk(rules.shrunk_percent, newest, before)?;
    Some(Trouble::Shrunk {
        backup,
        bytes,
        usual,
    })
}

/// The last run of each task that the agent does by itself.
fn failed_runs(known: &Known<'_>) -> Vec<Trouble> {
    let last = |task: Task| {
        let mut of_task = known.runs.iter().filter(move |run| run.task == task);
        of_task.find(|run| run.state != RunState::Running)
    };
    let is_held = |name: &str| known.backups.iter().any(|kept| kept.manifest.name == name);
    // An agent that stopped in the middle: another does it.
    let is_given_back = |run: &Run| {
        let last_due = match run.task {
            Task::Backup => Some(known.last_due),
            Task::Drill => known.last_drill_due,
            _ => None,
        };
        let is_still_due = run.due.zip(last_due).is_some_and(|(due, last)| due > last);
        run.state == RunState::Failed && is_still_due
    };
    let failed = |run: &&Run| match run.task {
        // What was to be read is gone, and with it the trouble.
        Task::Verify | Task::Drill if !run.backup.is_empty() && !is_held(&run.backup) => false,
        // What was found bad is a trouble of its own.
        _ => run.state != RunState::Done && !run.found_bad && !is_given_back(run),
    };
    let tasks = [Task::Backup, Task::Verify, Task::Drill, Task::Prune];
    let failed = tasks.into_iter().filter_map(last).filter(failed);
    let trouble = |run: &Run| Trouble::FailedRun {
        task: run.task,
        run_id: run.run_id,
        lost: run.state == RunState::Lost,
        reason: run.reason.clone(),
    };
    failed.map(trouble).collect()
}

fn failed_verification(backup: &Manifest) -> Option<Trouble> {
    let verified = backup.verified.as_ref().filter(|verified| !verified.good)?;
    Some(Trouble::FailedVerification {
        backup: backup.name.clone(),
        at: verified.at,
        problem: verified.problem.clone(),
    })
}

fn failed_proof(backup: &Manifest) -> Option<Trouble> {
    let proof = backup.proof.as_ref().filter(|proof| !proof.good)?;
    let bad = proof.checks.iter().filter(|check| !check.good);
    let bad: Vec<String> = bad
        .map(|check| format!("{}: {}", check.name, check.saw))
        .collect();
    Some(Trouble::FailedProof {
        backup: backup.name.clone(),
        at: proof.at,
        problem: bad.join("; "),
    })
}

fn unproven(rules: &Rules, known: &Known<'_>, now: DateTime<Utc>) -> Option<Trouble> {
    let within = rules.unproven_after.filter(|_| known.is_proven)?;
    let last = last_proof(known.proofs).map(|proven| proven.proof.at);
    let last = last.filter(|at| *at <= now + AHEAD);
    // Of a source that has just got its first backup no proof is awaited yet.
    let oldest = || known.backups.iter().map(|kept| kept.manifest.ended).min();
    let by = later(last.or_else(oldest)?, within);
    (by < now).then_some(Trouble::Unproven { last, by })
}

fn later(time: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    let by = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
    time.checked_add_signed(by)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

impl Trouble {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Late { .. } => Kind::Late,
            Self::Shrunk { .. } => Kind::Shrunk,
            Self::Empty { .. } => Kind::Empty,
            Self::FailedRun { .. } => Kind::FailedRun,
            Self::FailedVerification { .. } => Kind::FailedVerification,
            Self::FailedProof { .. } => Kind::FailedProof,
            Self::Unproven { .. } => Kind::Unproven,
        }
    }

    /// The backup that it is about; empty for none.
    pub fn backup(&self) -> &str {
        match self {
            Self::Late { last, .. } => last.as_deref().unwrap_or_default(),
            Self::Shrunk { backup, .. }
            | Self::Empty { backup, .. }
            | Self::FailedVerification { backup, .. }
            | Self::FailedProof { backup, .. } => backup,
            Self::FailedRun { .. } | Self::Unproven { .. } => "",
        }
    }

    /// What tells it from others of its kind and source for as long as it lasts; empty where there is one at a time.
    pub fn subject(&self) -> &str {
        match self {
            Self::FailedRun { task, .. } => task.name(),
            Self::FailedVerification { backup, .. } | Self::FailedProof { backup, .. } => backup,
            _ => "",
        }
    }
}
