//! What can be done with one resource, alone or as an entry of a Bundle.

use std::sync::Arc;

use axum::http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::capability;
use crate::listing;
use crate::outcome::Refusal;
use crate::r4;
use crate::resource::{Resource, is_id};
use crate::search::Query;
use crate::state::State;
use crate::store::{Change, Mark, Store};

/// What a path below the base names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The base itself: where Bundles go.
    Base,
    /// What the server can do.
    Metadata,
    /// All resources of a type.
    Type(&'static str),
    /// One resource.
    Instance(&'static str, String),
    /// All versions of one resource.
    History(&'static str, String),
    /// One version of one resource.
    Version(&'static str, String, u32),
}

/// What an interaction did.
#[derive(Debug)]
pub(crate) enum Effect {
    /// There is such a resource now: 201 if it is new, else 200.
    Stored(StatusCode, Mark),
    /// There is no such resource any more; the deletion, if there was one to delete.
    Deleted(&'static str, String, Option<Mark>),
    /// Something was asked for: its JSON text, and which version it is if it is a stored resource.
    Shown(Arc<str>, Option<Mark>),
}

impl Target {
    /// Reads a path below the base, with or without a slash before it.
    pub(crate) fn parse(path: &str) -> Result<Self, Refusal> {
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        let parts: Vec<&str> = decoded.trim_matches('/').split('/').collect();
        let kind = match parts[0] {
            "" => return Ok(Self::Base),
            "metadata" if parts.len() == 1 => return Ok(Self::Metadata),
            name => r4::resource_type(name).ok_or_else(|| Refusal::unknown_type(name))?,
        };
        let id = || match parts.get(1) {
            Some(id) if is_id(id) => Ok((*id).to_owned()),
            other => {
                let shown = other.copied().unwrap_or_default();
                Err(Refusal::invalid(format!(
                    "'{shown}' is not a valid resource id."
                )))
            }
        };
        match parts[1..] {
            [] => Ok(Self::Type(kind)),
            [operation] if operation.starts_with('$') => Err(Refusal::not_supported(
                StatusCode::NOT_FOUND,
                format!("The sandbox has no operation '{operation}'."),
            )),
            [_] => Ok(Self::Instance(kind, id()?)),
            [_, "_history"] => Ok(Self::History(kind, id()?)),
            [_, "_history", version] => {
                let id = id()?;
                let number = version.parse();
                let number = number.map_err(|_| version_not_found(kind, &id, version))?;
                Ok(Self::Version(kind, id, number))
            }
            _ => Err(Refusal::not_supported(
                StatusCode::NOT_FOUND,
                format!("The sandbox has nothing at '{path}'."),
            )),
        }
    }
}

/// Stores a resource under a new id, unless `condition` finds one that is there.
pub(crate) fn create(
    state: &State,
    store: &mut Store,
    resource: &Resource,
    condition: Option<&str>,
) -> Result<Effect, Refusal> {
    if let Some(condition) = condition {
        let query = Query::criteria(resource.kind, condition)?;
        match store.find(&query, None, 2).as_slice() {
            [] => {}
            [id] => {
                return Ok(Effect::Stored(
                    StatusCode::OK,
                    store.read(resource.kind, id)?,
                ));
            }
            _ => return Err(Refusal::too_many(condition)),
        }
    }
    check_references(state, store, resource)?;
    let mark = store.create(resource, &state.new_id().to_string(), state.now());
    Ok(stored(state, mark, true))
}

/// Stores a resource under the id in the URL; `if_match` is the header of that name.
pub(crate) fn update(
    state: &State,
    store: &mut Store,
    id: &str,
    resource: &Resource,
    if_match: Option<&str>,
) -> Result<Effect, Refusal> {
    check_id(id, resource)?;
    check_version(store, resource.kind, id, if_match)?;
    check_references(state, store, resource)?;
    let new = !store.is_live(resource.kind, id);
    let mark = store.update(resource, id, state.now());
    Ok(stored(state, mark, new))
}

/// Counts what was stored, and tells it.
pub(crate) fn stored(state: &State, mark: Mark, new: bool) -> Effect {
    state.counters.add(|stats| {
        stats.versions_written += 1;
        *(if new {
            &mut stats.creates
        } else {
            &mut stats.updates
        }) += 1;
    });
    Effect::Stored(
        if new {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        },
        mark,
    )
}

/// Deletes a resource; that it is not there is no error.
pub(crate) fn delete(state: &State, store: &mut Store, kind: &'static str, id: &str) -> Effect {
    let mark = store.delete(kind, id, state.now());
    if mark.is_some() {
        state.counters.add(|stats| {
            stats.versions_written += 1;
            stats.deletes += 1;
        });
    }
    Effect::Deleted(kind, id.to_owned(), mark)
}

/// Says what [`create`] or [`update`] would, and stores nothing. An id that is sent counts as known.
pub(crate) fn accept(state: &State, kind: &'static str, id: Option<String>) -> Effect {
    let new = id.is_none();
    let id = id.unwrap_or_else(|| state.new_id().to_string()).into();
    let (version, at, change) = (1, state.now(), Change::Put("".into()));
    stored(
        state,
        Mark {
            kind,
            id,
            version,
            at,
            change,
        },
        new,
    )
}

/// Shows what a path and query name.
pub(crate) fn show(
    state: &State,
    store: &Store,
    target: &Target,
    query: &str,
    base: &str,
) -> Result<Effect, Refusal> {
    let effect = match target {
        Target::Base => shown(&listing::count(store, query, base)?),
        Target::Metadata => shown(&capability::statement(base, state.started)),
        Target::Type(kind) => shown(&listing::search(store, kind, query, base)?),
        Target::Instance(kind, id) => version_shown(store.read(kind, id)?)?,
        Target::History(kind, id) => shown(&listing::history(store, kind, id, query, base)?),
        Target::Version(kind, id, number) => {
            let mark = store.version(kind, id, *number);
            version_shown(mark.ok_or_else(|| version_not_found(kind, id, &number.to_string()))?)?
        }
    };
    Ok(effect)
}

/// The body of an update must have the id of its URL.
pub(crate) fn check_id(id: &str, resource: &Resource) -> Result<(), Refusal> {
    match resource.id.as_deref() {
        None => Err(Refusal::value(
            "Input resource must contain an 'id' attribute.",
        )),
        Some(found) if found != id => Err(Refusal::value(
            "Input resource 'id' attribute must match 'id' parameter.",
        )),
        Some(_) => Ok(()),
    }
}

/// `If-Match` must name the current version.
pub(crate) fn check_version(
    store: &Store,
    kind: &'static str,
    id: &str,
    if_match: Option<&str>,
) -> Result<(), Refusal> {
    let Some(if_match) = if_match else {
        return Ok(());
    };
    let wanted = if_match.trim().trim_start_matches("W/").trim_matches('"');
    let current = store.read(kind, id).map_or(0, |mark| mark.version);
    if wanted == current.to_string() {
        return Ok(());
    }
    let text = format!(
        "If-Match version '{wanted}' does not match current latest version of resource: {current}"
    );
    Err(Refusal::new(
        StatusCode::PRECONDITION_FAILED,
        "conflict",
        text,
    ))
}

/// With the switch for it, every `Type/id` a resource refers to must be there.
fn check_references(state: &State, store: &Store, resource: &Resource) -> Result<(), Refusal> {
    if !state.config.referential_integrity {
        return Ok(());
    }
    crate::bundle::references::check(resource.content(), |kind, id| store.is_live(kind, id))
}

fn shown(resource: &impl std::fmt::Display) -> Effect {
    Effect::Shown(resource.to_string().into(), None)
}

fn version_shown(mark: Mark) -> Result<Effect, Refusal> {
    match mark.change.text() {
        Some(text) => Ok(Effect::Shown(Arc::clone(text), Some(mark))),
        None => Err(Refusal::deleted(mark.kind, &mark.id)),
    }
}

fn version_not_found(kind: &str, id: &str, version: &str) -> Refusal {
    Refusal::not_found(kind, &format!("{id}/_history/{version}"))
}
