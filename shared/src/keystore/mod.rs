//! Stores as Java keeps them: the trusted certificates of a PKCS#12 or JKS file, TLS that trusts them as Java
//! does, and the private key of a PKCS#12 file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use p12_keystore::{KeyStore, Pkcs12Archive, Pkcs12ImportPolicy};
use rustls::pki_types::CertificateDer;

use crate::secret::Secret;

mod jks;
pub mod pem;
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

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustStoreError {
    /// The file cannot be read.
    #[error("{}: the store cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The password does not open it.
    #[error(
        "{}: the password does not open the store, or the file is damaged; check the password",
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
    #[error("{}: the store holds no certificate", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// It opens, and who we are is not in it.
    #[error(
        "{}: the store holds no private key with its certificate; name the one that `keytool -genkeypair` or \
         `openssl pkcs12 -export` made",
        file.display()
    )]
    NoKey {
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
        let certificates =
            parse(&read(file)?, password).map_err(|fault| TrustStoreError::of(file, fault))?;
        if certificates.is_empty() {
            let file = file.to_owned();
            return Err(TrustStoreError::Empty { file });
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

/// A private key, and the certificates that say whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKey {
    /// In PEM: the key's certificate first, then those above it.
    pub chain: String,
    /// In PEM, not encrypted.
    pub key: Secret,
}

impl ClientKey {
    /// Reads the first private key of a PKCS#12 file.
    pub fn read(file: &Path, password: Option<&Secret>) -> Result<Self, TrustStoreError> {
        let bytes = read(file)?;
        let of_kind = |fault| TrustStoreError::of(file, fault);
        if bytes.first() != Some(&DER_SEQUENCE) {
            let reason = "is no PKCS#12 store".to_owned();
            return Err(of_kind(Fault::Unsupported(reason)));
        }
        let password = password.map_or("", Secret::expose);
        let store = KeyStore::from_pkcs12(&bytes, password, Pkcs12ImportPolicy::Strict);
        let store = store.map_err(|e| of_kind(pkcs12_fault(&e)))?;
        let Some((_, found)) = store.private_key_chain() else {
            let file = file.to_owned();
            return Err(TrustStoreError::NoKey { file });
        };
        let chain = found.certs().iter();
        Ok(Self {
            chain: chain
                .map(|c| pem::encode("CERTIFICATE", c.as_der()))
                .collect(),
            key: pem::encode("PRIVATE KEY", found.key().as_der()).into(),
        })
    }
}

/// What a PKCS#12 file begins with.
const DER_SEQUENCE: u8 = 0x30;

fn read(file: &Path) -> Result<Vec<u8>, TrustStoreError> {
    std::fs::read(file).map_err(|source| TrustStoreError::Unreadable {
        file: file.to_owned(),
        source,
    })
}

impl TrustStoreError {
    fn of(file: &Path, fault: Fault) -> Self {
        let file = file.to_owned();
        match fault {
            Fault::Password => Self::Password { file },
            Fault::Unsupported(reason) => Self::Unsupported { file, reason },
        }
    }
}

fn parse(bytes: &[u8], password: Option<&Secret>) -> Result<Vec<CertificateDer<'static>>, Fault> {
    if jks::is_one(bytes) {
        return jks::certificates(bytes, password);
    }
    if bytes.first() == Some(&DER_SEQUENCE) {
        return pkcs12(bytes, password);
    }
    Err(Fault::Unsupported(
        "is neither a PKCS#12 nor a JKS store".to_owned(),
    ))
}

/// What Java trusts of such a file: certificates marked as trusted, and those of private keys. Other tools
/// mark none: then all count.
fn pkcs12(bytes: &[u8], password: Option<&Secret>) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let archive = Pkcs12Archive::from_pkcs12(bytes, password.map_or("", Secret::expose));
    let archive = archive.map_err(|e| pkcs12_fault(&e))?;
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

fn pkcs12_fault(error: &p12_keystore::error::Error) -> Fault {
    use p12_keystore::error::Error;
    match error {
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => Fault::Password,
        e => Fault::Unsupported(format!("cannot be read as PKCS#12 ({e})")),
    }
}

#[cfg(test)]
mod tests;
