//! Breaks a large Bundle up into Bundles of at most so many entries that mean the same.
//!
//! - A create whose `fullUrl` is local (`urn:…`, `resource:…`), or that another entry refers to, becomes
//!   `PUT Type/id` with an id made of the object, the entry's place and its content, so that breaking up again
//!   gives the same. References to it are rewritten.
//! - A conditional create stays one. From another Bundle it is referred to as `Type?query`, which servers look up in
//!   transactions; within the same Bundle references to it stay.
//! - All other entries stay as they are. Of a resource nothing changes but its id and references.
//! - What is referred to comes first; entries that refer to each other in a circle share a Bundle as long as they
//!   fit in one. Deletes come before and reads after everything else, as in the processing of a transaction.
//! - What a text in the narrative links to, and Bundles inside of the Bundle, are not looked at.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;

mod entry;
mod in_flight;
mod members;
mod name;
mod names_of_parts;
mod order;
mod scan;
mod surplus;
mod writing;

use entry::Entry;
pub use in_flight::InFlight;
use members::{Members, quoted};
use name::{Name, Names};
pub(crate) use names_of_parts::PartNames;
use order::Graph;
pub(crate) use writing::{Means, write_all};

/// Why a Bundle cannot be broken up.
#[derive(Debug, thiserror::Error)]
pub enum BreakupError {
    /// It is no Bundle that can be read.
    #[error("not a Bundle: {0}")]
    NotABundle(serde_json::Error),
    /// It has no type.
    #[error("a Bundle without a type")]
    NoType,
    /// Its parts would be none of its kind.
    #[error(
        "a Bundle of type {kind} cannot be broken up: only the whole of it is one; allow more entries"
    )]
    Indivisible {
        /// Its type.
        kind: String,
    },
    /// One of its entries cannot be read.
    #[error("entry {index} is not an entry of a Bundle: {source}")]
    BadEntry {
        /// 0-based.
        index: usize,
        /// The fault.
        source: serde_json::Error,
    },
    /// Two entries have the same local name.
    #[error(
        "entries {first} and {second} have the same fullUrl, so that a reference to it can mean either"
    )]
    SameName {
        /// 0-based.
        first: usize,
        /// 0-based.
        second: usize,
    },
    /// Entries that can refer to each other only within one Bundle.
    #[error(
        "{entries} entries refer to each other in a way that only works within one Bundle; allow so many entries"
    )]
    Entangled {
        /// How many.
        entries: usize,
    },
}

/// A Bundle that is made of some entries of another.
#[derive(Debug)]
pub struct Part {
    /// What comes before its entries.
    head: Bytes,
    /// Its entries, as they are to be here.
    pub entries: Vec<PartEntry>,
}

/// An entry of a part.
#[derive(Debug)]
pub struct PartEntry {
    /// 0-based index of the entry that it was, in the whole.
    pub index: usize,
    /// Whether it was a create and is now an update, with an id given here.
    pub is_given: bool,
    /// Its bytes.
    pub json: Bytes,
}

impl Part {
    /// Its bytes.
    pub fn json(&self) -> Bytes {
        let length: usize = self.entries.iter().map(|entry| entry.json.len() + 1).sum();
        let mut json = BytesMut::with_capacity(self.head.len() + length + 2);
        json.put_slice(&self.head);
        for (n, entry) in self.entries.iter().enumerate() {
            if n > 0 {
                json.put_u8(b',');
            }
            json.put_slice(&entry.json);
        }
        json.put_slice(b"]}");
        json.freeze()
    }
}

