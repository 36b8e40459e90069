//! The search parameters the sandbox understands, and what they match.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use url::form_urlencoded;

use crate::outcome::Refusal;

/// Resources on a page when `_count` does not say.
const DEFAULT_COUNT: usize = 10;
/// Resources on a page at most.
const MAX_COUNT: usize = 1000;

/// What to look for.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) kind: &'static str,
    /// Only what did not change after it.
    pub(crate) until: Option<DateTime<Utc>>,
    filters: Vec<Filter>,
}

/// Which part of the result to show, and how.
#[derive(Debug)]
pub(crate) struct Page {
    /// Resources on it, at most; 0 asks for the total alone.
    pub(crate) count: usize,
    /// The total is wanted even where it costs a look at every resource.
    pub(crate) total: bool,
    /// What the page before ended with: an id, or a version in a history.
    pub(crate) after: Option<String>,
}

/// One parameter; any of its values may match.
#[derive(Debug, Clone)]
enum Filter {
    Id(Vec<String>),
    Identifier(Vec<Token>),
    Code(Vec<Token>),
    Name(Vec<String>),
    Family(Vec<String>),
    /// To a patient, from `patient` or `subject`.
    Patient(Vec<String>),
    Subject(Vec<String>),
}

/// `system|code`, `code`, `|code` (which has no system) or `system|`.
#[derive(Debug, Clone)]
struct Token {
    system: Option<String>,
    code: Option<String>,
}

impl Query {
    /// Reads the query of a search URL.
    pub(crate) fn parse(kind: &'static str, text: &str) -> Result<(Self, Page), Refusal> {
        let mut filters = Vec::new();
        let mut until = None;
        let mut page = Page::first();
        let mut total_alone = false;
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match &*name {
                "_count" => page.count = count(&value)?,
                "_summary" => total_alone = is_count(&value)?,
                "_total" => page.total = value == "accurate",
                "_page" => page.after = Some(value.into_owned()),
                "_lastUpdated" => until = Some(not_after(&value)?),
                "_format" => {}
                _ => filters.push(Filter::parse(&name, &value, kind)?),
            }
        }
        page.total |= filters.is_empty() && until.is_none();
        if total_alone {
            page.count = 0;
        }
        let query = Self {
            kind,
            until,
            filters,
        };
        Ok((query, page))
    }

    /// Reads the criteria of a conditional create or reference; there must be some.
    pub(crate) fn criteria(kind: &'static str, text: &str) -> Result<Self, Refusal> {
        let criteria = text.split_once('?').map_or(text, |(_, query)| query);
        let (query, _) = Self::parse(kind, criteria)?;
        if query.filters.is_empty() {
            let text = format!("The condition '{text}' has no search parameter");
            return Err(Refusal::invalid(text));
        }
        Ok(query)
    }

    /// Whether it asks for nothing special, but maybe a time.
    pub(crate) fn is_everything(&self) -> bool {
        self.filters.is_empty()
    }

    /// The only ids that can match, if it names ids.
    pub(crate) fn ids(&self) -> Option<&[String]> {
        self.filters.iter().find_map(|filter| match filter {
            Filter::Id(ids) => Some(ids.as_slice()),
            _ => None,
        })
    }

    /// Values of which a matching resource must have one as an identifier, if there are such.
    pub(crate) fn identifier_values(&self) -> Option<Vec<&str>> {
        self.filters.iter().find_map(|filter| match filter {
            Filter::Identifier(tokens) => tokens.iter().map(|t| t.code.as_deref()).collect(),
            _ => None,
        })
    }

    /// Whether a resource, given as JSON text, matches.
    pub(crate) fn matches(&self, id: &str, text: &str) -> bool {
        if self.is_everything() {
            return true;
        }
        let resource: Value = serde_json::from_str(text).unwrap_or_default();
        self.filters
            .iter()
            .all(|filter| filter.matches(id, &resource))
    }
}

impl Page {
    fn first() -> Self {
        Self {
            count: DEFAULT_COUNT,
            total: false,
            after: None,
        }
    }

