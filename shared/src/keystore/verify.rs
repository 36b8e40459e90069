//! TLS of a client that trusts as Java does.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedCipherSuite,
};

use super::TrustStore;

/// How a Java client was told to talk TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JavaTls {
    /// The only certificates that are trusted; the system's when none is given. A certificate in it is
    /// trusted also when a server shows that one itself.
    pub trust_store: Option<TrustStore>,
    /// Does not compare the host's name with those of its certificate.
    pub any_hostname: bool,
    /// Java's names of the cipher suites to offer, see [`unknown_cipher_suites`]; all when none is known.
    pub cipher_suites: Vec<String>,
}

/// A client's certificate, with the chain above it, and its key.
pub(crate) type ClientIdentity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl JavaTls {
    /// The configuration of a client.
    pub(crate) fn client_config(
        &self,
        identity: Option<ClientIdentity>,
    ) -> Result<ClientConfig, Error> {
        let provider = Arc::new(self.provider());
        let verifier = self.verifier(&provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        match identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key),
            None => Ok(builder.with_no_client_auth()),
        }
    }

    fn provider(&self) -> CryptoProvider {
        let mut provider = ring::default_provider();
        let wanted = |suite: &SupportedCipherSuite| {
            self.cipher_suites.iter().any(|name| is_named(*suite, name))
        };
        if provider.cipher_suites.iter().any(wanted) {
            provider.cipher_suites.retain(wanted);
        }
        provider
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Verifier, Error> {
        let mut roots = RootCertStore::empty();
        let own = self
            .trust_store
            .as_ref()
            .map_or(&[][..], TrustStore::certificates);
        if self.trust_store.is_some() {
            // What cannot be the start of a chain can still be a server's own certificate.
            roots.add_parsable_certificates(own.iter().cloned());
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let chains = if roots.is_empty() {
            None
        } else {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
            let verifier = verifier.build();
            Some(verifier.map_err(|e| Error::General(e.to_string()))?)
        };
        Ok(Verifier {
            chains,
            own: own.to_vec(),
            any_hostname: self.any_hostname,
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

/// Those of Java's names of cipher suites that name none of ours.
pub fn unknown_cipher_suites(names: &[String]) -> Vec<&str> {
    let suites = ring::default_provider().cipher_suites;
    let unknown = |name: &&String| !suites.iter().any(|suite| is_named(*suite, name));
    names.iter().filter(unknown).map(String::as_str).collect()
}

/// Whether Java calls the suite so: those of TLS 1.3 have no 13 in their name there.
fn is_named(suite: SupportedCipherSuite, name: &str) -> bool {
    let ours = format!("{:?}", suite.suite());
    ours == name || ours.strip_prefix("TLS13_") == name.strip_prefix("TLS_")
}

#[derive(Debug)]
struct Verifier {
    /// Of certificates signed by a trusted one; none when no trusted one can sign.
    chains: Option<Arc<WebPkiServerVerifier>>,
    /// Trusted as they are.
    own: Vec<CertificateDer<'static>>,
    any_hostname: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn is_right_host(
        &self,
        certificate: &CertificateDer<'_>,
        host: &ServerName<'_>,
    ) -> Result<ServerCertVerified, Error> {
        if !self.any_hostname {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, host)?;
        }
        Ok(ServerCertVerified::assertion())
    }
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
        if self.own.iter().any(|own| own == end_entity) {
            return self.is_right_host(end_entity, server_name);
        }
        let Some(chains) = &self.chains else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        let verified =
            chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        // The name is looked at last: all else is well then.
        match verified {
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
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
