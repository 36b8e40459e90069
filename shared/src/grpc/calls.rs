use tonic::metadata::MetadataMap;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::GrpcError;
use crate::secret::Secret;
use crate::trace;

/// What every call of a client carries: the token, if any, and the trace it belongs to.
#[derive(Debug, Clone, Default)]
pub struct CallHeaders {
    authorization: Option<MetadataValue<Ascii>>,
}

impl CallHeaders {
    pub(super) fn new(token: Option<&Secret>) -> Result<Self, GrpcError> {
        let Some(token) = token else {
            return Ok(Self::default());
        };
        let value = format!("Bearer {}", token.expose());
        let mut value = MetadataValue::try_from(value).map_err(|_| GrpcError::Token)?;
        value.set_sensitive(true);
        Ok(Self {
            authorization: Some(value),
        })
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
                .insert("authorization", authorization.clone());
        }
        Ok(request)
    }
}

/// Refuses calls without the token; lets all pass when there is none.
#[derive(Debug, Clone)]
pub(super) struct TokenCheck {
    token: Option<Secret>,
}

impl TokenCheck {
    pub(super) fn new(token: Option<Secret>) -> Self {
        Self { token }
    }
}

impl Interceptor for TokenCheck {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(token) = &self.token else {
            return Ok(request);
        };
        let shown = request
            .metadata()
            .get("authorization")
            .and_then(|v| v.to_str().ok());
        match shown.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(shown) if same(shown.as_bytes(), token.expose().as_bytes()) => Ok(request),
            Some(_) => Err(Status::unauthenticated("the token is not the server's")),
            None => Err(Status::unauthenticated(
                "a bearer token is needed; configure token_file",
            )),
        }
    }
}

/// Takes the same time wherever the texts differ, so that a token cannot be guessed bit by bit.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}
