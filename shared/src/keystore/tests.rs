use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::tls::{ClientTls, http_client, install_crypto_provider};

/// Made by keytool and openssl, each with the same authority.
const SAMPLES: [(&str, &[u8]); 6] = [
    ("keytool.p12", include_bytes!("samples/keytool.p12")),
    (
        "keytool-legacy.p12",
        include_bytes!("samples/keytool-legacy.p12"),
    ),
    ("openssl.p12", include_bytes!("samples/openssl.p12")),
    ("openssl-key.p12", include_bytes!("samples/openssl-key.p12")),
    ("keytool.jks", include_bytes!("samples/keytool.jks")),
    ("keytool.jceks", include_bytes!("samples/keytool.jceks")),
];
const AUTHORITY: &[u8] = include_bytes!("samples/authority.der");

fn password() -> Secret {
    "change-password".into()
}

#[test]
fn stores_of_every_tool_are_read() {
    for (name, bytes) in SAMPLES {
        let found = parse(bytes, Some(&password())).unwrap();
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!(found[0].as_ref(), AUTHORITY, "{name}");
    }
    let unchecked = parse(SAMPLES[4].1, None).unwrap();
    assert_eq!(unchecked[0].as_ref(), AUTHORITY);
}

#[test]
fn a_wrong_password_is_told_from_a_wrong_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("store");
    for (name, bytes) in SAMPLES {
        std::fs::write(&file, bytes).unwrap();
        let error = TrustStore::read(&file, Some(&"wrong".into())).unwrap_err();
        assert!(
            matches!(error, TrustStoreError::Password { .. }),
            "{name}: {error}"
        );
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----").unwrap();
    let error = TrustStore::read(&file, Some(&password())).unwrap_err();
    let advice = format!("keytool -importkeystore -srckeystore {}", file.display());
    assert!(error.to_string().contains(&advice), "{error}");
    let missing = TrustStore::read(&folder.path().join("no"), None).unwrap_err();
    assert!(
        matches!(missing, TrustStoreError::Unreadable { .. }),
        "{missing}"
    );
}

#[test]
fn a_store_that_is_cut_off_anywhere_is_refused() {
    let whole = SAMPLES[4].1;
    for length in 0..whole.len() {
        assert!(
            parse(&whole[..length], Some(&password())).is_err(),
            "{length}"
        );
        // Without a password the digest at the end tells nothing.
        assert!(
            length >= whole.len() - 20 || parse(&whole[..length], None).is_err(),
            "{length}"
        );
    }
}

#[test]
fn java_names_of_cipher_suites_are_known() {
    let names = [
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_RSA_WITH_AES_128_CBC_SHA",
    ];
    let names = names.map(str::to_owned);
    assert_eq!(
        unknown_cipher_suites(&names),
        ["TLS_RSA_WITH_AES_128_CBC_SHA"]
    );
}

/// A server's chain and key, and its authority.
struct Served {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
    authority: CertificateDer<'static>,
}

fn signed_for(host: &str) -> Served {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([host.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    Served {
        chain: vec![certificate.der().clone()],
        key: key.serialize_der(),
        authority: authority.der().clone(),
    }
}

/// Serves one answer a connection; gives its port.
async fn serve(served: &Served) -> u16 {
    install_crypto_provider();
    let key = PrivatePkcs8KeyDer::from(served.key.clone()).into();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(served.chain.clone(), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(connection).await else {
                continue;
            };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

async fn is_answered(port: u16, java: JavaTls) -> bool {
    let tls = ClientTls {
        java: Some(java),
        ..ClientTls::default()
    };
    let client = http_client(reqwest::Client::builder().no_proxy(), &tls).unwrap();
    let url = format!("https://localhost:{port}/");
    let client = client
        .resolve("localhost", ([127, 0, 0, 1], port).into())
        .build()
        .unwrap();
    client.get(url).send().await.is_ok()
}

fn trusting(certificate: &CertificateDer<'static>) -> JavaTls {
    JavaTls {
        trust_store: Some([certificate.clone()].into_iter().collect()),
        ..JavaTls::default()
    }
}

#[tokio::test]
async fn only_what_is_in_the_store_is_trusted() {
    let (ours, other) = (signed_for("localhost"), signed_for("localhost"));
    let port = serve(&ours).await;
    assert!(is_answered(port, trusting(&ours.authority)).await);
    assert!(
        is_answered(port, trusting(&ours.chain[0])).await,
        "by itself"
    );
    assert!(!is_answered(port, trusting(&other.authority)).await);
    assert!(!is_answered(port, JavaTls::default()).await, "the system's");
    let any_hostname = JavaTls {
        any_hostname: true,
        ..trusting(&other.authority)
    };
    assert!(
        !is_answered(port, any_hostname).await,
        "another's signature"
    );
}

#[tokio::test]
async fn a_host_of_another_name_is_trusted_when_told_so() {
    let served = signed_for("elsewhere.example.org");
    let port = serve(&served).await;
    for certificate in [&served.authority, &served.chain[0]] {
        let strict = trusting(certificate);
        let lenient = JavaTls {
            any_hostname: true,
            ..strict.clone()
        };
        assert!(!is_answered(port, strict).await);
        assert!(is_answered(port, lenient).await);
    }
}

#[tokio::test]
async fn only_the_named_cipher_suites_are_offered() {
    let served = signed_for("localhost");
    let port = serve(&served).await;
    let with = |name: &str| JavaTls {
        cipher_suites: vec![name.to_owned()],
        ..trusting(&served.authority)
    };
    assert!(is_answered(port, with("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")).await);
    // The server's key is none of RSA's.
    assert!(!is_answered(port, with("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")).await);
    assert!(is_answered(port, with("TLS_UNHEARD_OF")).await, "then all");
}

#[test]
fn a_private_key_is_read_with_its_chain() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("store");
    let read = |bytes: &[u8], password: &str| {
        std::fs::write(&file, bytes).unwrap();
        ClientKey::read(&file, Some(&password.into()))
    };
    let found = read(SAMPLES[3].1, "change-password").unwrap();
    assert_eq!(found.chain, pem::encode("CERTIFICATE", AUTHORITY));
    let key = found.key.expose();
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{key}");
    assert_eq!(pem::in_lines(key), key);
    assert!(!format!("{found:?}").contains("PRIVATE"));
    for (bytes, password, expected) in [
        (SAMPLES[3].1, "wrong", "the password does not open"),
        (SAMPLES[0].1, "change-password", "no private key"),
        (SAMPLES[4].1, "change-password", "-deststoretype PKCS12"),
    ] {
        let error = read(bytes, password).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
