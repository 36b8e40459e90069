//! Who writes a draft, and whether it is over.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use stoker_shared::process;
use uuid::Uuid;

/// What nobody can say of whether its writer lives is over when nothing of it changed for so long.
pub(super) const STILL: TimeDelta = TimeDelta::days(1);

/// Drafts and deletions that this process is at.
static LIVE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Says that this process is at something, until it is dropped.
#[derive(Debug)]
pub(super) struct Live(String);

impl Live {
    /// Something new, with a name of its own.
    pub(super) fn new() -> Self {
        let id = Uuid::new_v4().simple().to_string();
        live(|ids| ids.insert(id.clone()));
        Self(id)
    }

    /// Its name.
    pub(super) fn id(&self) -> &str {
        &self.0
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        live(|ids| ids.remove(&self.0));
    }
}

/// What is known of a draft or a deletion.
#[derive(Debug)]
pub(super) struct Trace<'a> {
    /// Name of it that no other has.
    pub(super) id: &'a str,
    /// The backup it is about; empty when that is not known.
    pub(super) name: &'a str,
    /// Who is at it, as of [`process::own`]; empty when that is not known.
    pub(super) owner: &'a str,
    /// When something of it changed last.
    pub(super) changed: DateTime<Utc>,
}

impl Trace<'_> {
    /// Whether nobody is at it any more.
    pub(super) fn is_over(&self, under_way: &[String], now: DateTime<Utc>) -> bool {
        if live(|ids| ids.contains(self.id)) || under_way.iter().any(|name| name == self.name) {
            return false;
        }
        if self.owner == process::own() || process::is_gone(self.owner) {
            return true;
        }
        !process::is_here(self.owner) && now - self.changed > STILL
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        match (self.name, process::shown(self.owner)) {
            ("", _) => format!("what nobody knows of ({})", self.id),
            (name, "") => format!("{name}, of an unknown process"),
            (name, process) => format!("{name}, of {process}"),
        }
    }
}

fn live<T>(look: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
    look(&mut LIVE.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(id: &str, owner: &str, hours: i64, under_way: &[&str]) -> bool {
        let trace = Trace {
            id,
            name: "x",
            owner,
            changed: DateTime::UNIX_EPOCH,
        };
        let under_way: Vec<String> = under_way.iter().map(|n| (*n).to_owned()).collect();
        let now = DateTime::UNIX_EPOCH + TimeDelta::hours(hours);
        trace.is_over(&under_way, now)
    }

    #[test]
    fn what_is_being_written_is_not_over() {
        let (own, live) = (process::own(), Live::new());
        assert!(!over(live.id(), &own, 10_000, &[]), "this process is at it");
        let id = live.id().to_owned();
        drop(live);
        assert!(over(&id, &own, 0, &[]), "this process dropped it");
        assert!(!over(&id, &own, 0, &["x"]), "it is said to be under way");

        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let begun = stat
            .rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .nth(19)
            .unwrap();
        let world = own.split(' ').nth(1).unwrap();
        let other = format!("host:{} {world} {begun}", child.id());
        assert!(!over("1", &other, 10_000, &[]), "its process runs");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(over("1", &other, 0, &[]), "its process has ended");
    }

    #[test]
    fn what_nobody_can_tell_is_over_when_it_lay_still_for_a_day() {
        for owner in ["elsewhere:7 boot/pid 1234", "", "x"] {
            assert!(!over("1", owner, 24, &[]), "{owner}");
            assert!(over("1", owner, 25, &[]), "{owner}");
            assert!(
                !over("1", owner, -1000, &[]),
                "{owner}: the clock went back"
            );
            assert!(!over("1", owner, 25, &["x"]), "{owner}");
        }
    }
}
