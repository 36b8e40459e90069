//! Bundles that list resources: search results and histories.

use std::fmt;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::outcome::Refusal;
use crate::resource::instant;
use crate::search::{Page, Query};
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
    let last = ids.last().filter(|_| more);
    let link = links(&format!("{base}/{kind}"), text, last.map(AsRef::as_ref));
    let marks = ids.iter().filter_map(|id| store.read(kind, id).ok());
    let about = json!({"search": {"mode": "match"}});
    let total = match page.count {
        0 if query.is_everything() => Some(store.count_all(Some(kind), query.until)),
        0 => Some(store.count(&query)),
        _ => page.total.then(|| store.count(&query)),
    };
    Ok(Listing {
        resource_type: "Bundle",
        r#type: "searchset",
        total,
        link,
        entry: marks
            .map(|mark| entry(&mark, base, about.clone()))
            .collect(),
    })
}

/// How many resources there are of all types.
pub(crate) fn count(store: &Store, text: &str, base: &str) -> Result<Listing, Refusal> {
    let (query, page) = Query::parse("Resource", text)?;
    if page.count > 0 || !query.is_everything() {
        let text = "The base can only be counted: _summary=count, with _lastUpdated=le... if need be. Or name a resource type.";
        return Err(Refusal::not_supported(StatusCode::METHOD_NOT_ALLOWED, text));
    }
    Ok(Listing {
        resource_type: "Bundle",
        r#type: "searchset",
        total: Some(store.count_all(None, query.until)),
        link: links(base, text, None),
        entry: Vec::new(),
    })
}

/// One page of the versions of a resource, the newest first.
pub(crate) fn history(
    store: &Store,
    kind: &'static str,
    id: &str,
    text: &str,
    base: &str,
) -> Result<Listing, Refusal> {
    let page = Page::of_history(text)?;
    let marks = store.history(kind, id);
    if marks.is_empty() {
        return Err(Refusal::not_found(kind, id));
    }
    let start = match &page.after {
        Some(version) => begin_after(&marks, version)?,
        None => 0,
    };
    let end = marks.len().min(start.saturating_add(page.count));
    let last = (start..end).last().filter(|_| end < marks.len());
    let last = last.map(|index| marks[index].version.to_string());
    let url = format!("{base}/{kind}/{id}/_history");
    let entries = (start..end).map(|index| {
        let before = marks.get(index + 1);
        let about = exchange(&marks[index], before);
        entry(&marks[index], base, about)
    });
    Ok(Listing {
        resource_type: "Bundle",
        r#type: "history",
        total: Some(marks.len()),
        link: links(&url, text, last.as_deref()),
        entry: entries.collect(),
    })
}

/// Where, among versions with the newest first, the page begins that follows a version.
fn begin_after(marks: &[Mark], version: &str) -> Result<usize, Refusal> {
    let version: u32 = version
        .parse()
        .map_err(|_| Refusal::invalid(format!("_page '{version}' is no page of this history")))?;
    Ok(marks.partition_point(|mark| mark.version >= version))
}

/// The links of a page: to itself, and to the page that follows what `last` names, if there is one.
fn links(url: &str, text: &str, last: Option<&str>) -> Vec<Value> {
    let mut links = vec![json!({"relation": "self", "url": with_query(url, text)})];
    if let Some(last) = last {
        let pairs = form_urlencoded::parse(text.as_bytes()).filter(|(name, _)| name != "_page");
        let mut next = form_urlencoded::Serializer::new(String::new());
        let next = next.extend_pairs(pairs).append_pair("_page", last).finish();
        links.push(json!({"relation": "next", "url": with_query(url, &next)}));
    }
    links
}

fn entry(mark: &Mark, base: &str, about: Value) -> Entry {
    let text = mark.change.text();
    Entry {
        full_url: format!("{base}/{}/{}", mark.kind, mark.id),
        resource: text.and_then(|text| RawValue::from_string(text.to_string()).ok()),
        about,
    }
}

/// What was asked for and answered when a version came to be; `before` is the version before it.
fn exchange(mark: &Mark, before: Option<&Mark>) -> Value {
    let new = before.is_none_or(|before| before.change == Change::Delete);
    let Mark {
        kind, id, version, ..
    } = mark;
    let (method, url, status) = match &mark.change {
        Change::Post(_) => ("POST", (*kind).to_owned(), "201"),
        Change::Put(_) if new => ("PUT", format!("{kind}/{id}"), "201"),
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

fn with_query(url: &str, query: &str) -> String {
    match query {
        "" => url.to_owned(),
        _ => format!("{url}?{query}"),
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}
