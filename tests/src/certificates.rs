//! Certificates to test with.

use std::path::Path;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
};

/// An authority, and what it signs.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = named("authority")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(
            params,
            KeyPair::generate()?,
        )?))
    }

    /// Writes its certificate.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(file, self.0.pem())?)
    }

    /// A certificate for this host or person, and its key.
    pub fn sign(&self, name: &str) -> anyhow::Result<(Certificate, KeyPair)> {
        let key = KeyPair::generate()?;
        Ok((named(name)?.signed_by(&key, &self.0)?, key))
    }
}

/// OpenSSL takes a certificate for its own issuer when both have the same name.
fn named(name: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