/// Breaks the Bundle `json` up into parts of at most `max` entries; none when it has no more. The `seed` names the
/// object, and what in it is the Bundle: new ids are made of it.
pub fn break_up(
    json: &Bytes,
    max: NonZeroUsize,
    seed: &str,
) -> Result<Option<Vec<Part>>, BreakupError> {
    let bundle: Members = serde_json::from_slice(json).map_err(BreakupError::NotABundle)?;
    let raw = bundle.entries()?;
    if raw.len() <= max.get() {
        return Ok(None);
    }
    let kind = bundle.kind()?;
    let asks = match kind.as_str() {
        "transaction" | "batch" => true,
        "document" | "message" => return Err(BreakupError::Indivisible { kind }),
        _ => false,
    };
    let entries = read_all(&raw)?;
    let whole = Whole {
        head: bundle.head(),
        asks,
        kind: &kind,
        entries: &entries,
    };
    // Versions of one resource must keep their order, and name each other as the server named them.
    if kind == "history" {
        return Ok(Some(whole.cut(max.get())));
    }
    whole.break_up(max.get(), seed).map(Some)
}

/// A Bundle that has too many entries.
struct Whole<'a> {
    head: Bytes,
    kind: &'a str,
    asks: bool,
    entries: &'a [Entry<'a>],
}

impl Whole<'_> {
    fn cut(&self, max: usize) -> Vec<Part> {
        let all: Vec<usize> = (0..self.entries.len()).collect();
        let as_it_is = |n: usize| (false, self.entries[n].raw.to_owned());
        let part = |part: &[usize]| self.part(part, as_it_is);
        all.chunks(max).map(part).collect()
    }

    fn break_up(&self, max: usize, seed: &str) -> Result<Vec<Part>, BreakupError> {
        let entries = self.entries;
        if self.asks {
            ensure_names_differ(entries)?;
        }
        let names = Names::of(entries, self.asks, seed);
        let links = links(entries, &names);
        let transaction = self.kind == "transaction";
        let classes = entries.iter().zip(&names.of_entries);
        let graph = Graph {
            needs: needs(&links, &names),
            class: classes
                .map(|(e, name)| class(e, name, transaction))
                .collect(),
        };
        let packed = pack(order::groups(&graph), max, &links, &names)?;
        let mut part_of = vec![0; entries.len()];
        for (n, part) in packed.iter().enumerate() {
            for &entry in part {
                part_of[entry] = n;
            }
        }
        let rewritten = |n: usize| {
            let is_given = matches!(names.of_entries[n], Name::Given { .. });
            (
                is_given,
                rewrite(&entries[n], n, &links[n], &names, &part_of),
            )
        };
        Ok(packed
            .iter()
            .map(|part| self.part(part, rewritten))
            .collect())
    }

    fn part(&self, entries: &[usize], text: impl Fn(usize) -> (bool, String)) -> Part {
        let entry = |&index: &usize| {
            let (is_given, text) = text(index);
            PartEntry {
                index,
                is_given,
                json: text.into(),
            }
        };
        Part {
            head: self.head.clone(),
            entries: entries.iter().map(entry).collect(),
        }
    }
}

fn read_all<'a>(raw: &[&'a RawValue]) -> Result<Vec<Entry<'a>>, BreakupError> {
    let read = |(index, raw): (usize, &&'a RawValue)| {
        Entry::read(raw.get()).map_err(|source| BreakupError::BadEntry { index, source })
    };
    raw.iter().enumerate().map(read).collect()
}

fn ensure_names_differ(entries: &[Entry<'_>]) -> Result<(), BreakupError> {
    let mut names = HashMap::new();
    for (second, entry) in entries.iter().enumerate() {
        if entry.is_named_locally()
            && let Some(first) = names.insert(&entry.full_url, second)
        {
            return Err(BreakupError::SameName { first, second });
        }
    }
    Ok(())
}

/// A text in an entry that names another one.
struct Link {
    /// Of the text, in the entry.
    span: Range<usize>,
    target: usize,
    /// What is to follow the target's name.
    rest: String,
}

fn links(entries: &[Entry<'_>], names: &Names) -> Vec<Vec<Link>> {
    let of = |entry: &Entry<'_>| {
        let namings = entry.resource.iter().flat_map(|r| &r.namings);
        let link = |naming: &scan::Naming<'_>| {
            let (target, rest) = names.meant(entry, &naming.text)?;
            let (span, rest) = (naming.span.clone(), rest.to_owned());
            Some(Link { span, target, rest })
        };
        namings.filter_map(link).collect()
    };
    entries.iter().map(of).collect()
}

