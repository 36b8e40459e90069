//! Requests recorded with a real LinuxForHealth server, sent again: the answers must have the same form.

use std::collections::BTreeSet;

use crate::common::{Answer, Server};
use crate::recording::{self, Recording};
use reqwest::Method;
use serde_json::{Value, json};
use stoker_sandbox::{Auth, SandboxConfig};

/// Recordings that can be sent to a fresh server.
const INDEPENDENT: &[&str] = &[
    "bundle-batch-200",
    "bundle-batch-400-with-error-entry",
    "bundle-collection-post",
    "bundle-transaction-200-minimal",
    "bundle-transaction-200-representation",
    "bundle-transaction-400-validation",
    "bundle-transaction-conditional-reference-not-found",
    "bundle-transaction-ifNoneExist",
    "create-201-minimal",
    "create-201-no-prefer",
    "create-201-representation",
    "create-400-bad-code",
    "create-400-missing-required",
    "create-400-type-mismatch",
    "create-400-unknown-property",
    "create-404-unknown-type",
    "put-create-201",
    "read-404",
];

/// Recordings of one patient's life, in their order.
const UPDATES: &[&str] = &[
    "update-200",
    "update-version-conflict",
    "update-id-mismatch-400",
    "update-200-unchanged",
];

/// The same of another one.
const DELETES: &[&str] = &["put-create-201", "delete-200", "read-410-deleted"];

/// Recordings with a test of their own, which says what is different here.
const DIFFERENT: &[&str] = &[
    "create-201-OperationOutcome",
    "create-400-malformed-json",
    "create-401-no-auth",
    "create-415",
    "create-bad-tenant",
    "create-latin1-body_what_fhir-bucket_sends",
    "metadata-200",
];

#[test]
fn every_recording_is_used() {
    let files = std::fs::read_dir(recording::folder("http")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names
        .map(|name| name.split_once(".txt").unwrap().0.to_owned())
        .collect();
    let used = [INDEPENDENT, UPDATES, DELETES, DIFFERENT].concat();
    assert_eq!(names, used.into_iter().map(str::to_owned).collect());
}

#[tokio::test]
async fn answers_have_the_form_of_the_real_ones() {
    for name in INDEPENDENT {
        let server = strict_server().await;
        compare(&server, name, &[]).await;
    }
}

#[tokio::test]
async fn updates_answer_as_the_real_ones() {
    let server = strict_server().await;
    let first = Recording::read(&format!("http/{}", UPDATES[0]));
    first.send(&server).await;
    for name in UPDATES {
        // The real server makes no version of what has not changed.
        let besides: &[&str] = if *name == "update-200-unchanged" {
            &["versionId"]
        } else {
            &[]
        };
        compare(&server, name, besides).await;
    }
}

#[tokio::test]
async fn deletes_answer_as_the_real_ones() {
    let server = strict_server().await;
    for name in DELETES {
        compare(&server, name, &[]).await;
    }
}

#[tokio::test]
async fn a_synthetic_patients_whole_record_loads_as_there() {
    let server = strict_server().await;
    compare(&server, "../wire/load/0002", &[]).await;
    assert_eq!(server.sandbox.resources("Patient").len(), 1);
}

#[tokio::test]
async fn where_the_sandbox_differs() {
    let server = strict_server().await;
    // It has no warnings to tell.
    let answer = compare_status(&server, "create-201-OperationOutcome").await;
    assert_eq!(answer.body["issue"][0]["severity"], "information");
    // Its parser has other words.
    let answer = compare_status(&server, "create-400-malformed-json").await;
    assert!(answer.issue().starts_with("FHIRProvider: "));
    // It says in a body why.
    let answer = compare_status(&server, "create-401-no-auth").await;
    assert!(
        answer
            .header("www-authenticate")
            .starts_with("Basic realm=")
    );
    assert_eq!(answer.body["issue"][0]["code"], "login");
    let answer = compare_status(&server, "create-415").await;
    assert_eq!(answer.body["issue"][0]["code"], "not-supported");
    // It has no tenants, and takes UTF-8 only, as FHIR says.
    let answer = Recording::read("http/create-bad-tenant")
        .send(&server)
        .await;
    assert_eq!(answer.status, 201);
    let latin1 = Recording::read("http/create-latin1-body_what_fhir-bucket_sends");
    assert_eq!(latin1.send(&server).await.status, 400);
    // It can do less.
    let request = server.ask(Method::GET, "/metadata");
    let request = request.basic_auth("fhiruser", Some("change-password"));
    let metadata = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(
        (metadata.status, &metadata.body["fhirVersion"]),
        (200, &json!("4.0.1"))
    );
}

async fn strict_server() -> Server {
    let auth = Auth {
        basic: Some(("fhiruser".to_owned(), "change-password".into())),
        bearer: None,
    };
    Server::start(SandboxConfig {
        auth,
        batch_refused_whole: true,
        ..SandboxConfig::default()
    })
    .await
}

async fn compare_status(server: &Server, name: &str) -> Answer {
    let recording = Recording::read(&format!("http/{name}"));
    let answer = recording.send(server).await;
    assert_eq!(answer.status, recording.status, "{name}: {}", answer.body);
    answer
}

/// Sends a recording again and compares the answers, apart from what differs at every call and the
/// members named `besides`.
async fn compare(server: &Server, name: &str, besides: &[&str]) {
    let answer = compare_status(server, name).await;
    let recording = Recording::read(&format!("http/{name}"));
    for header in ["location", "etag", "last-modified"] {
        assert_eq!(
            answer.headers.contains_key(header),
            recording.has_header(header),
            "{name}: {header}"
        );
    }
    let mut ours = answer.body;
    let mut theirs = recording.answer;
    even_out(&mut ours, besides);
    even_out(&mut theirs, besides);
    assert_eq!(ours, theirs, "{name}");
}

/// Takes out what differs at every call, and warnings beside a success.
fn even_out(value: &mut Value, besides: &[&str]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| even_out(item, besides)),
        Value::Object(members) => {
            members.remove("_code");
            members.remove("outcome");
            if members.get("resourceType") == Some(&json!("OperationOutcome")) {
                members.remove("id");
            }
            for (name, value) in members.iter_mut() {
                let changing = ["id", "lastUpdated", "lastModified"];
                if changing.contains(&name.as_str()) || besides.contains(&name.as_str()) {
                    assert!(value.is_string(), "{name}: {value}");
                    *value = Value::Null;
                } else if value.is_string() && (name == "location" || name == "reference") {
                    without_id(value);
                }
                even_out(value, besides);
            }
        }
        _ => {}
    }
}

/// `Patient/1234…/_history/1` → `Patient/*/_history/1`, for ids that the server chose.
fn without_id(value: &mut Value) {
    let text = value.as_str().unwrap();
    let parts = text
        .split('/')
        .map(|part| if part.len() >= 36 { "*" } else { part });
    *value = parts.collect::<Vec<_>>().join("/").into();
}
