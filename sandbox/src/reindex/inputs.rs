//! What an operation is given: a Parameters resource or a query, checked as strictly as LinuxForHealth checks.

use axum::http::Method;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::outcome::Refusal;
use crate::routes::Asked;

/// A parameter that an operation knows.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// The type of a parameter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Boolean,
}

/// The parameters given, each known and at most once.
#[derive(Debug, Default)]
pub(super) struct Inputs(Vec<(&'static str, Value)>);

#[derive(Debug, Deserialize)]
struct Parameters {
    #[serde(rename = "resourceType", default)]
    resource_type: String,
    #[serde(default)]
    parameter: Vec<Map<String, Value>>,
}

impl Inputs {
    /// Reads the body of a `POST` or the query of a `GET`.
    pub(super) fn read(asked: &Asked, declared: &[Declared]) -> Result<Self, Refusal> {
        let mut inputs = Self::default();
        if asked.method == Method::GET {
            for (name, text) in form_urlencoded::parse(asked.query.as_bytes()) {
                if name != "_format" {
                    let declared = known(declared, &name)?;
                    let value = declared.kind.of_text(&text);
                    inputs.add(declared, value)?;
                }
            }
            return Ok(inputs);
        }
        let invalid = |e| Refusal::invalid(format!("FHIRProvider: {e}"));
        let body: Parameters = serde_json::from_slice(&asked.body).map_err(invalid)?;
        if body.resource_type != "Parameters" {
            return Err(Refusal::invalid(
                "The body must be a 'Parameters' resource.",
            ));
        }
        for (index, parameter) in body.parameter.iter().enumerate() {
            let place = format!("Parameters.parameter[{index}]");
            let name = parameter.get("name").and_then(Value::as_str);
            let Some(name) = name else {
                let text =
                    format!("FHIRProvider: Missing required element: &#39;name&#39; [{place}]");
                return Err(Refusal::invalid(text).at(place));
            };
            not_empty(parameter, &place)?;
            let declared = known(declared, name)?;
            let value = parameter.get(declared.kind.member()).cloned();
            inputs.add(declared, value)?;
        }
        Ok(inputs)
    }

    /// A text that was given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// A whole number that was given, from 0 to `most`.
    pub(super) fn count(&self, name: &str, most: u16) -> Option<u16> {
        let number = self.get(name)?.as_i64()?;
        u16::try_from(number.clamp(0, most.into())).ok()
    }

    /// Whether a switch was given and is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A day (its beginning in UTC) or a moment that was given, else now; not after now.
    pub(super) fn moment(&self, name: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Refusal> {
        let Some(text) = self.text(name) else {
            return Ok(now);
        };
        let day = || {
            text.parse::<NaiveDate>()
                .ok()
                .map(|day| day.and_time(NaiveTime::MIN).and_utc())
        };
        let instant = || DateTime::parse_from_rfc3339(text).ok().map(Into::into);
        let moment = if text.len() == 10 { day() } else { instant() };
        let moment: DateTime<Utc> = moment.ok_or_else(|| {
            Refusal::invalid(format!(
                "Invalid format for '{name}' value, only 'yyyy-MM-dd' or ISO 8601 dateTime format is valid"
            ))
        })?;
        if moment > now {
            let text = format!("'{name}' value cannot be in the future");
            return Err(Refusal::invalid(text));
        }
        Ok(moment)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(given, _)| *given == name)?;
        Some(&found.1)
    }

    fn add(&mut self, declared: &Declared, value: Option<Value>) -> Result<(), Refusal> {
        let Declared { name, kind } = declared;
        let Some(value) = value.filter(|value| kind.fits(value)) else {
            let text = format!("Input parameter '{name}' must have a {}", kind.member());
            return Err(Refusal::invalid(text));
        };
        if self.get(name).is_some() {
            let text = format!("Input parameter '{name}' was given more than once");
            return Err(Refusal::invalid(text));
        }
        self.0.push((name, value));
        Ok(())
    }
}

impl Kind {
    fn member(self) -> &'static str {
        match self {
            Self::Text => "valueString",
            Self::Integer => "valueInteger",
            Self::Boolean => "valueBoolean",
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Integer => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            Self::Boolean => value.is_boolean(),
        }
    }

    fn of_text(self, text: &str) -> Option<Value> {
        match self {
            Self::Text => Some(text.into()),
            Self::Integer => text.parse::<i32>().ok().map(Value::from),
            Self::Boolean => text.parse::<bool>().ok().map(Value::from),
        }
    }
}

fn known<'a>(declared: &'a [Declared], name: &str) -> Result<&'a Declared, Refusal> {
    let found = declared.iter().find(|declared| declared.name == name);
    found.ok_or_else(|| Refusal::invalid(format!("Unexpected input parameter found: '{name}'")))
}

/// FHIR has no empty texts.
fn not_empty(parameter: &Map<String, Value>, place: &str) -> Result<(), Refusal> {
    let empty = |value: &Value| value.as_str().is_some_and(|text| text.trim().is_empty());
    if parameter.values().any(empty) {
        let text = format!(
            "FHIRProvider: Trimmed String value length: 0 is less than minimum required length: 1 [{place}]"
        );
        return Err(Refusal::invalid(text).at(place));
    }
    Ok(())
}
