//! Troubles as people read them.

use std::fmt::{self, Display};

use chrono::{DateTime, SecondsFormat, Utc};

use super::{Awaited, Trouble};

impl Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Self::Late { last, awaited } => late(last.as_deref(), *awaited),
            Self::Shrunk {
                backup,
                bytes,
                usual,
            } => format!(
                "backup {backup} has {bytes} bytes of data, where {usual} are usual: \
                 see whether data is missing"
            ),
            Self::Empty { backup, bytes } => {
                format!("backup {backup} is empty: it has {bytes} bytes in all")
            }
            Self::FailedRun {
                task,
                run_id,
                lost,
                reason,
            } => {
                let (task, what) = (task.name(), if *lost { "was lost" } else { "failed" });
                format!("the last {task} (run {run_id}) {what}: {reason}")
            }
            Self::FailedVerification {
                backup,
                at,
                problem,
            } => bad(backup, "read back", *at, "damaged", problem),
            Self::FailedProof {
                backup,
                at,
                problem,
            } => bad(backup, "restored for proof", *at, "not good", problem),
            Self::Unproven { last, by } => unproven(*last, *by),
        })
    }
}

fn late(last: Option<&str>, awaited: Awaited) -> String {
    let (due, by) = (shown(awaited.due), shown(awaited.by));
    let last = last.map_or_else(
        || "there is no good one at all".to_owned(),
        |last| format!("the last good one is {last}"),
    );
    format!("a backup was due at {due} and no good one was there by {by}; {last}")
}

fn bad(backup: &str, seen: &str, at: DateTime<Utc>, what: &str, problem: &str) -> String {
    let at = shown(at);
    format!("backup {backup} was {seen} at {at} and is {what}: {problem}")
}

fn unproven(last: Option<DateTime<Utc>>, by: DateTime<Utc>) -> String {
    let last = last.map_or_else(
        || "none ever was".to_owned(),
        |last| format!("the last good proof is of {}", shown(last)),
    );
    format!("no backup was restored for proof by {}; {last}", shown(by))
}

fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
