//! The messages of the FHIR server's remote index service.

use serde_json::{Map, Value, json};

use crate::fhir_database::Stored;

/// The instance that the recorded messages name, and those that are built here.
pub const INSTANCE: &str = "8b1f4f2a-5d0e-4b6e-9a52-3f7c1d2e9a10";

/// One to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Such as `Patient/abc`.
    pub key: String,
    /// None for Kafka's choice by the key.
    pub partition: Option<i32>,
    /// JSON, as the server sends it.
    pub value: String,
}

/// A message in the making: what the server tells of a stored version, and values.
#[derive(Debug, Clone)]
pub struct MessageBuilder {
    key: String,
    envelope: Map<String, Value>,
    data: Map<String, Value>,
}

impl MessageBuilder {
    pub(crate) fn of(stored: &Stored) -> Self {
        let envelope = json!({
            "tenantId": "default",
            "messageVersion": 1,
            "instanceIdentifier": INSTANCE,
        });
        let data = json!({
            "resourceType": stored.resource_type,
            "logicalId": stored.logical_id,
            "logicalResourceId": stored.logical_resource_id,
            "versionId": stored.version_id,
            "parameterHash": stored.parameter_hash,
            "lastUpdated": stored.last_updated,
        });
        Self {
            key: format!("{}/{}", stored.resource_type, stored.logical_id),
            envelope: object(envelope),
            data: object(data),
        }
    }

    /// Sets a field around `data`, such as `tenantId`; null takes it away.
    #[must_use]
    pub fn envelope(mut self, field: &str, value: Value) -> Self {
        set(&mut self.envelope, field, value);
        self
    }

    /// Sets a field of `data`, such as `lastUpdated`; null takes it away.
    #[must_use]
    pub fn data(mut self, field: &str, value: Value) -> Self {
        set(&mut self.data, field, value);
        self
    }

    /// Adds a value to one of the arrays of `data`, such as `stringValues`.
    #[must_use]
    pub fn value(mut self, array: &str, value: Value) -> Self {
        let values = self.data.entry(array).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(value);
        }
        self
    }

    /// Adds a string that belongs to the resource only.
    #[must_use]
    pub fn string(self, name: &str, value: &str) -> Self {
        let value = json!({"value": value, "name": name, "wholeSystem": false});
        self.value("stringValues", value)
    }

    /// Adds a token that belongs to the resource only.
    #[must_use]
    pub fn token(self, name: &str, system: &str, code: &str) -> Self {
        let value =
            json!({"valueSystem": system, "valueCode": code, "name": name, "wholeSystem": false});
        self.value("tokenValues", value)
    }

    /// Adds a reference.
    #[must_use]
    pub fn reference(self, name: &str, resource_type: &str, logical_id: &str) -> Self {
        let value = json!({"resourceType": resource_type, "logicalId": logical_id, "name": name});
        self.value("refValues", value)
    }

    /// The envelope alone.
    pub fn without_data(self) -> Message {
        Message {
            key: self.key,
            partition: None,
            value: Value::Object(self.envelope).to_string(),
        }
    }

    /// Its JSON text.
    pub fn build(self) -> Message {
        let mut envelope = self.envelope;
        envelope.insert("data".to_owned(), Value::Object(self.data));
        Message {
            key: self.key,
            partition: None,
            value: Value::Object(envelope).to_string(),
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn set(fields: &mut Map<String, Value>, field: &str, value: Value) {
    if value.is_null() {
        fields.shift_remove(field);
    } else {
        fields.insert(field.to_owned(), value);
    }
}
