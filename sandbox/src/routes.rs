//! From a request to its answer: who may ask, what goes wrong on order, what is done.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{Method, Request, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt;
use hyper::body::Incoming;
use serde_json::value::RawValue;

use crate::answer::{Answer, Prefer};
use crate::bundle;
use crate::config::Auth;
use crate::control;
use crate::faults::{Fault, Subject, Verdict};
use crate::interactions::{self, Effect, Target};
use crate::outcome::Refusal;
use crate::reindex::Operation;
use crate::resource::Resource;
use crate::state::State;
use crate::validate::Place;

/// Bodies above this are worked on where they hold up no other request.
const BIG_BODY: usize = 256 << 10;

/// How a request ends.
pub(crate) enum Ending {
    /// With an answer.
    Answer(Answer),
    /// The connection is closed without one.
    Drop,
    /// Nothing happens any more.
    Hang,
}

/// A request whose body is read.
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// Below the base, or below `/sandbox` for control.
    pub(crate) path: String,
    pub(crate) query: String,
    headers: HeaderMap,
    pub(crate) body: Bytes,
    base: String,
}

/// Serves one request. `local` is what clients call this server when they do not say.
pub(crate) async fn serve(state: &Arc<State>, request: Request<Incoming>, local: &str) -> Ending {
    let full_path = request.uri().path().to_owned();
    let below = |root: &str| {
        let path = full_path.strip_prefix(root)?;
        (path.is_empty() || path.starts_with('/')).then(|| path.to_owned())
    };
    if let Err(answer) = authorize(&state.config.auth, request.headers()) {
        return Ending::Answer(*answer);
    }
    if let Some(path) = below("/sandbox") {
        return Ending::Answer(match read(state, request, path, local).await {
            Ok(asked) => control::serve(state, &asked.method, &asked.path, &asked.body),
            Err(refusal) => Answer::refused(&refusal),
        });
    }
    let Some(path) = below("/fhir") else {
        let text = format!("There is nothing at '{full_path}'; the FHIR base is /fhir.");
        let refusal = Refusal::not_supported(StatusCode::NOT_FOUND, text);
        return Ending::Answer(Answer::refused(&refusal));
    };
    let path = if path.is_empty() {
        "/".to_owned()
    } else {
        path
    };
    fhir(state, request, path, local).await
}

/// Serves a request to the FHIR base, with the faults ordered for it.
async fn fhir(state: &Arc<State>, request: Request<Incoming>, path: String, local: &str) -> Ending {
    let method = request.method().clone();
    let target = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.clone(),
    };
    let subject = |body| Subject {
        method: method.as_str(),
        path: &target,
        body,
    };
    let mut verdict = state.faults.judge(subject(None));
    if verdict.fault == Some(Fault::DropBeforeRead) {
        return Ending::Drop;
    }
    let asked = match read(state, request, path, local).await {
        Ok(asked) => asked,
        Err(refusal) => return Ending::Answer(Answer::refused(&refusal)),
    };
    let received = asked.body.len() as u64;
    state.counters.add(|stats| stats.bytes_in += received);
    if verdict.fault.is_none() {
        let later = state.faults.judge(subject(Some(&asked.body)));
        verdict.delay += later.delay;
        verdict.fault = later.fault;
    }
    finish(state, asked, verdict).await
}

/// Applies a request, unless its fault says otherwise, and ends it.
async fn finish(state: &Arc<State>, asked: Asked, verdict: Verdict) -> Ending {
    let reindexes = asked.path.ends_with("/$reindex");
    let _under_way = reindexes.then(|| state.reindexing.enter());
    let answer = match &verdict.fault {
        Some(Fault::DropBeforeResponse) => return Ending::Drop,
        Some(Fault::Hang) => return Ending::Hang,
        Some(Fault::Status {
            code,
            retry_after,
            body,
        }) => Answer::ordered(*code, *retry_after, body.clone()),
        _ => applied(state, asked).await,
    };
    let resources = u32::try_from(answer.resources).unwrap_or(u32::MAX);
    let per_resource = state.config.latency_per_resource.saturating_mul(resources);
    let delay = verdict.delay + state.config.latency + per_resource;
    if delay > Duration::ZERO {
        tokio::time::sleep(delay).await;
    }
    match verdict.fault {
        Some(Fault::DropAfterApply) => Ending::Drop,
        _ => Ending::Answer(answer),
    }
}

