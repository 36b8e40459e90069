//! A resource as it was sent: checked, without needless white space, its parts apart.
//!
//! No tree is built of it: what is stored has every number and text as the client wrote them.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::outcome::Refusal;
use crate::r4;
use crate::search;
use crate::validate::{self, Place};

/// Objects and arrays within each other, at most.
const MAX_DEPTH: usize = 128;

/// A resource that passed the checks.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) kind: &'static str,
    pub(crate) id: Option<String>,
    /// Values of its identifiers, for the index.
    pub(crate) identifiers: Vec<String>,
    /// Members of `meta` that are the client's, as compact JSON without the braces.
    meta: String,
    /// All other members, likewise.
    rest: String,
}

impl Resource {
    /// Checks the JSON text of a resource.
    pub(crate) fn parse(raw: &RawValue, place: Place) -> Result<Self, Refusal> {
        let text = compact(raw.get())?;
        let Ok(Members(members)) = serde_json::from_str(&text) else {
            return Err(place.refuse_here("FHIRProvider: Expected a JSON object"));
        };
        let kind = kind_of(&members, place)?;
        validate::check(kind, &members, place)?;
        let mut resource = Self {
            kind,
            id: None,
            identifiers: Vec::new(),
            meta: String::new(),
            rest: String::with_capacity(text.len()),
        };
        for (name, value) in &members {
            match name.as_str() {
                "resourceType" => {}
                "id" => resource.id = Some(id_of(value, kind, place)?),
                "meta" => resource.meta = client_meta(value, kind, place)?,
                _ => push_member(&mut resource.rest, name, value),
            }
            if name == "identifier" {
                resource.identifiers = search::identifier_values(value.get());
            }
        }
        Ok(resource)
    }

    /// The text to store: as it was sent, with the id and version that the server gives it.
    pub(crate) fn stamped(&self, id: &str, version: u32, at: DateTime<Utc>) -> String {
        let mut text = format!(
            r#"{{"resourceType":"{}","id":"{id}","meta":{{"versionId":"{version}","lastUpdated":"{}""#,
            self.kind,
            instant(at),
        );
        if !self.meta.is_empty() {
            text.push(',');
            text.push_str(&self.meta);
        }
        text.push('}');
        if !self.rest.is_empty() {
            text.push(',');
            text.push_str(&self.rest);
        }
        text.push('}');
        text
    }

    /// Its members but id and meta, as compact JSON without the outer braces.
    pub(crate) fn content(&self) -> &str {
        &self.rest
    }

    /// Puts another text in the place of [`Resource::content`].
    pub(crate) fn set_content(&mut self, content: String) {
        self.rest = content;
    }
}

/// How FHIR writes a moment.
pub(crate) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Whether FHIR allows this as a resource's id.
pub(crate) fn is_id(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

fn kind_of(members: &[Member], place: Place) -> Result<&'static str, Refusal> {
    let Some((_, value)) = members.iter().find(|(name, _)| name == "resourceType") else {
        let text = "FHIRProvider: Missing required element: &#39;resourceType&#39;";
        return Err(place.refuse_here(text));
    };
    let name: String = serde_json::from_str(value.get())
        .map_err(|_| place.refuse_here("FHIRProvider: resourceType must be a string"))?;
    r4::resource_type(&name).ok_or_else(|| {
        place.refuse_here(&format!(
            "FHIRProvider: Invalid resource type: &#39;{name}&#39;"
        ))
    })
}

fn id_of(value: &RawValue, kind: &str, place: Place) -> Result<String, Refusal> {
    let id: Option<String> = serde_json::from_str(value.get()).ok();
    id.filter(|id| is_id(id)).ok_or_else(|| {
        let path = place.element(kind, "id");
        Refusal::invalid(format!(
            "FHIRProvider: Invalid id: {} [{path}]",
            value.get()
        ))
        .at(path)
    })
}

fn client_meta(value: &RawValue, kind: &str, place: Place) -> Result<String, Refusal> {
    let Ok(Members(members)) = serde_json::from_str(value.get()) else {
        let path = place.element(kind, "meta");
        let text = format!("FHIRProvider: Expected: OBJECT for element: &#39;meta&#39; [{path}]");
        return Err(Refusal::invalid(text).at(path));
    };
    let mut text = String::new();
    for (name, value) in members {
        if name != "versionId" && name != "lastUpdated" {
            push_member(&mut text, &name, value);
        }
    }
    Ok(text)
}

fn push_member(text: &mut String, name: &str, value: &RawValue) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(&serde_json::Value::from(name).to_string());
    text.push(':');
    text.push_str(value.get());
}

/// Leaves out white space between the tokens of valid JSON.
fn compact(text: &str) -> Result<String, Refusal> {
    let bytes = text.as_bytes();
    let mut kept = Vec::with_capacity(bytes.len());
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => continue,
            b'"' => {
                let end = string_end(bytes, at);
                kept.extend_from_slice(&bytes[at - 1..end]);
                at = end;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            let text = format!("FHIRProvider: JSON is nested deeper than {MAX_DEPTH} levels");
            return Err(Refusal::invalid(text));
        }
        kept.push(byte);
    }
    String::from_utf8(kept).map_err(|e| Refusal::invalid(format!("FHIRProvider: {e}")))
}

/// The position after the closing quote of a string whose content starts at `from`.
pub(crate) fn string_end(bytes: &[u8], mut from: usize) -> usize {
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[from.min(bytes.len())..]) {
        from += found;
        if bytes[from] == b'"' {
            return from + 1;
        }
        from += 2;
    }
    bytes.len()
}

/// A member of a JSON object: its name, and its value as text.
pub(crate) type Member<'a> = (String, &'a RawValue);

/// The members of a JSON object, in their order.
pub(crate) struct Members<'a>(pub(crate) Vec<Member<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(Members)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Resource, Refusal> {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        Resource::parse(raw, Place::Root)
    }

    #[test]
    fn keeps_numbers_and_texts_as_they_were_written() {
        let sent = r#"{ "resourceType": "Basic", "id": "a", "meta": {"versionId": "9", "tag": []},
            "code": { "text": "two  words, \"quoted\\\\" }, "extension": [ 1.500, -0.0 ] }"#;
        let stored = parse(sent).unwrap().stamped("b", 1, DateTime::UNIX_EPOCH);
        assert_eq!(
            stored,
            concat!(
                r#"{"resourceType":"Basic","id":"b","meta":{"versionId":"1","#,
                r#""lastUpdated":"1970-01-01T00:00:00.000000Z","tag":[]},"#,
                r#""code":{"text":"two  words, \"quoted\\\\"},"extension":[1.500,-0.0]}"#
            )
        );
    }

    #[test]
    fn a_resource_of_nothing_but_its_type_is_stored_well() {
        let stored = parse(r#"{"resourceType":"Basic"}"#).unwrap();
        let stored = stored.stamped("b", 2, DateTime::UNIX_EPOCH);
        assert!(
            serde_json::from_str::<serde_json::Value>(&stored).is_ok(),
            "{stored}"
        );
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |n: usize| {
            let (open, close) = ("[".repeat(n), "]".repeat(n));
            format!(r#"{{"resourceType":"Basic","x":{open}{close}}}"#)
        };
        assert!(parse(&nested(127)).is_ok());
        let refused = parse(&nested(128)).unwrap_err();
        assert!(refused.to_string().contains("deeper"), "{refused}");
        assert!(parse(&nested(100_000)).is_err());
    }

    #[test]
    fn ids_are_checked() {
        assert!(is_id("a-Z.9") && is_id(&"x".repeat(64)));
        for wrong in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }
}
