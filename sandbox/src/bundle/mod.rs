//! Batches and transactions: their entries taken apart, and what each did put together.

use std::borrow::Cow;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::Prefer;
use crate::faults::Subject;
use crate::interactions::{self, Effect, Target};
use crate::outcome::Refusal;
use crate::resource::{Resource, instant};
use crate::state::State;
use crate::store::Mark;
use crate::validate::Place;

mod batch;
mod null;
pub(crate) mod references;
mod transaction;

/// The answer to a Bundle: its text, and how many entries the Bundle had.
pub(crate) struct BundleAnswer {
    pub(crate) text: String,
    pub(crate) entries: usize,
}

/// Does what the entries of a Bundle ask for. `text` is known to be JSON.
pub(crate) fn run(
    state: &State,
    text: &str,
    prefer: Prefer,
    base: &str,
) -> Result<BundleAnswer, Refusal> {
    let bundle: RawBundle = serde_json::from_str(text)
        .map_err(|e| Refusal::invalid(format!("FHIRProvider: not a Bundle: {e}")))?;
    if bundle.resource_type != "Bundle" {
        let text = format!(
            "A 'Bundle' resource type is required but a '{}' resource type was sent.",
            bundle.resource_type
        );
        return Err(Refusal::value(text));
    }
    let transaction = match &*bundle.kind {
        "transaction" => true,
        "batch" => false,
        _ => {
            return Err(Refusal::value(
                "Bundle.type must be either 'batch' or 'transaction'.",
            ));
        }
    };
    let entries = bundle.entry.len();
    state.counters.add(|stats| stats.entries += entries as u64);
    let kind = if transaction {
        "transaction-response"
    } else {
        "batch-response"
    };
    let text = if state.config.null {
        null::run(state, &bundle.entry, kind)
    } else if transaction {
        response(kind, &transaction::run(state, &bundle.entry, base)?, prefer)
    } else {
        response(kind, &batch::run(state, &bundle.entry, base)?, prefer)
    };
    Ok(BundleAnswer { text, entries })
}

/// A Bundle whose resources are not looked into yet.
#[derive(Debug, Deserialize)]
struct RawBundle<'a> {
    #[serde(borrow, rename = "resourceType", default)]
    resource_type: Cow<'a, str>,
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    entry: Vec<RawEntry<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEntry<'a> {
    full_url: Option<String>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow)]
    request: Option<RawRequest<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequest<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
    if_none_exist: Option<String>,
    if_match: Option<String>,
}

/// What an entry asks for, checked.
#[derive(Debug)]
enum Action {
    Create {
        resource: Resource,
        condition: Option<String>,
    },
    Update {
        id: String,
        resource: Resource,
        if_match: Option<String>,
    },
    Delete(&'static str, String),
    Show {
        target: Target,
        query: String,
    },
}

impl RawEntry<'_> {
    /// Checks an entry, whose place in the Bundle is `index`.
    fn parse(&self, index: usize, base: &str) -> Result<Action, Refusal> {
        self.action(index, base)
            .map_err(|refusal| refusal.at_entry(index))
    }

    fn action(&self, index: usize, base: &str) -> Result<Action, Refusal> {
        let request = self.request()?;
        let url = request.url.strip_prefix(base).unwrap_or(&request.url);
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let target = Target::parse(path)?;
        match (&*request.method, target) {
            ("POST", Target::Type(kind)) if query.is_empty() => Ok(Action::Create {
                resource: self.resource(kind, index)?,
                condition: request.if_none_exist.clone(),
            }),
            ("PUT", Target::Instance(kind, id)) => {
                let resource = self.resource(kind, index)?;
                interactions::check_id(&id, &resource)?;
                let if_match = request.if_match.clone();
                Ok(Action::Update {
                    id,
                    resource,
                    if_match,
                })
            }
            ("DELETE", Target::Instance(kind, id)) => Ok(Action::Delete(kind, id)),
            ("GET", target) => {
                let query = query.to_owned();
                Ok(Action::Show { target, query })
            }
            (method, _) => {
                let text = format!("Bundle.entry.request: '{method} {url}' is not supported.");
                Err(Refusal::not_supported(StatusCode::BAD_REQUEST, text))
            }
        }
    }

