//! A PostgreSQL URL, with the parameters for TLS that libpq knows.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use url::Url;

/// A URL that cannot be used; the text never holds a password.
#[derive(Debug, thiserror::Error)]
#[error("{0}; give one such as postgres://user@host:5432/database?sslmode=verify-full")]
pub struct BadUrl(String);

/// What a URL says.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) security: Security,
}

/// How a connection is secured, by libpq's parameters.
#[derive(Debug, Default)]
pub(super) struct Security {
    pub(super) mode: Mode,
    pub(super) root_cert: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Mode {
    Disable,
    /// Encrypted where the server offers it.
    #[default]
    Prefer,
    /// Encrypted; the server's certificate is not looked at.
    Require,
    VerifyCa,
    VerifyFull,
}

/// Takes a URL apart.
pub(super) fn parse(text: &str) -> Result<Parts, BadUrl> {
    let mut url = Url::parse(text).map_err(|e| BadUrl(format!("it is no URL ({e})")))?;
    let mut security = Security::default();
    let mut others = Vec::new();
    for (key, value) in url.query_pairs() {
        let file = || (!value.is_empty()).then(|| PathBuf::from(&*value));
        match key.as_ref() {
            "sslmode" | "ssl-mode" => security.mode = mode(&value)?,
            "sslrootcert" | "ssl-root-cert" => security.root_cert = file(),
            "sslcert" | "ssl-cert" => security.cert = file(),
            "sslkey" | "ssl-key" => security.key = file(),
            _ => others.push((key.into_owned(), value.into_owned())),
        }
    }
    url.set_query(None);
    if !others.is_empty() {
        url.query_pairs_mut().extend_pairs(&others);
    }
    // The library's error may show what it could not read.
    let unusable = |_| BadUrl("the library cannot use it, or a parameter in it".to_owned());
    let mut config: Config = url.as_str().parse().map_err(unusable)?;
    config.ssl_mode(match security.mode {
        Mode::Disable => SslMode::Disable,
        Mode::Prefer => SslMode::Prefer,
        _ => SslMode::Require,
    });
    Ok(Parts { config, security })
}

fn mode(text: &str) -> Result<Mode, BadUrl> {
    Ok(match text {
        "disable" => Mode::Disable,
        "allow" | "prefer" => Mode::Prefer,
        "require" => Mode::Require,
        "verify-ca" => Mode::VerifyCa,
        "verify-full" => Mode::VerifyFull,
        _ => {
            return Err(BadUrl(format!(
                "sslmode={text} is none of disable, prefer, require, verify-ca, verify-full"
            )));
        }
    })
}

/// `host:port/database`, for people.
pub(super) fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(folder)) => folder.display().to_string(),
        None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{host}:{port}/{}", config.get_dbname().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_for_tls_are_read() {
        let text = "postgres://ann:pw@db:6432/fhir?sslmode=verify-ca&sslrootcert=/ca.pem&sslcert=&application_name=x";
        let parts = parse(text).unwrap();
        assert_eq!(parts.security.mode, Mode::VerifyCa);
        assert_eq!(parts.security.root_cert, Some("/ca.pem".into()));
        assert_eq!(parts.security.cert, None);
        assert_eq!(parts.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(parts.config.get_application_name(), Some("x"));
        assert_eq!(place(&parts.config), "db:6432/fhir");
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for wrong in [
            "postgres://ann:secret@db/x?sslmode=no",
            "postgres://ann:secret@db/x?nonsense=1",
            "postgres://ann:secret@db:port/x",
        ] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
