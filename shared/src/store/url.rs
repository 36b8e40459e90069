use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::secret::url_without_password;

use super::StoreError;

/// Where a service keeps its tables. Debug, Display and Serialize leave a password out.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum StoreUrl {
    /// `none`: in memory, gone with the process.
    Memory,
    /// `sqlite:PATH`: a file, for one process or a few.
    Sqlite(PathBuf),
    /// `postgres://user@host:port/database`: for any number of processes.
    Postgres(String),
}

impl FromStr for StoreUrl {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" || text == "sqlite::memory:" {
            return Ok(Self::Memory);
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        let path = text
            .strip_prefix("sqlite:")
            .map(|p| p.strip_prefix("//").unwrap_or(p));
        match path {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            _ => Err(StoreError::BadUrl {
                url: url_without_password(text),
            }),
        }
    }
}

impl TryFrom<String> for StoreUrl {
    type Error = StoreError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<StoreUrl> for String {
    fn from(url: StoreUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("none"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(&url_without_password(url)),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_their_database() {
        let memory: StoreUrl = "none".parse().unwrap();
        assert_eq!(memory, StoreUrl::Memory);
        let file: StoreUrl = "sqlite:/a/x.sqlite".parse().unwrap();
        assert_eq!(file, StoreUrl::Sqlite("/a/x.sqlite".into()));
        assert_eq!(file, "sqlite:///a/x.sqlite".parse().unwrap());
        for wrong in ["", "sqlite:", "mysql://x", "/a/b"] {
            assert!(wrong.parse::<StoreUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let text = "postgres://ann:p@ss@db:5432/x?sslmode=require&password=p@ss";
        let url: StoreUrl = text.parse().unwrap();
        let json = serde_json::to_string(&url).unwrap();
        for shown in [url.to_string(), format!("{url:?}"), json] {
            assert!(
                !shown.contains("p@ss") && shown.contains("ann:***@db"),
                "{shown}"
            );
        }
        let wrong = "mysql://ann:secret@db/x".parse::<StoreUrl>().unwrap_err();
        assert!(!wrong.to_string().contains("secret"), "{wrong}");
        for text in [
            "postgres://ann:sec?ret@db/x",
            "postgres://ann:sec/ret@db/x",
            "postgres://ann:sec#ret@db/x?sslmode=require",
            "postgres://ann:1/sec@ret@db/x",
            "postgres://ann:s@sec/ret@db/x",
            "postgres://ann:sec?password=ret@db/x",
            "mysql:ann:sec-ret@db/x",
            "postgres://db/x?sslmode=require&sslpassword=sec-ret",
        ] {
            let shown = url_without_password(text);
            assert!(!shown.contains("sec") && !shown.contains("ret"), "{shown}");
        }
        for text in [
            "postgres://db:5432/x?sslmode=require",
            "postgres://[::1]/x",
            "postgres:///x?host=/run/postgresql",
            "/a/b",
        ] {
            assert_eq!(url_without_password(text), text);
        }
    }
}
