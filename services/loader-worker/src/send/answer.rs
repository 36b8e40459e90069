//! What a server's answer to a Bundle says of each of its entries.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::verdict::{EntryVerdict, is_temporary, refusal, surely_did_nothing};
use crate::input::{Ask, Input, Request};
use crate::outcome::Refusal;
use crate::skim;

/// The answers, when every input was taken and nothing else matters of any answer: in what order they come
/// neither, since all were taken.
pub(super) fn all_taken(request: &Request, body: &[u8]) -> Option<Vec<EntryVerdict>> {
    let mut answers = Vec::with_capacity(request.inputs.len());
    let mut inputs = request.inputs.iter();
    skim::statuses(body, |status| {
        let input = inputs.next()?;
        answers.push(match (status, &input.ask) {
            (201, Ask::Put { .. }) => EntryVerdict::Created(None),
            (200 | 202..300, _) => EntryVerdict::Updated,
            _ => return None,
        });
        Some(())
    })?;
    inputs.as_slice().is_empty().then_some(answers)
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    entry: Vec<AnswerEntry<'a>>,
}

#[derive(Deserialize)]
struct AnswerEntry<'a> {
    #[serde(borrow)]
    response: Option<EntryResponse<'a>>,
}

impl AnswerEntry<'_> {
    fn location(&self) -> Option<&str> {
        Some(&self.response.as_ref()?.location.as_ref()?.0)
    }
}

#[derive(Deserialize)]
struct EntryResponse<'a> {
    #[serde(borrow)]
    status: Option<Text<'a>>,
    #[serde(borrow)]
    location: Option<Text<'a>>,
    #[serde(borrow)]
    outcome: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads the status of each entry. An error says why the answer is no answer to this request.
pub(super) fn entries(request: &Request, body: &Bytes) -> Result<Vec<EntryVerdict>, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|e| format!("the server's answer to a Bundle is no Bundle: {e}"))?;
    let (asked, answered) = (request.inputs.len(), answer.entry.len());
    if asked != answered {
        return Err(format!("the server answered {answered} entries of {asked}"));
    }
    in_order(request, &answer.entry)?;
    let pairs = request.inputs.iter().zip(&answer.entry);
    Ok(pairs
        .map(|(input, entry)| judge_entry(input, entry))
        .collect())
}

