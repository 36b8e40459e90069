//! FHIR servers: what they are, whether they let us in, what time they have.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use stoker_proto::common::v1::Target;
use stoker_shared::clock::{Clock as _, SystemClock};
use stoker_shared::fhir::{
    Capabilities, CapabilityError, FhirClient, FhirConfig, FhirRequest, FhirResponse, Method,
};

use super::Check;
use super::clocks;
use super::finding::{Finding, LIMIT, in_time};

/// What is read: any server of patients' data knows the type, and the answer is small.
const READ: &str = "Patient?_summary=count";

pub(super) fn checks(
    targets: Vec<Target>,
    config: Result<&FhirConfig, &Finding>,
    is_sound: bool,
) -> Vec<Check> {
    let config = match config {
        Ok(config) if !targets.is_empty() => config,
        Ok(_) => {
            let to_do = "--to URL looks at one";
            let detail = "none is named or configured";
            let finding = Finding::none("FHIR server", is_sound, detail, to_do);
            return vec![Check::known(finding)];
        }
        Err(finding) => {
            return vec![Check::known(finding.clone())];
        }
    };
    let targets = targets.into_iter();
    targets
        .map(|target| Check::new(&target.base_url.clone(), check(target, config.clone())))
        .collect()
}

async fn check(target: Target, config: FhirConfig) -> Vec<Finding> {
    let what = target.base_url.as_str();
    let client = match FhirClient::new(&config, &target, Arc::new(SystemClock)) {
        Ok(client) => client,
        Err(error) => return vec![Finding::error(what, error)],
    };
    let found = client.capabilities(LIMIT).await;
    let answers = !matches!(
        found,
        Err(CapabilityError::NoAnswer { .. } | CapabilityError::Fhir(_))
    );
    let mut findings = match found {
        Ok(found) => vec![described(what, &found), reindexing(what, &found)],
        Err(error) => vec![Finding::error(what, error)],
    };
    if answers {
        findings.extend(read(what, &client).await);
    }
    findings
}

fn described(what: &str, found: &Capabilities) -> Finding {
    let name = match found.software.as_str() {
        "" => "a server that does not name itself",
        software => software,
    };
    let detail = format!("{name}, FHIR {}", found.fhir_version);
    if !found.fhir_version.starts_with("4.") {
        return Finding::warn(what, detail, "give a FHIR R4 server; others are not tested");
    }
    match (found.batch, found.transaction) {
        (true, true) => Finding::ok(what, format!("{detail}, takes batches and transactions")),
        (true, false) => Finding::warn(
            what,
            format!("{detail}, takes batches, no transactions"),
            "transaction Bundles in the data would be refused; have the server take them",
        ),
        (false, _) => Finding::warn(
            what,
            format!("{detail}, does not say that it takes batches"),
            "with `--batch 1` resources are sent each by itself",
        ),
    }
}

/// Whether `stoker reindex` can be used with it.
fn reindexing(server: &str, found: &Capabilities) -> Finding {
    let what = format!("{server} $reindex");
    match (found.offers("reindex"), found.offers("retrieve-index")) {
        (true, true) => Finding::ok(&what, "offered, also client-driven"),
        (true, false) => Finding::ok(&what, "offered"),
        (false, _) => Finding::skip(
            &what,
            "the server does not say that it offers it",
            "`stoker reindex` is for LinuxForHealth FHIR and HAPI FHIR",
        ),
    }
}

/// Whether it lets us in, how long it takes, and what its clock shows.
async fn read(server: &str, client: &FhirClient) -> Vec<Finding> {
    let what = format!("{server} read");
    let request = FhirRequest {
        method: Method::Get,
        path: READ,
        body: Bytes::new(),
        prefer_minimal: false,
        if_none_exist: None,
    };
    let asked = SystemClock.now();
    let answer = match in_time(&what, client.send_dated(request)).await {
        Err(late) => return late,
        Ok(Err(error)) => return vec![Finding::error(&what, error)],
        Ok(Ok(answer)) => answer,
    };
    let now = asked + (SystemClock.now() - asked) / 2;
    let (response, date) = answer;
    let mut findings = vec![judge(&what, &response)];
    findings.extend(date.map(|date| clocks::compare(server, ahead(date, now))));
    findings
}

/// The header has no parts of a second: on average half of one is missing.
fn ahead(date: DateTime<Utc>, now: DateTime<Utc>) -> TimeDelta {
    date + TimeDelta::milliseconds(500) - now
}

fn judge(what: &str, response: &FhirResponse) -> Finding {
    let status = response.status;
    match status {
        200..=299 => {
            let ms = response.elapsed.as_millis();
            Finding::ok(what, format!("we are let in; answered in {ms} ms"))
        }
        401 => Finding::fail(
            what,
            "the server does not accept who we are (status 401)",
            "check --fhir-user and --fhir-password-file, or --fhir-token-file",
        ),
        403 => Finding::fail(
            what,
            "the server knows us, but does not let us read (status 403)",
            "give the user, or the token's scopes, the right to read and write",
        ),
        429 | 500.. => Finding::fail(
            what,
            format!("the server cannot serve now (status {status})"),
            "wait until it is ready, or see its log",
        ),
        _ => Finding::warn(
            what,
            format!("{READ} is answered with status {status}"),
            "if it is a FHIR server without patients, all is well",
        ),
    }
}
