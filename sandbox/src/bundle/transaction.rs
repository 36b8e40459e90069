//! A transaction: all of it or nothing.
//!
//! Whatever can fail is found while planning, against the store as it stands under its lock; what is
//! planned then cannot fail.

use std::collections::{HashMap, HashSet};

use axum::http::StatusCode;

use crate::bundle::{Action, RawEntry, links, references};
use crate::interactions::{self, Effect};
use crate::outcome::Refusal;
use crate::r4;
use crate::resource::Resource;
use crate::search::Query;
use crate::state::State;
use crate::store::Store;

/// The results of a transaction's entries, in their order. An entry that reads what is not there says
/// so for itself, since it leaves nothing half done.
pub(super) fn run(
    state: &State,
    entries: &[RawEntry],
    base: &str,
) -> Result<Vec<Result<Effect, Refusal>>, Refusal> {
    let mut steps = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        entry
            .fault(state)
            .map_err(|refusal| refusal.at_entry(index))?;
        steps.push(step(entry.parse(index, base)?));
    }
    let mut store = state.store_mut();
    let mut plan = Plan::default();
    plan.touch_each_once(&steps)?;
    for (index, (step, entry)) in steps.iter_mut().zip(entries).enumerate() {
        let settled = plan.settle(state, &store, step, entry);
        settled.map_err(|refusal| refusal.at_entry(index))?;
    }
    resolve(state, &store, &plan, &mut steps)?;
    Ok(apply(state, &mut store, steps, base))
}

/// An entry on its way: what it asks for and, once it is settled, which resource it is about.
struct Step {
    action: Action,
    id: Option<String>,
    /// A create whose condition found a resource.
    found: bool,
}

fn step(action: Action) -> Step {
    Step {
        action,
        id: None,
        found: false,
    }
}

