//! How a source stands.

use chrono::{DateTime, Utc};

use crate::catalog::{Catalog, CatalogError, Kept, Proven, Run, Task};
use crate::manifest::{Manifest, Verified};
use crate::schedule::{Next, Timing};
use crate::troubles::{self, Awaited, Known, Rules, Trouble};

/// Runs and proofs that are looked at, the newest: the last of each task must be among them.
const LAST: u32 = 200;

/// A source that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// As the configuration names it.
    pub name: String,
    /// When its backups are made; none where only a person has them made.
    pub timing: Option<Timing>,
    /// Whether its backups are restored for proof.
    pub is_proven: bool,
    /// When they are, where that has a schedule of its own.
    pub drill_timing: Option<Timing>,
}

/// How a source stands, as far as the catalog tells.
#[derive(Debug, Clone)]
pub struct Standing {
    /// When the next backup is due; none without a schedule.
    pub next_due: Option<DateTime<Utc>>,
    /// When the next drill is due; none without a schedule.
    pub next_drill: Option<DateTime<Utc>>,
    /// What is due after the last good backup; none without a schedule.
    pub awaited: Option<Awaited>,
    /// Its backups, those begun last first.
    pub backups: Vec<Kept>,
    /// Its last runs, the newest first.
    pub runs: Vec<Run>,
    /// Its last proofs, the newest first, also of backups that are gone.
    pub proofs: Vec<Proven>,
    /// What is wrong.
    pub troubles: Vec<Trouble>,
}

impl Standing {
    pub(super) async fn read(
        catalog: &dyn Catalog,
        source: &Watched,
        rules: &Rules,
        now: DateTime<Utc>,
    ) -> Result<Self, CatalogError> {
        // Backups come last, so that what was made meanwhile is not missed.
        let backup_due = Due::read(catalog, source, Task::Backup).await?;
        let drill_due = Due::read(catalog, source, Task::Drill).await?;
        let proofs = catalog.proofs(&source.name, LAST).await?;
        let runs = catalog.runs(&source.name, LAST).await?;
        let backups = catalog.backups(&source.name).await?;
        let known = Known {
            timing: source.timing.as_ref(),
            last_due: backup_due.as_ref().map_or(now, |due| due.last),
            last_drill_due: drill_due.as_ref().map(|due| due.last),
            is_proven: source.is_proven,
            backups: &backups,
            runs: &runs,
            proofs: &proofs,
        };
        let awaited = troubles::awaited(rules, &known, now);
        let troubles = troubles::of(rules, &known, now);
        Ok(Self {
            next_due: backup_due.and_then(|due| due.next(&source.name, now)),
            next_drill: drill_due.and_then(|due| due.next(&source.name, now)),
            awaited,
            troubles,
            backups,
            runs,
            proofs,
        })
    }

    /// The last backup that is good, as far as is known.
    pub fn last_good(&self, now: DateTime<Utc>) -> Option<&Manifest> {
        troubles::good(&self.backups, now).next()
    }

    /// What reading a backup back has shown last.
    pub fn last_verified(&self) -> Option<&Verified> {
        let all = self
            .backups
            .iter()
            .filter_map(|kept| kept.manifest.verified.as_ref());
        all.max_by_key(|verified| verified.at)
    }

    /// Stored bytes of all backups.
    pub fn stored_bytes(&self) -> u64 {
        self.backups
            .iter()
            .map(|kept| kept.manifest.stored_bytes())
            .sum()
    }
}

/// A schedule, and what of it was due last.
struct Due<'a> {
    timing: &'a Timing,
    last: DateTime<Utc>,
}

impl<'a> Due<'a> {
    /// None without a schedule.
    async fn read(
        catalog: &dyn Catalog,
        source: &'a Watched,
        task: Task,
    ) -> Result<Option<Self>, CatalogError> {
        let timing = match task {
            Task::Drill => source.drill_timing.as_ref(),
            _ => source.timing.as_ref(),
        };
        let Some(timing) = timing else {
            return Ok(None);
        };
        let last = catalog.last_due(&source.name, task).await?;
        Ok(Some(Self { timing, last }))
    }

    fn next(&self, source: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self.timing.next(source, self.last, now) {
            Next::Start { due } => Some(due),
            Next::Wait { .. } => self.timing.schedule.next_after(self.last),
            Next::Never => None,
        }
    }
}
