//! The messages of the FHIR server: `spec/fhir-remote-index.md` §4.
//!
//! A message is read twice: its [`Head`] when it comes, to learn which version of which resource it is about; its
//! [`Values`] when that version is in the database. So a message that waits holds its bytes and nothing more. The first
//! reading ends where the values begin: what is wrong behind that is found by the second.

use serde::Deserialize;

mod head;
pub(crate) mod instant;
pub(crate) mod normal;
mod text;
mod values;

pub(crate) use text::{Decimal, Text};
pub(crate) use values::{TokenValue, Values};

use crate::poison::{Poison, Reason};

/// The version of messages that is written today; later ones are taken too, as the server's are upward
/// compatible.
const FIRST_VERSION: i32 = 1;

/// Which version of which resource a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// The server's tenant.
    pub(crate) tenant: String,
    /// `Patient`.
    pub(crate) resource_type: String,
    /// The resource's id.
    pub(crate) logical_id: String,
    /// Its key in the database.
    pub(crate) logical_resource_id: i64,
    /// The version the values belong to.
    pub(crate) version: i32,
    /// `last_updated` of that version, in microseconds since 2000.
    pub(crate) last_updated: i64,
    /// Hash of the values.
    pub(crate) parameter_hash: Option<String>,
}

/// What a message is, at first sight.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// One to be indexed.
    Ours(Head),
    /// One of another instance of the FHIR server.
    OtherInstance,
    /// Without content.
    Empty,
}

#[derive(Deserialize)]
struct Envelope<D> {
    data: Option<D>,
}

/// Reads what a message is about; only messages of `instance` are ours.
pub(crate) fn head(payload: &[u8], instance: &str) -> Result<Sight, Poison> {
    if payload.is_empty() || payload == b"null" {
        return Ok(Sight::Empty);
    }
    let envelope = head::read(payload)?;
    if envelope.instance_identifier.as_deref() != Some(instance) {
        return Ok(Sight::OtherInstance);
    }
    if envelope.message_version < FIRST_VERSION {
        let version = envelope.message_version;
        let detail = format!("messageVersion is {version}; 1 or more is expected");
        return Err(Poison::new(Reason::BadVersion, detail));
    }
    let data = envelope.data.ok_or_else(|| Poison::missing("data"))?;
    let given = |text: Option<Text<'_>>, name| match text {
        Some(text) if !text.is_empty() => Ok(text.0.into_owned()),
        _ => Err(Poison::missing(name)),
    };
    let last_updated = given(data.last_updated, "data.lastUpdated")?;
    Ok(Sight::Ours(Head {
        tenant: envelope
            .tenant_id
            .map_or_else(String::new, |t| t.0.into_owned()),
        resource_type: given(data.resource_type, "data.resourceType")?,
        logical_id: given(data.logical_id, "data.logicalId")?,
        logical_resource_id: data
            .logical_resource_id
            .ok_or_else(|| Poison::missing("data.logicalResourceId"))?,
        version: data
            .version_id
            .ok_or_else(|| Poison::missing("data.versionId"))?,
        last_updated: instant::parse(&last_updated)
            .ok_or_else(|| Poison::bad_value("data.lastUpdated is no instant"))?,
        parameter_hash: data.parameter_hash.map(|hash| hash.0.into_owned()),
    }))
}

/// Reads all values of a message whose [`head`] was read.
pub(crate) fn values(payload: &[u8]) -> Result<Values<'_>, Poison> {
    let envelope: Envelope<Values<'_>> =
        serde_json::from_str(text(payload)?).map_err(|error| of_json(&error))?;
    let values = envelope.data.ok_or_else(|| Poison::missing("data"))?;
    values.check()?;
    Ok(values)
}

fn text(payload: &[u8]) -> Result<&str, Poison> {
    std::str::from_utf8(payload).map_err(|error| {
        let detail = format!("it is no UTF-8 (byte {})", error.valid_up_to() + 1);
        Poison::new(Reason::BadJson, detail)
    })
}

/// The library's text may name a value; where it is says enough.
fn of_json(error: &serde_json::Error) -> Poison {
    let (line, column) = (error.line(), error.column());
    let what = match error.classify() {
        serde_json::error::Category::Data => "a field has another type than expected",
        _ => "it is no JSON",
    };
    Poison::new(
        Reason::BadJson,
        format!("{what} (line {line}, column {column})"),
    )
}

#[cfg(test)]
mod tests;
