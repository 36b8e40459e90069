//! Reads `resourceType` and `id` of a resource and checks that the whole text is JSON, without building a tree.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::skim;

use crate::breakup::BreakupError;

/// Why a text cannot be sent as a FHIR resource.
#[derive(Debug, thiserror::Error)]
pub enum BadInput {
    /// Its bytes are no UTF-8.
    #[error("not UTF-8: byte {at} is not valid; FHIR JSON must be UTF-8")]
    NotUtf8 {
        /// 0-based byte in the input.
        at: usize,
    },
    /// It is no JSON.
    #[error("not JSON: {0}")]
    NotJson(serde_json::Error),
    /// It is JSON but no object.
    #[error("not a FHIR resource: a JSON object is expected")]
    NotAnObject,
    /// It has no `resourceType`.
    #[error("not a FHIR resource: it has no resourceType")]
    NoResourceType,
    /// Its `resourceType` cannot be one.
    #[error("not a FHIR resource: resourceType must be letters only")]
    OddResourceType,
    /// Its id does not match FHIR's `[A-Za-z0-9\-\.]{1,64}`.
    #[error("id is not a FHIR id: 1 to 64 letters, digits, '-' and '.' are allowed")]
    OddId,
    /// It must have an id to be updated.
    #[error("has no id, which an update needs; load it with --interaction auto or create")]
    NoId,
    /// A Bundle without a type.
    #[error("a Bundle without a type")]
    NoBundleType,
    /// A history cannot be loaded as resources.
    #[error(
        "a history Bundle holds versions and deletions, which cannot be loaded as resources; load a collection or searchset"
    )]
    History,
    /// An entry of a Bundle that is none.
    #[error("not an entry of a Bundle: {0}")]
    BadEntry(serde_json::Error),
    /// A Bundle with more entries than are allowed, which cannot be broken up.
    #[error("more entries than max_bundle_entries allows, and {0}")]
    TooManyEntries(BreakupError),
    /// A line or a file that is too long to be held in memory.
    #[error("longer than {limit} bytes; raise max_document_bytes to load it")]
    TooLong {
        /// The setting in force.
        limit: usize,
    },
}

/// What is needed of a resource to send it.
#[derive(Debug)]
pub(super) struct Header<'a> {
    /// FHIR type, letters only.
    pub(super) resource_type: Cow<'a, str>,
    id: Id<'a>,
}

#[derive(Debug)]
enum Id<'a> {
    None,
    Plain(&'a str),
    /// Not read yet: it may be of any kind.
    Raw(&'a RawValue),
}

impl<'a> Header<'a> {
    /// The resource's id, checked: only who writes to it needs it to be one.
    pub(super) fn id(&self) -> Result<Option<Cow<'a, str>>, BadInput> {
        let id = match self.id {
            Id::None => return Ok(None),
            Id::Plain(id) => Cow::Borrowed(id),
            Id::Raw(raw) => match serde_json::from_str::<Text>(raw.get()) {
                Ok(id) => id.0,
                Err(_) => return Err(BadInput::OddId),
            },
        };
        if is_fhir_id(&id) {
            Ok(Some(id))
        } else {
            Err(BadInput::OddId)
        }
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "resourceType")]
    resource_type: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// Reads the header of one resource; `json` has no white space around it.
pub(super) fn parse(json: &[u8]) -> Result<Header<'_>, BadInput> {
    match skimmed(json) {
        Some(header) if is_type_name(&header.resource_type) => Ok(header),
        _ => parse_any(json),
    }
}

/// The header of a plain resource, as most are.
fn skimmed(json: &[u8]) -> Option<Header<'_>> {
    let found = skim::resource(json)?;
    let text = |place| std::str::from_utf8(&json[place]).ok();
    Some(Header {
        resource_type: Cow::Borrowed(text(found.resource_type)?),
        id: match found.id {
            None => Id::None,
            Some(place) => Id::Plain(text(place)?),
        },
    })
}

