//! Faults of `$reindex`, as ordered.

use std::time::Duration;

use crate::common::Server;
use crate::reindex::{call, list, pick, synthetic};
use reqwest::Method;
use serde_json::{Value, json};
use stoker_sandbox::{Fault, FaultRule, SandboxConfig};

/// Sets rules as another process would.
async fn order(server: &Server, rules: Value) {
    let url = server.control("/faults");
    let request = server.client.post(url).body(rules.to_string());
    assert_eq!(request.send().await.unwrap().status(), 204, "{rules}");
}

async fn status_of_list(server: &Server, ids: &str) -> u16 {
    let answer = call(server, "/$reindex", &[("indexIds", ids.into())]).await;
    answer.status
}

async fn status_of_pick(server: &Server, count: u32) -> u16 {
    let inputs = [("resourceCount", count.into())];
    call(server, "/$reindex", &inputs).await.status
}

#[tokio::test]
async fn a_list_with_a_resource_that_fails_does_nothing() {
    let server = synthetic(10).await;
    let fails = json!({"index_ids": [8], "resources": ["Patient/synthetic-12"]});
    order(&server, json!([{"fault": {"reindex_fails": fails}}])).await;
    for ids in ["2,4,6,8", "12", "10,12"] {
        assert_eq!(status_of_list(&server, ids).await, 500, "{ids}");
    }
    assert_eq!(list(&server, "2,4,6").await.len(), 3);
    let stats = server.sandbox.reindex_stats();
    assert_eq!(
        (stats.indexed, stats.list_calls, stats.failed_calls),
        (3, 4, 3)
    );
    assert_eq!(server.sandbox.faults().strikes(), [3]);
}

#[tokio::test]
async fn where_the_server_picks_what_is_before_the_failure_stays_done() {
    let server = synthetic(6).await;
    let fails = json!({"resources": ["Patient/synthetic-6"]});
    order(
        &server,
        json!([{"times": 2, "fault": {"reindex_fails": fails}}]),
    )
    .await;
    assert_eq!(status_of_pick(&server, 4).await, 500);
    assert_eq!(server.sandbox.reindex_stats().distinct, 2);
    // It is the next one to be picked.
    assert_eq!(status_of_pick(&server, 4).await, 500);
    assert_eq!(server.sandbox.reindex_stats().distinct, 2);
    assert_eq!(pick(&server, 4).await.len(), 4);
    assert_eq!(server.sandbox.reindex_stats().missed, 0);
}

#[tokio::test]
async fn the_end_can_be_said_too_early() {
    let server = synthetic(4).await;
    order(&server, json!([{"times": 2, "fault": "reindex_complete"}])).await;
    // A list is not meant.
    assert_eq!(list(&server, "2").await, ["Processed Patient/synthetic-2"]);
    for _ in 0..2 {
        assert_eq!(pick(&server, 4).await, ["Reindex complete"]);
    }
    assert_eq!(pick(&server, 5).await.len(), 4);
}

#[tokio::test]
async fn fewer_can_be_named_than_were_done_or_done_than_asked_for() {
    // Of a list of five, of six that the server picks, and of those it picks then.
    for (fault, listed, left) in [("reindex_untold", 5, 3), ("reindex_undone", 3, 5)] {
        let server = synthetic(9).await;
        order(&server, json!([{"times": 2, "fault": {fault: 2}}])).await;
        assert_eq!(list(&server, "2,4,6,8,10").await.len(), 3, "{fault}");
        assert_eq!(server.sandbox.reindex_stats().indexed, listed, "{fault}");
        assert_eq!(pick(&server, 6).await.len(), 4, "{fault}");
        server.sandbox.faults().clear();
        // What was not done is still there to be picked.
        assert_eq!(pick(&server, 9).await.len(), left, "{fault}");
        let stats = server.sandbox.reindex_stats();
        assert_eq!((stats.distinct, stats.indexed), (9, listed + 9), "{fault}");
    }
}

#[tokio::test]
async fn the_faults_of_all_requests_strike_these_calls_too() {
    for (fault, answered, done) in [
        (json!("drop_before_response"), false, 0),
        (json!("drop_after_apply"), false, 2),
        (json!("hang"), false, 0),
        (json!({"status": {"code": 429, "retry_after": 1}}), true, 0),
        (json!({"delay_ms": 10}), true, 2),
    ] {
        let server = synthetic(2).await;
        order(
            &server,
            json!([{"path_contains": "$reindex", "fault": fault}]),
        )
        .await;
        let body = json!({"resourceType": "Parameters"}).to_string();
        let request = server.ask(Method::POST, "/$reindex").body(body);
        let answer = request.timeout(Duration::from_secs(1)).send().await;
        assert_eq!(answer.is_ok(), answered, "{fault}");
        assert_eq!(server.sandbox.reindex_stats().indexed, done, "{fault}");
        assert_eq!(server.get("/$retrieve-index").await.status, 200, "{fault}");
    }
}

#[tokio::test]
async fn a_rule_without_a_resource_is_refused() {
    let server = Server::start(SandboxConfig::default()).await;
    let fault = Fault::ReindexFails {
        index_ids: [].into(),
        resources: [].into(),
    };
    let refused = server.sandbox.faults().set(vec![FaultRule::new(fault)]);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("names no resource")
    );
}
