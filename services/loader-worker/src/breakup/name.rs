//! How the entries of a Bundle are named by others once they may lie in different Bundles.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use uuid::Builder;

use super::entry::Entry;

/// How an entry is named from outside of its Bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// `Type/id` that it is given here: it becomes an update that creates.
    Given { resource_type: String, id: String },
    /// `Type/id` that it has.
    Known(String),
    /// `Type?query` that finds it, in a transaction.
    Found(String),
    /// Nothing names it outside of its Bundle: whoever names it must stay with it.
    Tied,
    /// Nothing names it at all.
    None,
}

impl Name {
    /// What a reference from another Bundle says.
    pub(super) fn address(&self) -> Option<String> {
        match self {
            Self::Given { resource_type, id } => Some(format!("{resource_type}/{id}")),
            Self::Known(address) | Self::Found(address) => Some(address.clone()),
            Self::Tied | Self::None => None,
        }
    }
}

/// Names of all entries of a Bundle, and who is meant by a name.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) of_entries: Vec<Name>,
    by_url: HashMap<String, usize>,
    by_address: HashMap<String, usize>,
}

impl Names {
    /// Of the entries of a transaction or batch, or of a Bundle that asks for nothing. The same `seed` gives
    /// the same entries the same ids.
    pub(super) fn of(entries: &[Entry<'_>], asks: bool, seed: &str) -> Self {
        let mut by_url = HashMap::new();
        for (n, entry) in entries.iter().enumerate() {
            if let Some(url) = &entry.full_url {
                by_url.entry(url.clone()).or_insert(n);
            }
        }
        let mut names = Self {
            of_entries: vec![Name::None; entries.len()],
            by_url,
            by_address: HashMap::new(),
        };
        let mut meant = vec![false; entries.len()];
        for entry in entries {
            let namings = entry.resource.iter().flat_map(|r| &r.namings);
            for (target, _) in namings.filter_map(|n| names.by_full_url(entry, &n.text)) {
                meant[target] = true;
            }
        }
        for (n, entry) in entries.iter().enumerate() {
            let name = if asks {
                name_of(entry, meant[n], || id_of(seed, n, entry))
            } else {
                known(entry)
            };
            if let Some(address) = name.address() {
                names.by_address.entry(address).or_insert(n);
            }
            names.of_entries[n] = name;
        }
        names
    }

    /// The entry that a text within `from` names, and what follows the name.
    pub(super) fn meant<'t>(&self, from: &Entry<'_>, text: &'t str) -> Option<(usize, &'t str)> {
        self.by_full_url(from, text).or_else(|| {
            let (name, rest) = parted(text);
            self.by_address.get(name).map(|&n| (n, rest))
        })
    }

    fn by_full_url<'t>(&self, from: &Entry<'_>, text: &'t str) -> Option<(usize, &'t str)> {
        let (name, rest) = parted(text);
        if let Some(&n) = self.by_url.get(name) {
            return Some((n, rest));
        }
        let absolute = format!("{}/{name}", from.base()?);
        self.by_url.get(&absolute).map(|&n| (n, rest))
    }
}

/// A name, and the part of the resource that is meant (`#…`).
fn parted(text: &str) -> (&str, &str) {
    text.find('#').map_or((text, ""), |at| text.split_at(at))
}

fn name_of(entry: &Entry<'_>, meant: bool, new_id: impl FnOnce() -> String) -> Name {
    let unnamed = || {
        if entry.full_url.is_some() {
            Name::Tied
        } else {
            Name::None
        }
    };
    let Some(request) = &entry.request else {
        return unnamed();
    };
    let url = request.url.1.trim_start_matches('/');
    match (request.method.1.as_str(), entry.created_type()) {
        ("POST", Some(created)) => match &request.if_none_exist {
            Some(query) => {
                let query = query.split_once('?').map_or(query.as_str(), |(_, q)| q);
                Name::Found(format!("{created}?{query}"))
            }
            None if entry.is_named_locally() || meant => Name::Given {
                resource_type: created.to_owned(),
                id: new_id(),
            },
            None => Name::None,
        },
        ("PUT" | "PATCH", _) if url.contains('?') => Name::Found(url.to_owned()),
        ("PUT" | "PATCH", _) if url.contains('/') => Name::Known(url.to_owned()),
        ("DELETE" | "GET" | "HEAD", _) => Name::None,
        _ => unnamed(),
    }
}

/// Of an entry that only holds a resource.
fn known(entry: &Entry<'_>) -> Name {
    let resource = entry.resource.as_ref();
    let id = resource.and_then(|r| r.id.as_ref()?.1.as_ref());
    match (resource, id) {
        (Some(resource), Some(id)) => Name::Known(format!("{}/{id}", resource.name)),
        _ => Name::None,
    }
}

/// An id that nothing but this entry at this place of this object has: a UUID of version 8.
fn id_of(seed: &str, n: usize, entry: &Entry<'_>) -> String {
    let digest = Sha256::new()
        .chain_update((seed.len() as u64).to_be_bytes())
        .chain_update(seed)
        .chain_update((n as u64).to_be_bytes())
        .chain_update(entry.raw)
        .finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    Builder::from_custom_bytes(first).into_uuid().to_string()
}
