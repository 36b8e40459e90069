//! Certificates, keys and tokens that change in their files while clients and servers run.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::any;
use stoker_shared::fhir::FhirConfig;
use stoker_shared::grpc::{Channel, GrpcClientConfig, GrpcConfig, connect};
use stoker_shared::tls::ServerTls;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::authority::Authority;
use super::grpc::{beat, over_tcp};
use super::server::{client, get, serve};

/// The files of a server and its clients, as they are mounted.
struct Mounts(TempDir);

impl Mounts {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, content_of: &Path) {
        std::fs::copy(content_of, self.at(name)).unwrap();
    }

    /// A certificate and key of `host`, by this authority, in the place of the ones before.
    fn identity(&self, name: &str, authority: &Authority, host: &str) {
        let (cert, key) = authority.sign(host);
        self.put(&format!("{name}.crt"), &cert);
        self.put(&format!("{name}.key"), &key);
    }

    async fn serve(&self, client_ca: Option<&str>) -> u16 {
        let config = GrpcConfig {
            tls: Some(ServerTls {
                cert_file: self.at("server.crt"),
                key_file: self.at("server.key"),
                client_ca_file: client_ca.map(|name| self.at(name)),
            }),
            ..GrpcConfig::default()
        };
        over_tcp(config, CancellationToken::new()).await.0
    }

    fn client(&self, port: u16, ca_file: &str) -> GrpcClientConfig {
        GrpcClientConfig {
            url: format!("https://localhost:{port}"),
            ca_file: Some(self.at(ca_file)),
            ..GrpcClientConfig::default()
        }
    }
}