    /// Reads the query of a history URL.
    pub(crate) fn of_history(text: &str) -> Result<Self, Refusal> {
        let mut page = Self::first();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match &*name {
                "_count" => page.count = count(&value)?,
                "_page" => page.after = Some(value.into_owned()),
                "_format" => {}
                _ => {
                    return Err(Refusal::invalid(format!(
                        "Parameter '{name}' is not supported for a history; the sandbox knows '_count'."
                    )));
                }
            }
        }
        Ok(page)
    }
}

impl Filter {
    fn parse(name: &str, value: &str, kind: &str) -> Result<Self, Refusal> {
        let texts = || value.split(',').map(str::to_owned).collect();
        let tokens = || value.split(',').map(Token::parse).collect();
        match name {
            "_id" => Ok(Self::Id(texts())),
            "identifier" => Ok(Self::Identifier(tokens())),
            "code" => Ok(Self::Code(tokens())),
            "name" => Ok(Self::Name(texts())),
            "family" => Ok(Self::Family(texts())),
            "patient" => Ok(Self::Patient(texts())),
            "subject" => Ok(Self::Subject(texts())),
            _ => Err(Refusal::invalid(format!(
                "Search parameter '{name}' for resource type '{kind}' was not found."
            ))),
        }
    }

    fn matches(&self, id: &str, resource: &Value) -> bool {
        match self {
            Self::Id(ids) => ids.iter().any(|wanted| wanted == id),
            Self::Identifier(tokens) => each(&resource["identifier"]).any(|found| {
                tokens
                    .iter()
                    .any(|t| t.matches(&found["system"], &found["value"]))
            }),
            Self::Code(tokens) => codings(resource).any(|found| {
                tokens
                    .iter()
                    .any(|t| t.matches(&found["system"], &found["code"]))
            }),
            Self::Name(starts) => names(resource).any(|name| starts_with_any(name, starts)),
            Self::Family(starts) => each(&resource["name"])
                .filter_map(|name| name["family"].as_str())
                .any(|family| starts_with_any(family, starts)),
            Self::Patient(wanted) => ["patient", "subject"]
                .iter()
                .any(|element| refers_to(&resource[element], "Patient", wanted)),
            Self::Subject(wanted) => refers_to(&resource["subject"], "Patient", wanted),
        }
    }
}

impl Token {
    fn parse(text: &str) -> Self {
        let known = |part: &str| (!part.is_empty()).then(|| part.to_owned());
        match text.split_once('|') {
            None => Self {
                system: None,
                code: known(text),
            },
            Some((system, code)) => Self {
                system: Some(system.to_owned()),
                code: known(code),
            },
        }
    }

    fn matches(&self, system: &Value, code: &Value) -> bool {
        let system_fits = self
            .system
            .as_ref()
            .is_none_or(|wanted| system.as_str().unwrap_or_default() == wanted);
        let code_fits = self
            .code
            .as_deref()
            .is_none_or(|wanted| code.as_str() == Some(wanted));
        system_fits && code_fits
    }
}

