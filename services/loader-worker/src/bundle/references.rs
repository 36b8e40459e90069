//! Finds references in the JSON text of a resource or an entry.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memmem};

const MEMBER: &[u8] = br#""reference""#;

/// Whether a resource refers to another by a condition (`Type?query`), which servers resolve only in
/// a transaction.
pub(crate) fn has_conditional_reference(json: &[u8]) -> bool {
    memchr(b'?', json).is_some() && references(json).any(|r| condition(&r).is_some())
}

/// The values of all members `reference`.
pub(super) fn references(json: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    let members = memmem::find_iter(json, MEMBER);
    // After a backslash the quote belongs to a string that speaks of a reference.
    let members = members.filter(|&at| at == 0 || json[at - 1] != b'\\');
    members.filter_map(|at| value(&json[at + MEMBER.len()..]))
}

/// The URNs in a text, wherever they stand: also in uris and in narrative.
pub(super) fn urns(json: &[u8]) -> impl Iterator<Item = &str> {
    memmem::find_iter(json, b"urn:").filter_map(|at| {
        let rest = &json[at..];
        let ends = |b: &u8| b.is_ascii_whitespace() || b"\"'\\#<>&".contains(b);
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        std::str::from_utf8(&rest[..length]).ok()
    })
}

/// The string after a member's name.
fn value(after: &[u8]) -> Option<Cow<'_, str>> {
    let quoted = after.trim_ascii_start().strip_prefix(b":")?;
    let quoted = quoted.trim_ascii_start();
    let text = quoted.strip_prefix(b"\"")?;
    let mut end = memchr2(b'"', b'\\', text)?;
    let escaped = text[end] == b'\\';
    while text.get(end)? == &b'\\' {
        end += 2;
        end += memchr2(b'"', b'\\', text.get(end..)?)?;
    }
    if escaped {
        return serde_json::from_slice(&quoted[..end + 2])
            .ok()
            .map(Cow::Owned);
    }
    std::str::from_utf8(&text[..end]).ok().map(Cow::Borrowed)
}

/// Type and query of a conditional reference.
pub(super) fn condition(reference: &str) -> Option<(&str, &str)> {
    let (name, query) = reference.split_once('?')?;
    is_type_name(name).then_some((name, query))
}

/// `Type/id` of a literal reference: relative or absolute, perhaps with a version.
pub(super) fn type_and_id(reference: &str) -> Option<&str> {
    let unversioned = reference.split("/_history/").next()?;
    let id = unversioned.rfind('/')?;
    let name = unversioned[..id].rfind('/').map_or(0, |slash| slash + 1);
    (is_type_name(&unversioned[name..id]) && id + 1 < unversioned.len())
        .then(|| &unversioned[name..])
}

fn is_type_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str) -> Vec<String> {
        references(json.as_bytes()).map(Cow::into_owned).collect()
    }

    #[test]
    fn references_are_found_however_they_are_written() {
        let json = r##"{"a":{"reference":"Patient/1"},"b":{"reference" :
            "Group\/2"},"c":[{"reference":"#p"}],"text":"he said \"reference\":\"Patient/9\"",
            "reference":7,"d":{"reference":"say \"hi\""}}"##;
        assert_eq!(found(json), ["Patient/1", "Group/2", "#p", r#"say "hi""#]);
        for cut in 0..json.len() {
            let _ = found(&json[..cut]);
        }
    }

    #[test]
    fn conditional_references_are_told_from_others() {
        let is = |reference: &str| {
            let json = format!(r#"{{"subject":{{"reference":"{reference}"}}}}"#);
            has_conditional_reference(json.as_bytes())
        };
        assert!(is("Practitioner?identifier=http://a|1"));
        assert!(!is("Practitioner/1") && !is("http://a/b?c") && !is("urn:uuid:x?"));
        assert!(!has_conditional_reference(br#"{"text":"Patient?x=1"}"#));
    }

    #[test]
    fn literal_references_are_brought_to_one_form() {
        for reference in [
            "Patient/1",
            "http://a/fhir/Patient/1",
            "Patient/1/_history/7",
            "https://a/Patient/1/_history/7",
        ] {
            assert_eq!(type_and_id(reference), Some("Patient/1"), "{reference}");
        }
        for other in ["urn:uuid:x", "#a", "Patient", "Patient/", "a/b", ""] {
            assert_eq!(type_and_id(other), None, "{other}");
        }
    }

    #[test]
    fn urns_are_found_anywhere() {
        let json = br#"{"a":"urn:uuid:1","div":"<a href=\"urn:uuid:2\">x</a>","b":"urn:oid:3#f"}"#;
        let found: Vec<_> = urns(json).collect();
        assert_eq!(found, ["urn:uuid:1", "urn:uuid:2", "urn:oid:3"]);
    }
}
