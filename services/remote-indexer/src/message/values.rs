//! Search parameter values, by kind: `spec/fhir-remote-index.md` §4.3.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Decimal, Text};
use crate::poison::{Poison, Reason};

/// Columns of 255 characters: names of parameters and code systems, codes of quantities.
const NAME_CHARS: usize = 255;
/// Columns of 1024 characters: tokens, canonicals, ids of reference targets.
const VALUE_CHARS: usize = 1024;
/// Version and fragment of a canonical.
const PART_CHARS: usize = 16;

/// All values of a resource.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    clippy::struct_field_names,
    reason = "they are the fields of the message"
)]
pub(crate) struct Values<'a> {
    #[serde(borrow)]
    pub(crate) string_values: Vec<StringValue<'a>>,
    #[serde(borrow)]
    pub(crate) number_values: Vec<NumberValue<'a>>,
    #[serde(borrow)]
    pub(crate) quantity_values: Vec<QuantityValue<'a>>,
    #[serde(borrow)]
    pub(crate) token_values: Vec<TokenValue<'a>>,
    #[serde(borrow)]
    pub(crate) date_values: Vec<DateValue<'a>>,
    #[serde(borrow)]
    pub(crate) location_values: Vec<LocationValue<'a>>,
    #[serde(borrow)]
    pub(crate) tag_values: Vec<TokenValue<'a>>,
    #[serde(borrow)]
    pub(crate) profile_values: Vec<ProfileValue<'a>>,
    #[serde(borrow)]
    pub(crate) security_values: Vec<TokenValue<'a>>,
    #[serde(borrow)]
    pub(crate) ref_values: Vec<RefValue<'a>>,
}

/// A string.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StringValue<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow)]
    pub(crate) value: Option<Text<'a>>,
    pub(crate) composite_id: Option<i32>,
    #[serde(default)]
    pub(crate) whole_system: bool,
}

/// A number, or a range of numbers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NumberValue<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    pub(crate) value: Option<Decimal>,
    pub(crate) low_value: Option<Decimal>,
    pub(crate) high_value: Option<Decimal>,
    pub(crate) composite_id: Option<i32>,
}

/// A number with its unit.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QuantityValue<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    pub(crate) value_number: Option<Decimal>,
    pub(crate) value_number_low: Option<Decimal>,
    pub(crate) value_number_high: Option<Decimal>,
    #[serde(borrow)]
    pub(crate) value_system: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) value_code: Option<Text<'a>>,
    pub(crate) composite_id: Option<i32>,
}

/// A code of a code system; of tags and security labels too.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenValue<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow)]
    pub(crate) value_system: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) value_code: Option<Text<'a>>,
    pub(crate) composite_id: Option<i32>,
    #[serde(default)]
    pub(crate) whole_system: bool,
}

/// A period.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DateValue<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow)]
    pub(crate) value_date_start: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) value_date_end: Option<Text<'a>>,
    pub(crate) composite_id: Option<i32>,
    #[serde(default)]
    pub(crate) whole_system: bool,
}

/// A place on earth.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LocationValue<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    pub(crate) value_latitude: Option<Decimal>,
    pub(crate) value_longitude: Option<Decimal>,
    pub(crate) composite_id: Option<i32>,
}

/// A profile that the resource claims to conform to.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProfileValue<'a> {
    #[serde(borrow)]
    pub(crate) url: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) version: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) fragment: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) whole_system: bool,
}

/// A reference to another resource, which may not be there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefValue<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow)]
    pub(crate) resource_type: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) logical_id: Option<Text<'a>>,
    pub(crate) ref_version_id: Option<i32>,
}

