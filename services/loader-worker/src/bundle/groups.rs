//! Which entries of a transaction must stay together.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::references::{condition, references, type_and_id, urns};
use crate::input::{Ask, Input};

/// The entries of a transaction in groups, in their order: entries of different groups do not refer to each
/// other, so that each group can be a transaction of its own.
pub(crate) fn groups(entries: Vec<Input>) -> Vec<Vec<Input>> {
    let names: Vec<Names> = entries.iter().map(Names::of).collect();
    let mut sets = Sets::new(entries.len());
    let known = Known::new(&names, &mut sets);
    for (n, entry) in entries.iter().enumerate() {
        known.join_what_it_names(n, entry, &names[n], &mut sets);
    }
    let mut groups: Vec<Vec<Input>> = Vec::new();
    let mut group_of: HashMap<usize, usize> = HashMap::new();
    for (n, entry) in entries.into_iter().enumerate() {
        let group = *group_of.entry(sets.root(n)).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(entry);
    }
    groups
}

/// How other entries can refer to an entry, and what its request names.
#[derive(Default)]
struct Names {
    resource_type: String,
    /// Full URL, and `Type/id` in each sense.
    own: Vec<String>,
    /// `Type?query`, when it is created or updated by a condition.
    condition: Option<String>,
    /// Query of the request's URL.
    query: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Entry<'a> {
    full_url: Option<String>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    request: Option<EntryRequest>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct EntryRequest {
    url: String,
    if_none_exist: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resource {
    id: Option<String>,
}

impl Names {
    fn of(input: &Input) -> Self {
        let resource_type = input.resource_type.to_string();
        match &input.ask {
            Ask::Put { id } => Self {
                own: vec![format!("{resource_type}/{id}")],
                resource_type,
                ..Self::default()
            },
            Ask::Post => Self {
                resource_type,
                ..Self::default()
            },
            Ask::AsEntry { .. } => Self::of_entry(&input.json, resource_type),
        }
    }

    fn of_entry(json: &[u8], resource_type: String) -> Self {
        // What cannot be read the server refuses by itself.
        let entry: Entry = serde_json::from_slice(json).unwrap_or_default();
        let request = entry.request.unwrap_or_default();
        let (path, query) = request.url.split_once('?').unwrap_or((&request.url, ""));
        let mut names = Self {
            query: query.to_owned(),
            ..Self::default()
        };
        let id = entry.resource.and_then(|r| {
            let resource: Resource = serde_json::from_str(r.get()).unwrap_or_default();
            resource.id
        });
        names
            .own
            .extend(id.map(|id| format!("{resource_type}/{id}")));
        for name in [path, entry.full_url.as_deref().unwrap_or_default()] {
            names.own.extend(type_and_id(name).map(str::to_owned));
        }
        names
            .own
            .extend(entry.full_url.filter(|url| !url.is_empty()));
        names.condition = match request.if_none_exist {
            Some(asked) => {
                let asked = asked.rsplit('?').next().unwrap_or_default();
                Some(format!("{resource_type}?{asked}"))
            }
            None if !query.is_empty() => Some(request.url),
            None => None,
        };
        names.resource_type = resource_type;
        names
    }
}

/// Entries by what they can be referred to with.
struct Known<'n> {
    names: HashMap<&'n str, usize>,
    conditions: HashMap<&'n str, usize>,
    types: HashMap<&'n str, Vec<usize>>,
}

impl<'n> Known<'n> {
    /// Entries that are the same resource are joined.
    fn new(names: &'n [Names], sets: &mut Sets) -> Self {
        let mut known = Self {
            names: HashMap::new(),
            conditions: HashMap::new(),
            types: HashMap::new(),
        };
        for (n, names) in names.iter().enumerate() {
            for name in &names.own {
                sets.join(n, *known.names.entry(name).or_insert(n));
            }
            if let Some(condition) = &names.condition {
                sets.join(n, *known.conditions.entry(condition).or_insert(n));
            }
            let of_type = known.types.entry(&names.resource_type).or_default();
            of_type.push(n);
        }
        known
    }

    fn join_what_it_names(&self, n: usize, entry: &Input, names: &Names, sets: &mut Sets) {
        for reference in references(&entry.json) {
            self.join_named(n, &reference, sets);
            if let Some((name, _)) = condition(&reference) {
                self.join_conditional(n, name, &reference, sets);
            }
        }
        for urn in urns(&entry.json) {
            self.join_named(n, urn, sets);
        }
        for value in names.query.split(['&', '=', ',', '|']) {
            self.join_named(n, value, sets);
        }
    }

