//! TLS towards PostgreSQL by libpq's `sslmode`: <https://www.postgresql.org/docs/current/libpq-ssl.html>. As with JDBC, and
//! as for the ledger, `require` never looks at the server's certificate, also where a root certificate is named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::address::{Mode, Security};

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresTlsError {
    /// A file is not there, or not what it should be.
    #[error("{}: no PEM file of {wanted} ({reason})", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// `certificates` or `a private key`.
        wanted: &'static str,
        /// What is the matter.
        reason: String,
    },
    /// Half of a certificate and its key.
    #[error("sslcert and sslkey go together; give both or none")]
    Half,
    /// The TLS library does not take them.
    #[error("the certificates cannot be used: {0}")]
    Unusable(String),
}

/// How to speak TLS; none where it is switched off.
pub fn client_config(security: &Security) -> Result<Option<ClientConfig>, PostgresTlsError> {
    if security.mode == Mode::Disable {
        return Ok(None);
    }
    let provider = Arc::new(ring::default_provider());
    let unusable = |e: Error| PostgresTlsError::Unusable(e.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier(security, provider)?));
    let config = match (&security.cert, &security.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .map_err(unusable)?,
        _ => return Err(PostgresTlsError::Half),
    };
    Ok(Some(config))
}

fn verifier(
    security: &Security,
    provider: Arc<CryptoProvider>,
) -> Result<Verifier, PostgresTlsError> {
    let looks = matches!(security.mode, Mode::VerifyCa | Mode::VerifyFull);
    let mut verifier = Verifier {
        chains: None,
        any_hostname: security.mode != Mode::VerifyFull,
        provider: Arc::clone(&provider),
    };
    if looks {
        let mut roots = RootCertStore::empty();
        let trusted = match &security.root_cert {
            Some(file) => certificates(file)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        roots.add_parsable_certificates(trusted);
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let chains = chains.build();
        verifier.chains = Some(chains.map_err(|e| PostgresTlsError::Unusable(e.to_string()))?);
    }
    Ok(verifier)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PostgresTlsError> {
    let wrong = |reason: String| PostgresTlsError::File {
        file: file.to_owned(),
        wanted: "certificates",
        reason,
    };
    let read = CertificateDer::pem_file_iter(file).map_err(|e| wrong(e.to_string()))?;
    let read: Result<Vec<_>, _> = read.collect();
    let read = read.map_err(|e| wrong(e.to_string()))?;
    if read.is_empty() {
        return Err(wrong("it holds none".to_owned()));
    }
    Ok(read)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, PostgresTlsError> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| PostgresTlsError::File {
        file: file.to_owned(),
        wanted: "a private key",
        reason: error.to_string(),
    })
}

#[derive(Debug)]
struct Verifier {
    /// None where any certificate will do.
    chains: Option<Arc<WebPkiServerVerifier>>,
    any_hostname: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chains) = &self.chains else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified =
            chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is looked at last: all else is well then.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_hostname => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
