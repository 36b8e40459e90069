//! A set of numbers kept as ranges: ten million neighbours take as much memory as two.

use std::collections::BTreeMap;
use std::ops::Range;

/// Numbers; neighbours are kept as one range. From its first number to the one after its last.
#[derive(Debug, Default)]
pub(super) struct Ranges(BTreeMap<u32, u32>);

impl Ranges {
    /// All numbers of a range.
    pub(super) fn of(range: Range<u32>) -> Self {
        let some = (!range.is_empty()).then_some((range.start, range.end));
        Self(some.into_iter().collect())
    }

    /// The ranges, in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u32>> {
        self.0.iter().map(|(&start, &end)| start..end)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.around(number).is_some()
    }

    /// Puts a number in; nothing happens if it is in.
    pub(super) fn insert(&mut self, number: u32) {
        if self.contains(number) {
            return;
        }
        let end = self.0.remove(&(number + 1)).unwrap_or(number + 1);
        let before = self.0.range_mut(..number).next_back();
        match before {
            Some((_, before_end)) if *before_end == number => *before_end = end,
            _ => {
                self.0.insert(number, end);
            }
        }
    }

    /// Takes a number out; whether it was in.
    pub(super) fn remove(&mut self, number: u32) -> bool {
        let Some(found) = self.around(number) else {
            return false;
        };
        if found.start == number {
            self.0.remove(&number);
        } else {
            self.0.insert(found.start, number);
        }
        if number + 1 < found.end {
            self.0.insert(number + 1, found.end);
        }
        true
    }

    /// The range that a number is in.
    fn around(&self, number: u32) -> Option<Range<u32>> {
        let (&start, &end) = self.0.range(..=number).next_back()?;
        (number < end).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn it_is_a_set_and_joins_neighbours() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut ranges = Ranges::of(10..30);
        let mut set: BTreeSet<u32> = (10..30).collect();
        for _ in 0..5_000 {
            let number = rng.random_range(0..40);
            if rng.random() {
                ranges.insert(number);
                set.insert(number);
            } else {
                assert_eq!(ranges.remove(number), set.remove(&number));
            }
            assert!(ranges.iter().flatten().eq(set.iter().copied()));
            let ends: Vec<u32> = ranges.iter().map(|range| range.end).collect();
            assert!(ends.iter().all(|end| !set.contains(end)), "{ranges:?}");
            assert_eq!(ranges.contains(20), set.contains(&20));
            assert_eq!(ranges.is_empty(), set.is_empty());
        }
        assert!(Ranges::of(3..3).is_empty());
    }
}
