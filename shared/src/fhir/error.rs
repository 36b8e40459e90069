use std::error::Error;
use std::time::Duration;

use rustls::AlertDescription;

use crate::retry::Retry;
use crate::secret::SecretError;
use crate::tls::TlsError;

/// Why there is no answer of the FHIR server.
#[derive(Debug, thiserror::Error)]
pub enum FhirError {
    /// The address cannot be used.
    #[error("{url}: not a FHIR base URL: {reason}; give one like https://host/fhir")]
    BadUrl {
        /// The address without credentials.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The address carries a user or password, which would end up in logs and the ledger.
    #[error("{url}: credentials in the URL are not accepted; give user and password apart from it")]
    CredentialsInUrl {
        /// The address without them.
        url: String,
    },
    /// Certificates or keys of ours are not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The password or token cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Settings that do not go together.
    #[error("{0}")]
    Credentials(&'static str),
    /// A header's name or value holds characters that HTTP does not allow.
    #[error("header {0}: not allowed in HTTP; use plain ASCII without line breaks")]
    Header(String),
    /// The HTTP client cannot be made.
    #[error(
        "the HTTP client cannot be made: {reason}; give --fhir-ca-file if the system has no root certificates"
    )]
    Client {
        /// What the library says.
        reason: String,
    },
    /// No connection was made: nothing was sent.
    #[error("{url}: no connection: {reason}; check the address and that the server runs")]
    Connect {
        /// The address asked.
        url: String,
        /// Refused, unknown host, timed out…
        reason: String,
    },
    /// The server's certificate is not trusted: nothing was sent.
    #[error(
        "{url}: its certificate is not accepted: {reason}; give --fhir-ca-file with the certificate that signed it"
    )]
    Certificate {
        /// The address asked.
        url: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// The server broke off the TLS handshake: it wants a client certificate it knows.
    #[error(
        "{url}: the server refuses the TLS handshake: {reason}; check the client certificate and key"
    )]
    Handshake {
        /// The address asked.
        url: String,
        /// The server's alert.
        reason: String,
    },
    /// No whole answer in time; the server may have acted.
    #[error("{url}: no answer within {}; the server is overloaded or request_timeout too short", humantime::format_duration(*.after))]
    Timeout {
        /// The address asked.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke after sending began; the server may have acted.
    #[error(
        "{url}: the connection broke before the whole answer came: {reason}; check the server's log"
    )]
    Lost {
        /// The address asked.
        url: String,
        /// What broke it.
        reason: String,
    },
    /// The answer is larger than anything a FHIR server should send.
    #[error("{url}: the answer exceeds {limit} bytes and was dropped; ask for less at once")]
    TooLarge {
        /// The address asked.
        url: String,
        /// The limit in bytes.
        limit: usize,
    },
}

impl FhirError {
    /// Whether the server cannot have acted on the request, so that even a create may be sent again.
    pub fn cannot_have_acted(&self) -> bool {
        !matches!(
            self,
            Self::Timeout { .. } | Self::Lost { .. } | Self::TooLarge { .. }
        )
    }

    /// Whether the same request may succeed later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Lost { .. } => Retry::After(None),
            _ => Retry::Never,
        }
    }

    /// Tells the causes of a failed request apart.
    pub(super) fn from_reqwest(error: &reqwest::Error, url: &str, after: Duration) -> Self {
        let url = url.to_owned();
        let reason = innermost(error).to_string();
        match tls_cause(error) {
            Some(rustls::Error::AlertReceived(alert)) if is_about_identity(*alert) => {
                return Self::Handshake { url, reason };
            }
            Some(rustls::Error::AlertReceived(_)) | None => {}
            Some(rustls::Error::InvalidMessage(_)) if error.is_connect() => {
                let reason = "what answers there does not speak TLS".to_owned();
                return Self::Connect { url, reason };
            }
            Some(_) if error.is_connect() => return Self::Certificate { url, reason },
            Some(_) => {}
        }
        if error.is_connect() {
            Self::Connect { url, reason }
        } else if error.is_timeout() {
            Self::Timeout { url, after }
        } else {
            Self::Lost { url, reason }
        }
    }
}

/// With TLS 1.3 a server refuses a client's certificate only after the client began to send, yet
/// before it reads any of it.
fn is_about_identity(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::HandshakeFailure
    )
}

fn tls_cause(error: &reqwest::Error) -> Option<&rustls::Error> {
    causes(error).find_map(|cause| {
        let mut cause = cause;
        // An I/O error names as its source not what it wraps but the source of that.
        while let Some(io) = cause.downcast_ref::<std::io::Error>() {
            cause = io.get_ref()?;
        }
        cause.downcast_ref()
    })
}

/// The outer errors only say "error sending request".
fn innermost(error: &reqwest::Error) -> &(dyn Error + 'static) {
    causes(error).last().unwrap_or(error)
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |&e| e.source())
}
