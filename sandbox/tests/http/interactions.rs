//! One resource at a time.

use crate::common::{Answer, Server};
use reqwest::Method;
use serde_json::{Value, json};
use stoker_sandbox::SandboxConfig;

fn patient(identifier: &str) -> Value {
    json!({"resourceType": "Patient", "identifier": [{"system": "http://ids", "value": identifier}]})
}

#[tokio::test]
async fn a_created_resource_gets_an_id_of_the_servers() {
    let server = Server::start(SandboxConfig::default()).await;
    let mut sent = patient("1");
    sent["id"] = json!("mine");
    let answer = server.send(Method::POST, "/Patient", &sent).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.body, Value::Null);
    assert_eq!(answer.header("etag"), "W/\"1\"");
    assert!(answer.header("last-modified").ends_with(" GMT"));
    let stored = &server.sandbox.resources("Patient")[0];
    let id = stored["id"].as_str().unwrap();
    assert_eq!(id.len(), 36);
    let location = format!("{}/Patient/{id}/_history/1", server.sandbox.base_url());
    assert_eq!(answer.header("location"), location);
    assert_eq!(stored["meta"]["versionId"], "1");
    assert!(server.sandbox.read("Patient", "mine").is_none());
    assert_eq!(server.sandbox.stats().creates, 1);
}

#[tokio::test]
async fn the_answer_has_what_the_client_prefers() {
    let server = Server::start(SandboxConfig::default()).await;
    for (prefer, kind) in [
        ("return=minimal", Value::Null),
        ("return=representation", json!("Patient")),
        (
            "respond-async, return=OperationOutcome",
            json!("OperationOutcome"),
        ),
    ] {
        let request = server
            .ask(Method::POST, "/Patient")
            .header("prefer", prefer);
        let answer = request.body(patient("1").to_string()).send().await.unwrap();
        assert_eq!(
            Answer::of(answer).await.body["resourceType"],
            kind,
            "{prefer}"
        );
    }
}

#[tokio::test]
async fn a_conditional_create_finds_what_is_there() {
    let server = Server::start(SandboxConfig::default()).await;
    let create = async || {
        let request = server.ask(Method::POST, "/Patient");
        let request = request.header("if-none-exist", "identifier=http://ids|7");
        Answer::of(request.body(patient("7").to_string()).send().await.unwrap()).await
    };
    let first = create().await;
    let second = create().await;
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(first.header("location"), second.header("location"));
    server.send(Method::POST, "/Patient", &patient("7")).await;
    assert_eq!(create().await.status, 412);
    assert_eq!(server.sandbox.resources("Patient").len(), 2);
}

#[tokio::test]
async fn every_put_makes_a_version() {
    let server = Server::start(SandboxConfig::default()).await;
    let mut sent = patient("1");
    sent["id"] = json!("p1");
    for (expected, version) in [(201, "W/\"1\""), (200, "W/\"2\""), (200, "W/\"3\"")] {
        let answer = server.send(Method::PUT, "/Patient/p1", &sent).await;
        assert_eq!((answer.status, answer.header("etag")), (expected, version));
    }
    assert_eq!(
        server.get("/Patient/p1/_history/2").await.body["meta"]["versionId"],
        "2"
    );
    assert_eq!(server.get("/Patient/p1/_history/4").await.status, 404);
    let stats = server.sandbox.stats();
    assert_eq!(
        (stats.creates, stats.updates, stats.max_puts_of_one),
        (1, 2, 3)
    );
    assert_eq!(stats.versions_written, 3);
    assert_eq!(stats.by_method_path["PUT /Patient"], 3);
}