/// Who needs whom: both each other where only one Bundle can hold them.
fn needs(links: &[Vec<Link>], names: &Names) -> Vec<Vec<usize>> {
    let mut needs: Vec<Vec<usize>> = vec![Vec::new(); links.len()];
    for (n, links) in links.iter().enumerate() {
        for link in links.iter().filter(|link| link.target != n) {
            needs[n].push(link.target);
            if names.of_entries[link.target] == Name::Tied {
                needs[link.target].push(n);
            }
        }
    }
    needs
}

/// The order in which a transaction is processed: deletes, creates, updates, reads. What is looked up by a query is
/// to be there early.
fn class(entry: &Entry<'_>, name: &Name, transaction: bool) -> u8 {
    match (entry.method(), name) {
        _ if !transaction => 3,
        ("DELETE", _) => 0,
        (_, Name::Found(_)) => 1,
        ("POST", Name::None | Name::Tied) => 2,
        ("GET" | "HEAD", _) => 4,
        _ => 3,
    }
}

/// Fills parts in order; a group that fits in one part is in one.
fn pack(
    groups: Vec<Vec<usize>>,
    max: usize,
    links: &[Vec<Link>],
    names: &Names,
) -> Result<Vec<Vec<usize>>, BreakupError> {
    let mut parts: Vec<Vec<usize>> = Vec::new();
    for group in groups {
        let room = parts.last().map_or(0, |part| max - part.len());
        if group.len() > max {
            ensure_untied(&group, links, names)?;
        } else if group.len() > room {
            parts.push(Vec::new());
        }
        for entry in group {
            match parts.last_mut() {
                Some(part) if part.len() < max => part.push(entry),
                _ => parts.push(vec![entry]),
            }
        }
    }
    Ok(parts)
}

fn ensure_untied(group: &[usize], links: &[Vec<Link>], names: &Names) -> Result<(), BreakupError> {
    let members: HashSet<usize> = group.iter().copied().collect();
    let tied =
        |link: &Link| members.contains(&link.target) && names.of_entries[link.target] == Name::Tied;
    if group.iter().any(|&n| links[n].iter().any(tied)) {
        let entries = group.len();
        return Err(BreakupError::Entangled { entries });
    }
    Ok(())
}

/// The entry as it is to be in its part.
fn rewrite(
    entry: &Entry<'_>,
    n: usize,
    links: &[Link],
    names: &Names,
    part_of: &[usize],
) -> String {
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for link in links {
        let name = &names.of_entries[link.target];
        let stays = matches!(name, Name::Found(_)) && part_of[link.target] == part_of[n];
        if let (false, Some(address)) = (stays, name.address()) {
            let text = format!("{address}{}", link.rest);
            edits.push((link.span.clone(), quoted(&text)));
        }
    }
    if let (Name::Given { resource_type, id }, Some(resource), Some(request)) =
        (&names.of_entries[n], &entry.resource, &entry.request)
    {
        edits.push(if let Some((span, _)) = &resource.id {
            (span.clone(), quoted(id))
        } else {
            let inside = resource.span.start + 1;
            (inside..inside, format!("\"id\":{},", quoted(id)))
        });
        edits.push((request.method.0.clone(), quoted("PUT")));
        edits.push((
            request.url.0.clone(),
            quoted(&format!("{resource_type}/{id}")),
        ));
    }
    spliced(entry.raw, edits)
}

/// `text` with `edits` in place of what they span.
fn spliced(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(span, _)| span.start);
    let grown: usize = edits.iter().map(|(_, new)| new.len()).sum();
    let mut whole = String::with_capacity(text.len() + grown);
    let mut at = 0;
    for (span, new) in edits {
        whole.push_str(&text[at..span.start]);
        whole.push_str(&new);
        at = span.end;
    }
    whole.push_str(&text[at..]);
    whole
}

#[cfg(test)]
mod tests;
