use std::path::PathBuf;
use std::sync::Arc;

use tonic::metadata::MetadataMap;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

use super::GrpcError;
use crate::mounted::Mounted;
use crate::secret::{self, Secret};
use crate::trace;

/// Whether a server could not be reached, or went in the middle of a call: "unavailable"; of a connection that breaks,
/// "unknown", or "internal" where HTTP/2 gives no reason. What a server says of itself comes without a source.
pub fn is_gone(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::Unknown => true,
        Code::Internal => std::error::Error::source(status).is_some(),
        _ => false,
    }
}

/// What every call of a client carries: the token, if any, and the trace it belongs to.
#[derive(Debug, Clone, Default)]
pub struct CallHeaders {
    authorization: Option<Arc<Mounted<MetadataValue<Ascii>>>>,
}

impl CallHeaders {
    pub(super) fn new(token: Option<Secret>, file: Option<PathBuf>) -> Result<Self, GrpcError> {
        let authorization = mounted(token, file, |tokens| {
            let value = format!("Bearer {}", tokens[0]);
            let mut value = MetadataValue::try_from(value).map_err(|_| GrpcError::Token)?;
            value.set_sensitive(true);
            Ok(value)
        })?;
        Ok(Self { authorization })
    }
}

impl Interceptor for CallHeaders {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let mut headers = std::mem::take(request.metadata_mut()).into_headers();
        trace::inject(&mut headers);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        if let Some(authorization) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", authorization.get());
        }
        Ok(request)
    }
}

/// Refuses calls without the token; lets all pass when there is none.
#[derive(Debug, Clone)]
pub(super) struct TokenCheck {
    tokens: Option<Arc<Mounted<Arc<[Secret]>>>>,
}

impl TokenCheck {
    pub(super) fn new(token: Option<Secret>, file: Option<PathBuf>) -> Result<Self, GrpcError> {
        let tokens = mounted(token, file, |tokens| {
            Ok(tokens.iter().copied().map(Secret::from).collect())
        })?;
        Ok(Self { tokens })
    }
}

impl Interceptor for TokenCheck {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(tokens) = &self.tokens else {
            return Ok(request);
        };
        let right = |shown: &str| {
            let tokens = tokens.get();
            tokens.iter().any(|token| same(shown, token.expose()))
        };
        let shown = request
            .metadata()
            .get("authorization")
            .and_then(|v| v.to_str().ok());
        match shown.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(shown) if right(shown) => Ok(request),
            Some(_) => Err(Status::unauthenticated("the token is not the server's")),
            None => Err(Status::unauthenticated(
                "a bearer token is needed; configure token_file",
            )),
        }
    }
}

/// Takes the same time wherever the texts differ, so that a token cannot be guessed bit by bit.
fn same(a: &str, b: &str) -> bool {
    let differences = a
        .bytes()
        .zip(b.bytes())
        .fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}

/// What is made of the tokens, at least one, that are given or in the file; none when neither is named.
fn mounted<T: Clone>(
    token: Option<Secret>,
    file: Option<PathBuf>,
    make: impl Fn(&[&str]) -> Result<T, GrpcError> + Send + Sync + 'static,
) -> Result<Option<Arc<Mounted<T>>>, GrpcError> {
    if token.is_none() && file.is_none() {
        return Ok(None);
    }
    let files = file.iter().cloned().collect();
    let read = move || {
        let text = secret::resolve("token", token.as_ref(), file.as_deref())?;
        let text = text.as_ref().map_or("", Secret::expose);
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            return Err(GrpcError::Token);
        }
        make(&lines)
    };
    Ok(Some(Arc::new(Mounted::new(files, read)?)))
}
