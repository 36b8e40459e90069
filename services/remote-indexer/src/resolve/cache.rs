//! Ids that are known, without the texts they stand for.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use chrono::{DateTime, TimeDelta, Utc};
use siphasher::sip128::{Hash128, Hasher128 as _, SipHasher13};

use super::Table;

/// A lookup value, as 128 bits of a keyed hash (SipHash): two values have the same with a chance of one in 2¹²⁸, which
/// nobody can look for since the keys are drawn at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Print(u64, u64);

impl Hash for Print {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// A print is a hash already.
#[derive(Debug, Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What is known by its print.
pub(super) type ByPrint<T> = HashMap<Print, T, BuildHasherDefault<AsItIs>>;

/// The keys of the prints of a process.
#[derive(Debug, Clone)]
pub(crate) struct Prints {
    keys: (u64, u64),
}

impl Prints {
    fn drawn() -> Self {
        Self {
            keys: rand::random(),
        }
    }

    /// Of a text that stands within a group: a code system, a resource type; 0 where there is none.
    pub(crate) fn of(&self, group: i32, text: &str) -> Print {
        self.of_bytes(group, text.as_bytes())
    }

    /// Of a text within another one: a code of a code system.
    pub(super) fn of_pair(&self, within: &str, text: &str) -> Print {
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        hasher.write(within.as_bytes());
        // Is in no text.
        hasher.write_u8(0xff);
        hasher.write(text.as_bytes());
        let Hash128 { h1, h2 } = hasher.finish128();
        Print(h1, h2)
    }

    /// The same of bytes.
    pub(crate) fn of_bytes(&self, group: i32, bytes: &[u8]) -> Print {
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        hasher.write_i32(group);
        hasher.write(bytes);
        let Hash128 { h1, h2 } = hasher.finish128();
        Print(h1, h2)
    }
}

/// After so long every id is looked up anew, as in the Java tool.
const OLD: TimeDelta = TimeDelta::hours(12);

/// The ids of one table in two generations: when the young one is full or old, it takes the place of the old one.
/// What is still used comes back into the young one.
#[derive(Debug)]
struct Generations {
    young: ByPrint<i64>,
    old: ByPrint<i64>,
    limit: usize,
    since: DateTime<Utc>,
}

impl Generations {
    fn get(&mut self, print: Print) -> Option<i64> {
        if let Some(id) = self.young.get(&print) {
            return Some(*id);
        }
        let id = self.old.remove(&print)?;
        self.insert(print, id);
        Some(id)
    }

    fn insert(&mut self, print: Print, id: i64) {
        if self.young.len() >= self.limit {
            self.turn();
        }
        self.young.insert(print, id);
    }

    fn turn(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }
}

/// All ids known of one schema; bounded.
#[derive(Debug)]
pub(crate) struct Caches {
    prints: Prints,
    tables: [Generations; Table::ALL.len()],
}

impl Caches {
    /// Empty at `now`.
    pub(crate) fn new(now: DateTime<Utc>) -> Self {
        let tables = Table::ALL.map(|table| Generations {
            young: ByPrint::default(),
            old: ByPrint::default(),
            limit: table.remembered() / 2,
            since: now,
        });
        Self {
            prints: Prints::drawn(),
            tables,
        }
    }

    /// The keys of its prints.
    pub(crate) fn prints(&self) -> &Prints {
        &self.prints
    }

    pub(super) fn get(&mut self, table: Table, print: Print) -> Option<i64> {
        self.tables[table as usize].get(print)
    }

    /// Remembers an id that is committed.
    pub(crate) fn insert(&mut self, table: Table, print: Print, id: i64) {
        self.tables[table as usize].insert(print, id);
    }

    /// Forgets what was not used for long.
    pub(crate) fn grow_old(&mut self, now: DateTime<Utc>) {
        for table in &mut self.tables {
            if now - table.since > OLD {
                table.turn();
                table.since = now;
            }
        }
    }

    /// Forgets everything: rows are gone that should be there.
    pub(crate) fn clear(&mut self) {
        for table in &mut self.tables {
            table.young.clear();
            table.old.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let mut caches = Caches::new(DateTime::UNIX_EPOCH);
        let limit = Table::CodeSystems.remembered();
        let prints = caches.prints().clone();
        let used = prints.of(0, "used");
        caches.insert(Table::CodeSystems, used, 1);
        for number in 0..3 * limit {
            let print = prints.of(0, &number.to_string());
            caches.insert(Table::CodeSystems, print, 2);
            assert_eq!(caches.get(Table::CodeSystems, used), Some(1));
            let table = &caches.tables[Table::CodeSystems as usize];
            assert!(table.young.len() + table.old.len() <= limit + 1);
        }
        assert_eq!(caches.get(Table::CodeSystems, prints.of(0, "0")), None);
        assert_eq!(
            caches.get(Table::ParameterNames, used),
            None,
            "tables are apart"
        );
    }

    #[test]
    fn old_ids_are_forgotten() {
        let mut caches = Caches::new(DateTime::UNIX_EPOCH);
        let print = caches.prints().of(3, "x");
        caches.insert(Table::Tokens, print, 1);
        let mut now = DateTime::UNIX_EPOCH;
        for _ in 0..2 {
            now += TimeDelta::hours(13);
            caches.grow_old(now);
        }
        assert_eq!(caches.get(Table::Tokens, print), None);
    }
}
