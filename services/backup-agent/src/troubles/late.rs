//! Whether there should be a newer backup.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Known, Rules, Trouble, good, later};
use crate::schedule::Timing;

/// A backup that is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    /// When it is due.
    pub due: DateTime<Utc>,
    /// It is late when no good one that was begun since is there by then.
    pub by: DateTime<Utc>,
}

/// The first backup that is due after the last good one was begun, however many were due since; none without a schedule.
pub fn awaited(rules: &Rules, known: &Known<'_>, now: DateTime<Utc>) -> Option<Awaited> {
    let timing = known.timing?;
    let last = good(known.backups, now).next();
    let from = last.map_or_else(|| first_due(known), |backup| backup.started);
    let due = timing.schedule.next_after(from)?;
    let by = later(later(due, timing.jitter), patience(rules, timing, due));
    Some(Awaited { due, by })
}

pub(super) fn late(rules: &Rules, known: &Known<'_>, now: DateTime<Utc>) -> Option<Trouble> {
    let awaited = awaited(rules, known, now).filter(|awaited| awaited.by < now)?;
    let last = good(known.backups, now).next();
    Some(Trouble::Late {
        last: last.map(|backup| backup.name.clone()),
        awaited,
    })
}

/// Each run that fails moves the schedule on, but not what is awaited.
fn first_due(known: &Known<'_>) -> DateTime<Utc> {
    let due = known.runs.iter().filter_map(|run| run.due);
    let just_before = due.min().map(|due| due - TimeDelta::microseconds(1));
    just_before.map_or(known.last_due, |due| due.min(known.last_due))
}

fn patience(rules: &Rules, timing: &Timing, due: DateTime<Utc>) -> Duration {
    rules.late_after.unwrap_or_else(|| {
        let next = timing.schedule.next_after(due);
        let pause = next.and_then(|next| (next - due).to_std().ok());
        let half = pause.unwrap_or_default() / 2;
        timing.deadline.map_or(half, |deadline| deadline.min(half))
    })
}
