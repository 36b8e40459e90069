//! The resources: compact JSON text, every version, in memory.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use crate::outcome::Refusal;
use crate::reindex::Index;
use crate::resource::Resource;
use crate::search::{self, Query};

/// All resources, by type.
#[derive(Debug, Default)]
pub(crate) struct Store {
    types: HashMap<&'static str, TypeStore>,
    most_puts: u64,
    /// What reindexing knows of them, and of synthetic ones that are nowhere else.
    pub(crate) index: Index,
}

/// The resources of one type, by id: a search shows them in this order.
#[derive(Debug, Default)]
struct TypeStore {
    resources: BTreeMap<Arc<str>, History>,
    /// Resources that are not deleted.
    live: usize,
    /// Which current versions have an identifier with this value.
    identifiers: HashMap<String, Vec<Arc<str>>>,
}

/// The versions of a resource; the first is version 1.
#[derive(Debug, Default)]
struct History {
    versions: Vec<Version>,
    puts: u32,
}

#[derive(Debug)]
struct Version {
    at: DateTime<Utc>,
    change: Change,
}

/// What made a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A create with an id of the server's.
    Post(Arc<str>),
    /// An update, or a create with the client's id.
    Put(Arc<str>),
    /// It is gone.
    Delete,
}

impl Change {
    /// The resource as it stood after it.
    pub(crate) fn text(&self) -> Option<&Arc<str>> {
        match self {
            Self::Post(text) | Self::Put(text) => Some(text),
            Self::Delete => None,
        }
    }
}

/// One version of a resource.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(crate) kind: &'static str,
    pub(crate) id: Arc<str>,
    pub(crate) version: u32,
    pub(crate) at: DateTime<Utc>,
    pub(crate) change: Change,
}

impl Store {
    /// An empty store, but for so many synthetic resources.
    pub(crate) fn new(synthetic: u32) -> Self {
        Self {
            index: Index::new(synthetic),
            ..Self::default()
        }
    }

    /// The current version; an error if there is none or it is deleted.
    pub(crate) fn read(&self, kind: &'static str, id: &str) -> Result<Mark, Refusal> {
        let mark = self
            .latest(kind, id)
            .ok_or_else(|| Refusal::not_found(kind, id))?;
        match mark.change {
            Change::Delete => Err(Refusal::deleted(kind, id)),
            _ => Ok(mark),
        }
    }

    /// The last thing that happened to a resource, be it its deletion.
    pub(crate) fn latest(&self, kind: &'static str, id: &str) -> Option<Mark> {
        let (id, history) = self.types.get(kind)?.resources.get_key_value(id)?;
        history.marks(kind, id).next_back()
    }

    /// One version, counted from 1.
    pub(crate) fn version(&self, kind: &'static str, id: &str, version: u32) -> Option<Mark> {
        let (id, history) = self.types.get(kind)?.resources.get_key_value(id)?;
        let index = usize::try_from(version).ok()?.checked_sub(1)?;
        history.marks(kind, id).nth(index)
    }

    /// All versions, the newest first.
    pub(crate) fn history(&self, kind: &'static str, id: &str) -> Vec<Mark> {
        let found = self
            .types
            .get(kind)
            .and_then(|t| t.resources.get_key_value(id));
        found.map_or_else(Vec::new, |(id, history)| {
            history.marks(kind, id).rev().collect()
        })
    }

    /// Whether a resource is there and not deleted.
    pub(crate) fn is_live(&self, kind: &'static str, id: &str) -> bool {
        let history = self.types.get(kind).and_then(|t| t.resources.get(id));
        history.is_some_and(|h| h.current().is_some())
    }

    /// Stores a resource under an id that the server chose.
    pub(crate) fn create(&mut self, resource: &Resource, id: &str, at: DateTime<Utc>) -> Mark {
        self.write(resource, id, at, Change::Post)
    }

    /// Stores a resource under the client's id; always a new version.
    pub(crate) fn update(&mut self, resource: &Resource, id: &str, at: DateTime<Utc>) -> Mark {
        let mark = self.write(resource, id, at, Change::Put);
        let history = self
            .types
            .get_mut(mark.kind)
            .and_then(|t| t.resources.get_mut(id));
        if let Some(history) = history {
            history.puts += 1;
            self.most_puts = self.most_puts.max(u64::from(history.puts));
        }
        mark
    }