/// Fails where an entry is about another resource that was asked for: entries answer in the order they were asked
/// in (https://hl7.org/fhir/R4/http.html#transaction-response), so of such an answer none can be believed. One
/// that is about something nobody asked for tells of a server that chooses ids itself, not of another order.
fn in_order(request: &Request, answers: &[AnswerEntry<'_>]) -> Result<(), String> {
    let put = |input: &Input, (resource_type, of): (&str, &str)| {
        &*input.resource_type == resource_type
            && matches!(&input.ask, Ask::Put { id } if **id == *of)
    };
    for (n, (input, entry)) in request.inputs.iter().zip(answers).enumerate() {
        if !matches!(input.ask, Ask::Put { .. }) {
            continue;
        }
        let Some(named) = entry.location().and_then(resource_of) else {
            continue;
        };
        if !put(input, named) && request.inputs.iter().any(|other| put(other, named)) {
            let (resource_type, id) = named;
            return Err(format!(
                "the server's answer is in another order than was asked: its entry {n} is about {resource_type}/{id}"
            ));
        }
    }
    Ok(())
}

fn judge_entry(input: &Input, entry: &AnswerEntry<'_>) -> EntryVerdict {
    let response = entry.response.as_ref();
    let status = response.and_then(|r| r.status.as_ref()?.0.get(..3)?.parse().ok());
    let status = status.unwrap_or(0);
    let why = || {
        let outcome = response.and_then(|r| r.outcome).map_or("", RawValue::get);
        refusal(status, &Bytes::copy_from_slice(outcome.as_bytes()))
    };
    match status {
        201 => EntryVerdict::Created(match input.ask {
            Ask::Put { .. } => None,
            _ => entry.location().and_then(id_of),
        }),
        200..300 => EntryVerdict::Updated,
        0 => EntryVerdict::InDoubt(Refusal::new(0, "the server gave no status", Bytes::new())),
        _ if !is_temporary(status) => EntryVerdict::Refused(why()),
        _ if input.ask.repeatable() || surely_did_nothing(status) => EntryVerdict::Again {
            why: why(),
            throttled: matches!(status, 429 | 503),
        },
        _ => EntryVerdict::InDoubt(why()),
    }
}

/// The id in a location.
pub(super) fn id_of(location: &str) -> Option<String> {
    resource_of(location).map(|(_, id)| id.to_owned())
}

/// Type and id in `Type/id/_history/v` or `https://…/Type/id[/_history/v]`.
fn resource_of(location: &str) -> Option<(&str, &str)> {
    let resource = location.split("/_history/").next()?;
    let (before, id) = resource.rsplit_once('/')?;
    let resource_type = before.rsplit_once('/').map_or(before, |(_, last)| last);
    (!id.is_empty()).then_some((resource_type, id))
}

#[cfg(test)]
mod tests {
    use super::super::verdict::tests::{answer, put, request};
    use super::super::verdict::{Verdict, judge};
    use super::*;

    fn put_of(id: &str) -> Ask {
        Ask::Put { id: id.into() }
    }

    fn ordered(asks: &[Ask], entries: &str) -> Verdict {
        let body = format!(r#"{{"resourceType":"Bundle","entry":[{entries}]}}"#);
        judge(&request(asks), Ok(answer(200, &body)))
    }

    #[test]
    fn each_entry_is_judged_by_its_own_status() {
        let body = r#"{"resourceType":"Bundle","type":"batch-response","entry":[
            {"response":{"status":"201 Created","location":"Patient/srv-1/_history/1"}},
            {"response":{"status":"200"}},
            {"response":{"status":"422 x","outcome":{"resourceType":"OperationOutcome","issue":[
                {"severity":"error","code":"invalid","diagnostics":"bad date"}]}}},
            {"response":{"status":"500"}},{"response":{"status":"500"}},{"response":{"status":"429"}}]}"#;
        let asks = [Ask::Post, put(), put(), put(), Ask::Post, Ask::Post];
        let Verdict::Answered(found) = judge(&request(&asks), Ok(answer(200, body))) else {
            panic!("not answered")
        };
        assert!(matches!(&found[0], EntryVerdict::Created(Some(id)) if id == "srv-1"));
        assert!(matches!(&found[1], EntryVerdict::Updated));
        let EntryVerdict::Refused(refusal) = &found[2] else {
            panic!("{found:?}")
        };
        assert!(refusal.text.contains("bad date") && !refusal.operation_outcome.is_empty());
        assert!(matches!(
            &found[3],
            EntryVerdict::Again {
                throttled: false,
                ..
            }
        ));
        assert!(matches!(&found[4], EntryVerdict::InDoubt(_)));
        assert!(matches!(
            &found[5],
            EntryVerdict::Again {
                throttled: true,
                ..
            }
        ));
    }

    #[test]
    fn an_answer_of_the_wrong_length_is_no_success() {
        let one = r#"{"resourceType":"Bundle","entry":[{"response":{"status":"200"}}]}"#;
        let two = [put(), put()];
        assert!(matches!(
            judge(&request(&two), Ok(answer(200, one))),
            Verdict::Again(_)
        ));
        let two = [put(), Ask::Post];
        assert!(matches!(
            judge(&request(&two), Ok(answer(200, one))),
            Verdict::InDoubt(_)
        ));
        assert!(matches!(
            judge(&request(&two), Ok(answer(200, "<html>"))),
            Verdict::InDoubt(_)
        ));
    }

    #[test]
    fn an_answer_in_another_order_is_no_answer() {
        let a = r#"{"response":{"status":"200","location":"Patient/a/_history/1"}}"#;
        let b = r#"{"response":{"status":"201","location":"https://h/fhir/Patient/b/_history/2"}}"#;
        let no = r#"{"response":{"status":"422"}}"#;
        let puts = [put_of("a"), put_of("b"), put_of("c")];
        for entries in [[a, b, no], [no, b, no], [a, no, no]] {
            let found = ordered(&puts, &entries.join(","));
            assert!(matches!(&found, Verdict::Answered(_)), "{found:?}");
        }
        // c was refused, and the answer begins with the refusal: who believed it would drop a, and settle c.
        for entries in [[no, a, b], [b, a, no], [no, no, b]] {
            let found = ordered(&puts, &entries.join(","));
            assert!(
                matches!(&found, Verdict::Again(again) if again.why.text.contains("another order")),
                "{found:?}"
            );
        }
        let found = ordered(
            &[put_of("a"), put_of("b"), Ask::Post],
            &[b, no, a].join(","),
        );
        assert!(matches!(&found, Verdict::InDoubt(_)), "{found:?}");
    }

    #[test]
    fn a_location_that_nobody_asked_for_tells_of_no_other_order() {
        let no = r#"{"response":{"status":"422"}}"#;
        for location in ["Patient/77/_history/1", "Basic/b", "nonsense", "/", ""] {
            let of = format!(r#"{{"response":{{"status":"201","location":"{location}"}}}}"#);
            let found = ordered(&[put_of("a"), put_of("b")], &[&of, no].join(","));
            assert!(
                matches!(&found, Verdict::Answered(_)),
                "{location}: {found:?}"
            );
        }
    }

    #[test]
    fn ids_are_found_in_every_form_of_location() {
        for location in [
            "Patient/a/_history/1",
            "https://h/b/c/Patient/a/_history/7",
            "Patient/a",
        ] {
            assert_eq!(id_of(location).as_deref(), Some("a"), "{location}");
        }
        assert_eq!(id_of("nonsense"), None);
    }
}
