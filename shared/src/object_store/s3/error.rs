//! What an S3 service's refusal means.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::object_store::StoreError;

/// Codes of https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html that are about who we are.
const ABOUT_KEYS: [&str; 9] = [
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "RequestTimeTooSkewed",
    "AuthorizationHeaderMalformed",
    "InvalidClientTokenId",
    "XMinioAdminAccountNotEligible",
];

/// Whether the service does not take who we are, or say we are.
pub(super) fn is_refusal<E>(error: &SdkError<E, HttpResponse>) -> bool {
    let status = error.raw_response().map(|r| r.status().as_u16());
    matches!(status, Some(401 | 403))
}

/// Tells the causes of a failed call apart; `what` is the URI it was about.
pub(super) fn told<E>(what: String, error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let Some(response) = error.raw_response() else {
        return without_answer(what, error);
    };
    let status = response.status().as_u16();
    let code = error.as_service_error().and_then(|e| e.code());
    let message = error.as_service_error().and_then(|e| e.message());
    let code = code.unwrap_or_default();
    let reason = match (code, message) {
        ("", None) => format!("status {status}"),
        (code, None) => code.to_owned(),
        (code, Some(message)) => format!("{code}: {message}"),
    };
    match (status, code) {
        (_, code) if ABOUT_KEYS.contains(&code) => StoreError::Credentials { what, reason },
        (_, "NoSuchBucket") => StoreError::NoBucket { what },
        (404, _) => StoreError::NotFound { what },
        (412, _) => StoreError::Changed { what },
        (301 | 307 | 400, _) => StoreError::Settings(format!(
            "{what}: the service does not take the request ({reason}); check endpoint, region and path_style"
        )),
        // The codes are of two writers at once; the next try shows who was first.
        (429 | 500.., _) | (409, "ConditionalRequestConflict" | "OperationAborted") => {
            StoreError::Unreachable { what, reason }
        }
        _ => StoreError::Refused { what, reason },
    }
}

fn without_answer<E>(what: String, error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: Error + 'static,
{
    let causes = || std::iter::successors(Some(error as &dyn Error), |e| (*e).source());
    let about_keys = causes().find_map(|e| e.downcast_ref::<CredentialsError>());
    if let Some(error) = about_keys {
        let reason = match error {
            CredentialsError::CredentialsNotLoaded(_) => {
                "none are given, and none found in the environment, a profile or the machine's role"
                    .to_owned()
            }
            other => other.to_string(),
        };
        return StoreError::Credentials { what, reason };
    }
    let reason = causes()
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string);
    match error {
        SdkError::ConstructionFailure(_) => StoreError::Settings(format!("{what}: {reason}")),
        _ => StoreError::Unreachable { what, reason },
    }
}