impl Values<'_> {
    /// Whether each value fits its column. Strings always do: the server cuts them, and so do rows.
    pub(super) fn check(&self) -> Result<(), Poison> {
        for value in &self.string_values {
            fits("stringValues.name", &value.name, NAME_CHARS)?;
            if let Some(text) = &value.value {
                without_nul("stringValues.value", text)?;
            }
        }
        for value in &self.number_values {
            fits("numberValues.name", &value.name, NAME_CHARS)?;
        }
        for value in &self.quantity_values {
            fits("quantityValues.name", &value.name, NAME_CHARS)?;
            needed(
                "quantityValues.valueSystem",
                value.value_system.as_ref(),
                NAME_CHARS,
            )?;
            needed(
                "quantityValues.valueCode",
                value.value_code.as_ref(),
                NAME_CHARS,
            )?;
        }
        for value in &self.location_values {
            fits("locationValues.name", &value.name, NAME_CHARS)?;
        }
        for value in &self.date_values {
            value.check()?;
        }
        self.check_tokens()?;
        self.check_targets()
    }

    fn check_tokens(&self) -> Result<(), Poison> {
        for value in &self.token_values {
            fits("tokenValues.name", &value.name, NAME_CHARS)?;
            needed(
                "tokenValues.valueSystem",
                value.value_system.as_ref(),
                NAME_CHARS,
            )?;
            if let Some(code) = &value.value_code {
                fits("tokenValues.valueCode", code, VALUE_CHARS)?;
            }
        }
        for (kind, values) in [
            ("tagValues", &self.tag_values),
            ("securityValues", &self.security_values),
        ] {
            for value in values {
                needed(kind, value.value_system.as_ref(), NAME_CHARS)?;
                needed(kind, value.value_code.as_ref(), VALUE_CHARS)?;
            }
        }
        Ok(())
    }

    fn check_targets(&self) -> Result<(), Poison> {
        for value in &self.profile_values {
            needed("profileValues.url", value.url.as_ref(), VALUE_CHARS)?;
            for (field, part) in [
                ("profileValues.version", &value.version),
                ("profileValues.fragment", &value.fragment),
            ] {
                if let Some(part) = part {
                    fits(field, part, PART_CHARS)?;
                }
            }
        }
        for value in &self.ref_values {
            fits("refValues.name", &value.name, NAME_CHARS)?;
            needed(
                "refValues.resourceType",
                value.resource_type.as_ref(),
                NAME_CHARS,
            )?;
            needed(
                "refValues.logicalId",
                value.logical_id.as_ref(),
                VALUE_CHARS,
            )?;
        }
        Ok(())
    }
}

impl DateValue<'_> {
    fn check(&self) -> Result<(), Poison> {
        fits("dateValues.name", &self.name, NAME_CHARS)?;
        for end in [&self.value_date_start, &self.value_date_end]
            .into_iter()
            .flatten()
        {
            if super::instant::parse(end).is_none() {
                return Err(Poison::bad_value(
                    "dateValues holds what is no instant, or one that PostgreSQL cannot hold",
                ));
            }
        }
        Ok(())
    }
}

fn needed(field: &str, text: Option<&Text<'_>>, chars: usize) -> Result<(), Poison> {
    match text {
        Some(text) => fits(field, text, chars),
        None => Err(Poison::new(Reason::NullValue, format!("{field} is null"))),
    }
}

fn fits(field: &str, text: &Text<'_>, chars: usize) -> Result<(), Poison> {
    without_nul(field, text)?;
    // There are never more characters than bytes.
    if text.len() > chars && text.chars().count() > chars {
        let found = text.chars().count();
        let detail = format!("{field} has {found} characters; its column holds {chars}");
        return Err(Poison::new(Reason::ValueTooLong, detail));
    }
    Ok(())
}

fn without_nul(field: &str, text: &Text<'_>) -> Result<(), Poison> {
    // JSON has it as an escape only, with which no text is borrowed; PostgreSQL's texts cannot hold it.
    match &text.0 {
        Cow::Owned(text) if text.contains('\0') => Err(Poison::bad_value(format!(
            "{field} holds the character U+0000"
        ))),
        _ => Ok(()),
    }
}
