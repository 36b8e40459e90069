//! How far letters have been sent again: offsets that a consumer group has committed in their topic.
//!
//! What is sent beyond the first letter that is not stands in the metadata of the commit, so that the letters of one
//! reason can be sent again without the others.

use std::collections::BTreeMap;
use std::ops::Range;

use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use stoker_shared::ranges::RangeSet;

/// Brokers keep 4096 bytes of metadata unless told otherwise (`offset.metadata.max.bytes`). What does not fit is
/// sent again at the next time, which the indexer makes harmless.
const MOST_BYTES: usize = 4000;

/// By partition of the letters' topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Progress(BTreeMap<i32, RangeSet>);

impl Progress {
    /// What is committed of a partition that holds the offsets `there`. Beyond its end it is another topic's, of
    /// the same name.
    pub(super) fn read(
        &mut self,
        partition: i32,
        next: Offset,
        metadata: &str,
        there: &Range<u64>,
    ) {
        let Offset::Offset(next) = next else {
            return;
        };
        let next = u64::try_from(next).unwrap_or(0);
        if next > there.end {
            return;
        }
        let mut done: RangeSet = metadata.parse().unwrap_or_default();
        done.insert(0..next);
        done.remove(there.end..u64::MAX);
        self.0.insert(partition, done);
    }

    /// Notes offsets as sent.
    pub(super) fn add(&mut self, partition: i32, offsets: Range<u64>) {
        self.0.entry(partition).or_default().insert(offsets);
    }

    /// Whether a letter has been sent.
    pub(super) fn has(&self, partition: i32, offset: u64) -> bool {
        let done = self.0.get(&partition);
        done.is_some_and(|done| done.covers(offset..offset + 1))
    }

    /// The first offset of a partition that has not been sent.
    pub(super) fn next(&self, partition: i32) -> u64 {
        let first = self.0.get(&partition).and_then(|done| done.iter().next());
        first
            .filter(|first| first.start == 0)
            .map_or(0, |first| first.end)
    }

    /// What to commit.
    pub(super) fn offsets(&self, topic: &str) -> KafkaResult<TopicPartitionList> {
        let mut offsets = TopicPartitionList::new();
        for (&partition, done) in &self.0 {
            let next = self.next(partition);
            let mut place = offsets.add_partition(topic, partition);
            place.set_offset(Offset::Offset(i64::try_from(next).unwrap_or(i64::MAX)))?;
            place.set_metadata(beyond(done, next));
        }
        Ok(offsets)
    }
}

fn beyond(done: &RangeSet, next: u64) -> String {
    let mut ranges: Vec<Range<u64>> = done.iter().filter(|range| range.start > next).collect();
    loop {
        let text = ranges.iter().cloned().collect::<RangeSet>().to_string();
        if text.len() <= MOST_BYTES {
            return text;
        }
        // Each takes 4 bytes at least.
        ranges.truncate(MOST_BYTES / 4);
        ranges.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Committed, and read again.
    fn again(progress: &Progress, there: &Range<u64>) -> Progress {
        let offsets = progress.offsets("letters").unwrap();
        let mut read = Progress::default();
        for place in offsets.elements() {
            read.read(place.partition(), place.offset(), place.metadata(), there);
        }
        read
    }

    #[test]
    fn what_is_sent_is_known_again() {
        let mut progress = Progress::default();
        progress.add(0, 0..3);
        progress.add(0, 7..8);
        progress.add(2, 5..9);
        assert_eq!(
            (progress.next(0), progress.next(1), progress.next(2)),
            (3, 0, 0)
        );
        let read = again(&progress, &(0..20));
        assert_eq!(read, progress);
        assert!(read.has(0, 2) && !read.has(0, 3) && read.has(0, 7) && read.has(2, 8));
        progress.add(0, 3..7);
        assert_eq!(again(&progress, &(0..20)).next(0), 8);
    }

    #[test]
    fn a_topic_made_anew_begins_anew() {
        let mut progress = Progress::default();
        progress.add(0, 0..30);
        assert_eq!(again(&progress, &(0..30)).next(0), 30);
        assert_eq!(again(&progress, &(0..29)).next(0), 0);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut progress = Progress::default();
        for offset in 0..5000 {
            progress.add(0, 2 * offset + 1..2 * offset + 2);
        }
        let offsets = progress.offsets("letters").unwrap();
        let metadata = offsets.elements()[0].metadata().to_owned();
        assert!(
            (3900..=MOST_BYTES).contains(&metadata.len()),
            "{}",
            metadata.len()
        );
        let read = again(&progress, &(0..20_000));
        assert!(read.has(0, 1) && read.has(0, 101) && !read.has(0, 100) && !read.has(0, 9999));
    }
}
