//! Which backup needs which.

use std::collections::HashMap;

use super::Held;

/// For each backup, those that it needs.
#[derive(Debug)]
pub(super) struct Chains {
    /// From the backup's own parent upwards, as far as they are there.
    above: Vec<Vec<usize>>,
    /// The first that is not there, or that the backup comes back to itself by.
    missing: Vec<Option<String>>,
}

impl Chains {
    pub(super) fn of(held: &[&Held]) -> Self {
        let numbers: HashMap<&str, usize> = held
            .iter()
            .enumerate()
            .map(|(number, backup)| (backup.name.as_str(), number))
            .collect();
        let (above, missing) = (0..held.len())
            .map(|number| climb(held, &numbers, number))
            .unzip();
        Self { above, missing }
    }

    /// All that a backup needs, as far as they are there; the nearest first.
    pub(super) fn above(&self, number: usize) -> impl Iterator<Item = usize> {
        self.above[number].iter().copied()
    }

    /// The same; none where one is missing.
    pub(super) fn needed(&self, number: usize) -> Option<impl Iterator<Item = usize>> {
        self.missing[number].is_none().then(|| self.above(number))
    }

    /// The name of one that a backup needs and that is not there.
    pub(super) fn missing(&self, number: usize) -> Option<&str> {
        self.missing[number].as_deref()
    }

    /// How many a backup needs.
    pub(super) fn depth(&self, number: usize) -> usize {
        self.above[number].len()
    }
}

fn climb(
    held: &[&Held],
    numbers: &HashMap<&str, usize>,
    start: usize,
) -> (Vec<usize>, Option<String>) {
    let mut above = Vec::new();
    let mut at = start;
    while let Some(parent) = &held[at].parent {
        match numbers.get(parent.as_str()) {
            Some(next) if *next != start && !above.contains(next) => {
                above.push(*next);
                at = *next;
            }
            _ => return (above, Some(parent.clone())),
        }
    }
    (above, None)
}
