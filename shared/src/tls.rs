//! Certificates and keys: read from PEM files, checked, and handed to HTTP and gRPC.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde::{Deserialize, Serialize};

use crate::keystore::JavaTls;

/// gRPC speaks nothing else: <https://www.iana.org/assignments/tls-extensiontype-values>, "alpn-protocol-ids".
const HTTP_2: &[u8] = b"h2";

/// Makes `ring` the process's cryptography; later calls change nothing.
///
/// To be called before the first TLS connection of any kind.
pub fn install_crypto_provider() {
    // An error only says that a provider is already there.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// How a client knows the server, and shows who it is. All files are PEM.
#[derive(Debug, Clone, Default)]
pub struct ClientTls {
    /// Certificates trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate, with the chain above it; goes with `client_key_file`.
    pub client_cert_file: Option<PathBuf>,
    /// The client's private key.
    pub client_key_file: Option<PathBuf>,
    /// Accepts any certificate for any host. HTTP only.
    pub insecure_skip_verify: bool,
    /// Takes the place of `ca_file` and `insecure_skip_verify`. HTTP only.
    pub java: Option<JavaTls>,
}

impl ClientTls {
    /// The PEM files that are named.
    pub fn files(&self) -> Vec<PathBuf> {
        let named = [&self.ca_file, &self.client_cert_file, &self.client_key_file];
        named.into_iter().flatten().cloned().collect()
    }
}

/// A server's certificate, as configuration. All files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// The server's certificate, with the chain above it.
    pub cert_file: PathBuf,
    /// The server's private key.
    pub key_file: PathBuf,
    /// When given, clients must show a certificate signed by one of these (mTLS).
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
}

impl ServerTls {
    /// The PEM files that are named.
    pub fn files(&self) -> Vec<PathBuf> {
        let always = [&self.cert_file, &self.key_file];
        let named = always.into_iter().chain(&self.client_ca_file);
        named.cloned().collect()
    }
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Unreadable {
        /// The PEM file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not PEM, or lacks what is needed.
    #[error("{}: holds no {wanted}; give a PEM file with one", file.display())]
    Lacks {
        /// The PEM file.
        file: PathBuf,
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// A certificate or key that is there is not usable.
    #[error("{}: not usable: {reason}", file.display())]
    Unusable {
        /// The PEM file.
        file: PathBuf,
        /// What the TLS library says.
        reason: String,
    },
    /// The TLS library takes the settings of a Java client not together.
    #[error("the settings for TLS cannot be used: {0}")]
    Settings(rustls::Error),
    /// There is no one to trust.
    #[error("this system has no certificates of authorities; give ca_file")]
    NoSystemRoots,
    /// Only one of a client's certificate and key is given.
    #[error("the files of a client's certificate and of its key go together; give both or none")]
    HalfIdentity,
}

/// Adds trust and identity to an HTTP client.
pub fn http_client(
    builder: reqwest::ClientBuilder,
    tls: &ClientTls,
) -> Result<reqwest::ClientBuilder, TlsError> {
    install_crypto_provider();
    if let Some(java) = &tls.java {
        let identity = identity_files(tls)?.map(|(cert_file, key_file)| {
            check_identity(cert_file, key_file)?;
            Ok((read_certificates(cert_file)?, read_key(key_file)?))
        });
        let config = java.client_config(identity.transpose()?);
        return Ok(builder.tls_backend_preconfigured(config.map_err(TlsError::Settings)?));
    }
    let mut builder = builder.tls_danger_accept_invalid_certs(tls.insecure_skip_verify);
    if let Some(file) = &tls.ca_file {
        check_roots(file)?;
        let certs = reqwest::Certificate::from_pem_bundle(&read(file)?);
        builder = builder.tls_certs_merge(certs.map_err(|e| unusable(file, &e))?);
    }
    if let Some((cert_file, key_file)) = identity_files(tls)? {
        check_identity(cert_file, key_file)?;
        let pem = [read(cert_file)?, b"\n".to_vec(), read(key_file)?].concat();
        let identity = reqwest::Identity::from_pem(&pem);
        builder = builder.identity(identity.map_err(|e| unusable(cert_file, &e))?);
    }
    Ok(builder)
}

/// What a gRPC client needs. `insecure_skip_verify` has no effect on gRPC.
pub fn grpc_client(tls: &ClientTls) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    install_crypto_provider();
    let roots = match &tls.ca_file {
        None => system_roots()?,
        Some(file) => check_roots(file)?,
    };
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    let mut config = match identity_files(tls)? {
        None => builder.with_no_client_auth(),
        Some((cert_file, key_file)) => builder
            .with_client_auth_cert(read_certificates(cert_file)?, read_key(key_file)?)
            .map_err(|e| unusable(cert_file, &e))?,
    };
    config.alpn_protocols = vec![HTTP_2.to_vec()];
    Ok(Arc::new(config))
}

/// What a gRPC server needs.
pub fn grpc_server(tls: &ServerTls) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let mut config = server_config(tls)?;
    Arc::make_mut(&mut config).alpn_protocols = vec![HTTP_2.to_vec()];
    Ok(config)
}

