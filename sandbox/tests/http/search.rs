//! Searches over HTTP.

use crate::common::Server;
use reqwest::Method;
use serde_json::{Value, json};
use stoker_sandbox::SandboxConfig;

async fn with_patients() -> Server {
    let server = Server::start(SandboxConfig::default()).await;
    for n in 0..25 {
        let id = format!("p{n:02}");
        let family = if n % 2 == 0 { "Even" } else { "Odd" };
        let patient = json!({
            "resourceType": "Patient",
            "id": id,
            "identifier": [{"system": "http://ids", "value": n.to_string()}],
            "name": [{"family": family}],
        });
        server
            .send(Method::PUT, &format!("/Patient/{id}"), &patient)
            .await;
    }
    server
}

fn ids(bundle: &Value) -> Vec<&str> {
    let entries = bundle["entry"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    entries
        .iter()
        .map(|e| e["resource"]["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn next_links_lead_through_all_matches() {
    let server = with_patients().await;
    let mut url = format!("{}/Patient?family=even&_count=5", server.sandbox.base_url());
    let mut found = Vec::new();
    let mut pages = 0;
    loop {
        let text = server
            .client
            .get(&url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let bundle: Value = serde_json::from_str(&text).unwrap();
        found.extend(ids(&bundle).into_iter().map(str::to_owned));
        pages += 1;
        let links = bundle["link"].as_array().unwrap();
        match links.iter().find(|link| link["relation"] == "next") {
            Some(next) => next["url"].as_str().unwrap().clone_into(&mut url),
            None => break,
        }
    }
    let expected: Vec<String> = (0..25).step_by(2).map(|n| format!("p{n:02}")).collect();
    assert_eq!(found, expected);
    assert_eq!(pages, 3);
}

#[tokio::test]
async fn totals_are_counted_where_asked_for() {
    let server = with_patients().await;
    let total =
        async |query: &str| server.get(&format!("/Patient{query}")).await.body["total"].clone();
    assert_eq!(total("").await, 25);
    assert_eq!(total("?name=od&_summary=count").await, 12);
    assert_eq!(total("?name=od&_total=accurate").await, 12);
    assert_eq!(total("?name=od").await, Value::Null);
    for query in [
        "_summary=count&_count=5",
        "_count=5&_summary=count",
        "_count=0",
    ] {
        let counted = server.get(&format!("/Patient?name=od&{query}")).await.body;
        assert_eq!(counted["total"], 12, "{query}");
        assert!(counted["entry"].is_null(), "{query}");
    }
    server
        .ask(Method::DELETE, "/Patient/p00")
        .send()
        .await
        .unwrap();
    assert_eq!(total("?_summary=count").await, 24);
    let counted = server.get("/Patient?_summary=count").await.body;
    assert!(counted["entry"].is_null());
}

#[tokio::test]
async fn identifiers_and_ids_find_their_resources() {
    let server = with_patients().await;
    for (query, expected) in [
        ("identifier=http://ids|7", vec!["p07"]),
        ("identifier=http%3A%2F%2Fids%7C7", vec!["p07"]),
        ("_id=p03,p01,zz", vec!["p01", "p03"]),
        ("identifier=7&family=Even", vec![]),
        ("identifier=http://ids|&_count=2", vec!["p00", "p01"]),
    ] {
        let answer = server.get(&format!("/Patient?{query}")).await;
        assert_eq!(ids(&answer.body), expected, "{query}");
    }
    assert_eq!(server.get("/Group").await.body["total"], 0);
}

#[tokio::test]
async fn an_unknown_parameter_is_refused() {
    let server = Server::start(SandboxConfig::default()).await;
    let answer = server.get("/Patient?shoe-size=44").await;
    assert_eq!(answer.status, 400);
    assert!(answer.issue().contains("'shoe-size'"));
}
