//! The two ways of `$reindex`: a list of index ids, or what the server picks.

use std::time::Duration;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::index::{Scope, index_id};
use crate::answer::Answer;
use crate::faults::Subject;
use crate::outcome::Refusal;
use crate::routes::Asked;
use crate::state::State;

/// Pauses shorter than this are put together: timers are no finer.
const TICK: Duration = Duration::from_millis(1);

/// How to reindex.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    /// Only what the server did not pick at this time or later.
    pub(super) before: DateTime<Utc>,
    pub(super) force: bool,
}

/// Reindexes a list, all in one transaction: if one fails, none is reindexed.
pub(super) fn list(
    state: &State,
    ids: &[i64],
    order: Order,
    asked: &Asked,
) -> Result<Answer, Refusal> {
    let faults = state.faults.judge_reindex(subject(asked), false);
    let mut store = state.store_mut();
    let index = &mut store.index;
    index.count(|stats| {
        stats.list_calls += 1;
        stats.most_ids_in_a_call = stats.most_ids_in_a_call.max(ids.len() as u64);
    });
    let slots = ids.iter().filter_map(|&id| index.listed(id, order.before));
    let mut found: Vec<(u32, String)> = slots.map(|slot| (slot, index.name(slot))).collect();
    for (slot, name) in &found {
        fail_where_ordered(state, asked, *slot, name)?;
    }
    let told = found.len().saturating_sub(faults.untold);
    let done = found.len().saturating_sub(faults.undone);
    for (slot, _) in &found[..done] {
        index.reindex(*slot, order.force);
    }
    found.truncate(told.min(done));
    let mut answer = Answer::new(StatusCode::OK, outcome(found.iter().map(|(_, name)| name)));
    answer.resources = done;
    Ok(answer)
}

/// Reindexes up to `count` resources of the server's choice, each in a transaction of its own: if one fails, those
/// before it stay reindexed. While one is worked on, no other call can pick it, so that a call can find nothing more
/// to do while others still work on the last ones.
pub(super) async fn pick(
    state: &State,
    scope: Scope,
    count: u16,
    order: Order,
    asked: &Asked,
) -> Result<Answer, Refusal> {
    state.count_reindexing(|stats| stats.pick_calls += 1);
    let faults = state.faults.judge_reindex(subject(asked), true);
    let count = if faults.complete { 0 } else { count.into() };
    let mut names = Vec::new();
    let mut pace = Pace::new(state.config.latency_per_resource);
    while names.len() + faults.undone < count {
        let held = state.store_mut().index.hold(scope, order.before);
        let Some(held) = held else {
            break;
        };
        pace.one_more().await;
        let name = state.store().index.name(held.slot);
        let failed = fail_where_ordered(state, asked, held.slot, &name);
        let index = &mut state.store_mut().index;
        if let Err(refusal) = failed {
            index.give_back(&held);
            return Err(refusal);
        }
        index.finish(held, order.before, order.force);
        names.push(name);
    }
    names.truncate(names.len().saturating_sub(faults.untold));
    Ok(Answer::new(StatusCode::OK, outcome(names.iter())))
}

/// Lets as much time pass as the resources of a call take, one after the other.
struct Pace {
    per_resource: Duration,
    due: Instant,
}

impl Pace {
    fn new(per_resource: Duration) -> Self {
        let due = Instant::now();
        Self { per_resource, due }
    }

    async fn one_more(&mut self) {
        self.due += self.per_resource;
        if self.due > Instant::now() + TICK {
            tokio::time::sleep_until(self.due).await;
        }
    }
}

fn subject(asked: &Asked) -> Subject<'_> {
    Subject {
        method: asked.method.as_str(),
        path: &asked.path,
        body: Some(&asked.body),
    }
}

fn fail_where_ordered(state: &State, asked: &Asked, slot: u32, name: &str) -> Result<(), Refusal> {
    let fails = state
        .faults
        .judge_resource(subject(asked), index_id(slot), name);
    if !fails {
        return Ok(());
    }
    let text =
        format!("FHIRPersistenceException: a fault rule says that '{name}' cannot be reindexed");
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Err(Refusal::new(status, "exception", text))
}

/// The OperationOutcome that names what was reindexed; with nothing to name, all is done.
fn outcome<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    const ISSUE: &str = r#"{"severity":"information","code":"informational","diagnostics":""#;
    let issues: Vec<String> = match names.len() {
        0 => vec![format!(r#"{ISSUE}Reindex complete"}}"#)],
        _ => names
            .map(|name| format!(r#"{ISSUE}Processed {name}"}}"#))
            .collect(),
    };
    let issues = issues.join(",");
    format!(r#"{{"resourceType":"OperationOutcome","issue":[{issues}]}}"#)
}
