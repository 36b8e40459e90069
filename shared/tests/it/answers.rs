//! What is sent, and what is made of an answer.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, get as on_get};
use chrono::{DateTime, Utc};
use stoker_proto::common::v1::Target;
use stoker_shared::clock::ManualClock;
use stoker_shared::fhir::{CapabilityError, FhirClient, FhirConfig, FhirError, Method};

use super::server::{client, get, post, serve, target};

/// Answers with the request as it came.
async fn echo(request: Request) -> String {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let mut text = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
    }
    text + std::str::from_utf8(&body).unwrap()
}

async fn sent_by(client: &FhirClient, request: stoker_shared::fhir::FhirRequest<'_>) -> String {
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status, 200);
    String::from_utf8(response.body.to_vec()).unwrap()
}

#[tokio::test]
async fn paths_are_joined_with_and_without_a_slash() {
    let base = serve(Router::new().fallback(any(echo))).await;
    for base in [base.clone(), format!("{base}/")] {
        let client = client(&base, &FhirConfig::default());
        for (path, line) in [
            ("", "GET /fhir\n"),
            ("Patient/1", "GET /fhir/Patient/1\n"),
            ("/$reindex", "GET /fhir/$reindex\n"),
            ("Patient?_count=1", "GET /fhir/Patient?_count=1\n"),
        ] {
            let sent = sent_by(&client, get(path)).await;
            assert!(sent.starts_with(line), "{sent}");
        }
    }
}

