//! What an answer, or the lack of one, means for a request. Pure: no I/O, no waiting.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use stoker_shared::fhir::{FhirError, FhirResponse, outcome};

use super::pending::Failure;
use crate::input::{Ask, Request};
use crate::outcome::Refusal;
use crate::skim;

/// What to do about a whole request.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The server answered for each input, in order.
    Answered(Vec<EntryVerdict>),
    /// A final no to the request as it is.
    Refused(Refusal),
    /// The same request may succeed later, and repeating it is safe.
    Again(Again),
    /// Whether the server acted is not known, and repeating is not safe.
    InDoubt(Refusal),
    /// A transaction that the server says it took, in an answer that does not fit it.
    OddTransaction(Refusal),
    /// No request will succeed.
    Stop(Stop),
}

/// Why to try again.
#[derive(Debug)]
pub(crate) struct Again {
    /// What was answered.
    pub(crate) why: Refusal,
    /// The server as a whole is unavailable; otherwise this very request troubles it.
    pub(crate) unavailable: bool,
    /// The server asks everyone to wait.
    pub(crate) throttled: bool,
    /// How long the server asks to wait.
    pub(crate) pause: Option<Duration>,
}

impl Again {
    pub(super) fn failure(&self) -> Failure {
        match (self.throttled, self.unavailable) {
            (true, _) => Failure::Throttled,
            (false, true) => Failure::Unavailable,
            (false, false) => Failure::OfItself,
        }
    }
}

/// What to do about one input of an answered request.
#[derive(Debug)]
pub(crate) enum EntryVerdict {
    /// 201; with the id when the server chose it.
    Created(Option<String>),
    /// Another success.
    Updated,
    /// A final no.
    Refused(Refusal),
    /// May succeed later, and repeating it is safe.
    Again {
        /// What was answered.
        why: Refusal,
        /// The server is only busy.
        throttled: bool,
    },
    /// See [`Verdict::InDoubt`].
    InDoubt(Refusal),
}

/// Why a load cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Stop {
    /// The server does not accept the credentials.
    #[error("the FHIR server refuses the credentials (401): {0}; check user, password or token")]
    Unauthorized(String),
    /// The server sends elsewhere.
    #[error(
        "the FHIR server answers with a redirect ({status}) to {to}; give that address as the target"
    )]
    Redirected {
        /// HTTP status.
        status: u16,
        /// Its `Location`.
        to: String,
    },
    /// The server stayed away for too long.
    #[error("the FHIR server has not been available for {}: {last}", humantime::format_duration(*away))]
    Lost {
        /// How long, to the second.
        away: Duration,
        /// What the last try met.
        last: String,
    },
    /// The process is to end.
    #[error("stopped")]
    Shutdown,
}

/// Judges the result of one attempt.
pub(crate) fn judge(request: &Request, result: Result<FhirResponse, FhirError>) -> Verdict {
    match result {
        Ok(response) if (200..300).contains(&response.status) => success(request, &response),
        Ok(response) => failure(request, response),
        Err(e) => {
            let why = Refusal::new(0, e.to_string(), Bytes::new());
            if request.repeatable() || e.cannot_have_acted() {
                Verdict::Again(Again {
                    why,
                    // A request may be too much for the server in the time it has.
                    unavailable: !matches!(e, FhirError::Timeout { .. }),
                    throttled: false,
                    pause: None,
                })
            } else {
                Verdict::InDoubt(why)
            }
        }
    }
}

fn failure(request: &Request, response: FhirResponse) -> Verdict {
    let status = response.status;
    let why = refusal(status, &response.body);
    match status {
        401 => Verdict::Stop(Stop::Unauthorized(why.text)),
        301 | 302 | 307 | 308 => Verdict::Stop(Stop::Redirected {
            status,
            to: response.location.unwrap_or_default(),
        }),
        _ if !is_temporary(status) => Verdict::Refused(why),
        _ if request.repeatable() || surely_did_nothing(status) => Verdict::Again(Again {
            why,
            unavailable: matches!(status, 429 | 502 | 503 | 504),
            throttled: matches!(status, 429 | 503),
            pause: response.retry_after,
        }),
        _ => Verdict::InDoubt(why),
    }
}

/// A later try of the same may get another answer.
fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 409 | 429 | 500 | 502..=599)
}

/// The server says that it has not acted: it was busy, or another writer was first.
fn surely_did_nothing(status: u16) -> bool {
    matches!(status, 409 | 429 | 503)
}

fn refusal(status: u16, body: &Bytes) -> Refusal {
    let operation_outcome = if outcome::is_operation_outcome(body) {
        body.clone()
    } else {
        Bytes::new()
    };
    Refusal::new(status, outcome::describe(body), operation_outcome)
}

fn success(request: &Request, response: &FhirResponse) -> Verdict {
    if let Some(input) = request.single() {
        return Verdict::Answered(vec![match (&input.ask, response.status) {
            (Ask::Post, 201) => EntryVerdict::Created(response.location.as_deref().and_then(id_of)),
            (_, 201) => EntryVerdict::Created(None),
            _ => EntryVerdict::Updated,
        }]);
    }
    if let Some(answers) = all_taken(request, &response.body) {
        return Verdict::Answered(answers);
    }
    match entries(request, &response.body) {
        Ok(answers) if request.transaction => one_fate(answers),
        Ok(answers) => Verdict::Answered(answers),
        Err(text) => {
            let why = Refusal::new(response.status, text, Bytes::new());
            if request.repeatable() {
                Verdict::Again(Again {
                    why,
                    unavailable: false,
                    throttled: false,
                    pause: None,
                })
            } else {
                Verdict::InDoubt(why)
            }
        }
    }
}