async fn applied(state: &Arc<State>, asked: Asked) -> Answer {
    let operation = match Operation::parse(&asked.path) {
        Ok(operation) => operation,
        Err(refusal) => return Answer::refused(&refusal),
    };
    let state = Arc::clone(state);
    let work = match operation {
        // It goes on when the client has given up, as on a real server.
        Some(operation) => tokio::spawn(async move { operate(&state, operation, &asked).await }),
        None if asked.body.len() <= BIG_BODY => return apply(&state, &asked),
        None => tokio::task::spawn_blocking(move || apply(&state, &asked)),
    };
    work.await.unwrap_or_else(|e| {
        tracing::error!(error = %e, "request failed");
        let text = "The sandbox failed at this request; its log says more.";
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Answer::refused(&Refusal::new(status, "exception", text))
    })
}

async fn operate(state: &State, operation: Operation, asked: &Asked) -> Answer {
    let done = match check_media_types(asked) {
        Ok(()) => operation.serve(state, asked).await,
        Err(refusal) => Err(refusal),
    };
    done.unwrap_or_else(|refusal| Answer::refused(&refusal))
}

/// Does what a request asks for.
fn apply(state: &State, asked: &Asked) -> Answer {
    let done = check_media_types(asked).and_then(|()| {
        let target = Target::parse(&asked.path)?;
        if asked.method == Method::POST && target == Target::Base {
            return post_bundle(state, asked);
        }
        let prefer = Prefer::of(&asked.headers);
        let effect = interact(state, asked, target)?;
        Ok(Answer::of_effect(&effect, prefer, &asked.base))
    });
    done.unwrap_or_else(|refusal| Answer::refused(&refusal))
}

fn post_bundle(state: &State, asked: &Asked) -> Result<Answer, Refusal> {
    let prefer = Prefer::of(&asked.headers);
    let raw = json(&asked.body)?;
    let answer = bundle::run(state, raw.get(), prefer, &asked.base)?;
    let mut done = Answer::new(StatusCode::OK, answer.text);
    done.resources = answer.entries;
    Ok(done)
}

fn interact(state: &State, asked: &Asked, target: Target) -> Result<Effect, Refusal> {
    let text_of = |name: &HeaderName| asked.headers.get(name).and_then(|v| v.to_str().ok());
    let resource = |kind| {
        let resource = Resource::parse(json(&asked.body)?, Place::Root)?;
        bundle::type_fits(kind, resource.kind)?;
        Ok::<_, Refusal>(resource)
    };
    match (&asked.method, target) {
        (&Method::GET, target) => {
            interactions::show(state, &state.store(), &target, &asked.query, &asked.base)
        }
        (&Method::POST, Target::Type(kind)) => {
            if state.config.null {
                return Ok(interactions::accept(state, kind, None));
            }
            let condition = text_of(&HeaderName::from_static("if-none-exist"));
            let resource = resource(kind)?;
            interactions::create(state, &mut state.store_mut(), &resource, condition)
        }
        (&Method::PUT, Target::Instance(kind, id)) if asked.query.is_empty() => {
            if state.config.null {
                return Ok(interactions::accept(state, kind, Some(id)));
            }
            let resource = resource(kind)?;
            let if_match = text_of(&header::IF_MATCH);
            interactions::update(state, &mut state.store_mut(), &id, &resource, if_match)
        }
        (&Method::DELETE, Target::Instance(kind, id)) => Ok(interactions::delete(
            state,
            &mut state.store_mut(),
            kind,
            &id,
        )),
        (method, _) => {
            let text = format!("The sandbox does not support {method} at '{}'.", asked.path);
            Err(Refusal::not_supported(StatusCode::METHOD_NOT_ALLOWED, text))
        }
    }
}