/// What any other TLS server needs.
pub fn server_config(tls: &ServerTls) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    install_crypto_provider();
    let builder = rustls::ServerConfig::builder();
    let builder = match &tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(check_roots(file)?)).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| unusable(file, &e))?)
        }
    };
    let config = builder
        .with_single_cert(read_certificates(&tls.cert_file)?, read_key(&tls.key_file)?)
        .map_err(|e| unusable(&tls.cert_file, &e))?;
    Ok(Arc::new(config))
}

fn identity_files(tls: &ClientTls) -> Result<Option<(&Path, &Path)>, TlsError> {
    match (&tls.client_cert_file, &tls.client_key_file) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        _ => Err(TlsError::HalfIdentity),
    }
}

/// A small container has none.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match added {
        0 => Err(TlsError::NoSystemRoots),
        _ => Ok(roots),
    }
}

pub(crate) fn check_roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        roots.add(certificate).map_err(|e| unusable(file, &e))?;
    }
    Ok(roots)
}

/// A certificate and a key that belong together, tried before a library that names no file does.
fn check_identity(cert_file: &Path, key_file: &Path) -> Result<(), TlsError> {
    rustls::ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(read_certificates(cert_file)?, read_key(key_file)?)
        .map_err(|e| unusable(cert_file, &e))?;
    Ok(())
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    let certificates = certificates.map_err(|e| unusable(file, &e))?;
    if certificates.is_empty() {
        let file = file.to_owned();
        return Err(TlsError::Lacks {
            file,
            wanted: "certificate",
        });
    }
    Ok(certificates)
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|e| match e {
        rustls::pki_types::pem::Error::NoItemsFound => TlsError::Lacks {
            file: file.to_owned(),
            wanted: "private key",
        },
        e => unusable(file, &e),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|source| TlsError::Unreadable {
        file: file.to_owned(),
        source,
    })
}

fn unusable(file: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::Unusable {
        file: file.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "nothing here").unwrap();
        let tls = |file: &Path| ClientTls {
            ca_file: Some(file.to_owned()),
            ..ClientTls::default()
        };
        let error = grpc_client(&tls(&empty)).unwrap_err().to_string();
        assert!(error.ends_with("empty.pem: holds no certificate; give a PEM file with one"));
        let error = grpc_client(&tls(Path::new("/no/ca.pem")))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("/no/ca.pem: cannot be read"), "{error}");
        let half = ClientTls {
            client_cert_file: Some(empty),
            ..ClientTls::default()
        };
        assert!(matches!(grpc_client(&half), Err(TlsError::HalfIdentity)));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let one = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let tls = ServerTls {
            cert_file: dir.path().join("cert.pem"),
            key_file: dir.path().join("key.pem"),
            client_ca_file: None,
        };
        std::fs::write(&tls.cert_file, one.cert.pem()).unwrap();
        std::fs::write(&tls.key_file, one.signing_key.serialize_pem()).unwrap();
        assert!(grpc_server(&tls).is_ok());
        std::fs::write(&tls.key_file, other.signing_key.serialize_pem()).unwrap();
        assert!(matches!(grpc_server(&tls), Err(TlsError::Unusable { .. })));
        std::fs::write(&tls.key_file, one.cert.pem()).unwrap();
        let error = grpc_server(&tls).unwrap_err().to_string();
        assert!(error.contains("key.pem: holds no private key"), "{error}");
    }
}
