//! The members of a Bundle, and what of them its parts have too.

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::BreakupError;

/// Members of a Bundle that speak of it as a whole, and would be wrong for a part.
const OF_THE_WHOLE: [&str; 6] = ["entry", "id", "identifier", "link", "signature", "total"];

/// The members of a Bundle as they stand there.
pub(super) struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| *value)
    }

    pub(super) fn entries(&self) -> Result<Vec<&'a RawValue>, BreakupError> {
        let entries = self.get("entry").map(|e| serde_json::from_str(e.get()));
        let entries = entries.transpose().map_err(BreakupError::NotABundle)?;
        Ok(entries.unwrap_or_default())
    }

    pub(super) fn kind(&self) -> Result<String, BreakupError> {
        let kind = self.get("type").ok_or(BreakupError::NoType)?;
        serde_json::from_str(kind.get()).map_err(BreakupError::NotABundle)
    }

    /// The first bytes of a Bundle like this one, up to its first entry.
    pub(super) fn head(&self) -> Bytes {
        let mut head = BytesMut::new();
        head.put_u8(b'{');
        let of_a_part = |(key, _): &&(String, _)| !OF_THE_WHOLE.contains(&key.as_str());
        for (key, value) in self.0.iter().filter(of_a_part) {
            head.put_slice(quoted(key).as_bytes());
            head.put_u8(b':');
            head.put_slice(value.get().as_bytes());
            head.put_u8(b',');
        }
        head.put_slice(b"\"entry\":[");
        head.freeze()
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members(Vec::new());
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if members.get(&key).is_some() {
                        let twice = format!("{key} is there twice");
                        return Err(serde::de::Error::custom(twice));
                    }
                    members.0.push((key, value));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
