//! Connections that fail: before and after the server can have acted.

use std::time::Duration;

use axum::Router;
use axum::routing::any;
use stoker_shared::fhir::{FhirConfig, FhirError, MAX_ANSWER};
use stoker_shared::retry::Retry;
use tokio::io::AsyncWriteExt;

use super::server::{client, get, listen, post, serve, serve_raw};

#[tokio::test]
async fn a_refused_connection_was_not_acted_on() {
    let (listener, address) = listen().await;
    drop(listener);
    let base = format!("http://{address}/fhir");
    let error = client(&base, &FhirConfig::default())
        .send(post("", "{}"))
        .await
        .unwrap_err();
    assert!(matches!(error, FhirError::Connect { .. }), "{error:?}");
    assert!(error.cannot_have_acted());
    assert_eq!(error.retry(), Retry::After(None));
    let text = error.to_string();
    assert!(text.contains(&base) && text.contains("refused"), "{text}");
    assert!(
        text.ends_with("check the address and that the server runs"),
        "{text}"
    );
}

#[tokio::test]
async fn an_unknown_host_was_not_acted_on() {
    let client = client("http://stoker.invalid/fhir", &FhirConfig::default());
    let error = client.send(post("", "{}")).await.unwrap_err();
    assert!(matches!(error, FhirError::Connect { .. }), "{error:?}");
}

#[tokio::test]
async fn a_connection_dropped_after_sending_may_have_been_acted_on() {
    let base = serve_raw(|stream| async move { drop(stream) }).await;
    let error = client(&base, &FhirConfig::default())
        .send(post("", "{}"))
        .await
        .unwrap_err();
    assert!(matches!(error, FhirError::Lost { .. }), "{error:?}");
    assert!(!error.cannot_have_acted());
    assert_eq!(error.retry(), Retry::After(None));
}

#[tokio::test]
async fn a_connection_dropped_within_the_answer_may_have_been_acted_on() {
    let base = serve_raw(|mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{")
            .await
            .unwrap();
    })
    .await;
    let error = client(&base, &FhirConfig::default())
        .send(post("", "{}"))
        .await
        .unwrap_err();
    assert!(matches!(error, FhirError::Lost { .. }), "{error:?}");
}

#[tokio::test]
async fn an_overdue_answer_may_have_been_acted_on() {
    let base = serve(Router::new().fallback(any(std::future::pending::<()>))).await;
    let config = FhirConfig {
        request_timeout: Duration::from_millis(50),
        ..FhirConfig::default()
    };
    let error = client(&base, &config)
        .send(post("", "{}"))
        .await
        .unwrap_err();
    assert!(matches!(error, FhirError::Timeout { .. }), "{error:?}");
    assert!(!error.cannot_have_acted());
    assert!(
        error.to_string().contains("no answer within 50ms"),
        "{error}"
    );
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_read() {
    let base = serve_raw(|mut stream| async move {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            MAX_ANSWER + 1
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    let error = client(&base, &FhirConfig::default())
        .send(get("Patient"))
        .await
        .unwrap_err();
    assert!(matches!(error, FhirError::TooLarge { .. }), "{error:?}");
    assert_eq!(error.retry(), Retry::Never);
}
