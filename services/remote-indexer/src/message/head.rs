//! The beginning of a message, as far as it says which version of which resource it is about.
//!
//! The server writes that before the values (`spec/fhir-remote-index.md` §4.4), which are most of a message: reading ends
//! there. Of a message in another order all is read.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, de};

use super::{Text, of_json, text};
use crate::poison::Poison;

/// What is told of a message before its values.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    pub(super) tenant_id: Option<Text<'a>>,
    pub(super) message_version: i32,
    pub(super) instance_identifier: Option<Text<'a>>,
    /// None where there is no content.
    pub(super) data: Option<Data<'a>>,
}

/// What is told of the resource.
#[derive(Debug, Default)]
pub(super) struct Data<'a> {
    pub(super) resource_type: Option<Text<'a>>,
    pub(super) logical_id: Option<Text<'a>>,
    pub(super) logical_resource_id: Option<i64>,
    pub(super) version_id: Option<i32>,
    pub(super) parameter_hash: Option<Text<'a>>,
    pub(super) last_updated: Option<Text<'a>>,
}

impl Data<'_> {
    fn is_whole(&self) -> bool {
        self.resource_type.is_some()
            && self.logical_id.is_some()
            && self.logical_resource_id.is_some()
            && self.version_id.is_some()
            && self.parameter_hash.is_some()
            && self.last_updated.is_some()
    }
}

/// Reads it. What it does not look at may be no UTF-8 either.
pub(super) fn read(payload: &[u8]) -> Result<Envelope<'_>, Poison> {
    let mut reading = Reading::default();
    let mut json = serde_json::Deserializer::from_slice(payload);
    let read = (&mut reading)
        .deserialize(&mut json)
        .and_then(|()| json.end());
    match read {
        Err(error) if !reading.has_enough => {
            text(payload)?;
            Err(of_json(&error))
        }
        _ => Ok(reading.envelope),
    }
}

/// What was read so far, and whether no more is wanted: the library ends early by an error only.
#[derive(Debug, Default)]
struct Reading<'a> {
    envelope: Envelope<'a>,
    has_enough: bool,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    TenantId,
    MessageVersion,
    InstanceIdentifier,
    Data,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum DataField {
    ResourceType,
    LogicalId,
    LogicalResourceId,
    VersionId,
    ParameterHash,
    LastUpdated,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for &mut Reading<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Reading<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key()? {
            match field {
                Field::TenantId => self.envelope.tenant_id = map.next_value()?,
                Field::MessageVersion => self.envelope.message_version = map.next_value()?,
                Field::InstanceIdentifier => {
                    self.envelope.instance_identifier = map.next_value()?;
                }
                Field::Data => map.next_value_seed(InData(self))?,
                Field::Other => skip(&mut map)?,
            }
        }
        Ok(())
    }
}

/// Reads `data`.
struct InData<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for InData<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for InData<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the parameters of a resource")
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(reading) = self;
        let envelope = &reading.envelope;
        let known = envelope.tenant_id.is_some()
            && envelope.message_version > 0
            && envelope.instance_identifier.is_some();
        let data = reading.envelope.data.insert(Data::default());
        while let Some(field) = map.next_key()? {
            match field {
                DataField::ResourceType => data.resource_type = map.next_value()?,
                DataField::LogicalId => data.logical_id = map.next_value()?,
                DataField::LogicalResourceId => data.logical_resource_id = map.next_value()?,
                DataField::VersionId => data.version_id = map.next_value()?,
                DataField::ParameterHash => data.parameter_hash = map.next_value()?,
                DataField::LastUpdated => data.last_updated = map.next_value()?,
                DataField::Other if known && data.is_whole() => {
                    reading.has_enough = true;
                    return Err(A::Error::custom("no more is wanted"));
                }
                DataField::Other => skip(&mut map)?,
            }
        }
        Ok(())
    }
}

fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value().map(|IgnoredAny| ())
}