fn parse_any(json: &[u8]) -> Result<Header<'_>, BadInput> {
    // serde_json does not check the encoding of what it skips.
    let text = utf8(json)?;
    if !text.starts_with('{') {
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(BadInput::NotJson)?;
        return Err(BadInput::NotAnObject);
    }
    let fields: Fields = serde_json::from_str(text).map_err(BadInput::NotJson)?;
    let resource_type = fields.resource_type.ok_or(BadInput::NoResourceType)?.0;
    if !is_type_name(&resource_type) {
        return Err(BadInput::OddResourceType);
    }
    Ok(Header {
        resource_type,
        id: fields.id.map_or(Id::None, Id::Raw),
    })
}

/// The input as text.
pub(super) fn utf8(json: &[u8]) -> Result<&str, BadInput> {
    std::str::from_utf8(json).map_err(|e| BadInput::NotUtf8 {
        at: e.valid_up_to(),
    })
}

/// Whether a text can be the name of a FHIR type.
pub(super) fn is_type_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphabetic())
}

/// FHIR R4 §2.24.0.1, data type `id`.
pub(super) fn is_fhir_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().fold(true, |all, b| all & IN_ID[b as usize])
}

/// The bytes that an id may have.
const IN_ID: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte: u8 = 0;
    while byte < 0x80 {
        allowed[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        byte += 1;
    }
    allowed
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_type_and_id_anywhere_at_the_top() {
        let json =
            r#"{"text":{"id":"inner"},"id":"a-1","x":[1,{"id":2}],"resourceType":"Patient"}"#;
        let header = parse(json.as_bytes()).unwrap();
        assert_eq!(header.resource_type, "Patient");
        assert_eq!(header.id().unwrap().as_deref(), Some("a-1"));
    }

    #[test]
    fn says_what_is_wrong() {
        let cases: [(&[u8], &str); 8] = [
            (b"{\"resourceType\":\"Patient\"", "not JSON"),
            (b"hello", "not JSON"),
            (b"[\"Patient\",\"x\"]", "object is expected"),
            (b"{}", "no resourceType"),
            (b"{\"resourceType\":\"Pa/tient\"}", "letters only"),
            (
                b"{\"resourceType\":\"Patient\",\"x\":\"\xff\"}",
                "not UTF-8",
            ),
            (b"{\"resourceType\":\"Patient\"} {}", "not JSON"),
            (b"{\"resourceType\":\"Patient\",\"x\":tru}", "not JSON"),
        ];
        for (json, expected) in cases {
            let error = parse(json).unwrap_err().to_string();
            assert!(
                error.contains(expected),
                "{error} for {}",
                json.escape_ascii()
            );
        }
    }

    #[test]
    fn an_odd_id_is_told_to_who_asks_for_it() {
        for id in [r#""a b""#, r#""""#, "7", "{}"] {
            let json = format!(r#"{{"resourceType":"Patient","id":{id}}}"#);
            let header = parse(json.as_bytes()).unwrap();
            assert!(matches!(header.id(), Err(BadInput::OddId)), "{id}");
        }
        let header = parse(br#"{"resourceType":"Patient","id":null}"#).unwrap();
        assert_eq!(header.id().unwrap(), None);
    }

    proptest! {
        #[test]
        fn never_panics_and_accepts_only_json(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = r#"{"resourceType":"Patient","id":"p","name":[{"text":"Zoë \u00e9"}],"n":-1.5e3}"#;
            let mut bytes = whole.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(bytes.len() - cut.index(bytes.len()) / 40);
            if parse(&bytes).is_ok() {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
            }
        }

        #[test]
        fn agrees_with_a_full_parse(id in "[A-Za-z0-9.-]{1,64}", extra in ".{0,40}") {
            let value = serde_json::json!({"extra": extra, "resourceType": "Basic", "id": id});
            let text = value.to_string();
            let header = parse(text.as_bytes()).unwrap();
            let found = header.id().unwrap();
            prop_assert_eq!(found.as_deref(), Some(id.as_str()));
        }
    }
}
