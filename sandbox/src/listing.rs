//! Bundles that list resources: search results and histories.

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::outcome::Refusal;
use crate::resource::instant;
use crate::search::Query;
use crate::store::{Change, Mark, Store};

/// A Bundle of resources; shown, it is JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listing {
    resource_type: &'static str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    link: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entry: Vec<Entry>,
}

/// A resource, its text as it is stored, and what the list says of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    full_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<Box<RawValue>>,
    #[serde(flatten)]
    about: Value,
}

/// One page of a search.
pub(crate) fn search(
    store: &Store,
    kind: &'static str,
    text: &str,
    base: &str,
) -> Result<Listing, Refusal> {
    let (query, page) = Query::parse(kind, text)?;
    // One more than the page holds tells whether there is a next one.
    let mut ids = match page.count {
        0 => Vec::new(),
        count => store.find(&query, page.after.as_deref(), count + 1),
    };
    let more = ids.len() > page.count;
    ids.truncate(page.count);
    let mut link = vec![json!({"relation": "self", "url": with_query(base, kind, text)})];
    if let Some(last) = ids.last().filter(|_| more) {
        let pairs = form_urlencoded::parse(text.as_bytes()).filter(|(name, _)| name != "_page");
        let mut next = form_urlencoded::Serializer::new(String::new());
        let next = next.extend_pairs(pairs).append_pair("_page", last).finish();
        link.push(json!({"relation": "next", "url": with_query(base, kind, &next)}));
    }
    let marks = ids.iter().filter_map(|id| store.read(kind, id).ok());
    let about = json!({"search": {"mode": "match"}});
    Ok(Listing {
        resource_type: "Bundle",
        r#type: "searchset",
        total: (page.total || page.count == 0).then(|| store.count(&query)),
        link,
        entry: marks
            .map(|mark| entry(&mark, base, about.clone()))
            .collect(),
    })
}

/// All versions of a resource, the newest first.
pub(crate) fn history(
    store: &Store,
    kind: &'static str,
    id: &str,
    base: &str,
) -> Result<Listing, Refusal> {
    let marks = store.history(kind, id);
    if marks.is_empty() {
        return Err(Refusal::not_found(kind, id));
    }
    Ok(Listing {
        resource_type: "Bundle",
        r#type: "history",
        total: Some(marks.len()),
        link: Vec::new(),
        entry: marks
            .iter()
            .map(|mark| entry(mark, base, exchange(mark)))
            .collect(),
    })
}

fn entry(mark: &Mark, base: &str, about: Value) -> Entry {
    let text = mark.change.text();
    Entry {
        full_url: format!("{base}/{}/{}", mark.kind, mark.id),
        resource: text.and_then(|text| RawValue::from_string(text.to_string()).ok()),
        about,
    }
}

/// What was asked for and answered when a version came to be.
fn exchange(mark: &Mark) -> Value {
    let Mark {
        kind, id, version, ..
    } = mark;
    let (method, url, status) = match &mark.change {
        Change::Post(_) => ("POST", (*kind).to_owned(), "201"),
        Change::Put(_) if *version == 1 => ("PUT", format!("{kind}/{id}"), "201"),
        Change::Put(_) => ("PUT", format!("{kind}/{id}"), "200"),
        Change::Delete => ("DELETE", format!("{kind}/{id}"), "204"),
    };
    json!({
        "request": {"method": method, "url": url},
        "response": {
            "status": status,
            "etag": format!("W/\"{version}\""),
            "lastModified": instant(mark.at),
        },
    })
}

fn with_query(base: &str, kind: &str, query: &str) -> String {
    match query {
        "" => format!("{base}/{kind}"),
        _ => format!("{base}/{kind}?{query}"),
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}
