//! Java's own format of key stores, until Java 9 the default.

use rustls::pki_types::CertificateDer;
use sha1::{Digest, Sha1};

use super::Fault;
use crate::secret::Secret;

const JKS: [u8; 4] = 0xfeed_feed_u32.to_be_bytes();
/// The same with secret keys besides.
const JCEKS: [u8; 4] = 0xcece_cece_u32.to_be_bytes();
const DIGEST: usize = 20;

pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&JKS) || bytes.starts_with(&JCEKS)
}

/// The certificates that Java trusts: those that stand alone, and the first of each private key's.
pub(super) fn certificates(
    bytes: &[u8],
    password: Option<&Secret>,
) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let (content, digest) = bytes
        .split_at_checked(bytes.len().saturating_sub(DIGEST))
        .ok_or_else(cut_off)?;
    if let Some(password) = password
        && keyed_digest(password.expose(), content) != digest
    {
        return Err(Fault::Password);
    }
    let mut reader = Reader(content);
    reader.take(4)?;
    let version = reader.number()?;
    if !(1..=2).contains(&version) {
        return Err(Fault::Unsupported(format!(
            "is a key store of version {version}"
        )));
    }
    let mut certificates = Vec::new();
    for _ in 0..reader.number()? {
        let tag = reader.number()?;
        reader.text()?;
        // When it was made.
        reader.take(8)?;
        match tag {
            1 => {
                reader.block()?;
                for place in 0..reader.number()? {
                    let certificate = reader.certificate(version)?;
                    certificates.extend((place == 0).then_some(certificate));
                }
            }
            2 => certificates.push(reader.certificate(version)?),
            _ => {
                return Err(Fault::Unsupported("holds secret keys".to_owned()));
            }
        }
    }
    Ok(certificates)
}

/// As Java computes it: the password in UTF-16, then words of its authors, then the content.
pub(super) fn keyed_digest(password: &str, content: &[u8]) -> [u8; DIGEST] {
    let mut sha1 = Sha1::new();
    for unit in password.encode_utf16() {
        sha1.update(unit.to_be_bytes());
    }
    sha1.update(b"Mighty Aphrodite");
    sha1.update(content);
    sha1.finalize().into()
}

fn cut_off() -> Fault {
    Fault::Unsupported("is a key store that is cut off".to_owned())
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, Fault> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().fold(0, |n, &byte| n << 8 | u32::from(byte)))
    }

    fn text(&mut self) -> Result<&'b [u8], Fault> {
        let length = self.take(2)?;
        self.take(usize::from(length[0]) << 8 | usize::from(length[1]))
    }

    fn block(&mut self) -> Result<&'b [u8], Fault> {
        let length = self.number()?;
        self.take(length as usize)
    }

    fn certificate(&mut self, version: u32) -> Result<CertificateDer<'static>, Fault> {
        if version == 2 && self.text()? != b"X.509" {
            return Err(Fault::Unsupported(
                "holds certificates other than X.509".to_owned(),
            ));
        }
        Ok(self.block()?.to_vec().into())
    }
}