    /// Deletes a resource; nothing happens if it is not there.
    pub(crate) fn delete(
        &mut self,
        kind: &'static str,
        id: &str,
        at: DateTime<Utc>,
    ) -> Option<Mark> {
        let before = self.read(kind, id).ok()?;
        let types = self.types.get_mut(kind)?;
        types.unlist(&before);
        types.live -= 1;
        let history = types.resources.get_mut(id)?;
        let change = Change::Delete;
        history.versions.push(Version { at, change });
        self.index.deleted(kind, id);
        self.latest(kind, id)
    }

    /// Ids of the resources that match, in order, after the one given; at most so many.
    pub(crate) fn find(&self, query: &Query, after: Option<&str>, limit: usize) -> Vec<Arc<str>> {
        let Some(of_type) = self.types.get(query.kind) else {
            return Vec::new();
        };
        let matching = |&(id, history): &(&Arc<str>, &History)| {
            let in_time = query.until.is_none_or(|until| history.is_of(until));
            let text = history.current().filter(|_| in_time);
            text.is_some_and(|text| query.matches(id, text))
        };
        let ids = of_type.candidates(query);
        let Some(mut ids) = ids else {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let all = of_type.resources.range::<str, _>((from, Bound::Unbounded));
            return all
                .filter(matching)
                .take(limit)
                .map(|(id, _)| Arc::clone(id))
                .collect();
        };
        ids.retain(|id| after.is_none_or(|after| **id > *after));
        let entries = ids
            .iter()
            .filter_map(|id| of_type.resources.get_key_value(&**id));
        entries
            .filter(matching)
            .take(limit)
            .map(|(id, _)| Arc::clone(id))
            .collect()
    }

    /// How many resources match.
    pub(crate) fn count(&self, query: &Query) -> usize {
        if query.is_everything() && query.until.is_none() {
            return self.types.get(query.kind).map_or(0, |t| t.live);
        }
        self.find(query, None, usize::MAX).len()
    }

    /// How many resources there are, synthetic ones too, of a type or of all, not changed after a time if one is given.
    pub(crate) fn count_all(&self, kind: Option<&str>, until: Option<DateTime<Utc>>) -> usize {
        let wanted = |of: &&'static str| kind.is_none_or(|kind| kind == *of);
        let types = self.types.iter().filter(|(of, _)| wanted(of));
        let stored = types.map(|(_, of_type)| match until {
            None => of_type.live,
            Some(until) => of_type
                .resources
                .values()
                .filter(|h| h.is_of(until))
                .count(),
        });
        stored.sum::<usize>() + self.index.count_synthetic(kind, until)
    }

    /// The current texts of all resources of a type, by id.
    pub(crate) fn texts(&self, kind: &str) -> impl Iterator<Item = &Arc<str>> {
        let of_type = self.types.get(kind).into_iter();
        of_type
            .flat_map(|t| t.resources.values())
            .filter_map(History::current)
    }

    /// The current versions of all resources of a type, by id.
    pub(crate) fn versions(&self, kind: &str) -> HashMap<String, u32> {
        let of_type = self.types.get(kind).into_iter();
        let all = of_type.flat_map(|t| &t.resources);
        let current = all.filter(|(_, history)| history.current().is_some());
        let version = |versions: &[Version]| u32::try_from(versions.len()).unwrap_or(u32::MAX);
        current
            .map(|(id, history)| (id.to_string(), version(&history.versions)))
            .collect()
    }

    /// The most updates that one resource got.
    pub(crate) fn most_puts(&self) -> u64 {
        self.most_puts
    }

    fn write(
        &mut self,
        resource: &Resource,
        id: &str,
        at: DateTime<Utc>,
        change: fn(Arc<str>) -> Change,
    ) -> Mark {
        let before = self.latest(resource.kind, id);
        let version = before.as_ref().map_or(1, |mark| mark.version + 1);
        let text: Arc<str> = resource.stamped(id, version, at).into();
        let of_type = self.types.entry(resource.kind).or_default();
        match &before {
            Some(mark) if mark.change != Change::Delete => of_type.unlist(mark),
            _ => of_type.live += 1,
        }
        let id = before.map_or_else(|| id.into(), |mark| mark.id);
        of_type.list(&id, &resource.identifiers);
        self.index.written(resource.kind, &id, at);
        let history = of_type.resources.entry(Arc::clone(&id)).or_default();
        let change = change(text);
        history.versions.push(Version {
            at,
            change: change.clone(),
        });
        Mark {
            kind: resource.kind,
            id,
            version,
            at,
            change,
        }
    }
}