fn json(body: &[u8]) -> Result<&RawValue, Refusal> {
    let text = std::str::from_utf8(body)
        .map_err(|e| Refusal::invalid(format!("FHIRProvider: the body is not UTF-8: {e}")))?;
    serde_json::from_str(text).map_err(|e| Refusal::invalid(format!("FHIRProvider: {e}")))
}

async fn read(
    state: &State,
    request: Request<Incoming>,
    path: String,
    local: &str,
) -> Result<Asked, Refusal> {
    let (parts, body) = request.into_parts();
    let text_of = |name| parts.headers.get(name).and_then(|v| v.to_str().ok());
    let length = text_of(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let body = read_body(body, length.unwrap_or(0), state.config.max_body_bytes).await?;
    let authority = parts.uri.authority().map(Authority::as_str);
    let host = text_of(header::HOST).or(authority).unwrap_or(local);
    let scheme = if state.config.tls { "https" } else { "http" };
    Ok(Asked {
        base: format!("{scheme}://{host}/fhir"),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        method: parts.method,
        path,
        headers: parts.headers,
        body,
    })
}

async fn read_body(body: Incoming, announced: usize, limit: usize) -> Result<Bytes, Refusal> {
    if announced > limit {
        return Err(too_large(limit));
    }
    let mut bytes = Vec::with_capacity(announced.min(BIG_BODY));
    let mut chunks = Body::new(body).into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk
            .map_err(|e| Refusal::invalid(format!("The body could not be read to its end: {e}")))?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

fn too_large(limit: usize) -> Refusal {
    let text = format!("The body is larger than {limit} bytes.");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", text)
}

fn authorize(auth: &Auth, headers: &HeaderMap) -> Result<(), Box<Answer>> {
    let basic = auth.basic.as_ref().map(|(user, password)| {
        let login = format!("{user}:{}", password.expose());
        format!("Basic {}", BASE64_STANDARD.encode(login))
    });
    let bearer = auth
        .bearer
        .as_ref()
        .map(|token| format!("Bearer {}", token.expose()));
    let given = headers
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    let mut wanted = basic.iter().chain(&bearer).peekable();
    if wanted.peek().is_none() || wanted.any(|wanted| given == Some(wanted.as_bytes())) {
        return Ok(());
    }
    let text = "The request lacks the right credentials.";
    let mut answer = Answer::refused(&Refusal::new(StatusCode::UNAUTHORIZED, "login", text));
    for (scheme, asked) in [("Basic", basic.is_some()), ("Bearer", bearer.is_some())] {
        if asked {
            let challenge = format!(r#"{scheme} realm="stoker-sandbox""#);
            answer.append(header::WWW_AUTHENTICATE, &challenge);
        }
    }
    Err(Box::new(answer))
}

/// Bodies must be FHIR JSON, and the client must take it.
fn check_media_types(asked: &Asked) -> Result<(), Refusal> {
    let text_of = |name| {
        asked
            .headers
            .get(name)
            .map(|v| v.to_str().unwrap_or_default())
    };
    let is_json = |text: &str| {
        let media_type = text
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        matches!(&*media_type, "application/fhir+json" | "application/json")
    };
    if !asked.body.is_empty() && text_of(header::CONTENT_TYPE).is_some_and(|t| !is_json(t)) {
        let text = "The body must be application/fhir+json or application/json.";
        return Err(Refusal::not_supported(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            text,
        ));
    }
    if text_of(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let text = "The sandbox does not take compressed bodies.";
        return Err(Refusal::not_supported(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            text,
        ));
    }
    let takes = |text: &str| text.split(',').any(|t| is_json(t) || t.contains('*'));
    if text_of(header::ACCEPT).is_some_and(|accept| !takes(accept)) {
        let text = "The sandbox answers only application/fhir+json and application/json.";
        return Err(Refusal::not_supported(StatusCode::NOT_ACCEPTABLE, text));
    }
    Ok(())
}
