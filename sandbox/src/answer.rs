//! What goes back to the client.

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use chrono::{DateTime, Utc};

use crate::interactions::Effect;
use crate::outcome::{self, Refusal};

/// What to answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: String,
    /// Resources that the request had, for `latency_per_resource`.
    pub(crate) resources: usize,
}

/// What of a stored resource the client wants back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefer {
    Minimal,
    Representation,
    OperationOutcome,
}

impl Prefer {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let prefer = headers
            .get_all("prefer")
            .iter()
            .filter_map(|v| v.to_str().ok());
        let mut parts = prefer.flat_map(|v| v.split([',', ';']));
        let wanted = parts.find_map(|part| part.trim().strip_prefix("return="));
        match wanted {
            Some("representation") => Self::Representation,
            Some("OperationOutcome") => Self::OperationOutcome,
            _ => Self::Minimal,
        }
    }
}

impl Answer {
    /// A JSON answer.
    pub(crate) fn new(status: StatusCode, body: String) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body,
            resources: 0,
        }
    }

    /// The answer to what is refused.
    pub(crate) fn refused(refusal: &Refusal) -> Self {
        Self::new(refusal.status, refusal.outcome().to_string())
    }

    /// The answer that a fault rule orders.
    pub(crate) fn ordered(code: u16, retry_after: Option<u32>, body: Option<String>) -> Self {
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = if code == 429 {
            "throttled"
        } else {
            "transient"
        };
        let mut answer = match body {
            Some(body) => Self::new(status, body),
            None => Self::refused(&Refusal::new(status, kind, "A fault rule says so.")),
        };
        if let Some(seconds) = retry_after {
            answer.append(header::RETRY_AFTER, &seconds.to_string());
        }
        answer
    }

    pub(crate) fn of_effect(effect: &Effect, prefer: Prefer, base: &str) -> Self {
        let (mut answer, mark) = match effect {
            Effect::Stored(status, mark) => {
                let body = match (prefer, mark.change.text()) {
                    (Prefer::Representation, Some(text)) => text.to_string(),
                    (Prefer::OperationOutcome, _) => outcome::information("All OK").to_string(),
                    _ => String::new(),
                };
                let mut answer = Self::new(*status, body);
                let location =
                    format!("{base}/{}/{}/_history/{}", mark.kind, mark.id, mark.version);
                answer.append(header::LOCATION, &location);
                answer.resources = 1;
                (answer, Some(mark))
            }
            Effect::Deleted(kind, id, mark) => {
                (deleted(kind, id, mark.is_some(), prefer), mark.as_ref())
            }
            Effect::Shown(text, mark) => {
                (Self::new(StatusCode::OK, text.to_string()), mark.as_ref())
            }
        };
        if let Some(mark) = mark {
            answer.append(header::ETAG, &format!("W/\"{}\"", mark.version));
            if mark.change.text().is_some() {
                answer.append(header::LAST_MODIFIED, &http_date(mark.at));
            }
        }
        answer
    }

    /// The answer as it goes out; a client that takes plain JSON only is told plain JSON.
    pub(crate) fn into_response(self, accepts_fhir_json: bool) -> Response<Body> {
        let mut headers = self.headers;
        if !self.body.is_empty() {
            let media_type = if accepts_fhir_json {
                "application/fhir+json"
            } else {
                "application/json"
            };
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }

    pub(crate) fn append(&mut self, name: HeaderName, value: &str) {
        match HeaderValue::from_str(value) {
            Ok(value) => {
                self.headers.append(name, value);
            }
            Err(e) => tracing::warn!(header = %name, error = %e, "header left out"),
        }
    }
}

fn deleted(kind: &str, id: &str, was_there: bool, prefer: Prefer) -> Answer {
    if prefer == Prefer::Minimal {
        return Answer::new(StatusCode::NO_CONTENT, String::new());
    }
    let count = u8::from(was_there);
    let text = format!("Deleted {count} {kind} resource(s) with the following id(s): {id}");
    Answer::new(StatusCode::OK, outcome::information(&text).to_string())
}

fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
