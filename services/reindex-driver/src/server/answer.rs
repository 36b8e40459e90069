//! What the server's answers say.

use std::borrow::Cow;

use serde::Deserialize;

use super::Trouble;

/// `spec/fhir-schema.md` §7.1.
const COMPLETE: &str = "Reindex complete";
const PROCESSED: &str = "Processed ";

/// What a `$reindex` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Processed {
    Some(u64),
    Complete,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow, rename = "resourceType")]
    resource_type: Cow<'a, str>,
    #[serde(borrow, default)]
    issue: Vec<Issue<'a>>,
}

#[derive(Deserialize)]
struct Issue<'a> {
    #[serde(borrow)]
    diagnostics: Option<Cow<'a, str>>,
}

impl Processed {
    pub(super) fn read(body: &[u8]) -> Result<Self, Trouble> {
        let outcome: Outcome<'_> = serde_json::from_slice(body)
            .map_err(|e| Trouble::strange(format!("$reindex did not answer FHIR JSON: {e}")))?;
        if outcome.resource_type != "OperationOutcome" {
            let answered = &outcome.resource_type;
            return Err(Trouble::strange(format!(
                "$reindex answered no OperationOutcome but {answered:?}"
            )));
        }
        let says = |issue: &Issue<'_>, text: &str| {
            let diagnostics = issue.diagnostics.as_deref();
            diagnostics.is_some_and(|said| said.starts_with(text))
        };
        let done = outcome.issue.iter().filter(|issue| says(issue, PROCESSED));
        let done = done.count() as u64;
        let complete = outcome.issue.iter().any(|issue| says(issue, COMPLETE));
        Ok(if done == 0 && complete {
            Self::Complete
        } else {
            Self::Some(done)
        })
    }
}

#[derive(Deserialize)]
struct Parameters<'a> {
    #[serde(borrow, rename = "resourceType")]
    resource_type: Cow<'a, str>,
    #[serde(borrow, default)]
    parameter: Vec<Parameter<'a>>,
}

#[derive(Deserialize)]
struct Parameter<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, rename = "valueString")]
    value: Option<Cow<'a, str>>,
}

/// The ids that `$retrieve-index` answers: none where the parameter is missing.
pub(super) fn index_ids(body: &[u8]) -> Result<Vec<i64>, Trouble> {
    let strange = |what: String| Trouble::strange(format!("$retrieve-index answered {what}"));
    let parameters: Parameters<'_> =
        serde_json::from_slice(body).map_err(|e| strange(format!("no FHIR JSON: {e}")))?;
    if parameters.resource_type != "Parameters" {
        let answered = &parameters.resource_type;
        return Err(strange(format!("no Parameters but {answered:?}")));
    }
    let mut named = parameters.parameter.iter();
    let named = named.find(|parameter| parameter.name == "indexIds");
    let text = named.and_then(|parameter| parameter.value.as_deref());
    let ids = text.unwrap_or_default().split(',').map(str::trim);
    let ids = ids.filter(|id| !id.is_empty()).map(str::parse);
    ids.collect::<Result<_, _>>()
        .map_err(|_| strange("something else than index ids".to_owned()))
}

/// The id of the job that HAPI has started.
pub(super) fn job_id(body: &[u8]) -> Result<String, Trouble> {
    let strange = |what: String| Trouble::strange(format!("$reindex answered {what}"));
    let parameters: Parameters<'_> =
        serde_json::from_slice(body).map_err(|e| strange(format!("no FHIR JSON: {e}")))?;
    let mut named = parameters.parameter.into_iter();
    let named = named.find(|parameter| parameter.name == "jobId");
    match named.and_then(|parameter| parameter.value) {
        Some(id) if !id.is_empty() => Ok(id.into_owned()),
        _ => Err(strange("no jobId; is it HAPI FHIR?".to_owned())),
    }
}

/// What a search counted.
pub(super) fn total(body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Bundle {
        total: Option<u64>,
    }
    serde_json::from_slice::<Bundle>(body).ok()?.total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(diagnostics: &[&str]) -> String {
        let issues = diagnostics.iter().map(|text| {
            serde_json::json!({"severity": "information", "code": "informational", "diagnostics": text})
        });
        let issues: Vec<_> = issues.collect();
        serde_json::json!({"resourceType": "OperationOutcome", "issue": issues}).to_string()
    }

    #[test]
    fn hapi_answers_the_id_of_its_job() {
        let body = br#"{"resourceType":"Parameters","parameter":[{"name":"jobId","valueString":"5f39-ab"}]}"#;
        assert_eq!(job_id(body).unwrap(), "5f39-ab");
        for other in [
            r#"{"resourceType":"OperationOutcome"}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"jobId","valueString":""}]}"#,
            "<html>",
        ] {
            assert!(job_id(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn what_is_processed_is_counted() {
        let read = |texts: &[&str]| Processed::read(outcome(texts).as_bytes()).unwrap();
        let two = ["Processed Patient/a", "Processed Patient/b"];
        assert_eq!(read(&two), Processed::Some(2));
        assert_eq!(read(&["Reindex complete"]), Processed::Complete);
        assert_eq!(read(&["something"]), Processed::Some(0));
        let no_text = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"information"}]}"#;
        let read = Processed::read(no_text.as_bytes());
        assert_eq!(read.unwrap(), Processed::Some(0));
        for wrong in ["", "<html>", "[]", r#"{"resourceType":"Bundle"}"#] {
            assert!(Processed::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_are_read_with_or_without_blanks() {
        let with = |value: &str| {
            format!(
                r#"{{"resourceType":"Parameters","parameter":[{{"name":"indexIds","valueString":"{value}"}}]}}"#
            )
        };
        let read = |value| index_ids(with(value).as_bytes());
        assert_eq!(read("2,4, 6").unwrap(), [2, 4, 6]);
        assert!(read("2,x").is_err());
        let none = index_ids(br#"{"resourceType":"Parameters"}"#).unwrap();
        assert!(none.is_empty());
        assert!(index_ids(br#"{"resourceType":"OperationOutcome"}"#).is_err());
    }
}
