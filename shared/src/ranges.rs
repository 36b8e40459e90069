//! A set of byte positions, kept as disjoint half-open ranges.
//!
//! The ledger keeps one for every unit of work: which decoded bytes have a committed outcome.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Disjoint, non-adjacent, ascending byte ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet(BTreeMap<u64, u64>);

impl RangeSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a range; it melts into those it touches.
    pub fn insert(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        let before = self.0.range(..=start).next_back();
        if let Some((&s, &e)) = before
            && e >= start
        {
            start = s;
            end = end.max(e);
        }
        while let Some((&s, &e)) = self.0.range(start..=end).next() {
            self.0.remove(&s);
            end = end.max(e);
        }
        self.0.insert(start, end);
    }

    /// Takes a range out; ranges it cuts through keep their other parts.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.start >= range.end {
            return;
        }
        let touched: Vec<(u64, u64)> = self
            .0
            .range(..range.end)
            .rev()
            .take_while(|&(_, &e)| e > range.start)
            .map(|(&s, &e)| (s, e))
            .collect();
        for (s, e) in touched {
            self.0.remove(&s);
            if s < range.start {
                self.0.insert(s, range.start);
            }
            if e > range.end {
                self.0.insert(range.end, e);
            }
        }
    }

    /// Whether every position of a range is in the set.
    pub fn covers(&self, range: Range<u64>) -> bool {
        range.start >= range.end
            || self
                .0
                .range(..=range.start)
                .next_back()
                .is_some_and(|(_, &end)| range.end <= end)
    }

    /// Whether the set holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|(&start, &end)| start..end)
    }
}

impl FromIterator<Range<u64>> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

/// As the ledger stores it: `0-120,340-355`; the empty set is the empty text.
impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}-{}", range.start, range.end)?;
        }
        Ok(())
    }
}

/// A text that is not a range set.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a list of byte ranges like 0-120,340-355")]
pub struct ParseRangesError(String);

impl FromStr for RangeSet {
    type Err = ParseRangesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseRangesError(text.to_owned());
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (start, end) = part.split_once('-').ok_or_else(wrong)?;
                let start = start.parse().map_err(|_| wrong())?;
                let end = end.parse().map_err(|_| wrong())?;
                if start < end {
                    Ok(start..end)
                } else {
                    Err(wrong())
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_set_of_positions(
            steps in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..20), 0..40)
        ) {
            let mut set = RangeSet::new();
            let mut model = BTreeSet::new();
            for (add, start, length) in steps {
                let range = start..start + length;
                if add {
                    set.insert(range.clone());
                    model.extend(range);
                } else {
                    set.remove(range.clone());
                    model.retain(|p| !range.contains(p));
                }
            }
            for position in 0..100 {
                prop_assert_eq!(set.covers(position..position + 1), model.contains(&position));
            }
            for (start, end) in [(0, 5), (10, 30), (40, 41), (7, 7)] {
                prop_assert_eq!(set.covers(start..end), (start..end).all(|p| model.contains(&p)));
            }
            let ranges: Vec<_> = set.iter().collect();
            prop_assert!(ranges.windows(2).all(|w| w[0].end < w[1].start), "{:?}", ranges);
            prop_assert_eq!(set.to_string().parse::<RangeSet>().unwrap(), set);
        }
    }

    #[test]
    fn garbage_is_refused() {
        for text in ["1", "2-1", "a-b", "1-2;3-4"] {
            assert!(text.parse::<RangeSet>().is_err(), "{text}");
        }
    }
}
