//! The server as such: start, stop, TLS, credentials, limits, control from outside, the null switch.

use std::time::Duration;

use crate::common::{Answer, Server, client};
use reqwest::Method;
use serde_json::{Value, json};
use stoker_sandbox::{Auth, Sandbox, SandboxConfig, SandboxError, Stats};

const PATIENT: &str = r#"{"resourceType":"Patient"}"#;

#[tokio::test]
async fn tls_is_served_with_an_authority_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    let config = SandboxConfig {
        tls: true,
        ca_file: Some(ca_file.clone()),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    assert!(sandbox.base_url().starts_with("https://"));
    let pem = std::fs::read_to_string(ca_file).unwrap();
    assert_eq!(sandbox.ca_pem(), Some(&*pem));

    let url = format!("{}/Patient", sandbox.base_url());
    let trusting = client(Some(&pem));
    let answer = trusting.post(&url).body(PATIENT).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert!(
        answer.headers()["location"]
            .to_str()
            .unwrap()
            .starts_with("https://")
    );
    let by_name = url.replace("127.0.0.1", "localhost");
    assert_eq!(trusting.get(by_name).send().await.unwrap().status(), 200);
    assert!(client(None).get(&url).send().await.is_err());
}

#[tokio::test]
async fn requests_need_the_credentials_that_are_set() {
    let config = SandboxConfig {
        auth: Auth {
            basic: Some(("fhiruser".to_owned(), "pass:word".into())),
            bearer: Some("token".into()),
        },
        ..SandboxConfig::default()
    };
    assert!(!format!("{config:?}").contains("pass:word"));
    let server = Server::start(config).await;
    let refused = server.get("/metadata").await;
    assert_eq!(refused.status, 401);
    assert!(!refused.issue().is_empty());
    let challenges: Vec<_> = refused.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(
        challenges,
        [
            "Basic realm=\"stoker-sandbox\"",
            "Bearer realm=\"stoker-sandbox\""
        ]
    );
    let ask = || server.ask(Method::GET, "/metadata");
    for (request, expected) in [
        (ask().basic_auth("fhiruser", Some("pass:word")), 200),
        (ask().basic_auth("fhiruser", Some("other")), 401),
        (ask().bearer_auth("token"), 200),
        (ask().bearer_auth("other"), 401),
    ] {
        assert_eq!(request.send().await.unwrap().status(), expected);
    }
    let stats = server.sandbox.base_url().replace("/fhir", "/sandbox/stats");
    assert_eq!(server.client.get(stats).send().await.unwrap().status(), 401);
}

