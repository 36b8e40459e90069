//! Messages that wait for the server's transaction, and let all others pass.

use std::time::Duration;

use tokio::time::Instant;

use super::record::Record;

/// Messages that wait; all are looked at again together.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    records: Vec<Record>,
    bytes: usize,
    next_look: Option<Instant>,
}

impl Waiting {
    /// Adds those that have to wait, to be looked at again after `pause`. The memory of their batch is free for the
    /// next one.
    pub(crate) fn add(&mut self, records: impl IntoIterator<Item = Record>, pause: Duration) {
        for mut record in records {
            record.move_out();
            self.bytes += record.size();
            self.records.push(record);
        }
        if !self.records.is_empty() {
            let look = Instant::now() + pause;
            let sooner = self.next_look.map_or(look, |next| next.min(look));
            self.next_look = Some(sooner);
        }
    }

    /// When to look again; never while nothing waits.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// All of them when it is time, else none.
    pub(crate) fn take_due(&mut self) -> Vec<Record> {
        if self.next_look.is_none_or(|look| look > Instant::now()) {
            return Vec::new();
        }
        self.next_look = None;
        self.bytes = 0;
        std::mem::take(&mut self.records)
    }

    /// Drops those that are not ours to do any more.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Record) -> bool) {
        self.records.retain(keep);
        self.bytes = self.records.iter().map(Record::size).sum();
        if self.records.is_empty() {
            self.next_look = None;
        }
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.records.len()
    }

    /// How much.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How long the oldest has waited.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.records.iter().map(|r| r.since.elapsed()).max()
    }
}
