//! Certificates to test with.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::routing::any;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use stoker_shared::tls::ServerTls;
use tempfile::TempDir;

use super::server::serve_tls;

/// A certificate authority, and what it signs, as PEM files.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn sign(&self, host: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |name: &str| self.folder.path().join(format!("{host}.{name}.pem"));
        std::fs::write(file("cert"), certificate.pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        (file("cert"), file("key"))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn server(&self, host: &str, client_ca_file: Option<PathBuf>) -> ServerTls {
        let (cert_file, key_file) = self.sign(host);
        ServerTls {
            cert_file,
            key_file,
            client_ca_file,
        }
    }

    /// Serves HTTPS; gives the base URL.
    pub(crate) async fn serve(&self, host: &str, client_ca_file: Option<PathBuf>) -> String {
        let tls = self.server(host, client_ca_file);
        serve_tls(Router::new().fallback(any(|| async { "hello" })), &tls).await
    }
}
