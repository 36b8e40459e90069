//! Why a sandbox does not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::faults::FaultError;

/// Why a sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {source}; give another --port, or 0 for a free one")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The certificate made cannot be served.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The authority's certificate cannot be written.
    #[error("{}: cannot write the certificate: {source}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The password cannot be read.
    #[error("{}: cannot read the password: {source}", path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A user without a password.
    #[error("user {user} has no password; give --password-file or --password")]
    NoPassword {
        /// The user.
        user: String,
    },
    /// A fault rule that cannot work.
    #[error(transparent)]
    Fault(#[from] FaultError),
}
