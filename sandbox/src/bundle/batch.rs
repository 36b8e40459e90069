//! A batch: each entry stands for itself.

use std::collections::HashMap;

use crate::bundle::{Action, RawEntry, links, references};
use crate::interactions::{self, Effect};
use crate::outcome::Refusal;
use crate::resource::Resource;
use crate::state::State;

/// Does one entry after the other. Fails as a whole only where the server is told to be strict and
/// an entry is invalid.
pub(super) fn run(
    state: &State,
    entries: &[RawEntry],
    base: &str,
) -> Result<Vec<Result<Effect, Refusal>>, Refusal> {
    let parsed = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| entry.parse(index, base));
    let mut actions: Vec<Result<Action, Refusal>> = parsed.collect();
    if state.config.batch_refused_whole
        && let Some(first) = actions.iter().position(Result::is_err)
        && let Err(refusal) = actions.swap_remove(first)
    {
        return Err(refusal.of_the_whole());
    }
    let mut known = HashMap::new();
    let effects = entries
        .iter()
        .zip(actions)
        .enumerate()
        .map(|(index, (entry, action))| {
            let effect = entry
                .fault(state)
                .and_then(|()| perform(state, action?, &known, base));
            if let Ok(Effect::Stored(_, mark)) = &effect {
                known.extend(links(entry.full_url.as_deref(), mark.kind, &mark.id));
            }
            effect.map_err(|refusal| refusal.at_entry(index))
        });
    Ok(effects.collect())
}

fn perform(
    state: &State,
    action: Action,
    known: &HashMap<String, String>,
    base: &str,
) -> Result<Effect, Refusal> {
    match action {
        Action::Create {
            mut resource,
            condition,
        } => {
            link(&mut resource, known)?;
            interactions::create(
                state,
                &mut state.store_mut(),
                &resource,
                condition.as_deref(),
            )
        }
        Action::Update {
            id,
            mut resource,
            if_match,
        } => {
            link(&mut resource, known)?;
            let store = &mut state.store_mut();
            interactions::update(state, store, &id, &resource, if_match.as_deref())
        }
        Action::Delete(kind, id) => Ok(interactions::delete(
            state,
            &mut state.store_mut(),
            kind,
            &id,
        )),
        Action::Show { target, query } => {
            interactions::show(state, &state.store(), &target, &query, base)
        }
    }
}

/// References to entries that came before are put right, as LinuxForHealth does; others stay.
fn link(resource: &mut Resource, known: &HashMap<String, String>) -> Result<(), Refusal> {
    let content = references::rewrite(resource.content(), |reference| {
        Ok(known.get(reference).cloned())
    })?;
    if let Some(content) = content {
        resource.set_content(content);
    }
    Ok(())
}
