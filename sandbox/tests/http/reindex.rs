//! `$reindex` and `$retrieve-index` beyond what was recorded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Answer, Server};
use reqwest::Method;
use serde_json::{Value, json};
use stoker_sandbox::{ReindexStats, SandboxConfig};
use tokio::time::Instant;

/// After every synthetic resource was written.
const TSTAMP: &str = "2024-01-01T00:00:00Z";

pub(crate) async fn synthetic(synthetic: u32) -> Server {
    Server::start(SandboxConfig {
        synthetic,
        ..SandboxConfig::default()
    })
    .await
}

/// Names and values of parameters.
type Inputs<'a> = &'a [(&'a str, Value)];

pub(crate) async fn call(server: &Server, path: &str, inputs: Inputs<'_>) -> Answer {
    let parameter = inputs.iter().map(|(name, value)| {
        let member = match value {
            Value::String(_) => "valueString",
            Value::Bool(_) => "valueBoolean",
            _ => "valueInteger",
        };
        json!({"name": name, member: value})
    });
    let parameter: Vec<Value> = parameter.collect();
    let body = json!({"resourceType": "Parameters", "parameter": parameter});
    server.send(Method::POST, path, &body).await
}

/// Has the server pick; what the answer says.
pub(crate) async fn pick(server: &Server, count: u32) -> Vec<String> {
    let inputs = [("tstamp", TSTAMP.into()), ("resourceCount", count.into())];
    said(&call(server, "/$reindex", &inputs).await)
}

/// Has a list of index ids reindexed; what the answer says.
pub(crate) async fn list(server: &Server, ids: &str) -> Vec<String> {
    said(&call(server, "/$reindex", &[("indexIds", ids.into())]).await)
}

fn said(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let issues = answer.body["issue"].as_array().unwrap().iter();
    let texts = issues.map(|issue| issue["diagnostics"].as_str().unwrap().to_owned());
    texts.collect()
}

async fn retrieve(server: &Server, path: &str, inputs: Inputs<'_>) -> String {
    let answer = call(server, path, inputs).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let ids = &answer.body["parameter"][0]["valueString"];
    ids.as_str().unwrap_or_default().to_owned()
}

async fn put(server: &Server, name: &str) {
    let (kind, id) = name.split_once('/').unwrap();
    let resource = json!({"resourceType": kind, "id": id});
    let answer = server
        .send(Method::PUT, &format!("/{name}"), &resource)
        .await;
    assert!(answer.status < 300, "{}", answer.body);
}

const COMPLETE: &[&str] = &["Reindex complete"];

#[tokio::test]
async fn a_list_leaves_out_what_is_deleted_unknown_or_said_twice() {
    let server = synthetic(2).await;
    for name in ["Patient/a", "Basic/b", "Basic/c"] {
        put(&server, name).await;
    }
    server.send(Method::DELETE, "/Basic/b", &Value::Null).await;
    let done = list(&server, "10, 2,4 ,6,8,2,7,12,-4").await;
    let expected = [
        "Processed Basic/c",
        "Processed Patient/synthetic-2",
        "Processed Patient/synthetic-4",
        "Processed Patient/a",
    ];
    assert_eq!(done, expected);
    assert_eq!(list(&server, "8").await, COMPLETE);
    assert_eq!(retrieve(&server, "/$retrieve-index", &[]).await, "2,4,6,10");
    // It is back, with the index id it had.
    put(&server, "Basic/b").await;
    assert_eq!(list(&server, "8").await, ["Processed Basic/b"]);
}

#[tokio::test]
async fn only_picking_keeps_a_resource_from_being_picked() {
    let server = synthetic(3).await;
    assert_eq!(list(&server, "2,4,6").await.len(), 3);
    assert_eq!(pick(&server, 2).await.len(), 2);
    assert_eq!(pick(&server, 2).await, ["Processed Patient/synthetic-6"]);
    assert_eq!(pick(&server, 2).await, COMPLETE);
    // A list with an earlier tstamp leaves out what was picked since.
    let inputs = [("indexIds", "2,4".into()), ("tstamp", TSTAMP.into())];
    assert_eq!(said(&call(&server, "/$reindex", &inputs).await), COMPLETE);
    assert_eq!(list(&server, "2,4").await.len(), 2);
    let later = [("tstamp", "2025-01-01".into()), ("resourceCount", 1.into())];
    let later = said(&call(&server, "/$reindex", &later).await);
    assert_eq!(later, ["Processed Patient/synthetic-2"]);
}

#[tokio::test]
async fn parameters_are_written_where_they_changed_or_by_force() {
    let server = synthetic(2).await;
    list(&server, "2,4").await;
    list(&server, "2").await;
    let forced = [("indexIds", "2,4".into()), ("force", true.into())];
    call(&server, "/$reindex", &forced).await;
    let stats = server.sandbox.reindex_stats();
    let expected = ReindexStats {
        resources: 2,
        list_calls: 3,
        indexed: 5,
        distinct: 2,
        repeats: 3,
        most_of_one: 3,
        forced: 2,
        unchanged: 1,
        most_ids_in_a_call: 2,
        calls_peak: 1,
        ..ReindexStats::default()
    };
    assert_eq!(stats, expected);
    assert_eq!(server.sandbox.reindexed(2), Some(3));
    let shown = server.client.get(server.control("/reindex")).send().await;
    assert_eq!(shown.unwrap().json::<ReindexStats>().await.unwrap(), stats);
    server.sandbox.reset();
    let fresh = ReindexStats {
        resources: 2,
        missed: 2,
        ..ReindexStats::default()
    };
    assert_eq!(server.sandbox.reindex_stats(), fresh);
    assert_eq!(pick(&server, 5).await.len(), 2);
}

#[tokio::test]
async fn types_and_single_resources_can_be_asked_for() {
    let server = synthetic(400).await;
    put(&server, "Patient/a").await;
    let patients = retrieve(&server, "/Patient/$retrieve-index", &[]).await;
    let ids: Vec<u64> = patients.split(',').map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids.len(), 33);
    assert_eq!((ids[0], ids[7], ids[8], ids[32]), (2, 16, 258, 802));
    let page = [("_count", 2.into()), ("afterIndexId", "16".into())];
    assert_eq!(
        retrieve(&server, "/Patient/$retrieve-index", &page).await,
        "258,260"
    );

    let inputs = [("tstamp", TSTAMP.into()), ("resourceCount", 1000.into())];
    let done = said(&call(&server, "/Patient/$reindex", &inputs).await);
    assert!(
        done.iter()
            .all(|text| text.starts_with("Processed Patient/"))
    );
    assert_eq!(done.len(), 33);
    for (path, logical_id) in [
        ("/Encounter/synthetic-18/$reindex", None),
        ("/$reindex", Some("Encounter/synthetic-20")),
    ] {
        let logical_id = logical_id.map(|id| ("resourceLogicalId", Value::from(id)));
        let inputs: Vec<_> = logical_id.into_iter().collect();
        assert_eq!(said(&call(&server, path, &inputs).await).len(), 1, "{path}");
    }
    let nowhere = [("resourceLogicalId", "Patient/nobody".into())];
    assert_eq!(said(&call(&server, "/$reindex", &nowhere).await), COMPLETE);
}

#[tokio::test]
async fn what_is_not_declared_is_refused() {
    let server = synthetic(1).await;
    let tomorrow = chrono::TimeDelta::days(1);
    let tomorrow = (SandboxConfig::default().clock.now() + tomorrow).to_rfc3339();
    let cases: &[(&str, Inputs, &str)] = &[
        (
            "/$reindex",
            &[("_count", 1.into())],
            "Unexpected input parameter",
        ),
        (
            "/$retrieve-index",
            &[("type", "Patient".into())],
            "Unexpected input parameter",
        ),
        (
            "/$reindex",
            &[("tstamp", TSTAMP.into()), ("tstamp", TSTAMP.into())],
            "more than once",
        ),
        (
            "/$reindex",
            &[("tstamp", 2020.into())],
            "must have a valueString",
        ),
        (
            "/$reindex",
            &[("resourceCount", "10".into())],
            "must have a valueInteger",
        ),
        (
            "/$reindex",
            &[("force", "true".into())],
            "must have a valueBoolean",
        ),
        (
            "/$reindex",
            &[("tstamp", tomorrow.clone().into())],
            "cannot be in the future",
        ),
        (
            "/$retrieve-index",
            &[("notModifiedAfter", tomorrow.into())],
            "cannot be in the future",
        ),
        (
            "/$retrieve-index",
            &[("notModifiedAfter", "2020-1-1".into())],
            "Invalid format for 'notModifiedAfter'",
        ),
        (
            "/Patient/$reindex",
            &[("resourceLogicalId", "Patient".into())],
            "not allowed",
        ),
        (
            "/Patient/synthetic-2/$retrieve-index",
            &[],
            "not allowed at the instance level",
        ),
    ];
    for (path, inputs, words) in cases {
        let answer = call(&server, path, inputs).await;
        assert_eq!(answer.status, 400, "{path} {inputs:?}: {}", answer.body);
        assert!(answer.issue().contains(words), "{}", answer.issue());
        assert_eq!(answer.body["issue"][0]["severity"], "fatal");
    }
    assert_eq!(call(&server, "/Foo/$reindex", &[]).await.status, 404);
    let query = "/$retrieve-index?_count=x";
    assert_eq!(server.get(query).await.status, 400);
    let body = json!({"resourceType": "Patient"});
    assert_eq!(
        server.send(Method::POST, "/$reindex", &body).await.status,
        400
    );
    let stats = server.sandbox.reindex_stats();
    assert_eq!((stats.indexed, stats.missed), (0, 1));
}

#[tokio::test]
async fn what_changed_later_is_not_retrieved_or_counted() {
    let server = synthetic(100).await;
    put(&server, "Patient/a").await;
    let until = "2020-01-01T00:00:10Z";
    let ids = retrieve(
        &server,
        "/$retrieve-index",
        &[("notModifiedAfter", until.into())],
    )
    .await;
    assert_eq!(ids, "2,4,6,8,10,12,14,16,18,20");
    let total = async |query: &str| server.get(query).await.body["total"].clone();
    let count = format!("_summary=count&_lastUpdated=le{until}");
    assert_eq!(total(&format!("/?{count}")).await, 10);
    assert_eq!(total(&format!("/Patient?{count}")).await, 8);
    assert_eq!(total("/?_summary=count&_lastUpdated=le2019-12-31").await, 0);
    assert_eq!(
        total("/?_summary=count&_lastUpdated=le2020-01-01").await,
        100
    );
    assert_eq!(total("/?_summary=count").await, 101);
    assert_eq!(total("/Patient?_summary=count").await, 9);
    assert_eq!(
        total(&format!("/Patient?_lastUpdated=le{until}&_total=accurate")).await,
        0
    );
    for refused in [
        "/",
        "/?_summary=count&_id=a",
        "/?_summary=count&_lastUpdated=gt2020",
    ] {
        assert!(server.get(refused).await.status >= 400, "{refused}");
    }
}

#[tokio::test]
async fn calls_at_once_pick_different_resources_and_one_can_see_the_end_before_the_others() {
    let config = SandboxConfig {
        synthetic: 12,
        latency_per_resource: Duration::from_millis(60),
        ..SandboxConfig::default()
    };
    let server = Arc::new(Server::start(config).await);
    let calls = (0..4).map(|_| {
        let server = Arc::clone(&server);
        tokio::spawn(async move { pick(&server, 3).await })
    });
    let calls: Vec<_> = calls.collect();
    while server.sandbox.reindex_stats().indexed < 8 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The last four are held: there is nothing to pick, and yet not all is done.
    assert_eq!(pick(&server, 3).await, COMPLETE);
    assert_eq!(server.sandbox.reindex_stats().missed, 4);
    let mut names = BTreeSet::new();
    for call in calls {
        names.extend(call.await.unwrap());
    }
    assert_eq!(names.len(), 12);
    let stats = server.sandbox.reindex_stats();
    assert_eq!(
        (stats.distinct, stats.repeats, stats.calls_peak),
        (12, 0, 5)
    );
}

#[tokio::test]
async fn a_call_takes_the_time_of_its_resources() {
    let config = SandboxConfig {
        synthetic: 1000,
        latency_per_resource: Duration::from_micros(500),
        ..SandboxConfig::default()
    };
    let server = Server::start(config).await;
    let ids: Vec<String> = (1..=200).map(|n| (2 * n).to_string()).collect();
    let start = Instant::now();
    assert_eq!(list(&server, &ids.join(",")).await.len(), 200);
    let of_list = start.elapsed();
    let start = Instant::now();
    assert_eq!(pick(&server, 200).await.len(), 200);
    let of_pick = start.elapsed();
    for took in [of_list, of_pick] {
        assert!(took >= Duration::from_millis(98), "{took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[tokio::test]
async fn what_the_server_began_goes_on_when_the_client_gives_up() {
    let config = SandboxConfig {
        synthetic: 3,
        latency_per_resource: Duration::from_millis(30),
        ..SandboxConfig::default()
    };
    let server = Server::start(config).await;
    let given_up = tokio::time::timeout(Duration::from_millis(20), pick(&server, 3)).await;
    assert!(given_up.is_err());
    while server.sandbox.reindex_stats().missed > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(pick(&server, 3).await, COMPLETE);
}

#[tokio::test]
async fn metadata_lists_the_operations() {
    let server = synthetic(0).await;
    let metadata = server.get("/metadata").await.body;
    let listed = |rest: &Value| {
        let operations = rest["operation"].as_array().unwrap().iter();
        let names: Vec<String> = operations
            .map(|o| o["name"].as_str().unwrap().to_owned())
            .collect();
        names
    };
    let rest = &metadata["rest"][0];
    assert_eq!(listed(rest), ["reindex", "retrieve-index"]);
    assert_eq!(listed(&rest["resource"][0]), ["reindex", "retrieve-index"]);
}