/// Whether a connection that is made now lets a call through.
async fn connects(config: &GrpcClientConfig) -> bool {
    beat(connect(config).unwrap()).await.is_ok()
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections() {
    let (old, new, mounts) = (Authority::new(), Authority::new(), Mounts::new());
    mounts.identity("server", &old, "localhost");
    mounts.put("old.pem", &old.ca_file());
    mounts.put("new.pem", &new.ca_file());
    let port = mounts.serve(None).await;
    let (knows_old, knows_new) = (
        mounts.client(port, "old.pem"),
        mounts.client(port, "new.pem"),
    );
    let open = connect(&knows_old).unwrap();
    beat(open.clone()).await.unwrap();
    assert!(!connects(&knows_new).await);

    mounts.identity("server", &new, "localhost");
    assert!(connects(&knows_new).await);
    assert!(!connects(&knows_old).await);
    // It could not be made again.
    beat(open).await.unwrap();
}

#[tokio::test]
async fn half_of_a_certificate_changes_nothing() {
    let (authority, new, mounts) = (Authority::new(), Authority::new(), Mounts::new());
    mounts.identity("server", &authority, "localhost");
    mounts.put("old.pem", &authority.ca_file());
    mounts.put("new.pem", &new.ca_file());
    let port = mounts.serve(None).await;
    let (knows_old, knows_new) = (
        mounts.client(port, "old.pem"),
        mounts.client(port, "new.pem"),
    );
    assert!(connects(&knows_old).await);
    let (cert, key) = new.sign("localhost");
    let pem = std::fs::read(&cert).unwrap();
    std::fs::write(mounts.at("server.crt"), &pem[..pem.len() / 2]).unwrap();
    assert!(connects(&knows_old).await, "half a file");
    mounts.put("server.crt", &cert);
    assert!(connects(&knows_old).await, "another's key");
    std::fs::remove_file(mounts.at("server.key")).unwrap();
    assert!(connects(&knows_old).await, "no key");
    mounts.put("server.key", &key);
    assert!(connects(&knows_new).await);
}

#[tokio::test]
async fn a_client_goes_by_its_new_authority() {
    let (old, new, mounts) = (Authority::new(), Authority::new(), Mounts::new());
    mounts.identity("server", &new, "localhost");
    mounts.put("ca.pem", &old.ca_file());
    let port = mounts.serve(None).await;
    let channel = connect(&mounts.client(port, "ca.pem")).unwrap();
    assert_eq!(
        beat(channel.clone()).await.unwrap_err().code(),
        Code::Unavailable
    );
    mounts.put("ca.pem", &new.ca_file());
    beat(channel).await.unwrap();
}

#[tokio::test]
async fn both_sides_take_new_certificates_of_clients() {
    let (old, new, mounts) = (Authority::new(), Authority::new(), Mounts::new());
    mounts.identity("server", &old, "localhost");
    mounts.identity("client", &new, "worker");
    mounts.put("ca.pem", &old.ca_file());
    mounts.put("clients.pem", &old.ca_file());
    let port = mounts.serve(Some("clients.pem")).await;
    let config = GrpcClientConfig {
        client_cert_file: Some(mounts.at("client.crt")),
        client_key_file: Some(mounts.at("client.key")),
        ..mounts.client(port, "ca.pem")
    };
    let channel = connect(&config).unwrap();
    assert!(beat(channel.clone()).await.is_err());
    mounts.identity("client", &old, "worker");
    beat(channel).await.unwrap();

    mounts.put("clients.pem", &new.ca_file());
    assert!(!connects(&config).await);
    mounts.identity("client", &new, "worker");
    assert!(connects(&config).await);
}

#[tokio::test]
async fn tokens_change_without_a_call_refused() {
    let mounts = Mounts::new();
    let write = |name: &str, text: &str| std::fs::write(mounts.at(name), text).unwrap();
    write("server", "one\n");
    write("client", "one\n");
    let config = GrpcConfig {
        token_file: Some(mounts.at("server")),
        ..GrpcConfig::default()
    };
    let (port, _) = over_tcp(config, CancellationToken::new()).await;
    let client = |token_file: PathBuf| -> Channel {
        let config = GrpcClientConfig {
            token_file: Some(token_file),
            ..GrpcClientConfig::to_port(port)
        };
        connect(&config).unwrap()
    };
    let (channel, late) = (client(mounts.at("client")), client(mounts.at("server")));
    beat(channel.clone()).await.unwrap();
    // Whichever side changes first.
    for (side, text) in [
        ("client", "one\ntwo\n"),
        ("server", "one\ntwo\n"),
        ("client", "two\none\n"),
        ("server", "two\none\n"),
        ("client", "two\n"),
    ] {
        write(side, text);
        beat(channel.clone()).await.unwrap();
        beat(late.clone()).await.unwrap();
    }
    write("client", "one\n");
    beat(channel.clone()).await.unwrap();
    write("server", "two\n");
    let refused = beat(channel.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    write("client", "two\n");
    beat(channel.clone()).await.unwrap();
    // What is written in two steps, and what cannot be sent.
    for broken in ["", "\n\n"] {
        write("server", broken);
        write("client", broken);
        beat(channel.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn a_fhir_client_shows_its_new_certificate_and_goes_by_its_new_authority() {
    let (old, new, mounts) = (Authority::new(), Authority::new(), Mounts::new());
    let base = new.serve("localhost", Some(new.ca_file())).await;
    mounts.put("ca.pem", &old.ca_file());
    mounts.identity("client", &old, "worker");
    let config = FhirConfig {
        ca_file: Some(mounts.at("ca.pem")),
        client_cert_file: Some(mounts.at("client.crt")),
        client_key_file: Some(mounts.at("client.key")),
        ..FhirConfig::default()
    };
    let client = client(&base, &config);
    assert!(client.send(get("metadata")).await.is_err(), "not trusted");
    mounts.put("ca.pem", &new.ca_file());
    assert!(client.send(get("metadata")).await.is_err(), "refused");
    mounts.identity("client", &new, "worker");
    assert_eq!(client.send(get("metadata")).await.unwrap().status, 200);
    std::fs::write(mounts.at("client.key"), "half").unwrap();
    assert_eq!(client.send(get("metadata")).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_fhir_client_shows_its_new_token_or_password() {
    let mounts = Mounts::new();
    let secret = mounts.at("secret");
    let bearer = FhirConfig {
        token_file: Some(secret.clone()),
        ..FhirConfig::default()
    };
    let basic = FhirConfig {
        user: Some("me".to_owned()),
        password_file: Some(secret.clone()),
        ..FhirConfig::default()
    };
    // `printf me:one | base64`, and so on.
    for (config, shown) in [
        (bearer, ["Bearer one", "Bearer two"]),
        (basic, ["Basic bWU6b25l", "Basic bWU6dHdv"]),
    ] {
        std::fs::write(&secret, "one\n").unwrap();
        let base = serve(Router::new().fallback(any(show_authorization))).await;
        let client = client(&base, &config);
        for (content, shown) in [("one\n", shown[0]), ("two\n", shown[1]), ("", shown[1])] {
            std::fs::write(&secret, content).unwrap();
            let answer = client.clone().send(get("metadata")).await.unwrap();
            assert_eq!(answer.body, shown, "{content:?}");
        }
    }
}

async fn show_authorization(headers: HeaderMap) -> String {
    headers["authorization"].to_str().unwrap().to_owned()
}
