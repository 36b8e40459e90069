//! What an entry of a Bundle that goes as it is asks for.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::header;
use super::key::key_of;

/// Its resource and request, as far as they can be read.
#[derive(Default, Deserialize)]
pub(super) struct Entry<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    request: Option<EntryRequest>,
}

#[derive(Default, Deserialize)]
struct EntryRequest {
    method: Option<String>,
    url: Option<String>,
    #[serde(rename = "ifNoneExist")]
    if_none_exist: Option<String>,
    #[serde(rename = "ifMatch")]
    if_match: Option<String>,
    #[serde(rename = "ifNoneMatch")]
    if_none_match: Option<String>,
}

impl<'a> Entry<'a> {
    /// Of one that cannot be read nothing is known.
    pub(super) fn read(raw: &'a RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
    }

    /// Whether asking it twice is safe: `PUT`, `DELETE`, `GET` and conditional creates are, unless they name the
    /// version they replace.
    pub(super) fn is_repeatable(&self) -> bool {
        let Some(request) = &self.request else {
            return false;
        };
        let of_a_version = request.if_match.is_some() || request.if_none_match.is_some();
        let condition = request.if_none_exist.as_deref();
        match request.method.as_deref() {
            Some("GET" | "HEAD") => true,
            Some("PUT" | "DELETE") => !of_a_version,
            _ => condition.is_some_and(|condition| !condition.is_empty()),
        }
    }

    /// The key of what it writes, as far as its URL tells.
    pub(super) fn writes(&self) -> Option<u64> {
        let request = self.request.as_ref()?;
        if !matches!(request.method.as_deref(), Some("PUT" | "DELETE" | "PATCH")) {
            return None;
        }
        let (name, id) = request.url.as_deref()?.split_once('/')?;
        Some(key_of(name, id))
    }

    /// Of its resource, else of its URL; empty where neither tells.
    pub(super) fn resource_type(&self) -> Cow<'_, str> {
        let of_resource = self
            .resource
            .and_then(|resource| header::parse(resource.get().as_bytes()).ok());
        if let Some(head) = of_resource {
            return head.resource_type;
        }
        let url = self
            .request
            .as_ref()
            .and_then(|request| request.url.as_deref());
        let first = url
            .and_then(|url| url.split(['/', '?']).next())
            .unwrap_or_default();
        Cow::Borrowed(if header::is_type_name(first) {
            first
        } else {
            ""
        })
    }
}