    fn join_named(&self, n: usize, reference: &str, sets: &mut Sets) {
        let names = [Some(reference), type_and_id(reference)];
        for other in names.iter().flatten().filter_map(|n| self.names.get(n)) {
            sets.join(n, *other);
        }
    }

    /// The condition may find what an entry creates by the same one; otherwise any entry of its type.
    fn join_conditional(&self, n: usize, name: &str, reference: &str, sets: &mut Sets) {
        if let Some(other) = self.conditions.get(reference) {
            return sets.join(n, *other);
        }
        for other in self.types.get(name).into_iter().flatten() {
            sets.join(n, *other);
        }
    }
}

/// Disjoint sets of numbers.
struct Sets(Vec<usize>);

impl Sets {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn root(&mut self, mut n: usize) -> usize {
        while self.0[n] != n {
            self.0[n] = self.0[self.0[n]];
            n = self.0[n];
        }
        n
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::input::Place;

    fn entry(n: u32, json: &str) -> Input {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        let resource_type = value["resource"]["resourceType"].as_str();
        Input {
            place: Place {
                bytes: 0..1,
                covers: 0..1,
                line: 0,
                entry: Some(n),
            },
            resource_type: resource_type.unwrap_or_default().into(),
            ask: Ask::AsEntry { repeatable: false },
            json: Bytes::copy_from_slice(json.as_bytes()),
        }
    }

    /// Which entries are together, by their numbers.
    fn together(entries: &[&str]) -> Vec<Vec<u32>> {
        let entries = (0..).zip(entries).map(|(n, json)| entry(n, json));
        let numbers = |group: Vec<Input>| group.iter().filter_map(|i| i.place.entry).collect();
        groups(entries.collect()).into_iter().map(numbers).collect()
    }

    fn post(full_url: &str, name: &str, more: &str) -> String {
        format!(
            r#"{{"fullUrl":"{full_url}","resource":{{"resourceType":"{name}"{more}}},"request":{{"method":"POST","url":"{name}"}}}}"#
        )
    }

    #[test]
    fn entries_that_name_each_other_stay_together() {
        let a = post("urn:uuid:a", "Patient", "");
        let b = post("urn:uuid:b", "Patient", "");
        let of_b = r#","subject":{"reference":"urn:uuid:b"}"#;
        let c = post("urn:uuid:c", "Observation", of_b);
        let in_text = r#","text":{"div":"<a href=\"urn:uuid:a\"/>"}"#;
        let d = post("urn:uuid:d", "Basic", in_text);
        assert_eq!(together(&[&a, &b, &c, &d]), [vec![0, 3], vec![1, 2]]);
    }

    #[test]
    fn literal_references_count_in_every_form() {
        let put = r#"{"resource":{"resourceType":"Patient","id":"1"},"request":{"method":"PUT","url":"Patient/1"}}"#;
        let posted = post("http://x/fhir/Group/9", "Group", "");
        let of_put = post(
            "",
            "Observation",
            r#","subject":{"reference":"http://y/Patient/1/_history/3"}"#,
        );
        let of_posted = post("", "Basic", r#","subject":{"reference":"Group/9"}"#);
        let removed = r#"{"request":{"method":"DELETE","url":"Observation?subject=Patient/1"}}"#;
        let entries = [put, &posted, &of_put, &of_posted, removed];
        assert_eq!(together(&entries), [vec![0, 2, 4], vec![1, 3]]);
    }

    #[test]
    fn a_condition_finds_its_entry_or_may_find_any_of_its_type() {
        let made = |query: &str| {
            format!(
                r#"{{"resource":{{"resourceType":"Practitioner"}},"request":{{"method":"POST","url":"Practitioner","ifNoneExist":"{query}"}}}}"#
            )
        };
        let (a, b) = (made("identifier=x|1"), made("identifier=x|2"));
        let of = |query: &str| {
            let reference = format!(r#","subject":{{"reference":"Practitioner?{query}"}}"#);
            post("urn:uuid:o", "Observation", &reference)
        };
        let known = of("identifier=x|2");
        assert_eq!(together(&[&a, &b, &known]), [vec![0], vec![1, 2]]);
        let unknown = of("name=Who");
        assert_eq!(together(&[&a, &b, &unknown]), [vec![0, 1, 2]]);
        assert_eq!(together(&[&a, &a, &b]), [vec![0, 1], vec![2]]);
    }

    #[test]
    fn what_cannot_be_read_is_apart() {
        let odd = r#"{"resource":7,"fullUrl":[]}"#;
        let fine = post("urn:uuid:a", "Patient", "");
        assert_eq!(together(&[odd, &fine]), [vec![0], vec![1]]);
    }
}
