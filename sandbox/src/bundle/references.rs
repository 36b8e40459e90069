//! References within the JSON text of a resource.

use std::borrow::Cow;

use crate::outcome::Refusal;
use crate::r4;
use crate::resource::{is_id, string_end};

/// How the member looks in compact JSON, up to the first character of its value.
const MEMBER: &[u8] = br#""reference":""#;

/// Puts other references in the place of those that `replace` gives one for. Gives the new text if
/// there was such a one. The text is compact JSON.
pub(crate) fn rewrite(
    text: &str,
    mut replace: impl FnMut(&str) -> Result<Option<String>, Refusal>,
) -> Result<Option<String>, Refusal> {
    let bytes = text.as_bytes();
    let mut rewritten = String::new();
    let mut copied = 0;
    for found in memchr::memmem::find_iter(bytes, MEMBER) {
        // A quote after a brace or comma opens a name: within a string it would have a backslash.
        if !(found == 0 || matches!(bytes[found - 1], b'{' | b',')) {
            continue;
        }
        let start = found + MEMBER.len() - 1;
        let end = string_end(bytes, start + 1);
        let quoted = &text[start..end];
        if let Some(other) = replace(&unquoted(quoted))? {
            rewritten.push_str(&text[copied..start]);
            rewritten.push_str(&serde_json::Value::from(other).to_string());
            copied = end;
        }
    }
    if copied == 0 {
        return Ok(None);
    }
    rewritten.push_str(&text[copied..]);
    Ok(Some(rewritten))
}

/// Refuses the first `Type/id` for which `exists` says no.
pub(crate) fn check(
    text: &str,
    exists: impl Fn(&'static str, &str) -> bool,
) -> Result<(), Refusal> {
    let checked = rewrite(text, |reference| match literal(reference) {
        Some((kind, id)) if !exists(kind, id) => Err(Refusal::value(format!(
            "The resource refers to '{kind}/{id}', which is not there."
        ))),
        _ => Ok(None),
    });
    checked.map(|_| ())
}

/// The type and id of a reference to this server: `Type/id`, perhaps with a version.
fn literal(reference: &str) -> Option<(&'static str, &str)> {
    let mut parts = reference.split('/');
    let kind = r4::resource_type(parts.next()?)?;
    let id = parts.next().filter(|id| is_id(id))?;
    Some((kind, id))
}

fn unquoted(quoted: &str) -> Cow<'_, str> {
    if !quoted.contains('\\') {
        return quoted.trim_matches('"').into();
    }
    serde_json::from_str::<String>(quoted)
        .unwrap_or_default()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shout(text: &str) -> Option<String> {
        rewrite(text, |r| {
            Ok(r.starts_with("urn:").then(|| r.to_uppercase()))
        })
        .unwrap()
    }

    #[test]
    fn only_values_of_reference_members_change() {
        let text = concat!(
            r#""subject":{"reference":"urn:a"},"text":"say {\"reference\":\"urn:b\"}","#,
            r#""x":[{"display":"ends with ,","reference":"urn:c"},{"reference":"Patient\/1"}],"#,
            r#""uri":"urn:d""#
        );
        let expected = text.replace("urn:a", "URN:A").replace("urn:c", "URN:C");
        assert_eq!(shout(text).unwrap(), expected);
        assert_eq!(
            shout(r#""reference":"urn:a""#).unwrap(),
            r#""reference":"URN:A""#
        );
        assert_eq!(shout(r#""a":{"reference":"Patient/1"}"#), None);
    }

    #[test]
    fn literal_references_are_checked() {
        let refused = |reference: &str| {
            let text = format!(r#""subject":{{"reference":"{reference}"}}"#);
            check(&text, |kind, id| (kind, id) == ("Patient", "1")).is_err()
        };
        assert!(refused("Patient/2") && refused("Group/1") && refused("Patient/2/_history/1"));
        for fine in [
            "Patient/1",
            "Patient\\/1",
            "#contained",
            "urn:uuid:x",
            "http://a/Patient/2",
        ] {
            assert!(!refused(fine), "{fine}");
        }
    }
}