/// What the transaction will have done when it is through.
#[derive(Default)]
struct Plan {
    /// References and what they become.
    links: HashMap<String, String>,
    deleted: HashSet<(&'static str, String)>,
    updated: HashSet<(&'static str, String)>,
    /// Type, id, values of identifiers and JSON text of what is created.
    created: Vec<(&'static str, String, Vec<String>, String)>,
}

impl Plan {
    /// Deletes come first, so they are known before anything is looked up. No resource may be
    /// changed twice: which change came last would be chance.
    fn touch_each_once(&mut self, steps: &[Step]) -> Result<(), Refusal> {
        for (index, step) in steps.iter().enumerate() {
            let fresh = match &step.action {
                Action::Delete(kind, id) => {
                    let own = (*kind, id.clone());
                    !self.updated.contains(&own) && self.deleted.insert(own)
                }
                Action::Update { id, resource, .. } => {
                    let own = (resource.kind, id.clone());
                    !self.deleted.contains(&own) && self.updated.insert(own)
                }
                Action::Create { .. } | Action::Show { .. } => true,
            };
            if !fresh {
                let text = "The transaction changes the same resource in more than one entry.";
                return Err(Refusal::value(text).at_entry(index));
            }
        }
        Ok(())
    }

    /// Finds out which resource an entry is about.
    fn settle(
        &mut self,
        state: &State,
        store: &Store,
        step: &mut Step,
        entry: &RawEntry,
    ) -> Result<(), Refusal> {
        let (kind, id) = match &step.action {
            Action::Delete(..) | Action::Show { .. } => return Ok(()),
            Action::Update {
                id,
                resource,
                if_match,
            } => {
                interactions::check_version(store, resource.kind, id, if_match.as_deref())?;
                (resource.kind, id.clone())
            }
            Action::Create {
                resource,
                condition,
            } => {
                let kind = resource.kind;
                let found = condition
                    .as_deref()
                    .map(|c| self.existing(store, kind, c))
                    .transpose()?;
                let found = found.flatten();
                step.found = found.is_some();
                (
                    kind,
                    found.unwrap_or_else(|| self.plan_create(state, resource)),
                )
            }
        };
        self.links
            .extend(links(entry.full_url.as_deref(), kind, &id));
        step.id = Some(id);
        Ok(())
    }

    /// The id that a new resource will have.
    fn plan_create(&mut self, state: &State, resource: &Resource) -> String {
        let id = state.new_id().to_string();
        let text = format!("{{{}}}", resource.content());
        let identifiers = resource.identifiers.clone();
        self.created
            .push((resource.kind, id.clone(), identifiers, text));
        id
    }

    /// The resource that the condition of a create finds, if any.
    fn existing(
        &self,
        store: &Store,
        kind: &'static str,
        condition: &str,
    ) -> Result<Option<String>, Refusal> {
        let mut ids = self.find(store, &Query::criteria(kind, condition)?, &HashSet::new());
        match ids.len() {
            0 | 1 => Ok(ids.pop()),
            _ => Err(Refusal::too_many(condition)),
        }
    }

    /// Ids of resources that match now, apart from deleted ones and `others`, or are about to be
    /// created.
    fn find(
        &self,
        store: &Store,
        query: &Query,
        others: &HashSet<(&'static str, String)>,
    ) -> Vec<String> {
        let stored = store.find(query, None, usize::MAX).into_iter();
        let mut ids: Vec<String> = stored.map(|id| id.to_string()).collect();
        ids.retain(|id| {
            let own = (query.kind, id.clone());
            !self.deleted.contains(&own) && !others.contains(&own)
        });
        let values = query.identifier_values();
        for (kind, id, identifiers, text) in &self.created {
            let may_match = *kind == query.kind
                && values
                    .as_ref()
                    .is_none_or(|values| identifiers.iter().any(|i| values.contains(&i.as_str())));
            if may_match && query.matches(id, text) {
                ids.push(id.clone());
            }
        }
        ids
    }

    fn will_exist(&self, store: &Store, kind: &'static str, id: &str) -> bool {
        let own = (kind, id.to_owned());
        self.updated.contains(&own)
            || (store.is_live(kind, id) && !self.deleted.contains(&own))
            || self.created.iter().any(|(k, i, ..)| *k == kind && i == id)
    }
}

/// Puts every reference to another entry, and every conditional reference, right.
fn resolve(state: &State, store: &Store, plan: &Plan, steps: &mut [Step]) -> Result<(), Refusal> {
    let mut searched = HashMap::new();
    let updates = texts_of_updates(steps);
    for (index, step) in steps.iter_mut().enumerate() {
        let (Action::Create { resource, .. } | Action::Update { resource, .. }) = &mut step.action
        else {
            continue;
        };
        let content = references::rewrite(resource.content(), |reference| {
            if let Some(target) = plan.links.get(reference) {
                return Ok(Some(target.clone()));
            }
            if reference.starts_with("urn:uuid:") || reference.starts_with("urn:oid:") {
                return Err(Refusal::invalid(format!(
                    "The reference '{reference}' names no entry of the transaction"
                )));
            }
            if let Some(target) = searched.get(reference) {
                return Ok(Some(String::clone(target)));
            }
            let found = conditional(store, plan, &updates, reference)?;
            if let Some(target) = &found {
                searched.insert(reference.to_owned(), target.clone());
            }
            Ok(found)
        });
        if let Some(content) = content.map_err(|refusal| refusal.at_entry(index))? {
            resource.set_content(content);
        }
        if state.config.referential_integrity {
            let there = |kind, id: &str| plan.will_exist(store, kind, id);
            let checked = references::check(resource.content(), there);
            checked.map_err(|refusal| refusal.at_entry(index))?;
        }
    }
    Ok(())
}

/// Type, id and JSON text of a resource that the transaction updates.
type Updated = (&'static str, String, String);

fn texts_of_updates(steps: &[Step]) -> Vec<Updated> {
    let text = |resource: &Resource| format!("{{{}}}", resource.content());
    let updates = steps.iter().filter_map(|step| match &step.action {
        Action::Update { id, resource, .. } => Some((resource.kind, id.clone(), text(resource))),
        _ => None,
    });
    updates.collect()
}

/// What a reference like `Patient?identifier=system|value` refers to after the transaction's changes.
fn conditional(
    store: &Store,
    plan: &Plan,
    updates: &[Updated],
    reference: &str,
) -> Result<Option<String>, Refusal> {
    let Some((name, criteria)) = reference.split_once('?') else {
        return Ok(None);
    };
    let Some(kind) = r4::resource_type(name) else {
        return Ok(None);
    };
    let query = Query::criteria(kind, criteria)?;
    let mut ids = plan.find(store, &query, &plan.updated);
    let of_kind = updates.iter().filter(|(k, ..)| *k == kind);
    ids.extend(
        of_kind
            .filter(|(_, id, text)| query.matches(id, text))
            .map(|(_, id, _)| id.clone()),
    );
    match ids.as_slice() {
        [id] => Ok(Some(format!("{kind}/{id}"))),
        [] => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "not-found",
            format!(
                "Error resolving conditional reference: search '{reference}' returned no results"
            ),
        )),
        _ => Err(Refusal::too_many(reference)),
    }
}

/// Deletes, creates, updates and reads, in this order.
fn apply(
    state: &State,
    store: &mut Store,
    steps: Vec<Step>,
    base: &str,
) -> Vec<Result<Effect, Refusal>> {
    let mut order: Vec<(usize, Step)> = steps.into_iter().enumerate().collect();
    order.sort_by_key(|(_, step)| rank(step));
    let mut effects: Vec<_> = order
        .into_iter()
        .map(|(index, step)| (index, perform(state, store, step, base)))
        .collect();
    effects.sort_by_key(|(index, _)| *index);
    effects.into_iter().map(|(_, effect)| effect).collect()
}

fn rank(step: &Step) -> u8 {
    match (&step.action, step.found) {
        (Action::Delete(..), _) => 0,
        (Action::Create { .. }, false) => 1,
        (Action::Update { .. }, _) => 2,
        (Action::Create { .. }, true) | (Action::Show { .. }, _) => 3,
    }
}

fn perform(state: &State, store: &mut Store, step: Step, base: &str) -> Result<Effect, Refusal> {
    let id = step.id.unwrap_or_default();
    match step.action {
        Action::Delete(kind, id) => Ok(interactions::delete(state, store, kind, &id)),
        Action::Create { resource, .. } if step.found => Ok(Effect::Stored(
            StatusCode::OK,
            store.read(resource.kind, &id)?,
        )),
        Action::Create { resource, .. } => {
            let mark = store.create(&resource, &id, state.now());
            Ok(interactions::stored(state, mark, true))
        }
        Action::Update { resource, .. } => {
            let new = !store.is_live(resource.kind, &id);
            let mark = store.update(&resource, &id, state.now());
            Ok(interactions::stored(state, mark, new))
        }
        Action::Show { target, query } => interactions::show(state, store, &target, &query, base),
    }
}
