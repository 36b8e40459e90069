//! What the server says no with: a status and an OperationOutcome in LinuxForHealth's form.

use axum::http::StatusCode;
use serde_json::{Value, json};

/// A request, or an entry of one, that was refused.
#[derive(Debug, thiserror::Error)]
#[error("{status}: {text}")]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// FHIR's issue type.
    code: &'static str,
    text: String,
    /// Where in the input, as a FHIRPath.
    expression: Option<String>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            code,
            text: text.into(),
            expression: None,
        }
    }

    /// The input is wrong.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", text)
    }

    /// The input is not what the URL or the type of Bundle says.
    pub(crate) fn value(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "value", text)
    }

    /// The sandbox has no such thing to do.
    pub(crate) fn not_supported(status: StatusCode, text: impl Into<String>) -> Self {
        Self::new(status, "not-supported", text)
    }

    pub(crate) fn not_found(kind: &str, id: &str) -> Self {
        let text = format!("Resource '{kind}/{id}' not found.");
        Self::new(StatusCode::NOT_FOUND, "not-found", text)
    }

    pub(crate) fn deleted(kind: &str, id: &str) -> Self {
        let text = format!("Resource '{kind}/{id}' is deleted.");
        Self::new(StatusCode::GONE, "deleted", text)
    }

    pub(crate) fn unknown_type(name: &str) -> Self {
        let text = format!("'{name}' is not a valid resource type.");
        Self::not_supported(StatusCode::NOT_FOUND, text)
    }

    pub(crate) fn too_many(criteria: &str) -> Self {
        let text = format!("The search '{criteria}' returned multiple matches");
        Self::new(StatusCode::PRECONDITION_FAILED, "multiple-matches", text)
    }

    /// The same refusal, with the place it is about.
    pub(crate) fn at(mut self, expression: impl Into<String>) -> Self {
        self.expression = Some(expression.into());
        self
    }

    /// The same refusal, with the entry it is about where nothing more exact is known.
    pub(crate) fn at_entry(mut self, index: usize) -> Self {
        self.expression
            .get_or_insert_with(|| format!("Bundle.entry[{index}]"));
        self
    }

    /// The same refusal, of a Bundle that is refused for one of its entries: always 400.
    pub(crate) fn of_the_whole(mut self) -> Self {
        self.status = StatusCode::BAD_REQUEST;
        self
    }

    /// The OperationOutcome to send.
    pub(crate) fn outcome(&self) -> Value {
        let mut issue = json!({
            "severity": "fatal",
            "code": self.code,
            "details": {"text": self.text},
        });
        if let Some(expression) = &self.expression {
            issue["expression"] = json!([expression]);
        }
        json!({"resourceType": "OperationOutcome", "issue": [issue]})
    }
}

/// An OperationOutcome for what went well.
pub(crate) fn information(text: &str) -> Value {
    json!({
        "resourceType": "OperationOutcome",
        "issue": [{
            "severity": "information",
            "code": "informational",
            "details": {"text": text},
        }],
    })
}