impl TypeStore {
    /// The only ids that can match, in order, if an index tells.
    fn candidates(&self, query: &Query) -> Option<Vec<Arc<str>>> {
        let mut ids: Vec<Arc<str>> = match (query.ids(), query.identifier_values()) {
            (Some(ids), _) => ids.iter().map(|id| id.as_str().into()).collect(),
            (None, Some(values)) => values
                .into_iter()
                .filter_map(|value| self.identifiers.get(value))
                .flatten()
                .cloned()
                .collect(),
            (None, None) => return None,
        };
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    }

    fn list(&mut self, id: &Arc<str>, identifiers: &[String]) {
        for value in identifiers {
            let ids = self.identifiers.entry(value.clone()).or_default();
            ids.push(Arc::clone(id));
        }
    }

    /// Takes a version that is current no longer out of the index.
    fn unlist(&mut self, mark: &Mark) {
        for value in mark
            .change
            .text()
            .map(|text| identifiers_of(text))
            .unwrap_or_default()
        {
            if let Some(ids) = self.identifiers.get_mut(&value) {
                ids.retain(|id| *id != mark.id);
                if ids.is_empty() {
                    self.identifiers.remove(&value);
                }
            }
        }
    }
}

impl History {
    fn marks(
        &self,
        kind: &'static str,
        id: &Arc<str>,
    ) -> impl DoubleEndedIterator<Item = Mark> + ExactSizeIterator {
        self.versions
            .iter()
            .enumerate()
            .map(move |(index, version)| Mark {
                kind,
                id: Arc::clone(id),
                version: u32::try_from(index).map_or(u32::MAX, |index| index + 1),
                at: version.at,
                change: version.change.clone(),
            })
    }

    /// Whether it is there and did not change after a time.
    fn is_of(&self, until: DateTime<Utc>) -> bool {
        let last = self.versions.last();
        last.is_some_and(|last| last.at <= until && last.change.text().is_some())
    }

    fn current(&self) -> Option<&Arc<str>> {
        self.versions
            .last()
            .and_then(|version| version.change.text())
    }
}

fn identifiers_of(text: &str) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Identified<'a> {
        #[serde(borrow)]
        identifier: Option<&'a RawValue>,
    }
    let identified = serde_json::from_str(text).unwrap_or(Identified { identifier: None });
    let element = identified.identifier.map(RawValue::get);
    element.map(search::identifier_values).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::Place;

    fn patient(identifier: &str) -> Resource {
        let text = format!(
            r#"{{"resourceType":"Patient","identifier":[{{"system":"s","value":"{identifier}"}}]}}"#
        );
        Resource::parse(serde_json::from_str(&text).unwrap(), Place::Root).unwrap()
    }

    fn found(store: &Store, criteria: &str) -> Vec<String> {
        let query = Query::criteria("Patient", criteria).unwrap();
        let ids = store.find(&query, None, usize::MAX);
        ids.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_index_follows_updates_and_deletes() {
        let mut store = Store::default();
        let at = DateTime::UNIX_EPOCH;
        store.update(&patient("1"), "b", at);
        store.update(&patient("1"), "a", at);
        assert_eq!(found(&store, "identifier=s|1"), ["a", "b"]);

        store.update(&patient("2"), "a", at);
        assert_eq!(found(&store, "identifier=1"), ["b"]);
        assert_eq!(found(&store, "identifier=2"), ["a"]);

        assert_eq!(store.delete("Patient", "a", at).unwrap().version, 3);
        assert!(store.delete("Patient", "a", at).is_none());
        assert!(found(&store, "identifier=2").is_empty());

        assert_eq!(store.update(&patient("2"), "a", at).version, 4);
        assert_eq!(found(&store, "identifier=2"), ["a"]);
        assert_eq!(store.most_puts(), 3);
    }
}
