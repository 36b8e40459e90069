//! A Bundle's answer where nothing is stored: as fast as it can be written.

use crate::bundle::{RawEntry, opening, push_all, push_refused};
use crate::interactions::Target;
use crate::outcome::Refusal;
use crate::resource::instant;
use crate::state::State;

/// Says of every entry what a server that had none of the ids sent by `POST`, and all sent by `PUT`,
/// would say.
pub(super) fn run(state: &State, entries: &[RawEntry], kind: &str) -> String {
    let at = instant(state.now());
    let mut text = opening(kind, entries.len() * 240);
    let (mut creates, mut updates) = (0, 0);
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match accept(state, entry) {
            Ok(Accepted::Created(kind)) => {
                creates += 1;
                let mut buffer = uuid::Uuid::encode_buffer();
                let id: &str = state.new_id().hyphenated().encode_lower(&mut buffer);
                push_accepted(&mut text, kind, id, "201", &at);
            }
            Ok(Accepted::Updated(kind, id)) => {
                updates += 1;
                push_accepted(&mut text, kind, &id, "200", &at);
            }
            Ok(Accepted::Deleted) => text.push_str(r#"{"response":{"status":"204"}}"#),
            Err(refusal) => push_refused(&mut text, &refusal.at_entry(index)),
        }
    }
    text.push_str("]}");
    state.counters.add(|stats| {
        stats.creates += creates;
        stats.updates += updates;
        stats.versions_written += creates + updates;
    });
    text
}

enum Accepted {
    Created(&'static str),
    Updated(&'static str, String),
    Deleted,
}

fn accept(state: &State, entry: &RawEntry) -> Result<Accepted, Refusal> {
    entry.fault(state)?;
    let request = entry.request()?;
    let path = request.url.split('?').next().unwrap_or_default();
    match (&*request.method, Target::parse(path)?) {
        ("POST", Target::Type(kind)) => Ok(Accepted::Created(kind)),
        ("PUT", Target::Instance(kind, id)) => Ok(Accepted::Updated(kind, id)),
        ("DELETE", Target::Instance(..)) => Ok(Accepted::Deleted),
        ("GET", Target::Instance(kind, id)) => Err(Refusal::not_found(kind, &id)),
        (method, _) => Err(Refusal::value(format!(
            "Bundle.entry.request: '{method} {path}' is not supported with the null switch."
        ))),
    }
}

fn push_accepted(text: &mut String, kind: &str, id: &str, status: &str, at: &str) {
    push_all(
        text,
        &[
            r#"{"response":{"id":""#,
            id,
            r#"","status":""#,
            status,
            r#"","location":""#,
            kind,
            "/",
            id,
            r#"/_history/1","etag":"W/\"1\"","lastModified":""#,
            at,
            r#""}}"#,
        ],
    );
}
