use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::{FhirClient, FhirError, FhirRequest, Method};

/// How long a server that is there may take to say what it can do: HAPI FHIR puts its statement together anew every
/// minute, which takes a while where it is busy.
pub const CAPABILITIES_WAIT: Duration = Duration::from_secs(30);

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Name and version of the server's software; empty when it does not say.
    pub software: String,
    /// The FHIR version, such as `4.0.1`.
    pub fhir_version: String,
    /// Takes batch Bundles. True also when the server lists no interactions at all.
    pub batch: bool,
    /// Takes transaction Bundles. True also when the server lists no interactions at all.
    pub transaction: bool,
    /// Operations of the whole system that the server lists, without `$`.
    pub operations: Vec<String>,
}

impl Capabilities {
    /// Whether the server lists an operation of the whole system, named without `$`.
    pub fn offers(&self, operation: &str) -> bool {
        self.operations.iter().any(|name| name == operation)
    }
}

/// Why a server's capabilities are not known.
#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    /// Nothing came in time.
    #[error("{url}: no answer within {}; check the address and that the server runs", humantime::format_duration(*.wait))]
    NoAnswer {
        /// The address asked.
        url: String,
        /// How long was waited.
        wait: Duration,
    },
    /// Credentials missing or wrong.
    #[error(
        "{url}: the server does not let us in (status {status}); check user and password, or the token"
    )]
    Denied {
        /// The address asked.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// The server is there but cannot serve.
    #[error(
        "{url}: the server cannot serve now (status {status}); wait until it is ready, then try again"
    )]
    Unavailable {
        /// The address asked.
        url: String,
        /// 429 or 5xx.
        status: u16,
    },
    /// Something else answers there.
    #[error("{url}: not a FHIR base URL (status {status}); give the part before /metadata")]
    NotFhir {
        /// The address asked.
        url: String,
        /// The status it answered with.
        status: u16,
    },
    /// It answers, but not with a CapabilityStatement in JSON.
    #[error(
        "{url}: the answer is no CapabilityStatement in JSON; give the base URL of a FHIR R4 server"
    )]
    NotCapability {
        /// The address asked.
        url: String,
    },
    /// The request failed.
    #[error(transparent)]
    Fhir(#[from] FhirError),
}

impl FhirClient {
    /// Asks the server what it can do, once, waiting no longer than `wait`.
    pub async fn capabilities(&self, wait: Duration) -> Result<Capabilities, CapabilityError> {
        let request = FhirRequest {
            method: Method::Get,
            path: "metadata",
            body: Bytes::new(),
            prefer_minimal: false,
            if_none_exist: None,
        };
        let url = String::from(self.url("metadata")?);
        let response = match tokio::time::timeout(wait, self.send(request)).await {
            Err(_) | Ok(Err(FhirError::Timeout { .. })) => {
                return Err(CapabilityError::NoAnswer { url, wait });
            }
            Ok(response) => response?,
        };
        match response.status {
            200 => parse(&response.body).ok_or(CapabilityError::NotCapability { url }),
            status @ (401 | 403) => Err(CapabilityError::Denied { url, status }),
            status @ (429 | 500..) => Err(CapabilityError::Unavailable { url, status }),
            status => Err(CapabilityError::NotFhir { url, status }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    resource_type: String,
    #[serde(default)]
    fhir_version: String,
    #[serde(default)]
    software: Software,
    #[serde(default)]
    rest: Vec<Rest>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Software {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Rest {
    interaction: Option<Vec<Interaction>>,
    #[serde(default)]
    operation: Vec<Operation>,
}

#[derive(Deserialize)]
struct Operation {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Interaction {
    code: String,
}

fn parse(body: &[u8]) -> Option<Capabilities> {
    let statement: Statement = serde_json::from_slice(body).ok()?;
    if statement.resource_type != "CapabilityStatement" {
        return None;
    }
    let listed: Vec<&Interaction> = statement
        .rest
        .iter()
        .filter_map(|rest| rest.interaction.as_ref())
        .flatten()
        .collect();
    let takes = |code: &str| listed.is_empty() || listed.iter().any(|i| i.code == code);
    let operations = statement.rest.iter().flat_map(|rest| &rest.operation);
    let operations = operations.map(|operation| operation.name.trim_start_matches('$').to_owned());
    let Software { name, version } = &statement.software;
    Some(Capabilities {
        software: format!("{name} {version}").trim().to_owned(),
        batch: takes("batch"),
        transaction: takes("transaction"),
        operations: operations.collect(),
        fhir_version: statement.fhir_version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interactions_decide_what_is_taken() {
        let with = |rest: &str| {
            let body = format!(
                r#"{{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1",
                "software":{{"name":"A","version":"1"}},"rest":[{rest}]}}"#
            );
            let found = parse(body.as_bytes()).unwrap();
            assert_eq!(
                (found.software.as_str(), found.fhir_version.as_str()),
                ("A 1", "4.0.1")
            );
            (found.batch, found.transaction)
        };
        assert_eq!(with(""), (true, true));
        assert_eq!(with("{}"), (true, true));
        assert_eq!(with(r#"{"interaction":[{"code":"batch"}]}"#), (true, false));
        assert_eq!(
            with(r#"{"interaction":[{"code":"transaction"}]}"#),
            (false, true)
        );
        assert_eq!(
            with(r#"{"interaction":[{"code":"history-system"}]}"#),
            (false, false)
        );
    }

    #[test]
    fn operations_are_listed() {
        let body = br#"{"resourceType":"CapabilityStatement","rest":[{"mode":"server","operation":[
            {"name":"reindex","definition":"x"},{"name":"$retrieve-index"}]}]}"#;
        let found = parse(body).unwrap();
        assert!(found.offers("reindex") && found.offers("retrieve-index"));
        assert!(!found.offers("export"));
    }

    #[test]
    fn other_resources_are_no_capabilities() {
        assert_eq!(parse(br#"{"resourceType":"Patient"}"#), None);
        assert_eq!(parse(b"<CapabilityStatement/>"), None);
    }
}
