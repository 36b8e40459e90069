//! Trust stores as Java keeps them: the certificates of a PKCS#12 or JKS file, and TLS that trusts them
//! as Java does.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use p12_keystore::Pkcs12Archive;
use rustls::pki_types::CertificateDer;

use crate::secret::Secret;

mod jks;
mod verify;

pub use verify::{JavaTls, unknown_cipher_suites};

/// Certificates to trust; cloning shares them.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustStore(Arc<[CertificateDer<'static>]>);

/// Shows how many there are: their names are of no use to a reader of logs.
impl fmt::Debug for TrustStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustStore({} certificates)", self.0.len())
    }
}

/// Why a trust store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustStoreError {
    /// The file cannot be read.
    #[error("{}: the trust store cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The password does not open it.
    #[error(
        "{}: the password does not open the trust store, or the file is damaged; check truststore.pass",
        file.display()
    )]
    Password {
        /// The file.
        file: PathBuf,
    },
    /// It is of a kind that is not read here.
    #[error(
        "{file}: {reason}; make a PKCS#12 file of it with `keytool -importkeystore -srckeystore {file} \
         -destkeystore {file}.p12 -deststoretype PKCS12` and name that one",
        file = file.display()
    )]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// What it is, or what is wrong with it.
        reason: String,
    },
    /// It opens, and there is nothing in it.
    #[error("{}: the trust store holds no certificate", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
}

/// What reading the bytes of a store can meet.
#[derive(Debug)]
enum Fault {
    Password,
    Unsupported(String),
}

impl TrustStore {
    /// Reads a PKCS#12 or JKS file. Without a password a JKS file is read unchecked, as Java does, and a
    /// PKCS#12 file with an empty one.
    pub fn read(file: &Path, password: Option<&Secret>) -> Result<Self, TrustStoreError> {
        let owned = || file.to_owned();
        let bytes = std::fs::read(file).map_err(|source| TrustStoreError::Unreadable {
            file: owned(),
            source,
        })?;
        let certificates = match parse(&bytes, password) {
            Ok(certificates) => certificates,
            Err(Fault::Password) => return Err(TrustStoreError::Password { file: owned() }),
            Err(Fault::Unsupported(reason)) => {
                return Err(TrustStoreError::Unsupported {
                    file: owned(),
                    reason,
                });
            }
        };
        if certificates.is_empty() {
            return Err(TrustStoreError::Empty { file: owned() });
        }
        Ok(Self::from_iter(certificates))
    }

    /// The certificates.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}

impl FromIterator<CertificateDer<'static>> for TrustStore {
    fn from_iter<I: IntoIterator<Item = CertificateDer<'static>>>(certificates: I) -> Self {
        Self(certificates.into_iter().collect())
    }
}

fn parse(bytes: &[u8], password: Option<&Secret>) -> Result<Vec<CertificateDer<'static>>, Fault> {
    if jks::is_one(bytes) {
        return jks::certificates(bytes, password);
    }
    // DER: a sequence.
    if bytes.first() == Some(&0x30) {
        return pkcs12(bytes, password);
    }
    Err(Fault::Unsupported(
        "is neither a PKCS#12 nor a JKS trust store".to_owned(),
    ))
}

/// What Java trusts of such a file: certificates marked as trusted, and those of private keys. Other tools
/// mark none: then all count.
fn pkcs12(bytes: &[u8], password: Option<&Secret>) -> Result<Vec<CertificateDer<'static>>, Fault> {
    use p12_keystore::error::Error;
    let archive = Pkcs12Archive::from_pkcs12(bytes, password.map_or("", Secret::expose));
    let archive = archive.map_err(|e| match e {
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => Fault::Password,
        e => Fault::Unsupported(format!("cannot be read as PKCS#12 ({e})")),
    })?;
    let of_a_key = |id: &Option<Vec<u8>>| {
        let mut ids = archive.keys.iter().filter_map(|k| k.local_key_id.as_ref());
        id.as_deref().is_some_and(|id| ids.any(|key| key.0 == id))
    };
    let certificates = archive.certs.iter();
    let marked: Vec<_> = certificates
        .clone()
        .filter(|c| c.trusted || of_a_key(&c.local_key_id))
        .collect();
    let trusted = if marked.is_empty() {
        certificates.collect()
    } else {
        marked
    };
    let der = trusted.into_iter().map(|c| c.cert.as_der().to_vec().into());
    Ok(der.collect())
}

#[cfg(test)]
mod tests;