#[tokio::test]
async fn headers_say_who_asks_for_what() {
    let base = serve(Router::new().fallback(any(echo))).await;
    let config = FhirConfig {
        user: Some("fhiruser".to_owned()),
        password: Some("pa:ss".into()),
        headers: [("X-Route".to_owned(), "blue".into())].into(),
        ..FhirConfig::default()
    };
    let tenant = Target {
        tenant: "t1".to_owned(),
        ..target(&base)
    };
    let clock = Arc::new(ManualClock::new(DateTime::UNIX_EPOCH));
    let client = FhirClient::new(&config, &tenant, clock).unwrap();
    let mut request = post("Patient", "{\"a\":1}");
    request.prefer_minimal = true;
    request.if_none_exist = Some("identifier=s|v");
    let sent = sent_by(&client, request).await;
    for line in [
        "POST /fhir/Patient\n",
        "accept: application/fhir+json\n",
        "content-type: application/fhir+json; charset=utf-8\n",
        "x-fhir-tenant-id: t1\n",
        "authorization: Basic ZmhpcnVzZXI6cGE6c3M=\n",
        "x-route: blue\n",
        "prefer: return=minimal\n",
        "if-none-exist: identifier=s|v\n",
        concat!("user-agent: stoker/", env!("CARGO_PKG_VERSION"), "\n"),
    ] {
        assert!(sent.contains(line), "{line} is missing in {sent}");
    }
    assert!(sent.ends_with("\n{\"a\":1}"), "{sent}");
    let shown = format!("{client:?}{config:?}");
    assert!(
        !shown.contains("pa:ss") && !shown.contains("blue"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_bearer_token_and_put_are_sent() {
    let base = serve(Router::new().fallback(any(echo))).await;
    let config = FhirConfig {
        token: Some("abc".into()),
        ..FhirConfig::default()
    };
    let mut request = post("Patient/1", "{}");
    request.method = Method::Put;
    let sent = sent_by(&client(&base, &config), request).await;
    assert!(sent.starts_with("PUT /fhir/Patient/1\n"), "{sent}");
    assert!(sent.contains("authorization: Bearer abc\n"), "{sent}");
    assert!(
        !sent.contains("prefer") && !sent.contains("tenant"),
        "{sent}"
    );
}

#[tokio::test]
async fn a_pause_is_read_as_seconds_or_date() {
    let respond = |value: &'static str| {
        on_get(move || async move { (StatusCode::TOO_MANY_REQUESTS, [("retry-after", value)]) })
    };
    let router = Router::new()
        .route("/fhir/seconds", respond("7"))
        .route("/fhir/date", respond("Sun, 22 Nov 2026 23:05:51 GMT"))
        .route("/fhir/past", respond("Sun, 22 Nov 2015 23:05:51 GMT"))
        .route("/fhir/garbage", respond("soon"));
    let now: DateTime<Utc> = "2026-11-22T23:05:31Z".parse().unwrap();
    let base = target(&serve(router).await);
    let clock = Arc::new(ManualClock::new(now));
    let client = FhirClient::new(&FhirConfig::default(), &base, clock).unwrap();
    for (path, pause) in [
        ("seconds", Some(7)),
        ("date", Some(20)),
        ("past", Some(0)),
        ("garbage", None),
    ] {
        let response = client.send(get(path)).await.unwrap();
        assert_eq!(response.status, 429);
        assert_eq!(
            response.retry_after,
            pause.map(Duration::from_secs),
            "{path}"
        );
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let moved = || async { (StatusCode::FOUND, [("location", "/elsewhere")]) };
    let base = serve(Router::new().route("/fhir/Patient/1", on_get(moved))).await;
    let response = client(&base, &FhirConfig::default())
        .send(get("Patient/1"))
        .await
        .unwrap();
    assert_eq!(
        (response.status, response.location.as_deref()),
        (302, Some("/elsewhere"))
    );
}

#[tokio::test]
async fn bad_addresses_and_headers_are_told_without_credentials() {
    let make = |url: &str, config: &FhirConfig| {
        let clock = Arc::new(ManualClock::new(DateTime::UNIX_EPOCH));
        FhirClient::new(config, &target(url), clock).unwrap_err()
    };
    let plain = FhirConfig::default();
    for url in [
        "not a url",
        "ftp://host/x",
        "http://host/fhir?x=1",
        "localhost:8080/fhir",
    ] {
        let error = make(url, &plain);
        assert!(matches!(error, FhirError::BadUrl { .. }), "{url}: {error}");
        assert!(error.cannot_have_acted());
    }
    for url in [
        "https://user:s3cret@host/fhir",
        "https://user:s3cret@ho st/fhir",
    ] {
        let message = make(url, &plain).to_string();
        assert!(
            !message.contains("s3cret") && message.contains("/fhir"),
            "{message}"
        );
    }
    let config = FhirConfig {
        headers: [("bad name".to_owned(), "x".into())].into(),
        ..FhirConfig::default()
    };
    assert!(matches!(make("http://host", &config), FhirError::Header(name) if name == "bad name"));
    let config = FhirConfig {
        user: Some("u".to_owned()),
        ..FhirConfig::default()
    };
    assert!(matches!(
        make("http://host", &config),
        FhirError::Credentials(_)
    ));
}

#[tokio::test]
async fn capabilities_of_the_recorded_server() {
    let recorded = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/data/http/metadata-200.txt.zst"
    );
    let compressed = std::fs::File::open(recorded).unwrap();
    let text = String::from_utf8(zstd::decode_all(compressed).unwrap()).unwrap();
    let (_, response) = text.split_once("----- RESPONSE").unwrap();
    let body = response.split_once("\r\n\r\n").unwrap().1.to_owned();
    let base = serve(Router::new().route("/fhir/metadata", on_get(|| async { body }))).await;
    let client = client(&base, &FhirConfig::default());
    let found = client.capabilities(Duration::from_secs(5)).await.unwrap();
    assert_eq!(found.software, "LinuxForHealth FHIR Server 5.0.0");
    assert_eq!(found.fhir_version, "4.0.1");
    assert!(found.batch && found.transaction, "{found:?}");
}

#[tokio::test]
async fn what_is_no_fhir_server_is_told_apart() {
    let status = |headers: HeaderMap| async move {
        let code = headers["x-code"].to_str().unwrap().parse().unwrap();
        (StatusCode::from_u16(code).unwrap(), "<html>hello</html>")
    };
    let base = serve(Router::new().fallback(any(status))).await;
    let ask = async |code: &str| {
        let config = FhirConfig {
            headers: [("x-code".to_owned(), code.into())].into(),
            ..FhirConfig::default()
        };
        client(&base, &config)
            .capabilities(Duration::from_secs(5))
            .await
            .unwrap_err()
    };
    assert!(matches!(
        ask("401").await,
        CapabilityError::Denied { status: 401, .. }
    ));
    assert!(matches!(
        ask("403").await,
        CapabilityError::Denied { status: 403, .. }
    ));
    assert!(matches!(
        ask("404").await,
        CapabilityError::NotFhir { status: 404, .. }
    ));
    assert!(matches!(
        ask("503").await,
        CapabilityError::Unavailable { status: 503, .. }
    ));
    let error = ask("200").await;
    assert!(
        matches!(error, CapabilityError::NotCapability { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let silent = || std::future::pending::<()>();
    let base = serve(Router::new().fallback(any(silent))).await;
    let client = client(&base, &FhirConfig::default());
    let error = client
        .capabilities(Duration::from_millis(50))
        .await
        .unwrap_err();
    let sentence = "no answer within 50ms; check the address and that the server runs";
    assert!(error.to_string().ends_with(sentence), "{error}");
}