/// The values of an `identifier` element: one object or an array of them.
pub(crate) fn identifier_values(element: &str) -> Vec<String> {
    let element: Value = serde_json::from_str(element).unwrap_or_default();
    let mut values: Vec<String> = each(&element)
        .filter_map(|identifier| identifier["value"].as_str())
        .map(str::to_owned)
        .collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn count(value: &str) -> Result<usize, Refusal> {
    let count: usize = value.parse().map_err(|_| {
        Refusal::invalid(format!(
            "_count '{value}' is not a whole number; give one from 0"
        ))
    })?;
    Ok(count.min(MAX_COUNT))
}

/// The moment that a `_lastUpdated` names as the last one; of a day that is its last.
fn not_after(value: &str) -> Result<DateTime<Utc>, Refusal> {
    let text = value.strip_prefix("le").unwrap_or_default();
    let moment = || DateTime::parse_from_rfc3339(text).ok();
    let day = text.parse::<NaiveDate>().ok();
    let end_of_day = day.and_then(|day| day.and_hms_micro_opt(23, 59, 59, 999_999));
    let end_of_day = end_of_day.map(|end| end.and_utc());
    end_of_day.or_else(|| moment().map(Into::into)).ok_or_else(|| {
        Refusal::invalid(format!(
            "_lastUpdated '{value}' is not supported; the sandbox knows 'le' and a day or moment, as in \
             le2026-01-31T00:00:00Z"
        ))
    })
}

/// Whether `_summary` asks for the total alone.
fn is_count(value: &str) -> Result<bool, Refusal> {
    match value {
        "count" => Ok(true),
        "false" => Ok(false),
        _ => Err(Refusal::invalid(format!(
            "_summary '{value}' is not supported; the sandbox knows 'count' and 'false'"
        ))),
    }
}

/// The items of an array, or the one value that stands alone.
fn each(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(items) => items.iter(),
        Value::Null => [].iter(),
        one => std::slice::from_ref(one).iter(),
    }
}

fn codings(resource: &Value) -> impl Iterator<Item = &Value> {
    ["code", "vaccineCode", "medicationCodeableConcept"]
        .iter()
        .flat_map(|element| each(&resource[element]["coding"]))
}

fn names(resource: &Value) -> impl Iterator<Item = &str> {
    each(&resource["name"]).flat_map(|name| {
        let parts = ["family", "given", "text"].into_iter();
        let parts = parts
            .flat_map(|part| each(&name[part]))
            .filter_map(Value::as_str);
        name.as_str().into_iter().chain(parts)
    })
}

fn starts_with_any(text: &str, starts: &[String]) -> bool {
    let text = text.to_lowercase();
    starts
        .iter()
        .any(|start| text.starts_with(&start.to_lowercase()))
}

/// Whether a reference names one of these: `Type/id` or, of the usual type, an id alone.
fn refers_to(element: &Value, usual: &str, wanted: &[String]) -> bool {
    let Some(reference) = element["reference"].as_str() else {
        return false;
    };
    wanted.iter().any(|wanted| {
        let full: Cow<'_, str> = if wanted.contains('/') {
            wanted.into()
        } else {
            format!("{usual}/{wanted}").into()
        };
        let before = reference.strip_suffix(&*full);
        before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: &str = r#"{"resourceType":"Patient","identifier":[{"system":"s","value":"v"}],
        "name":[{"family":"Núñez","given":["José","Ana"]}]}"#;

    fn finds(query: &str, text: &str) -> bool {
        Query::parse("Patient", query)
            .unwrap()
            .0
            .matches("p1", text)
    }

    #[test]
    fn parameters_match_what_they_name() {
        for query in [
            "identifier=s|v",
            "identifier=v",
            "identifier=s|",
            "identifier=x,v",
            "_id=p1",
        ] {
            assert!(finds(query, PATIENT), "{query}");
        }
        for query in [
            "identifier=t|v",
            "identifier=|v",
            "identifier=s|w",
            "_id=p2",
            "family=Jos",
        ] {
            assert!(!finds(query, PATIENT), "{query}");
        }
        assert!(finds("name=jos", PATIENT) && finds("family=n%C3%BA&name=ana", PATIENT));
    }

    #[test]
    fn references_and_codes_match() {
        let text = r#"{"subject":{"reference":"Patient/7"},"code":{"coding":[{"system":"l","code":"c"}]}}"#;
        for query in ["patient=7", "subject=Patient/7", "code=l|c", "code=c"] {
            assert!(finds(query, text), "{query}");
        }
        for query in ["patient=17", "subject=Group/7", "code=m|c"] {
            assert!(!finds(query, text), "{query}");
        }
    }

    #[test]
    fn what_it_does_not_know_is_refused() {
        for query in ["color=red", "_count=x", "_summary=text"] {
            assert!(Query::parse("Patient", query).is_err(), "{query}");
        }
        assert!(Query::criteria("Patient", "_count=1").is_err());
    }
}