#[tokio::test]
async fn a_put_must_fit_its_url_and_version() {
    let server = Server::start(SandboxConfig::default()).await;
    let put = async |path: &str, body: Value, if_match: Option<&str>| {
        let mut request = server.ask(Method::PUT, path).body(body.to_string());
        if let Some(version) = if_match {
            request = request.header("if-match", version);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let named = |id: &str| json!({"resourceType": "Patient", "id": id});
    assert_eq!(put("/Patient/a", named("b"), None).await, 400);
    assert_eq!(
        put("/Patient/a", json!({"resourceType": "Patient"}), None).await,
        400
    );
    assert_eq!(put("/Patient/a_b", named("a_b"), None).await, 400);
    assert_eq!(put("/Group/a", named("a"), None).await, 400);
    assert_eq!(put("/Nothing/a", named("a"), None).await, 404);
    assert_eq!(put("/Patient/a", named("a"), Some("W/\"1\"")).await, 412);
    assert_eq!(put("/Patient/a", named("a"), None).await, 201);
    assert_eq!(put("/Patient/a", named("a"), Some("W/\"1\"")).await, 200);
    assert_eq!(put("/Patient/a", named("a"), Some("W/\"1\"")).await, 412);
}

#[tokio::test]
async fn a_deleted_resource_is_gone_but_remembered() {
    let server = Server::start(SandboxConfig::default()).await;
    let sent = json!({"resourceType": "Patient", "id": "p1"});
    server.send(Method::PUT, "/Patient/p1", &sent).await;
    let delete = async || {
        server
            .ask(Method::DELETE, "/Patient/p1")
            .send()
            .await
            .unwrap()
    };
    assert_eq!(delete().await.headers()["etag"], "W/\"2\"");
    assert_eq!(delete().await.status(), 204);
    assert_eq!(server.get("/Patient/p1").await.status, 410);
    assert_eq!(server.get("/Patient/p1/_history/1").await.status, 200);
    assert_eq!(server.get("/Patient/p1/_history/2").await.status, 410);
    assert_eq!(
        server.send(Method::PUT, "/Patient/p1", &sent).await.status,
        201
    );
    let history = server.get("/Patient/p1/_history").await.body;
    let entries = history["entry"].as_array().unwrap();
    let methods: Vec<&Value> = entries.iter().map(|e| &e["request"]["method"]).collect();
    assert_eq!(methods, ["PUT", "DELETE", "PUT"]);
    let statuses: Vec<&Value> = entries.iter().map(|e| &e["response"]["status"]).collect();
    assert_eq!(statuses, ["201", "204", "201"]);
    assert_eq!(history["entry"][0]["resource"]["meta"]["versionId"], "3");
    assert!(history["entry"][1]["resource"].is_null());
    assert_eq!(server.get("/Patient/other").await.status, 404);
    assert_eq!(server.sandbox.stats().deletes, 1);
}

#[tokio::test]
async fn a_history_comes_in_pages() {
    let server = Server::start(SandboxConfig::default()).await;
    let sent = json!({"resourceType": "Patient", "id": "p1"});
    for _ in 0..12 {
        server.send(Method::PUT, "/Patient/p1", &sent).await;
    }
    let page = async |query: &str| {
        let path = format!("/Patient/p1/_history{query}");
        let body = server.get(&path).await.body;
        assert_eq!(body["total"], 12, "{query}");
        let entries = body["entry"].as_array().cloned().unwrap_or_default();
        let versions = entries.iter().map(|e| {
            let version = e["resource"]["meta"]["versionId"].as_str().unwrap();
            let created = e["response"]["status"] == "201";
            assert_eq!(created, version == "1", "{e}");
            version.parse::<u32>().unwrap()
        });
        let links = body["link"].as_array().unwrap();
        let next = links.iter().find(|link| link["relation"] == "next");
        let next = next.map(|link| link["url"].as_str().unwrap().to_owned());
        (versions.collect::<Vec<_>>(), next)
    };
    let query_of = |url: &str| url.split_once("/_history").unwrap().1.to_owned();
    let (versions, next) = page("?_count=5").await;
    assert_eq!(versions, [12, 11, 10, 9, 8]);
    let (versions, next) = page(&query_of(&next.unwrap())).await;
    assert_eq!(versions, [7, 6, 5, 4, 3]);
    let (versions, next) = page(&query_of(&next.unwrap())).await;
    assert_eq!((versions, next), (vec![2, 1], None));
    assert_eq!(page("?_count=0").await, (vec![], None));
    assert_eq!(page("?_count=12").await, ((1..=12).rev().collect(), None));
    assert_eq!(page("").await.0.len(), 10);
}

#[tokio::test]
async fn a_history_refuses_what_it_does_not_know() {
    let server = Server::start(SandboxConfig::default()).await;
    let sent = json!({"resourceType": "Patient", "id": "p1"});
    server.send(Method::PUT, "/Patient/p1", &sent).await;
    for wrong in ["_since=2024-01-01", "_count=x", "_page=x", "color=red"] {
        let answer = server.get(&format!("/Patient/p1/_history?{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}");
        let name = wrong.split('=').next().unwrap();
        assert!(answer.issue().contains(name), "{}", answer.body);
    }
}

#[tokio::test]
async fn what_is_not_fhir_is_refused() {
    let server = Server::start(SandboxConfig::default()).await;
    let deep = format!(
        r#"{{"resourceType":"Basic","x":{}{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    for (path, body, expected) in [
        ("/Patient", "", 400),
        ("/Patient", "[]", 400),
        ("/Patient", "{}", 400),
        ("/Patient", r#"{"resourceType":"Patient"} x"#, 400),
        ("/Patient", r#"{"resourceType":"Martian"}"#, 400),
        (
            "/Patient",
            r#"{"resourceType":"Patient","birthDate":"1980-02-30"}"#,
            400,
        ),
        (
            "/Encounter",
            r#"{"resourceType":"Encounter","status":"finished"}"#,
            400,
        ),
        (
            "/Observation",
            r#"{"resourceType":"Observation","status":1,"code":{}}"#,
            400,
        ),
        ("/Basic", &deep, 400),
        ("/Martian", "{}", 404),
        ("/Patient/$validate", "{}", 404),
        ("/Patient/1", "{}", 405),
    ] {
        let answer = server
            .ask(Method::POST, path)
            .body(body.to_owned())
            .send()
            .await
            .unwrap();
        let answer = Answer::of(answer).await;
        assert_eq!(answer.status, expected, "{path} {body}");
        assert!(!answer.issue().is_empty());
    }
    let latin1 = server
        .ask(Method::POST, "/Patient")
        .body(b"{\"resourceType\":\"\xf1\"}".to_vec());
    assert_eq!(latin1.send().await.unwrap().status(), 400);
    assert_eq!(server.sandbox.stats().versions_written, 0);
}

#[tokio::test]
async fn media_types_are_looked_at() {
    let server = Server::start(SandboxConfig::default()).await;
    for (name, value, expected) in [
        ("content-type", "application/json; charset=utf-8", 201),
        ("content-type", "text/plain", 415),
        ("content-encoding", "gzip", 415),
        ("accept", "application/fhir+xml", 406),
        ("accept", "text/html, */*;q=0.1", 201),
    ] {
        let request = server.ask(Method::POST, "/Patient").header(name, value);
        let answer = request.body(patient("1").to_string()).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{name}: {value}");
    }
    let plain = server
        .ask(Method::GET, "/metadata")
        .header("accept", "application/json");
    assert_eq!(
        plain.send().await.unwrap().headers()["content-type"],
        "application/json"
    );
    let metadata = server.get("/metadata").await;
    assert_eq!(metadata.header("content-type"), "application/fhir+json");
    assert_eq!(metadata.body["software"]["name"], "stoker-sandbox");
    assert_eq!(
        metadata.body["rest"][0]["interaction"][1]["code"],
        "transaction"
    );
}

#[tokio::test]
async fn references_must_exist_where_that_is_asked_for() {
    let config = SandboxConfig {
        referential_integrity: true,
        ..SandboxConfig::default()
    };
    let server = Server::start(config).await;
    let sent = json!({"resourceType": "Condition", "subject": {"reference": "Patient/p1"}});
    let refused = server.send(Method::POST, "/Condition", &sent).await;
    assert_eq!(refused.status, 400);
    assert!(refused.issue().contains("Patient/p1"));
    let patient = json!({"resourceType": "Patient", "id": "p1"});
    server.send(Method::PUT, "/Patient/p1", &patient).await;
    assert_eq!(
        server.send(Method::POST, "/Condition", &sent).await.status,
        201
    );
}

#[tokio::test]
async fn a_seed_makes_ids_repeatable() {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let config = SandboxConfig {
            seed: Some(7),
            ..SandboxConfig::default()
        };
        let server = Server::start(config).await;
        server.send(Method::POST, "/Patient", &patient("1")).await;
        ids.push(server.sandbox.resources("Patient")[0]["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
}
