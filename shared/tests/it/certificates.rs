//! HTTPS: whom we trust, and who we are.

use std::path::Path;

use stoker_shared::fhir::{FhirClient, FhirConfig, FhirError};
use stoker_shared::retry::Retry;

use super::authority::Authority;
use super::server::{client, get};

fn trusting(ca_file: &Path) -> FhirConfig {
    FhirConfig {
        ca_file: Some(ca_file.to_owned()),
        ..FhirConfig::default()
    }
}

async fn status(client: FhirClient) -> u16 {
    client.send(get("metadata")).await.unwrap().status
}

#[tokio::test]
async fn a_ca_file_makes_a_server_trusted() {
    let authority = Authority::new();
    let base = authority.serve("localhost", None).await;
    assert_eq!(
        status(client(&base, &trusting(&authority.ca_file()))).await,
        200
    );
}

#[tokio::test]
async fn one_ca_file_may_hold_several_certificates() {
    let (one, other) = (Authority::new(), Authority::new());
    let both = one.folder().join("both.pem");
    let pem = format!("{}\n{}", one.pem(), other.pem());
    std::fs::write(&both, pem).unwrap();
    for authority in [&one, &other] {
        let base = authority.serve("localhost", None).await;
        assert_eq!(status(client(&base, &trusting(&both))).await, 200);
    }
}

#[tokio::test]
async fn another_ca_is_not_accepted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let base = authority.serve("localhost", None).await;
    let config = trusting(&other.ca_file());
    let error = client(&base, &config)
        .send(get("metadata"))
        .await
        .unwrap_err();
    assert!(matches!(error, FhirError::Certificate { .. }), "{error:?}");
    assert!(error.cannot_have_acted());
    assert_eq!(error.retry(), Retry::Never);
    assert!(error.to_string().contains("--fhir-ca-file"), "{error}");
}

#[tokio::test]
async fn another_host_name_is_not_accepted_unless_told() {
    let authority = Authority::new();
    let base = authority.serve("elsewhere", None).await;
    let mut config = trusting(&authority.ca_file());
    let error = client(&base, &config)
        .send(get("metadata"))
        .await
        .unwrap_err();
    assert!(matches!(error, FhirError::Certificate { .. }), "{error:?}");
    config.insecure_skip_verify = true;
    assert_eq!(status(client(&base, &config)).await, 200);
}

#[tokio::test]
async fn a_server_may_want_a_client_certificate() {
    let authority = Authority::new();
    let base = authority
        .serve("localhost", Some(authority.ca_file()))
        .await;
    let mut config = trusting(&authority.ca_file());
    let error = client(&base, &config)
        .send(get("metadata"))
        .await
        .unwrap_err();
    assert!(matches!(error, FhirError::Handshake { .. }), "{error:?}");
    assert!(error.cannot_have_acted());
    let (cert_file, key_file) = authority.sign("client");
    config.client_cert_file = Some(cert_file);
    config.client_key_file = Some(key_file);
    assert_eq!(status(client(&base, &config)).await, 200);
}
