//! Where a PostgreSQL database is, and how to speak to it in secret.

pub mod address;
pub mod tls;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::secret::url_without_password;

/// `postgres://user@host:port/database`, with the parameters of libpq that sqlx knows (`sslmode`, `sslrootcert`,
/// `sslcert`, `sslkey`, `options`). Debug, Display and Serialize leave a password out.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PostgresUrl(String);

/// A text that names no PostgreSQL database.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown} is no PostgreSQL URL; give one such as postgres://user@host:5432/database")]
pub struct NoPostgresUrl {
    /// Without what may be a password.
    shown: String,
}

impl PostgresUrl {
    /// All of it, with the password if it has one.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for PostgresUrl {
    type Err = NoPostgresUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self(text.to_owned()));
        }
        Err(NoPostgresUrl {
            shown: url_without_password(text),
        })
    }
}

impl TryFrom<String> for PostgresUrl {
    type Error = NoPostgresUrl;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PostgresUrl> for String {
    fn from(url: PostgresUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&url_without_password(&self.0))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let url: PostgresUrl = "postgres://ann:secret@db:5432/x".parse().unwrap();
        let json = serde_json::to_string(&url).unwrap();
        for shown in [url.to_string(), format!("{url:?}"), json] {
            assert!(!shown.contains("secret"), "{shown}");
            assert!(shown.contains("ann:***@db:5432/x"), "{shown}");
        }
        let wrong = "mysql://ann:secret@db/x".parse::<PostgresUrl>();
        assert!(!wrong.unwrap_err().to_string().contains("secret"));
    }
}
