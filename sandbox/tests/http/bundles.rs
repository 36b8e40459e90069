//! Batches and transactions.

use crate::common::{Answer, Server};
use reqwest::Method;
use serde_json::{Value, json};
use stoker_sandbox::{Fault, FaultRule, SandboxConfig};

fn bundle(kind: &str, entry: &[Value]) -> Value {
    json!({"resourceType": "Bundle", "type": kind, "entry": entry})
}

fn post(full_url: &str, resource: &Value) -> Value {
    let url = resource["resourceType"].clone();
    json!({"fullUrl": full_url, "resource": resource, "request": {"method": "POST", "url": url}})
}

fn put(resource: &Value) -> Value {
    let url = format!(
        "{}/{}",
        resource["resourceType"].as_str().unwrap(),
        resource["id"].as_str().unwrap()
    );
    json!({"resource": resource, "request": {"method": "PUT", "url": url}})
}

fn patient(identifier: &str) -> Value {
    json!({"resourceType": "Patient", "identifier": [{"system": "s", "value": identifier}]})
}

fn condition_of(reference: &str) -> Value {
    json!({"resourceType": "Condition", "subject": {"reference": reference}})
}

fn statuses(answer: &Answer) -> Vec<&str> {
    let entries = answer.body["entry"].as_array().unwrap();
    entries
        .iter()
        .map(|e| e["response"]["status"].as_str().unwrap())
        .collect()
}

async fn send(server: &Server, bundle: &Value) -> Answer {
    server.send(Method::POST, "", bundle).await
}

#[tokio::test]
async fn entries_of_a_batch_stand_for_themselves() {
    let server = Server::start(SandboxConfig::default()).await;
    let named = json!({"resourceType": "Patient", "id": "p1"});
    let answer = send(
        &server,
        &bundle(
            "batch",
            &[
                put(&named.clone()),
                post(
                    "urn:uuid:1",
                    &json!({"resourceType": "Observation", "status": "final"}),
                ),
                put(&named),
                json!({"request": {"method": "GET", "url": "Patient/p1"}}),
                json!({"request": {"method": "DELETE", "url": "Patient/p1"}}),
                json!({"request": {"method": "GET", "url": "Patient/p1"}}),
                json!({"request": {"method": "PATCH", "url": "Patient/p1"}}),
                json!({}),
                json!({"request": {"method": "GET", "url": "Patient?_summary=count"}}),
            ],
        ),
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["type"], "batch-response");
    let expected = [
        "201", "400", "200", "200", "204", "410", "400", "400", "200",
    ];
    assert_eq!(statuses(&answer), expected);
    let entry = |n: usize| &answer.body["entry"][n];
    assert_eq!(entry(0)["response"]["location"], "Patient/p1/_history/1");
    assert_eq!(entry(2)["response"]["etag"], "W/\"2\"");
    let issue = &entry(1)["response"]["outcome"]["issue"][0];
    assert_eq!(issue["expression"][0], "Bundle.entry[1]");
    assert_eq!(entry(3)["resource"]["meta"]["versionId"], "2");
    assert_eq!(entry(8)["resource"]["total"], 0);
    assert_eq!(server.sandbox.stats().entries, 9);
}

#[tokio::test]
async fn a_strict_server_refuses_the_whole_batch() {
    let config = SandboxConfig {
        batch_refused_whole: true,
        ..SandboxConfig::default()
    };
    let server = Server::start(config).await;
    let wrong = json!({"resourceType": "Patient", "gender": "x"});
    let entries = [
        post("urn:uuid:1", &patient("1")),
        post("urn:uuid:2", &wrong),
    ];
    let answer = send(&server, &bundle("batch", &entries)).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.issue().contains("Bundle.entry[1]"),
        "{}",
        answer.body
    );
    assert!(server.sandbox.resources("Patient").is_empty());
    assert_eq!(
        send(&server, &bundle("batch", &entries[..1])).await.status,
        200
    );
}

#[tokio::test]
async fn a_strict_server_answers_400_whatever_is_wrong_with_an_entry() {
    let config = SandboxConfig {
        batch_refused_whole: true,
        ..SandboxConfig::default()
    };
    let server = Server::start(config).await;
    let asking = |method: &str, url: &str| json!({"request": {"method": method, "url": url}});
    for wrong in [
        post("urn:uuid:2", &json!({"resourceType": "Martian"})),
        asking("DELETE", "Martian/1"),
        asking("GET", "Patient/$everything"),
        asking("PATCH", "Patient/1"),
        json!({}),
    ] {
        let entries = [post("urn:uuid:1", &patient("1")), wrong];
        let answer = send(&server, &bundle("batch", &entries)).await;
        assert_eq!(answer.status, 400, "{}", entries[1]);
        assert_eq!(answer.body["issue"][0]["expression"][0], "Bundle.entry[1]");
        assert!(server.sandbox.resources("Patient").is_empty());
    }
}

