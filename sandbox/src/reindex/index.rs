//! What reindexing knows of each resource: its index id, when it was last reindexed by the server's own
//! picking, how often at all.
//!
//! Resources have slots, from 0: first the synthetic ones, then those that are loaded, in the order of
//! their coming. A synthetic one takes a byte and its part of a range.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::ranges::Ranges;
use super::stats::ReindexStats;
use super::synthetic;

/// All resources, as reindexing sees them.
#[derive(Debug, Default)]
pub(crate) struct Index {
    synthetic: u32,
    stored: Vec<Stored>,
    slots: HashMap<&'static str, HashMap<Arc<str>, u32>>,
    /// By slot: how often reindexed, 255 at most.
    times: Vec<u8>,
    /// Slots that are not deleted nor held, by what the real server calls `reindex_tstamp`.
    due: BTreeMap<DateTime<Utc>, Ranges>,
    /// The same of deleted ones; of those that a call holds it is known once they are given back.
    deleted: HashMap<u32, Option<DateTime<Utc>>>,
    stats: ReindexStats,
}

/// A resource that was loaded.
#[derive(Debug)]
struct Stored {
    kind: &'static str,
    id: Arc<str>,
    /// When its last version came.
    at: DateTime<Utc>,
}

/// Which resources an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    Type(&'static str),
    One(u32),
    /// A resource that is not there.
    Nothing,
}

/// A resource that a call has picked and nobody else can pick.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) slot: u32,
    reindexed_at: DateTime<Utc>,
}

impl Index {
    /// An index of so many synthetic resources.
    pub(crate) fn new(synthetic: u32) -> Self {
        let all = Ranges::of(0..synthetic);
        Self {
            synthetic,
            times: vec![0; synthetic as usize],
            due: BTreeMap::from([(DateTime::UNIX_EPOCH, all)]),
            ..Self::default()
        }
    }

    /// A version of a resource has come, the first or another one.
    pub(crate) fn written(&mut self, kind: &'static str, id: &Arc<str>, at: DateTime<Utc>) {
        if let Some(slot) = self.stored_slot(kind, id) {
            self.stored[(slot - self.synthetic) as usize].at = at;
            if let Some(Some(reindexed_at)) = self.deleted.remove(&slot) {
                self.due.entry(reindexed_at).or_default().insert(slot);
            }
            return;
        }
        let Ok(slot) = u32::try_from(self.times.len()) else {
            return;
        };
        let id = Arc::clone(id);
        let of_kind = self.slots.entry(kind).or_default();
        of_kind.insert(Arc::clone(&id), slot);
        self.stored.push(Stored { kind, id, at });
        self.times.push(0);
        let new = self.due.entry(DateTime::UNIX_EPOCH).or_default();
        new.insert(slot);
    }

    /// A resource is gone.
    pub(crate) fn deleted(&mut self, kind: &'static str, id: &str) {
        let Some(slot) = self.stored_slot(kind, id) else {
            return;
        };
        let found = self.due.iter().find(|(_, slots)| slots.contains(slot));
        let reindexed_at = found.map(|(&at, _)| at);
        if let Some(at) = reindexed_at {
            self.take(slot, at);
        }
        self.deleted.insert(slot, reindexed_at);
    }

    /// Takes the next one that was reindexed before a time, the longest ago; those that others hold are passed over.
    pub(super) fn hold(&mut self, scope: Scope, before: DateTime<Utc>) -> Option<Held> {
        let mut due = self.due.range(..before);
        let (slot, reindexed_at) = due.find_map(|(&at, slots)| {
            let slot = match scope {
                Scope::All => slots.iter().next().map(|range| range.start),
                Scope::Type(kind) => slots.iter().find_map(|range| self.first_of(kind, range)),
                Scope::One(slot) => slots.contains(slot).then_some(slot),
                Scope::Nothing => None,
            };
            Some((slot?, at))
        })?;
        self.take(slot, reindexed_at);
        Some(Held { slot, reindexed_at })
    }

    /// Gives one back as it was.
    pub(super) fn give_back(&mut self, held: &Held) {
        match self.deleted.get_mut(&held.slot) {
            Some(reindexed_at) => *reindexed_at = Some(held.reindexed_at),
            None => self
                .due
                .entry(held.reindexed_at)
                .or_default()
                .insert(held.slot),
        }
    }

    /// Reindexes one that is held, and gives it back as reindexed at that time.
    pub(super) fn finish(&mut self, mut held: Held, at: DateTime<Utc>, force: bool) {
        self.reindex(held.slot, force);
        held.reindexed_at = at;
        self.give_back(&held);
    }

    /// Reindexes one; whether its parameters are written follows from force and from whether they have changed.
    /// They have until it is reindexed for the first time: search parameters were changed, which is why one reindexes.
    pub(super) fn reindex(&mut self, slot: u32, force: bool) {
        let times = &mut self.times[slot as usize];
        let first = *times == 0;
        *times = times.saturating_add(1);
        let stats = &mut self.stats;
        stats.indexed += 1;
        stats.distinct += u64::from(first);
        stats.repeats += u64::from(!first);
        stats.forced += u64::from(force);
        stats.unchanged += u64::from(!first && !force);
        stats.most_of_one = stats.most_of_one.max(u64::from(*times));
    }