    fn request(&self) -> Result<&RawRequest<'_>, Refusal> {
        let missing = "Bundle.entry is missing the 'request' field.";
        self.request.as_ref().ok_or_else(|| Refusal::value(missing))
    }

    fn resource(&self, kind: &str, index: usize) -> Result<Resource, Refusal> {
        let missing = "Bundle.entry.resource is required for this request.";
        let raw = self.resource.ok_or_else(|| Refusal::value(missing))?;
        let resource = Resource::parse(raw, Place::Entry(index))?;
        type_fits(kind, resource.kind)?;
        Ok(resource)
    }

    /// Fails if a fault rule is about this entry.
    fn fault(&self, state: &State) -> Result<(), Refusal> {
        let Some(request) = &self.request else {
            return Ok(());
        };
        let path = format!("/{}", request.url.trim_start_matches('/'));
        let code = state.faults.judge_entry(Subject {
            method: &request.method,
            path: &path,
            body: self.resource.map(|raw| raw.get().as_bytes()),
        });
        match code.map(StatusCode::from_u16) {
            Some(Ok(status)) => Err(Refusal::new(status, "exception", "A fault rule says so.")),
            _ => Ok(()),
        }
    }
}

/// A resource can be sent only to its own type.
pub(crate) fn type_fits(expected: &str, found: &str) -> Result<(), Refusal> {
    if expected == found {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "Resource type '{found}' does not match type specified in request URI: {expected}"
    )))
}

/// The references that the fullUrl of an entry stands for, once its resource is `kind/id`.
fn links(full_url: Option<&str>, kind: &str, id: &str) -> Vec<(String, String)> {
    let Some(full_url) = full_url else {
        return Vec::new();
    };
    let target = format!("{kind}/{id}");
    let mut links = vec![(full_url.to_owned(), target.clone())];
    // "http://a/Patient/1" is also what "Patient/1" means in the entries beside it.
    if full_url.starts_with("http") {
        let mut parts = full_url.rsplit('/');
        if let (Some(old_id), Some(old_kind)) = (parts.next(), parts.next()) {
            links.push((format!("{old_kind}/{old_id}"), target));
        }
    }
    links
}

fn response(kind: &str, effects: &[Result<Effect, Refusal>], prefer: Prefer) -> String {
    let mut text = opening(kind, effects.len() * 300);
    for (index, effect) in effects.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        push_entry(&mut text, effect, prefer);
    }
    text.push_str("]}");
    text
}

fn opening(kind: &str, capacity: usize) -> String {
    let mut text = String::with_capacity(capacity + 80);
    text.push_str(r#"{"resourceType":"Bundle","type":""#);
    text.push_str(kind);
    text.push_str(r#"","entry":["#);
    text
}

fn push_entry(text: &mut String, effect: &Result<Effect, Refusal>, prefer: Prefer) {
    let (status, mark, shown) = match effect {
        Err(refusal) => return push_refused(text, refusal),
        Ok(Effect::Stored(status, mark)) => {
            let shown = mark
                .change
                .text()
                .filter(|_| prefer == Prefer::Representation);
            (status.as_u16(), Some(mark), shown)
        }
        Ok(Effect::Deleted(_, _, mark)) => (204, mark.as_ref(), None),
        Ok(Effect::Shown(shown, mark)) => (200, mark.as_ref(), Some(shown)),
    };
    text.push('{');
    if let Some(shown) = shown {
        text.push_str(r#""resource":"#);
        text.push_str(shown);
        text.push(',');
    }
    text.push_str(r#""response":{"#);
    let status = status.to_string();
    match mark {
        Some(mark) => push_version(text, mark, &status),
        None => push_all(text, &[r#""status":""#, &status, "\""]),
    }
    text.push_str("}}");
}

fn push_version(text: &mut String, mark: &Mark, status: &str) {
    let version = mark.version.to_string();
    push_all(
        text,
        &[
            r#""id":""#,
            &mark.id,
            r#"","status":""#,
            status,
            r#"","location":""#,
            mark.kind,
            "/",
            &mark.id,
            "/_history/",
            &version,
            r#"","etag":"W/\""#,
            &version,
            r#"\"","lastModified":""#,
            &instant(mark.at),
            "\"",
        ],
    );
}

fn push_refused(text: &mut String, refusal: &Refusal) {
    let status = refusal.status.as_u16().to_string();
    let outcome = refusal.outcome().to_string();
    push_all(
        text,
        &[
            r#"{"response":{"status":""#,
            &status,
            r#"","outcome":"#,
            &outcome,
            "}}",
        ],
    );
}

fn push_all(text: &mut String, parts: &[&str]) {
    for part in parts {
        text.push_str(part);
    }
}
