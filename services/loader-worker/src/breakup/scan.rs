//! Finds the references of a JSON text without building a tree.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};

/// Members whose text can name another entry of a Bundle: those of the types Reference, uri, url and uuid that
/// stand by themselves. `system` and `value` of an identifier never do.
const NAMING: [&str; 5] = ["reference", "url", "valueUri", "valueUrl", "valueUuid"];

/// A text that can name another entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Naming<'a> {
    /// Where it lies, quotes included.
    pub(super) span: Range<usize>,
    /// What it says.
    pub(super) text: Cow<'a, str>,
}

/// All of them, in order; `json` must be JSON.
pub(super) fn namings(json: &str) -> Vec<Naming<'_>> {
    let bytes = json.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = memchr(b'"', &bytes[at..]).map(|n| at + n) {
        let key = string(bytes, start);
        at = key.end;
        let colon = after_space(bytes, at);
        if bytes.get(colon) != Some(&b':') || !NAMING.contains(&&*decoded(json, &key)) {
            continue;
        }
        at = after_space(bytes, colon + 1);
        if bytes.get(at) == Some(&b'"') {
            let span = string(bytes, at);
            at = span.end;
            let text = decoded(json, &span);
            found.push(Naming { span, text });
        }
    }
    found
}

/// The string that starts at a quote, with both quotes.
fn string(bytes: &[u8], start: usize) -> Range<usize> {
    let mut at = start + 1;
    while let Some(n) = memchr2(b'"', b'\\', &bytes[at..]) {
        at += n;
        if bytes[at] == b'"' {
            return start..at + 1;
        }
        // What follows a backslash ends no string.
        at = (at + 2).min(bytes.len());
    }
    start..bytes.len()
}

fn after_space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes[at..].iter();
    at + rest.take_while(|b| b.is_ascii_whitespace()).count()
}

fn decoded<'a>(json: &'a str, span: &Range<usize>) -> Cow<'a, str> {
    let inner = json.get(span.start + 1..span.end - 1).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    serde_json::from_str(&json[span.clone()]).map_or_else(|_| Cow::Borrowed(inner), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn texts(json: &str) -> Vec<String> {
        let found = namings(json).into_iter();
        found.map(|n| n.text.into_owned()).collect()
    }

    #[test]
    fn only_values_of_naming_members_are_found() {
        let json = r#"{"reference" : "a","x":["reference","b"],"value":"\"reference\":\"c\"",
            "y":{"reference":{"reference":"d\/é\u00e9"}},"\u0072eference":"e","url":7,"system":"f",
            "reference":null}"#;
        assert_eq!(texts(json), ["a", "d/éé", "e"]);
        for naming in namings(json) {
            assert!(json[naming.span].starts_with('"'));
        }
    }

    fn expected(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|v| expected(v, found)),
            Value::Object(members) => {
                for (key, value) in members {
                    match value {
                        Value::String(text) if NAMING.contains(&&**key) => found.push(text.clone()),
                        other => expected(other, found),
                    }
                }
            }
            _ => {}
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["reference|url|valueUri", "[a-z\"\\\\:{}\u{e9}\n]{0,8}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            text.prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let key = prop_oneof!["reference|url", "[a-z\"\\\\:]{0,6}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_tree(value in json(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let mut wanted = Vec::new();
            expected(&value, &mut wanted);
            prop_assert_eq!(texts(&text), wanted);
        }
    }
}
