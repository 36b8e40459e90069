//! What has happened since the last write.

use chrono::{DateTime, Utc};

use crate::rate::Rate;
use crate::runs::{Counts, Position, Save, Seen, SetAside, Taken};
use crate::server::Trouble;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Unsaved {
    counts: Counts,
    set_aside: Vec<SetAside>,
    /// Ids that waited, and are settled now.
    settled: Vec<i64>,
    is_dirty: bool,
    /// Requests answered since the last write was begun.
    requests: usize,
    /// Requests that the write under way is about.
    writing: usize,
    rate: Rate,
}

impl Unsaved {
    pub(crate) fn new(taken: &Taken) -> Self {
        let progress = taken.run.progress.clone().unwrap_or_default();
        Self {
            counts: Counts {
                reindexed: progress.reindexed,
                gone: progress.gone,
                requests: progress.requests,
                failed_requests: progress.failed_requests,
            },
            set_aside: Vec::new(),
            settled: Vec::new(),
            is_dirty: false,
            requests: 0,
            writing: 0,
            rate: Rate::new(),
        }
    }

    /// A request was answered, or failed.
    pub(crate) fn answered(&mut self, failed: bool) {
        self.counts.requests += 1;
        self.counts.failed_requests += u64::from(failed);
        self.requests += 1;
        self.is_dirty = true;
    }

    /// These are done, but for so many of them that are gone.
    pub(crate) fn settled(&mut self, ids: &[i64], gone: usize, waited: bool) {
        let done = ids.len().saturating_sub(gone) as u64;
        self.counts.reindexed += done;
        self.counts.gone += gone as u64;
        self.rate.add(done);
        if waited {
            self.set_aside
                .retain(|resource| !ids.contains(&resource.index_id));
            self.settled.extend_from_slice(ids);
        }
        self.is_dirty = true;
    }

    /// The server picked so many, and did them.
    pub(crate) fn reindexed(&mut self, count: u64) {
        self.counts.reindexed += count;
        self.rate.add(count);
        self.is_dirty = true;
    }

    /// A resource failed by itself.
    pub(crate) fn set_aside(
        &mut self,
        index_id: i64,
        attempts: u32,
        failed: bool,
        trouble: &Trouble,
        time: DateTime<Utc>,
    ) {
        self.set_aside.retain(|other| other.index_id != index_id);
        self.set_aside.push(SetAside {
            index_id,
            failed,
            attempts,
            http_status: trouble.status(),
            reason: trouble.to_string(),
            time,
        });
        self.is_dirty = true;
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Requests answered that are not written down.
    pub(crate) fn requests(&self) -> usize {
        self.requests + self.writing
    }

    pub(crate) fn per_second(&mut self) -> f64 {
        self.rate.per_second()
    }

    /// All of it, to be written now.
    pub(crate) fn begin(&mut self, position: Position, seen: Seen) -> Save {
        self.writing = std::mem::take(&mut self.requests);
        self.is_dirty = false;
        Save {
            position,
            counts: self.counts,
            set_aside: std::mem::take(&mut self.set_aside),
            settled: std::mem::take(&mut self.settled),
            seen,
        }
    }

    /// It is written.
    pub(crate) fn written(&mut self) {
        self.writing = 0;
    }
}
