//! How far each partition is done: what may be committed.
//!
//! Messages are done in any order, since those that wait for the server let others pass. The offset that is
//! committed is that of the oldest one not done, so that after a crash none is missed; those behind it that were
//! done come again, and give the same rows.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::record::Record;
use crate::status::PartitionState;

/// The partitions that a consumer holds.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    partitions: BTreeMap<i32, Partition>,
    epochs: u64,
}

#[derive(Debug, Default)]
struct Partition {
    /// Counts the times that partitions were given to the consumer: what was taken in an earlier time is not ours.
    epoch: u64,
    /// Behind the last message taken.
    next: Option<i64>,
    /// Taken and not done.
    open: BTreeSet<i64>,
    /// Of the oldest one of them, or of one before it.
    oldest: Option<(i64, DateTime<Utc>)>,
    /// Asked to be committed last.
    asked: Option<i64>,
    committed: Option<i64>,
    end: Option<i64>,
}

impl Progress {
    /// The partition is the consumer's from now on.
    pub(crate) fn assign(&mut self, partition: i32) {
        self.epochs += 1;
        let epoch = self.epochs;
        self.partitions.entry(partition).or_insert(Partition {
            epoch,
            ..Partition::default()
        });
    }

    /// It is not any more.
    pub(crate) fn revoke(&mut self, partition: i32) {
        self.partitions.remove(&partition);
    }

    /// A message was taken. Its epoch; none where the partition is not ours.
    pub(crate) fn take(
        &mut self,
        partition: i32,
        offset: i64,
        time: Option<DateTime<Utc>>,
    ) -> Option<u64> {
        let partition = self.partitions.get_mut(&partition)?;
        if partition.open.is_empty() {
            partition.oldest = time.map(|time| (offset, time));
        }
        partition.open.insert(offset);
        partition.next = Some(offset + 1);
        Some(partition.epoch)
    }

    /// Whether a message that was taken is still ours to do.
    pub(crate) fn holds(&self, record: &Record) -> bool {
        let partition = self.partitions.get(&record.partition);
        partition.is_some_and(|p| p.epoch == record.epoch)
    }

    /// The message is done: its effect is durable, or it has none. `left` are those that are not.
    pub(crate) fn done(&mut self, record: &Record) {
        if self.holds(record)
            && let Some(partition) = self.partitions.get_mut(&record.partition)
        {
            partition.open.remove(&record.offset);
        }
    }

    /// Kafka's time of the oldest message that is not done, of those that wait.
    pub(crate) fn waits(&mut self, record: &Record) {
        if let Some(partition) = self.partitions.get_mut(&record.partition)
            && partition.epoch == record.epoch
            && partition.open.first() == Some(&record.offset)
        {
            partition.oldest = record.time.map(|time| (record.offset, time));
        }
    }

    /// Offsets to be committed that were not asked for yet, of all partitions or of one.
    pub(crate) fn not_committed(&mut self, only: Option<i32>) -> Vec<(i32, i64)> {
        let mut offsets = Vec::new();
        for (number, partition) in &mut self.partitions {
            if only.is_some_and(|only| only != *number) {
                continue;
            }
            let done = partition.done_to();
            if done.is_some() && done != partition.asked {
                partition.asked = done;
                offsets.extend(done.map(|done| (*number, done)));
            }
        }
        offsets
    }

    /// Kafka did not take what was asked for: it is asked for again.
    pub(crate) fn refused(&mut self, partition: i32) {
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.asked = partition.committed;
        }
    }

    /// The partition's end, and what Kafka says was committed.
    pub(crate) fn seen(&mut self, partition: i32, end: i64, committed: i64) {
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.end = partition.end.max((end >= 0).then_some(end));
            if committed >= 0 {
                partition.committed = partition.committed.max(Some(committed));
            }
            // A commit that fell into a rebalance is refused, and librdkafka tells nobody: the offset is asked for again.
            partition.asked = partition.asked.min(partition.committed);
        }
    }

    /// For people and autoscalers.
    pub(crate) fn states(&self) -> Vec<PartitionState> {
        let state = |(number, partition): (&i32, &Partition)| {
            let committed = partition.committed.or(partition.done_to()).unwrap_or(0);
            let oldest = partition.open.first().and(partition.oldest);
            PartitionState {
                partition: *number,
                committed,
                end: partition.end.max(partition.next),
                oldest_open: oldest.map(|(_, time)| time),
            }
        };
        self.partitions.iter().map(state).collect()
    }

    /// Numbers of the partitions.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = i32> {
        self.partitions.keys().copied()
    }
}

impl Partition {
    fn done_to(&self) -> Option<i64> {
        self.open.first().copied().or(self.next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(offset: i64, epoch: u64) -> Record {
        Record {
            partition: 0,
            offset,
            epoch,
            since: tokio::time::Instant::now(),
            time: None,
            key: None,
            payload: None,
            headers: None,
        }
    }

    #[test]
    fn what_was_taken_before_the_partition_moved_away_and_back_counts_no_more() {
        let mut progress = Progress::default();
        progress.assign(0);
        let old = progress.take(0, 5, None).unwrap();
        progress.revoke(0);
        assert_eq!(progress.take(0, 6, None), None);
        progress.assign(0);
        let new = progress.take(0, 5, None).unwrap();
        progress.done(&record(5, old));
        assert_eq!(progress.not_committed(None), [(0, 5)]);
        progress.done(&record(5, new));
        assert_eq!(progress.not_committed(None), [(0, 6)]);
    }

    #[test]
    fn an_offset_is_asked_for_again_when_kafka_did_not_take_it() {
        let mut progress = Progress::default();
        progress.assign(0);
        let epoch = progress.take(0, 0, None).unwrap();
        progress.done(&record(0, epoch));
        assert_eq!(progress.not_committed(None), [(0, 1)]);
        assert_eq!(progress.not_committed(None), []);
        progress.refused(0);
        assert_eq!(progress.not_committed(None), [(0, 1)]);
        progress.seen(0, 1, 1);
        assert_eq!(progress.states()[0].committed, 1);
    }

    #[test]
    fn an_offset_that_kafka_does_not_show_is_asked_for_again() {
        let mut progress = Progress::default();
        progress.assign(0);
        let epoch = progress.take(0, 0, None).unwrap();
        progress.done(&record(0, epoch));
        assert_eq!(progress.not_committed(None), [(0, 1)]);
        progress.seen(0, 1, -1001);
        assert_eq!(progress.not_committed(None), [(0, 1)]);
        progress.seen(0, 1, 1);
        assert_eq!(progress.not_committed(None), []);
    }

    proptest! {
        #[test]
        fn nothing_behind_a_message_that_is_not_done_is_committed(
            order in Just((0..40_i64).collect::<Vec<_>>()).prop_shuffle(),
            first in 0..1000_i64,
        ) {
            let mut progress = Progress::default();
            progress.assign(0);
            let offset = |n: i64| first + n * 3;
            let mut open: BTreeSet<i64> = BTreeSet::new();
            for n in 0..40 {
                progress.take(0, offset(n), None);
                open.insert(offset(n));
            }
            for n in order {
                progress.done(&record(offset(n), 1));
                open.remove(&offset(n));
                for (_, commit) in progress.not_committed(None) {
                    prop_assert!(open.range(..commit).next().is_none());
                }
            }
            let states = progress.states();
            prop_assert_eq!(states[0].committed, offset(39) + 1);
        }
    }
}
