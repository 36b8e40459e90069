//! What an entry of a Bundle asks for, and how others can name it once it is in another Bundle.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::scan::{self, Naming};

/// One entry, read.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// Its bytes.
    pub(super) raw: &'a str,
    pub(super) full_url: Option<String>,
    pub(super) resource: Option<Resource<'a>>,
    pub(super) request: Option<Request>,
}

/// The resource of an entry; spans count from the start of the entry.
#[derive(Debug)]
pub(super) struct Resource<'a> {
    pub(super) span: Range<usize>,
    pub(super) name: String,
    /// Where the value of `id` lies, and what it says.
    pub(super) id: Option<(Range<usize>, Option<String>)>,
    /// What in it may name other entries.
    pub(super) namings: Vec<Naming<'a>>,
}

/// The request of an entry; spans count from the start of the entry.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: (Range<usize>, String),
    pub(super) url: (Range<usize>, String),
    pub(super) if_none_exist: Option<String>,
}

#[derive(Deserialize)]
struct EntryParts<'a> {
    #[serde(rename = "fullUrl")]
    full_url: Option<String>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ResourceParts<'a> {
    #[serde(borrow, rename = "resourceType")]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RequestParts<'a> {
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(rename = "ifNoneExist")]
    if_none_exist: Option<String>,
}

impl<'a> Entry<'a> {
    /// Reads the entry `raw`, which is JSON.
    pub(super) fn read(raw: &'a str) -> Result<Self, serde_json::Error> {
        let parts: EntryParts = serde_json::from_str(raw)?;
        let resource = parts.resource.map(|resource| Resource::read(raw, resource));
        let request = parts.request.map(|request| Request::read(raw, request));
        Ok(Self {
            raw,
            full_url: parts.full_url.filter(|url| !url.is_empty()),
            resource: resource.transpose()?,
            request: request.transpose()?.flatten(),
        })
    }

    /// Whether its name means something in its Bundle only.
    pub(super) fn is_named_locally(&self) -> bool {
        let local = |url: &String| url.starts_with("urn:") || url.starts_with("resource:");
        self.full_url.as_ref().is_some_and(local)
    }

    /// What relative references in it are relative to.
    pub(super) fn base(&self) -> Option<&str> {
        let url = self.full_url.as_deref()?;
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return None;
        }
        let (rest, _id) = url.rsplit_once('/')?;
        rest.rsplit_once('/').map(|(base, _type)| base)
    }

    pub(super) fn method(&self) -> &str {
        self.request.as_ref().map_or("", |r| &r.method.1)
    }

    /// The type of what a plain create makes.
    pub(super) fn created_type(&self) -> Option<&str> {
        let (resource, request) = (self.resource.as_ref()?, self.request.as_ref()?);
        let url = request.url.1.trim_start_matches('/');
        (request.method.1 == "POST" && url == resource.name).then_some(&resource.name)
    }
}

impl<'a> Resource<'a> {
    fn read(entry: &'a str, raw: &'a RawValue) -> Result<Self, serde_json::Error> {
        let parts: ResourceParts = serde_json::from_str(raw.get())?;
        let span = span(entry, raw);
        let name = parts.name.unwrap_or_default().into_owned();
        // What a Bundle within this one names lies in that Bundle.
        let mut namings = if name == "Bundle" {
            Vec::new()
        } else {
            scan::namings(raw.get())
        };
        for naming in &mut namings {
            naming.span = naming.span.start + span.start..naming.span.end + span.start;
        }
        Ok(Self {
            span,
            name,
            id: parts
                .id
                .map(|id| (self::span(entry, id), serde_json::from_str(id.get()).ok())),
            namings,
        })
    }
}

impl Request {
    /// None when it says neither how nor where.
    fn read(entry: &str, raw: &RawValue) -> Result<Option<Self>, serde_json::Error> {
        let parts: RequestParts = serde_json::from_str(raw.get())?;
        let (Some(method), Some(url)) = (parts.method, parts.url) else {
            return Ok(None);
        };
        Ok(Some(Self {
            method: (span(entry, method), serde_json::from_str(method.get())?),
            url: (span(entry, url), serde_json::from_str(url.get())?),
            if_none_exist: parts.if_none_exist.filter(|query| !query.is_empty()),
        }))
    }
}

/// Where a part of a text lies in it.
pub(super) fn span(whole: &str, part: &RawValue) -> Range<usize> {
    let start = part.get().as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.get().len()
}