async fn create(server: &Server) -> u16 {
    let request = server.ask(Method::POST, "/Patient").body(PATIENT);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn other_processes_can_order_faults() {
    let server = Server::start(SandboxConfig::default()).await;
    let set_faults = async |rules: &str| {
        let request = server.client.post(server.control("/faults"));
        let answer = request.body(rules.to_owned()).send().await.unwrap();
        answer.status().as_u16()
    };
    let once = r#"[{"times":1,"fault":{"status":{"code":503}}}]"#;
    let impossible = r#"[{"fault":{"status":{"code":99}}}]"#;
    assert_eq!(set_faults(once).await, 204);
    assert_eq!(set_faults(impossible).await, 400);
    assert_eq!(set_faults("{}").await, 400);
    assert_eq!(create(&server).await, 503);
    assert_eq!(create(&server).await, 201);
}

#[tokio::test]
async fn other_processes_can_read_counts_and_begin_anew() {
    let server = Server::start(SandboxConfig::default()).await;
    let read = async || {
        let answer = server
            .client
            .get(server.control("/stats"))
            .send()
            .await
            .unwrap();
        serde_json::from_slice::<Stats>(&answer.bytes().await.unwrap()).unwrap()
    };
    create(&server).await;
    create(&server).await;
    let stats = read().await;
    assert_eq!(stats, server.sandbox.stats());
    assert_eq!((stats.requests, stats.creates), (2, 2));
    assert_eq!((stats.in_flight, stats.in_flight_peak), (0, 1));
    assert_eq!(stats.by_method_path["POST /Patient"], 2);
    assert_eq!(stats.bytes_in, 2 * PATIENT.len() as u64);

    let reset = server.client.post(server.control("/reset"));
    assert_eq!(reset.send().await.unwrap().status(), 204);
    assert_eq!(read().await, Stats::default());
    assert!(server.sandbox.resources("Patient").is_empty());
    let unknown = server.client.get(server.control("/other"));
    assert_eq!(unknown.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_body_has_a_largest_size() {
    let config = SandboxConfig {
        max_body_bytes: 100,
        ..SandboxConfig::default()
    };
    let server = Server::start(config).await;
    let body = |n: usize| format!(r#"{{"resourceType":"Basic","x":"{}"}}"#, "x".repeat(n));
    let send = async |body: reqwest::Body| {
        let answer = server
            .ask(Method::POST, "/Basic")
            .body(body)
            .send()
            .await
            .unwrap();
        answer.status().as_u16()
    };
    assert_eq!(send(body(50).into()).await, 201);
    assert_eq!(send(body(100).into()).await, 413);
    let chunks = [body(50), body(50)].map(Ok::<_, std::io::Error>);
    let unsized_body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    assert_eq!(send(unsized_body).await, 413);
}

#[tokio::test]
async fn the_null_switch_accepts_and_counts() {
    let config = SandboxConfig {
        null: true,
        ..SandboxConfig::default()
    };
    let server = Server::start(config).await;
    let entry = |method: &str, url: &str| json!({"resource": {"resourceType": "Observation"}, "request": {"method": method, "url": url}});
    let entries = [
        entry("POST", "Observation"),
        entry("PUT", "Observation/o1"),
        entry("DELETE", "Observation/o1"),
        entry("POST", "Martian"),
    ];
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": entries});
    let answer = server.send(Method::POST, "", &bundle).await;
    let response = |n: usize| &answer.body["entry"][n]["response"];
    let statuses: Vec<&Value> = (0..4).map(|n| &response(n)["status"]).collect();
    assert_eq!(statuses, ["201", "200", "204", "404"]);
    let id = response(0)["id"].as_str().unwrap();
    assert_eq!(
        response(0)["location"],
        format!("Observation/{id}/_history/1")
    );
    assert_eq!(response(1)["location"], "Observation/o1/_history/1");
    assert_eq!(response(1)["etag"], "W/\"1\"");

    let single = server
        .ask(Method::POST, "/Patient")
        .header("prefer", "return=representation");
    let single = Answer::of(single.body("anything").send().await.unwrap()).await;
    assert_eq!((single.status, single.body), (201, Value::Null));
    let stats = server.sandbox.stats();
    assert_eq!((stats.creates, stats.updates, stats.entries), (2, 1, 4));
    assert!(server.sandbox.resources("Observation").is_empty());
}

#[tokio::test]
async fn a_taken_port_is_told() {
    let server = Server::start(SandboxConfig::default()).await;
    let config = SandboxConfig {
        listen: server.sandbox.address(),
        ..SandboxConfig::default()
    };
    let error = Sandbox::start(config).await.unwrap_err();
    assert!(matches!(error, SandboxError::Bind { .. }));
    assert!(error.to_string().contains("--port"), "{error}");
}

#[tokio::test]
async fn a_stop_waits_for_requests_under_way_and_frees_the_port() {
    let config = SandboxConfig {
        latency: Duration::from_millis(400),
        ..SandboxConfig::default()
    };
    let server = Server::start(config).await;
    let listen = server.sandbox.address();
    let under_way = tokio::spawn(server.ask(Method::POST, "/Patient").body(PATIENT).send());
    while server.sandbox.stats().creates == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.sandbox.shutdown().await;
    assert_eq!(under_way.await.unwrap().unwrap().status(), 201);
    let config = SandboxConfig {
        listen,
        ..SandboxConfig::default()
    };
    let again = Sandbox::start(config).await.unwrap();
    drop(again);
}

#[tokio::test]
async fn many_clients_at_once_get_along() {
    let server = Server::start(SandboxConfig::default()).await;
    let puts = (0..200).map(|n| {
        let patient = json!({"resourceType": "Patient", "id": format!("p{}", n % 10)});
        let request = server.ask(Method::PUT, &format!("/Patient/p{}", n % 10));
        tokio::spawn(request.body(patient.to_string()).send())
    });
    for put in puts.collect::<Vec<_>>() {
        assert!(put.await.unwrap().unwrap().status().is_success());
    }
    let stats = server.sandbox.stats();
    assert_eq!(
        (stats.creates, stats.updates, stats.max_puts_of_one),
        (10, 190, 20)
    );
    assert_eq!((stats.in_flight, stats.unanswered), (0, 0));
    for patient in server.sandbox.resources("Patient") {
        assert_eq!(patient["meta"]["versionId"], "20");
    }
}
