//! What an answer, or the lack of one, means for a request. Pure: no I/O, no waiting.

use std::time::Duration;

use bytes::Bytes;
use stoker_shared::fhir::{FhirError, FhirResponse, outcome};

use super::answer::{all_taken, entries, id_of};
use super::pending::Failure;
use crate::input::{Ask, Request};
use crate::outcome::Refusal;

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
pub(super) fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 409 | 429 | 500 | 502..=599)
}

/// The server says that it has not acted: it was busy, or another writer was first.
pub(super) fn surely_did_nothing(status: u16) -> bool {
    matches!(status, 409 | 429 | 503)
}

pub(super) fn refusal(status: u16, body: &Bytes) -> Refusal {
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

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::input::{Input, Place};

    pub(in crate::send) fn request(asks: &[Ask]) -> Request {
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

    pub(in crate::send) fn put() -> Ask {
        Ask::Put { id: "p".into() }
    }

    pub(in crate::send) fn answer(status: u16, body: &str) -> FhirResponse {
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
}