/// The answers, when every input was taken and nothing else matters of any answer.
fn all_taken(request: &Request, body: &[u8]) -> Option<Vec<EntryVerdict>> {
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

/// A transaction is taken as a whole or not at all, so its entries cannot fare differently.
fn one_fate(answers: Vec<EntryVerdict>) -> Verdict {
    let mut odd = None;
    for (n, answer) in answers.iter().enumerate() {
        if let EntryVerdict::Refused(why)
        | EntryVerdict::InDoubt(why)
        | EntryVerdict::Again { why, .. } = answer
        {
            odd.get_or_insert_with(|| Refusal {
                text: format!(
                    "the server took the transaction, yet says of entry {n}: {}",
                    why.text
                ),
                ..why.clone()
            });
        }
    }
    odd.map_or(Verdict::Answered(answers), Verdict::OddTransaction)
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
fn entries(request: &Request, body: &Bytes) -> Result<Vec<EntryVerdict>, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|e| format!("the server's answer to a Bundle is no Bundle: {e}"))?;
    let (asked, answered) = (request.inputs.len(), answer.entry.len());
    if asked != answered {
        return Err(format!("the server answered {answered} entries of {asked}"));
    }
    let judged = request
        .inputs
        .iter()
        .zip(&answer.entry)
        .map(|(input, entry)| {
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
                    _ => response.and_then(|r| id_of(&r.location.as_ref()?.0)),
                }),
                200..300 => EntryVerdict::Updated,
                0 => EntryVerdict::InDoubt(Refusal::new(
                    0,
                    "the server gave no status",
                    Bytes::new(),
                )),
                _ if !is_temporary(status) => EntryVerdict::Refused(why()),
                _ if input.ask.repeatable() || surely_did_nothing(status) => EntryVerdict::Again {
                    why: why(),
                    throttled: matches!(status, 429 | 503),
                },
                _ => EntryVerdict::InDoubt(why()),
            }
        });
    Ok(judged.collect())
}

/// The id in `Type/id/_history/v` or `https://…/Type/id[/_history/v]`.
fn id_of(location: &str) -> Option<String> {
    let resource = location.split("/_history/").next()?;
    let (_, id) = resource.rsplit_once('/')?;
    (!id.is_empty()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::input::{Input, Place};

    fn request(asks: &[Ask]) -> Request {
        let input = |ask: &Ask| Input {
            place: Place {
                bytes: 0..1,
                covers: 0..1,
                line: 0,
                entry: None,
            },
            resource_type: Arc::from("Patient"),
            ask: ask.clone(),
            json: Bytes::from_static(b"{}"),
        };
        Request::group(asks.iter().map(input).collect(), vec![])
    }

    fn put() -> Ask {
        Ask::Put { id: "p".into() }
    }

    fn answer(status: u16, body: &str) -> FhirResponse {
        FhirResponse {
            status,
            retry_after: None,
            location: Some("http://x/fhir/Patient/abc/_history/1".to_owned()),
            body: Bytes::copy_from_slice(body.as_bytes()),
            elapsed: Duration::ZERO,
        }
    }

    fn verdict(asks: &[Ask], status: u16) -> String {
        let verdict = format!("{:?}", judge(&request(asks), Ok(answer(status, ""))));
        verdict.split(['(', ' ']).next().unwrap().to_owned()
    }

    #[test]
    fn a_post_is_repeated_only_where_the_server_cannot_have_acted() {
        for (status, for_post, for_put) in [
            (429, "Again", "Again"),
            (503, "Again", "Again"),
            (409, "Again", "Again"),
            (500, "InDoubt", "Again"),
            (502, "InDoubt", "Again"),
            (504, "InDoubt", "Again"),
            (408, "InDoubt", "Again"),
            (400, "Refused", "Refused"),
            (403, "Refused", "Refused"),
            (422, "Refused", "Refused"),
            (501, "Refused", "Refused"),
            (401, "Stop", "Stop"),
            (302, "Stop", "Stop"),
        ] {
            assert_eq!(verdict(&[Ask::Post], status), for_post, "POST {status}");
            assert_eq!(verdict(&[put()], status), for_put, "PUT {status}");
            assert_eq!(
                verdict(&[put(), Ask::Post], status),
                for_post,
                "batch with POST {status}"
            );
        }
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
    fn a_transaction_has_one_fate() {
        let body = r#"{"entry":[{"response":{"status":"201"}},{"response":{}}]}"#;
        let mut request = request(&[put(), put()]);
        request.transaction = true;
        let found = judge(&request, Ok(answer(200, body)));
        assert!(
            matches!(&found, Verdict::OddTransaction(why) if why.text.contains("entry 1")),
            "{found:?}"
        );
        let body = body.replace("{}", r#"{"status":"200"}"#);
        assert!(matches!(
            judge(&request, Ok(answer(200, &body))),
            Verdict::Answered(_)
        ));
    }

    #[test]
    fn a_single_create_learns_the_servers_id() {
        let Verdict::Answered(found) = judge(&request(&[Ask::Post]), Ok(answer(201, ""))) else {
            panic!("not answered")
        };
        assert!(matches!(&found[0], EntryVerdict::Created(Some(id)) if id == "abc"));
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
