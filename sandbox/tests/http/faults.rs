//! Faults that are ordered happen, as often as ordered.

use std::time::Duration;

use crate::common::Server;
use reqwest::{Method, Response};
use stoker_sandbox::{Fault, FaultRule, SandboxConfig, Stats};
use tokio::time::Instant;

const PATIENT: &str = r#"{"resourceType":"Patient"}"#;

async fn create(server: &Server) -> Result<Response, reqwest::Error> {
    server
        .ask(Method::POST, "/Patient")
        .body(PATIENT)
        .send()
        .await
}

/// Waits until the server has got so far.
async fn until(server: &Server, reached: impl Fn(&Stats) -> bool) {
    while !reached(&server.sandbox.stats()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn once(fault: Fault) -> Server {
    let server = Server::start(SandboxConfig::default()).await;
    let rule = FaultRule {
        times: Some(1),
        ..FaultRule::new(fault)
    };
    server.sandbox.faults().set(vec![rule]).unwrap();
    server
}

#[tokio::test]
async fn a_dropped_request_is_applied_only_where_that_is_said() {
    for (fault, stored) in [
        (Fault::DropBeforeRead, 0),
        (Fault::DropBeforeResponse, 0),
        (Fault::DropAfterApply, 1),
    ] {
        let server = once(fault.clone()).await;
        let error = create(&server).await.unwrap_err();
        assert!(
            error.is_request() && !error.is_connect(),
            "{fault:?}: {error:?}"
        );
        assert_eq!(
            server.sandbox.resources("Patient").len(),
            stored,
            "{fault:?}"
        );
        assert_eq!(create(&server).await.unwrap().status(), 201);
        let stats = server.sandbox.stats();
        assert_eq!(
            (stats.requests, stats.unanswered, stats.in_flight),
            (2, 1, 0)
        );
    }
}

#[tokio::test]
async fn a_big_body_can_be_dropped_before_it_is_read() {
    let server = once(Fault::DropBeforeRead).await;
    let body = format!(
        r#"{{"resourceType":"Basic","x":"{}"}}"#,
        "x".repeat(8 << 20)
    );
    assert!(
        server
            .ask(Method::POST, "/Basic")
            .body(body.clone())
            .send()
            .await
            .is_err()
    );
    assert!(server.sandbox.stats().bytes_in < body.len() as u64);
    assert_eq!(
        server
            .ask(Method::POST, "/Basic")
            .body(body)
            .send()
            .await
            .unwrap()
            .status(),
        201
    );
}

#[tokio::test]
async fn a_status_can_be_ordered_with_its_headers_and_body() {
    let fault = Fault::Status {
        code: 503,
        retry_after: Some(7),
        body: Some("busy".to_owned()),
    };
    let server = once(fault).await;
    let answer = create(&server).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "7");
    assert_eq!(answer.text().await.unwrap(), "busy");
    assert!(server.sandbox.resources("Patient").is_empty());
    assert_eq!(server.sandbox.stats().by_status[&503], 1);
}

#[tokio::test]
async fn answers_can_be_late() {
    let config = SandboxConfig {
        latency: Duration::from_millis(40),
        latency_per_resource: Duration::from_millis(30),
        faults: vec![FaultRule::new(Fault::Delay(Duration::from_millis(50)))],
        ..SandboxConfig::default()
    };
    let server = Server::start(config).await;
    let start = Instant::now();
    create(&server).await.unwrap();
    assert!(
        start.elapsed() >= Duration::from_millis(120),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_client_that_gives_up_on_a_late_answer_has_had_its_way() {
    let server = once(Fault::Delay(Duration::from_hours(1))).await;
    let request = server.ask(Method::POST, "/Patient").body(PATIENT);
    let waiting = tokio::spawn(request.send());
    until(&server, |stats| stats.creates == 1).await;
    assert!(!waiting.is_finished());
    waiting.abort();
    until(&server, |stats| stats.unanswered == 1).await;
    assert_eq!(server.sandbox.resources("Patient").len(), 1);
}

#[tokio::test]
async fn a_hanging_request_ends_with_the_server() {
    let server = once(Fault::Hang).await;
    let request = server.ask(Method::POST, "/Patient").body(PATIENT);
    let hanging = tokio::spawn(request.send());
    // Its body is counted just before it hangs; another request then has its answer.
    until(&server, |stats| stats.bytes_in > 0).await;
    assert_eq!(create(&server).await.unwrap().status(), 201);
    assert!(!hanging.is_finished());
    assert_eq!(server.sandbox.resources("Patient").len(), 1);
    // Sooner than requests under way are cut off, which is after 5 s.
    let stop = tokio::time::timeout(Duration::from_secs(4), server.sandbox.shutdown());
    assert!(stop.await.is_ok());
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn a_throttle_answers_429_above_its_rate() {
    let fault = Fault::Throttle {
        // One at once, and the next in half an hour.
        requests_per_second: 1.0 / 1800.0,
        retry_after: Some(1),
    };
    let server = Server::start(SandboxConfig::default()).await;
    let rules = vec![FaultRule::new(fault)];
    server.sandbox.faults().set(rules).unwrap();
    assert_eq!(create(&server).await.unwrap().status(), 201);
    for _ in 0..3 {
        let answer = create(&server).await.unwrap();
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()["retry-after"], "1");
    }
    assert_eq!(server.sandbox.resources("Patient").len(), 1);
}

#[tokio::test]
async fn rules_pick_their_requests() {
    let server = Server::start(SandboxConfig::default()).await;
    let status = |code| Fault::Status {
        code,
        retry_after: None,
        body: None,
    };
    let by_body = FaultRule {
        body_contains: Some("Smith".to_owned()),
        ..FaultRule::new(status(500))
    };
    let by_path = FaultRule {
        method: Some("get".to_owned()),
        path_contains: Some("/Patient?name=".to_owned()),
        ..FaultRule::new(status(502))
    };
    server.sandbox.faults().set(vec![by_body, by_path]).unwrap();
    let smith = r#"{"resourceType":"Patient","name":[{"family":"Smith"}]}"#;
    let struck = server
        .ask(Method::POST, "/Patient")
        .body(smith)
        .send()
        .await
        .unwrap();
    assert_eq!(struck.status(), 500);
    assert_eq!(create(&server).await.unwrap().status(), 201);
    assert_eq!(server.get("/Patient?name=a").await.status, 502);
    assert_eq!(server.get("/Patient").await.status, 200);
}