#[tokio::test]
async fn a_transaction_links_its_entries() {
    let server = Server::start(SandboxConfig::default()).await;
    send(
        &server,
        &bundle("transaction", &[post("urn:uuid:0", &patient("here"))]),
    )
    .await;
    let entries = [
        post("urn:uuid:c1", &condition_of("urn:uuid:p")),
        post("urn:uuid:c2", &condition_of("Patient?identifier=s|here")),
        post("urn:uuid:c3", &condition_of("Patient?identifier=s|new")),
        post("urn:uuid:p", &patient("new")),
        post(
            "http://elsewhere/Group/9",
            &json!({"resourceType": "Group", "type": "person", "actual": true}),
        ),
        post("http://elsewhere/Condition/9", &condition_of("Group/9")),
    ];
    let answer = send(&server, &bundle("transaction", &entries)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(statuses(&answer), ["201"; 6]);
    let id_of = |criteria: &str| {
        let patients = server.sandbox.resources("Patient");
        let found = patients
            .iter()
            .find(|p| p["identifier"][0]["value"] == criteria)
            .unwrap();
        format!("Patient/{}", found["id"].as_str().unwrap())
    };
    let subject = |n: usize| {
        let location = answer.body["entry"][n]["response"]["location"]
            .as_str()
            .unwrap();
        let id = location.split('/').nth(1).unwrap();
        server.sandbox.read("Condition", id).unwrap()["subject"]["reference"].clone()
    };
    assert_eq!(subject(0), id_of("new"));
    assert_eq!(subject(1), id_of("here"));
    assert_eq!(subject(2), id_of("new"));
    let group = server.sandbox.resources("Group")[0]["id"].clone();
    assert_eq!(subject(5), format!("Group/{}", group.as_str().unwrap()));
}

#[tokio::test]
async fn a_transaction_that_fails_leaves_nothing() {
    let server = Server::start(SandboxConfig::default()).await;
    let twins = [
        post("urn:uuid:1", &patient("twin")),
        post("urn:uuid:2", &patient("twin")),
    ];
    send(&server, &bundle("transaction", &twins)).await;
    let before = server.sandbox.stats().versions_written;
    let named = |id: &str| json!({"resourceType": "Patient", "id": id});
    let mut stale = put(&named("p1"));
    stale["request"]["ifMatch"] = json!("W/\"3\"");
    let mut twice = post("urn:uuid:t", &patient("twin"));
    twice["request"]["ifNoneExist"] = json!("identifier=s|twin");
    for (faulty, expected) in [
        (post("urn:uuid:x", &condition_of("urn:uuid:nobody")), 400),
        (
            post("urn:uuid:x", &condition_of("Patient?identifier=s|nobody")),
            400,
        ),
        (
            post("urn:uuid:x", &condition_of("Patient?identifier=s|twin")),
            412,
        ),
        (
            post("urn:uuid:x", &json!({"resourceType": "Condition"})),
            400,
        ),
        (
            json!({"request": {"method": "DELETE", "url": "Patient/p0"}}),
            400,
        ),
        (
            json!({"request": {"method": "POST", "url": "Martian"}}),
            404,
        ),
        (stale, 412),
        (twice, 412),
    ] {
        let entries = [put(&named("p0")), faulty];
        let answer = send(&server, &bundle("transaction", &entries)).await;
        assert_eq!(answer.status, expected, "{}", entries[1]);
        assert_eq!(answer.body["issue"][0]["expression"][0], "Bundle.entry[1]");
        assert!(server.sandbox.read("Patient", "p0").is_none());
    }
    assert_eq!(server.sandbox.stats().versions_written, before);
}

#[tokio::test]
async fn conditional_creates_of_a_transaction_know_each_other() {
    let server = Server::start(SandboxConfig::default()).await;
    let conditional = |full_url: &str| {
        let mut entry = post(full_url, &patient("1"));
        entry["request"]["ifNoneExist"] = json!("identifier=s|1");
        entry
    };
    let entries = [
        conditional("urn:uuid:a"),
        conditional("urn:uuid:b"),
        post("urn:uuid:c", &condition_of("urn:uuid:b")),
    ];
    for expected in [["201", "200", "201"], ["200", "200", "201"]] {
        let answer = send(&server, &bundle("transaction", &entries)).await;
        assert_eq!(statuses(&answer), expected);
    }
    let patients = server.sandbox.resources("Patient");
    assert_eq!(patients.len(), 1);
    let reference = format!("Patient/{}", patients[0]["id"].as_str().unwrap());
    for condition in server.sandbox.resources("Condition") {
        assert_eq!(condition["subject"]["reference"], reference);
    }
}

#[tokio::test]
async fn a_transaction_deletes_first_and_reads_last() {
    let server = Server::start(SandboxConfig::default()).await;
    let old = json!({"resourceType": "Patient", "id": "old", "identifier": [{"system": "s", "value": "1"}]});
    send(&server, &bundle("transaction", &[put(&old)])).await;
    let mut conditional = post("urn:uuid:a", &patient("1"));
    conditional["request"]["ifNoneExist"] = json!("identifier=s|1");
    let entries = [
        json!({"request": {"method": "GET", "url": "Patient?identifier=s|1"}}),
        json!({"request": {"method": "GET", "url": "Patient/old"}}),
        conditional,
        json!({"request": {"method": "DELETE", "url": "Patient/old"}}),
    ];
    let answer = send(&server, &bundle("transaction", &entries)).await;
    assert_eq!(statuses(&answer), ["200", "410", "201", "204"]);
    let found = &answer.body["entry"][0]["resource"]["entry"];
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_ne!(found[0]["resource"]["id"], "old");
}

#[tokio::test]
async fn a_transaction_checks_references_with_its_own_changes() {
    let config = SandboxConfig {
        referential_integrity: true,
        ..SandboxConfig::default()
    };
    let server = Server::start(config).await;
    let named = json!({"resourceType": "Patient", "id": "p1"});
    let linked = [post("urn:uuid:c", &condition_of("Patient/p1")), put(&named)];
    assert_eq!(
        send(&server, &bundle("transaction", &linked)).await.status,
        200
    );
    let dangling = [
        post("urn:uuid:c", &condition_of("Patient/p1")),
        json!({"request": {"method": "DELETE", "url": "Patient/p1"}}),
    ];
    assert_eq!(
        send(&server, &bundle("transaction", &dangling))
            .await
            .status,
        400
    );
    assert!(server.sandbox.read("Patient", "p1").is_some());
}

#[tokio::test]
async fn an_entry_can_be_struck_by_a_fault() {
    let server = Server::start(SandboxConfig::default()).await;
    let rule = FaultRule {
        method: Some("POST".to_owned()),
        path_contains: Some("/Patient".to_owned()),
        body_contains: Some("\"bad\"".to_owned()),
        times: Some(2),
        ..FaultRule::new(Fault::EntryStatus { code: 422 })
    };
    server.sandbox.faults().set(vec![rule]).unwrap();
    let entries = [
        post("urn:uuid:1", &patient("good")),
        post("urn:uuid:2", &patient("bad")),
    ];
    let batch = send(&server, &bundle("batch", &entries)).await;
    assert_eq!(statuses(&batch), ["201", "422"]);
    let transaction = send(&server, &bundle("transaction", &entries)).await;
    assert_eq!(transaction.status, 422);
    assert_eq!(server.sandbox.resources("Patient").len(), 1);
    let again = send(&server, &bundle("transaction", &entries)).await;
    assert_eq!(statuses(&again), ["201", "201"]);
    assert_eq!(server.sandbox.faults().strikes(), [2]);
}

#[tokio::test]
async fn a_body_that_is_no_bundle_to_do_is_refused() {
    let server = Server::start(SandboxConfig::default()).await;
    for body in [
        json!({"resourceType": "Patient"}),
        json!({"resourceType": "Bundle"}),
        json!({"resourceType": "Bundle", "type": "collection", "entry": []}),
        json!({"resourceType": "Bundle", "type": "batch", "entry": {}}),
        json!({"resourceType": "Bundle", "type": "batch", "entry": [7]}),
    ] {
        let answer = send(&server, &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(!answer.issue().is_empty());
    }
    assert_eq!(
        statuses(&send(&server, &bundle("batch", &[])).await),
        [""; 0]
    );
}
