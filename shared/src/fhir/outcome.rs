//! What a FHIR server says went wrong, as text for a person.
//!
//! The text may quote the resource that was refused, so it is patient data: show it to who loads,
//! never log it at info or above.

use serde::Deserialize;

/// Issues told in full; the rest are counted.
const MOST_ISSUES: usize = 5;
/// Characters told of a body that is no OperationOutcome.
const MOST_CHARACTERS: usize = 200;

#[derive(Deserialize)]
struct OperationOutcome {
    #[serde(rename = "resourceType")]
    resource_type: String,
    #[serde(default)]
    issue: Vec<Issue>,
}

#[derive(Deserialize)]
struct Issue {
    #[serde(default)]
    severity: String,
    #[serde(default)]
    code: String,
    details: Option<Details>,
    diagnostics: Option<String>,
}

#[derive(Deserialize)]
struct Details {
    text: Option<String>,
}

impl Issue {
    fn text(self) -> String {
        let text = self.details.and_then(|details| details.text);
        decode_entities(&text.or(self.diagnostics).unwrap_or(self.code))
    }
}

/// Whether a body is an OperationOutcome.
pub fn is_operation_outcome(body: &[u8]) -> bool {
    parse(body).is_some()
}

/// The errors of an OperationOutcome (all of its issues when none is an error), or the beginning of
/// any other body's text.
pub fn describe(body: &[u8]) -> String {
    let Some(outcome) = parse(body) else {
        return beginning(body);
    };
    let is_error = |issue: &Issue| matches!(issue.severity.as_str(), "error" | "fatal");
    let any_error = outcome.issue.iter().any(is_error);
    let issues = outcome
        .issue
        .into_iter()
        .filter(|issue| !any_error || is_error(issue));
    let mut texts: Vec<String> = issues.map(Issue::text).collect();
    if texts.is_empty() {
        return "an OperationOutcome without issues".to_owned();
    }
    let more = texts.len().saturating_sub(MOST_ISSUES);
    texts.truncate(MOST_ISSUES);
    let told = texts.join("; ");
    if more > 0 {
        format!("{told}; and {more} more")
    } else {
        told
    }
}

fn parse(body: &[u8]) -> Option<OperationOutcome> {
    let outcome: OperationOutcome = serde_json::from_slice(body).ok()?;
    (outcome.resource_type == "OperationOutcome").then_some(outcome)
}

fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = if text.trim_start().starts_with('<') {
        without_tags(&text)
    } else {
        text.into()
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let text: String = words.join(" ").chars().take(MOST_CHARACTERS).collect();
    if text.is_empty() {
        "an empty answer".to_owned()
    } else {
        text
    }
}

fn without_tags(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, after)| after));
        text.push(' ');
    }
    decode_entities(&text)
}

/// LinuxForHealth writes texts as HTML would need them: `&#39;` for an apostrophe.
fn decode_entities(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        decoded.push_str(&rest[..start]);
        rest = &rest[start..];
        let entity = rest
            .find(';')
            .and_then(|end| Some((entity(&rest[1..end])?, end + 1)));
        let (character, length) = entity.unwrap_or(('&', 1));
        decoded.push(character);
        rest = &rest[length..];
    }
    decoded.push_str(rest);
    decoded
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/http");

    /// The body of a recorded answer.
    fn recorded(name: &str) -> Vec<u8> {
        let exchange = std::fs::read(format!("{FOLDER}/{name}")).unwrap();
        let after = |bytes: &[u8], mark: &str| {
            let start = memchr::memmem::find(bytes, mark.as_bytes()).unwrap();
            bytes[start + mark.len()..].to_vec()
        };
        after(&after(&exchange, "----- RESPONSE"), "\r\n\r\n")
    }

    #[test]
    fn recorded_outcomes_are_told() {
        for (file, text) in [
            (
                "create-400-bad-code.txt",
                "FHIRProvider: not-a-gender [Patient.gender]",
            ),
            (
                "bundle-transaction-400-validation.txt",
                "FHIRProvider: Missing required element: 'status' [Bundle.entry[1]]",
            ),
        ] {
            let body = recorded(file);
            assert!(is_operation_outcome(&body), "{file}");
            assert_eq!(describe(&body), text, "{file}");
        }
    }

    #[test]
    fn every_recorded_refusal_has_a_text() {
        let mut told = 0;
        for file in std::fs::read_dir(FOLDER).unwrap() {
            let file = file.unwrap().path();
            if file.extension().unwrap() != "txt" {
                continue;
            }
            let name = file.file_name().unwrap().to_str().unwrap();
            let body = recorded(name);
            let text = describe(&body);
            let plain = !text.contains("&#") && !text.contains('\n');
            assert!(!text.is_empty() && plain, "{name}: {text}");
            told += usize::from(is_operation_outcome(&body));
        }
        assert!(
            told >= 10,
            "only {told} of the recorded answers are OperationOutcomes"
        );
    }

    #[test]
    fn warnings_are_left_out_when_there_are_errors() {
        let body = br#"{"resourceType":"OperationOutcome","issue":[
            {"severity":"warning","diagnostics":"old code"},
            {"severity":"error","diagnostics":"no such patient"},
            {"severity":"fatal","code":"exception"}]}"#;
        assert_eq!(describe(body), "no such patient; exception");
        let body = br#"{"resourceType":"OperationOutcome","issue":[
            {"severity":"warning","diagnostics":"old code"}]}"#;
        assert_eq!(describe(body), "old code");
    }

    #[test]
    fn many_issues_are_counted() {
        let issue = r#"{"severity":"error","diagnostics":"x"}"#;
        let issues = [issue; 8].join(",");
        let body = format!(r#"{{"resourceType":"OperationOutcome","issue":[{issues}]}}"#);
        assert_eq!(describe(body.as_bytes()), "x; x; x; x; x; and 3 more");
    }

    #[test]
    fn other_bodies_are_told_by_their_beginning() {
        assert_eq!(describe(b""), "an empty answer");
        assert_eq!(
            describe(b"<html><h1>Bad&#x20;gateway</h1>\n\n<p>nginx &amp; co"),
            "Bad gateway nginx & co"
        );
        assert_eq!(describe(&[b'x'; 1000]).len(), MOST_CHARACTERS);
        assert!(!is_operation_outcome(b"{\"resourceType\":\"Patient\"}"));
    }

    #[test]
    fn what_only_looks_like_an_entity_stays() {
        assert_eq!(
            decode_entities("a & b; &#xZZ; &nbsp; &#39;c&#39;"),
            "a & b; &#xZZ; &nbsp; 'c'"
        );
    }
}