    /// The slot of an index id, if it is of a resource that is there and was not picked at that time or later.
    pub(super) fn listed(&self, index_id: i64, before: DateTime<Utc>) -> Option<u32> {
        let slot = u32::try_from(index_id / 2 - 1).ok()?;
        let is_one = index_id % 2 == 0 && (slot as usize) < self.times.len();
        let mut later = self.due.range(before..);
        let reindexed = later.any(|(_, slots)| slots.contains(slot));
        (is_one && !reindexed && !self.deleted.contains_key(&slot)).then_some(slot)
    }

    /// Index ids in ascending order, above one, of resources that did not change after a time.
    pub(super) fn retrieve(
        &self,
        scope: Scope,
        until: DateTime<Utc>,
        after: i64,
        count: usize,
    ) -> Vec<u64> {
        let start = u32::try_from(after.max(0) / 2).unwrap_or(u32::MAX);
        let end = u32::try_from(self.times.len()).unwrap_or(u32::MAX);
        let wanted = |&slot: &u32| {
            let fits = match scope {
                Scope::All => true,
                Scope::Type(kind) => self.kind(slot) == kind,
                Scope::One(one) => slot == one,
                Scope::Nothing => false,
            };
            fits && self.written_at(slot) <= until && !self.deleted.contains_key(&slot)
        };
        let slots = (start..end).filter(wanted).take(count);
        slots.map(index_id).collect()
    }

    /// How many synthetic resources there are of a type (or of all types), not changed after a time if one is given.
    pub(crate) fn count_synthetic(
        &self,
        kind: Option<&str>,
        until: Option<DateTime<Utc>>,
    ) -> usize {
        let slots = until.map_or(self.synthetic, |until| {
            synthetic::written_until(until, self.synthetic)
        });
        usize::try_from(synthetic::count(kind, slots)).unwrap_or(usize::MAX)
    }

    /// `Type/id` of a slot.
    pub(super) fn name(&self, slot: u32) -> String {
        let kind = self.kind(slot);
        let stored = self.stored(slot);
        let synthetic = || synthetic::id(index_id(slot)).into();
        let id = stored.map_or_else(synthetic, |stored| Arc::clone(&stored.id));
        format!("{kind}/{id}")
    }

    /// The resource of that name.
    pub(super) fn one(&self, kind: &'static str, id: &str) -> Scope {
        let synthetic = || {
            let index_id = i64::try_from(synthetic::index_id(id)?).ok()?;
            let slot = u32::try_from(index_id / 2 - 1).ok()?;
            (slot < self.synthetic && synthetic::kind(slot) == kind).then_some(slot)
        };
        let slot = self.stored_slot(kind, id).or_else(synthetic);
        slot.map_or(Scope::Nothing, Scope::One)
    }

    /// How often the resource with an index id was reindexed, 255 at most; nothing if there is no such resource.
    pub(crate) fn times(&self, id: u64) -> Option<u8> {
        let slot = usize::try_from(id / 2).ok()?.checked_sub(1)?;
        self.times
            .get(slot)
            .copied()
            .filter(|_| id.is_multiple_of(2))
    }

    /// The counts that are kept here.
    pub(crate) fn stats(&self) -> ReindexStats {
        let deleted = self.deleted.keys().map(|&slot| self.times[slot as usize]);
        let never_but_deleted = deleted.filter(|&times| times == 0).count();
        ReindexStats {
            resources: (self.times.len() - self.deleted.len()) as u64,
            missed: self.times.len() as u64 - self.stats.distinct - never_but_deleted as u64,
            ..self.stats
        }
    }

    /// Changes some counts.
    pub(crate) fn count(&mut self, change: impl FnOnce(&mut ReindexStats)) {
        change(&mut self.stats);
    }

    fn take(&mut self, slot: u32, reindexed_at: DateTime<Utc>) {
        if let Some(slots) = self.due.get_mut(&reindexed_at) {
            slots.remove(slot);
            if slots.is_empty() {
                self.due.remove(&reindexed_at);
            }
        }
    }

    fn first_of(&self, kind: &'static str, slots: std::ops::Range<u32>) -> Option<u32> {
        let synthetic = slots.start..slots.end.min(self.synthetic);
        let mut stored = slots.start.max(self.synthetic)..slots.end;
        synthetic::first_of(kind, synthetic)
            .or_else(|| stored.find(|&slot| self.kind(slot) == kind))
    }

    fn stored_slot(&self, kind: &str, id: &str) -> Option<u32> {
        self.slots.get(kind)?.get(id).copied()
    }

    fn stored(&self, slot: u32) -> Option<&Stored> {
        let index = slot.checked_sub(self.synthetic)?;
        self.stored.get(index as usize)
    }

    fn kind(&self, slot: u32) -> &'static str {
        self.stored(slot)
            .map_or_else(|| synthetic::kind(slot), |stored| stored.kind)
    }

    fn written_at(&self, slot: u32) -> DateTime<Utc> {
        self.stored(slot)
            .map_or_else(|| synthetic::written_at(slot), |stored| stored.at)
    }
}

/// The index id of a slot: 2, 4, 6 …, as a real server gives them, whose sequence also numbers each resource's version.
pub(super) fn index_id(slot: u32) -> u64 {
    2 * (u64::from(slot) + 1)
}
