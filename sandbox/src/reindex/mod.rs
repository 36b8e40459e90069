//! `$reindex` and `$retrieve-index`, as LinuxForHealth has them.
//!
//! Reindexing itself is not done, as there are no search parameters to extract; what it would do is counted.

use std::collections::HashSet;

use axum::http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

mod index;
mod inputs;
mod ranges;
mod run;
mod stats;
mod synthetic;

pub(crate) use index::Index;
pub(crate) use stats::Gauge;
pub use stats::ReindexStats;

use crate::answer::Answer;
use crate::outcome::Refusal;
use crate::r4;
use crate::resource::is_id;
use crate::routes::Asked;
use crate::state::State;
use index::Scope;
use inputs::{Declared, Inputs, Kind};

/// Resources that one call reindexes, or index ids that one call retrieves, at most.
const MOST: u16 = 1000;
/// Resources that a call reindexes when it does not say.
const DEFAULT_COUNT: u16 = 10;

const REINDEX_INPUTS: &[Declared] = &[
    Declared {
        name: "tstamp",
        kind: Kind::Text,
    },
    Declared {
        name: "indexIds",
        kind: Kind::Text,
    },
    Declared {
        name: "resourceCount",
        kind: Kind::Integer,
    },
    Declared {
        name: "resourceLogicalId",
        kind: Kind::Text,
    },
    Declared {
        name: "force",
        kind: Kind::Boolean,
    },
];

const RETRIEVE_INPUTS: &[Declared] = &[
    Declared {
        name: "_count",
        kind: Kind::Integer,
    },
    Declared {
        name: "notModifiedAfter",
        kind: Kind::Text,
    },
    Declared {
        name: "afterIndexId",
        kind: Kind::Text,
    },
];

/// An operation, and where it was called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    name: &'static str,
    level: Level,
}

#[derive(Debug, PartialEq, Eq)]
enum Level {
    System,
    Type(&'static str),
    Instance(&'static str, String),
}

impl Operation {
    /// Reads a path below the base; nothing if it names neither operation.
    pub(crate) fn parse(path: &str) -> Result<Option<Self>, Refusal> {
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        let parts: Vec<&str> = decoded.trim_matches('/').split('/').collect();
        let (name, before) = match parts.split_last() {
            Some((&"$reindex", before)) => ("reindex", before),
            Some((&"$retrieve-index", before)) => ("retrieve-index", before),
            _ => return Ok(None),
        };
        let kind = |name| r4::resource_type(name).ok_or_else(|| Refusal::unknown_type(name));
        let level = match *before {
            [] => Level::System,
            [name] => Level::Type(kind(name)?),
            [name, id] if is_id(id) => Level::Instance(kind(name)?, id.to_owned()),
            _ => return Ok(None),
        };
        Ok(Some(Self { name, level }))
    }

    /// Does what is asked for.
    pub(crate) async fn serve(self, state: &State, asked: &Asked) -> Result<Answer, Refusal> {
        if self.name == "retrieve-index" {
            return self.retrieve(state, asked);
        }
        let done = self.reindex(state, asked).await;
        if done.is_err() {
            state.count_reindexing(|stats| stats.failed_calls += 1);
        }
        done
    }

    fn retrieve(&self, state: &State, asked: &Asked) -> Result<Answer, Refusal> {
        state.count_reindexing(|stats| stats.retrieve_calls += 1);
        if asked.method != Method::GET {
            self.only(&Method::POST, &asked.method)?;
        }
        let scope = match self.level {
            Level::System => Scope::All,
            Level::Type(kind) => Scope::Type(kind),
            Level::Instance(..) => {
                let text = "Operation 'retrieve-index' is not allowed at the instance level";
                return Err(Refusal::not_supported(StatusCode::BAD_REQUEST, text));
            }
        };
        let inputs = Inputs::read(asked, RETRIEVE_INPUTS)?;
        let until = inputs.moment("notModifiedAfter", state.now())?;
        let after = inputs.text("afterIndexId").map(|text| self.number(text));
        let after = after.transpose()?.unwrap_or(0);
        let count = inputs.count("_count", MOST).unwrap_or(MOST);
        let store = state.store();
        let ids = store.index.retrieve(scope, until, after, count.into());
        Ok(Answer::new(StatusCode::OK, parameters(&ids)))
    }

    async fn reindex(&self, state: &State, asked: &Asked) -> Result<Answer, Refusal> {
        self.only(&Method::POST, &asked.method)?;
        let inputs = Inputs::read(asked, REINDEX_INPUTS)?;
        let before = inputs.moment("tstamp", state.now())?;
        let force = inputs.is_on("force");
        let scope = self.scope(state, inputs.text("resourceLogicalId"))?;
        let order = run::Order { before, force };
        if let Some(text) = inputs.text("indexIds") {
            return run::list(state, &self.numbers(text)?, order, asked);
        }
        let count = inputs.count("resourceCount", MOST).unwrap_or(DEFAULT_COUNT);
        run::pick(state, scope, count, order, asked).await
    }

    /// What the level and the parameter `resourceLogicalId` restrict it to.
    fn scope(&self, state: &State, logical_id: Option<&str>) -> Result<Scope, Refusal> {
        let one = |kind, id: &str| state.store().index.one(kind, id);
        match (&self.level, logical_id) {
            (Level::System, None) => Ok(Scope::All),
            (Level::System, Some(text)) => {
                let (name, id) = text
                    .split_once('/')
                    .map_or((text, None), |(k, i)| (k, Some(i)));
                let unknown = || Refusal::invalid(format!("Resource type '{name}' is not valid"));
                let kind = r4::resource_type(name).ok_or_else(unknown)?;
                Ok(id.map_or(Scope::Type(kind), |id| one(kind, id)))
            }
            (_, Some(_)) => Err(Refusal::invalid(
                "resourceLogicalId is not allowed at the type or instance level",
            )),
            (Level::Type(kind), None) => Ok(Scope::Type(kind)),
            (Level::Instance(kind, id), None) => Ok(one(kind, id)),
        }
    }

    fn only(&self, allowed: &Method, method: &Method) -> Result<(), Refusal> {
        if method == allowed {
            return Ok(());
        }
        let name = self.name;
        let text = format!("HTTP method '{method}' is not supported for operation: '{name}'");
        Err(Refusal::not_supported(StatusCode::BAD_REQUEST, text))
    }

    /// Different index ids, in their order.
    fn numbers(&self, list: &str) -> Result<Vec<i64>, Refusal> {
        let mut seen = HashSet::new();
        let mut ids = Vec::new();
        for text in list.trim_end_matches([',', ' ']).split(',') {
            let id = self.number(text.trim())?;
            if seen.insert(id) {
                ids.push(id);
            }
        }
        if ids.len() > MOST.into() {
            return Err(Refusal::invalid(
                "The specified number of index IDs exceeds the maximum allowed number of resources to reindex",
            ));
        }
        Ok(ids)
    }

    fn number(&self, text: &str) -> Result<i64, Refusal> {
        text.parse().map_err(|_| {
            let text = format!(
                "FHIROperationException: Unexpected error occurred while processing request for operation '{}': \
                 java.lang.NumberFormatException: For input string: \"{text}\"",
                self.name
            );
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", text)
        })
    }
}

/// The Parameters resource that answers `$retrieve-index`.
fn parameters(ids: &[u64]) -> String {
    if ids.is_empty() {
        return r#"{"resourceType":"Parameters"}"#.to_owned();
    }
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!(
        r#"{{"resourceType":"Parameters","parameter":[{{"name":"indexIds","valueString":"{}"}}]}}"#,
        ids.join(",")
    )
}
