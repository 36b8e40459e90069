//! The CapabilityStatement.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::r4::RESOURCE_TYPES;
use crate::resource::instant;

/// What the sandbox says of itself at `metadata`; `date` is when it started.
pub(crate) fn statement(base: &str, date: DateTime<Utc>) -> Value {
    let resources: Vec<Value> = RESOURCE_TYPES.iter().map(|kind| resource(kind)).collect();
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": instant(date),
        "kind": "instance",
        "software": {"name": "stoker-sandbox", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": "A FHIR server in memory, for trials and tests", "url": base},
        "fhirVersion": "4.0.1",
        "format": ["json", "application/json", "application/fhir+json"],
        "rest": [{
            "mode": "server",
            "resource": resources,
            "interaction": codes(&["batch", "transaction"]),
            "operation": operations(),
        }],
    })
}

fn resource(kind: &str) -> Value {
    let interactions = [
        "create",
        "read",
        "vread",
        "update",
        "delete",
        "history-instance",
        "search-type",
    ];
    json!({
        "type": kind,
        "interaction": codes(&interactions),
        "versioning": "versioned-update",
        "readHistory": true,
        "updateCreate": true,
        "conditionalCreate": true,
        "operation": operations(),
        "searchParam": [
            {"name": "_id", "type": "token"},
            {"name": "identifier", "type": "token"},
            {"name": "code", "type": "token"},
            {"name": "name", "type": "string"},
            {"name": "family", "type": "string"},
            {"name": "patient", "type": "reference"},
            {"name": "subject", "type": "reference"},
        ],
    })
}

/// With the names that LinuxForHealth gives them.
fn operations() -> Value {
    let named = |name: &str| {
        let definition = format!("http://fhir.linuxforhealth.org/OperationDefinition/{name}");
        json!({"name": name, "definition": definition})
    };
    json!([named("reindex"), named("retrieve-index")])
}

fn codes(codes: &[&str]) -> Value {
    codes.iter().map(|code| json!({"code": code})).collect()
}
