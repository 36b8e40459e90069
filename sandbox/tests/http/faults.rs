//! Faults that are ordered happen, as often as ordered.

use std::time::Duration;

use crate::common::Server;
use reqwest::{Method, Response};
use stoker_sandbox::{Fault, FaultRule, SandboxConfig};
use tokio::time::Instant;

const PATIENT: &str = r#"{"resourceType":"Patient"}"#;

async fn create(server: &Server) -> Result<Response, reqwest::Error> {
    server
        .ask(Method::POST, "/Patient")
        .body(PATIENT)
        .send()
        .await
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
    let server = once(Fault::Delay(Duration::from_mins(1))).await;
    let request = server.ask(Method::POST, "/Patient").body(PATIENT);
    let error = request
        .timeout(Duration::from_millis(300))
        .send()
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(server.sandbox.resources("Patient").len(), 1);
}

#[tokio::test]
async fn a_hanging_request_ends_with_the_server() {
    let server = once(Fault::Hang).await;
    let request = server.ask(Method::POST, "/Patient").body(PATIENT);
    let hanging = tokio::spawn(request.send());
    while server.sandbox.stats().in_flight == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!hanging.is_finished());
    assert!(server.sandbox.resources("Patient").is_empty());
    let stop = tokio::time::timeout(Duration::from_secs(2), server.sandbox.shutdown());
    assert!(stop.await.is_ok());
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn a_throttle_lets_its_rate_through() {
    let fault = Fault::Throttle {
        requests_per_second: 4.0,
        retry_after: Some(1),
    };
    let server = Server::start(SandboxConfig::default()).await;
    server
        .sandbox
        .faults()
        .set(vec![FaultRule::new(fault)])
        .unwrap();
    let mut passed = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) {
        let answer = create(&server).await.unwrap();
        match answer.status().as_u16() {
            201 => passed += 1,
            429 => assert_eq!(answer.headers()["retry-after"], "1"),
            other => assert_eq!(other, 429),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Four at once, and four more a second; one more if the last request came late.
    assert!((9..=11).contains(&passed), "{passed}");
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
