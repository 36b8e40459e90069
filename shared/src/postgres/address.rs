//! A PostgreSQL URL, with the parameters for TLS that libpq knows.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use url::form_urlencoded;

/// A URL that cannot be used; the text never holds a password.
#[derive(Debug, thiserror::Error)]
#[error("{0}; give one such as postgres://user@host:5432/database?sslmode=verify-full")]
pub struct BadUrl(String);

/// What a URL says.
#[derive(Debug, Clone)]
pub struct Address {
    /// Hosts, user, password, database, as libpq names them.
    pub config: Config,
    /// How a connection is secured.
    pub security: Security,
}

/// How a connection is secured, by libpq's parameters.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// `sslmode`.
    pub mode: Mode,
    /// `sslrootcert`: whose certificates are trusted; none means the system's.
    pub root_cert: Option<PathBuf>,
    /// `sslcert`: the client's certificate.
    pub cert: Option<PathBuf>,
    /// `sslkey`: the client's private key.
    pub key: Option<PathBuf>,
}

impl Security {
    /// The files that are named.
    pub fn files(&self) -> Vec<PathBuf> {
        let named = [&self.root_cert, &self.cert, &self.key];
        named.into_iter().flatten().cloned().collect()
    }
}

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Never encrypted.
    Disable,
    /// Encrypted where the server offers it.
    #[default]
    Prefer,
    /// Encrypted; the server's certificate is not looked at.
    Require,
    /// As [`Mode::Require`], and the certificate must be signed by one that is trusted.
    VerifyCa,
    /// As [`Mode::VerifyCa`], and it must be for the host that was asked for.
    VerifyFull,
}

/// Takes a URL apart. It may name several hosts: `postgres://user@one:5432,two:5432/database`.
pub fn parse(text: &str) -> Result<Address, BadUrl> {
    let (base, query) = text.split_once('?').unwrap_or((text, ""));
    let mut security = Security::default();
    let mut others = form_urlencoded::Serializer::new(String::new());
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let file = || (!value.is_empty()).then(|| PathBuf::from(&*value));
        match key.as_ref() {
            "sslmode" | "ssl-mode" => security.mode = mode(&value)?,
            "sslrootcert" | "ssl-root-cert" => security.root_cert = file(),
            "sslcert" | "ssl-cert" => security.cert = file(),
            "sslkey" | "ssl-key" => security.key = file(),
            _ => {
                // The library takes `+` for itself, not for a space.
                others.append_pair(&key, &value);
            }
        }
    }
    let rest = format!("{base}?{}", others.finish().replace('+', "%20"));
    // The library's error may show what it could not read.
    let unusable = |_| BadUrl("the library cannot use it, or a parameter in it".to_owned());
    let mut config: Config = rest.parse().map_err(unusable)?;
    config.ssl_mode(match security.mode {
        Mode::Disable => SslMode::Disable,
        Mode::Prefer => SslMode::Prefer,
        _ => SslMode::Require,
    });
    Ok(Address { config, security })
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
pub fn place(config: &Config) -> String {
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
    fn several_hosts_are_read() {
        let hosts = parse("postgres://ann@one:5433,two/fhir?options=-c%20a%3Db").unwrap();
        assert_eq!(hosts.config.get_hosts().len(), 2);
        assert_eq!(hosts.config.get_ports(), [5433, 5432]);
        assert_eq!(hosts.config.get_options(), Some("-c a=b"));
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
