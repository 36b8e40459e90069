//! Secrets that are not printed, and where they come from.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

const STARS: &str = "***";

/// A password, token or key. Only [`Secret::expose`] shows it: Debug, Display and Serialize write
/// `***`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret itself: for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STARS)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STARS)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(STARS)
    }
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Given twice.
    #[error("{key} and {key}_file are both given; keep one of them")]
    Both {
        /// The key without `_file`.
        key: String,
    },
    /// Its file cannot be read.
    #[error("{key}_file: {} cannot be read: {source}", file.display())]
    Unreadable {
        /// The key without `_file`.
        key: String,
        /// The file named there.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Its file holds nothing.
    #[error("{key}_file: {} is empty; write the secret into it", file.display())]
    Empty {
        /// The key without `_file`.
        key: String,
        /// The file named there.
        file: PathBuf,
    },
}

/// The secret of a pair of keys such as `password` and `password_file`; none when neither is given.
///
/// One newline at the end of the file is left out, since editors add one.
pub fn resolve(
    key: &str,
    given: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<Secret>, SecretError> {
    let key = key.to_owned();
    let file = match (given, file) {
        (Some(_), Some(_)) => return Err(SecretError::Both { key }),
        (given, None) => return Ok(given.cloned()),
        (None, Some(file)) => file.to_owned(),
    };
    let mut text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(source) => return Err(SecretError::Unreadable { key, file, source }),
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(SecretError::Empty { key, file });
    }
    Ok(Some(Secret(text)))
}

/// Stars in the place of what stands between `user:` and `@`, and of a `password` parameter. Where a
/// URL cannot be told from its password, all of it is stars: a password may hold `/`, `?`, `#`, `@`.
pub fn url_without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        let may_hold_one = url.contains(':') && url.contains('@');
        return if may_hold_one { "***" } else { url }.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let tail = without_parameter(tail);
    let shown = match authority.rsplit_once('@') {
        None => ends_with_port(authority).then(|| authority.to_owned()),
        Some((user, host)) => Some(match user.split_once(':') {
            Some((name, _)) => format!("{name}:***@{host}"),
            None => authority.to_owned(),
        }),
    };
    match shown {
        Some(shown) if !tail.contains('@') => format!("{scheme}://{shown}{tail}"),
        _ => format!("{scheme}://***"),
    }
}

/// Whether what follows the host's colon is a port, if there is one.
fn ends_with_port(authority: &str) -> bool {
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    authority.ends_with(']') || port.bytes().all(|b| b.is_ascii_digit())
}

fn without_parameter(tail: &str) -> String {
    let Some((path, query)) = tail.split_once('?') else {
        return tail.to_owned();
    };
    let parts: Vec<&str> = query
        .split('&')
        .map(|part| {
            let secret = ["password=***", "sslpassword=***"];
            let found = secret
                .into_iter()
                .find(|s| part.starts_with(s.trim_end_matches('*')));
            found.unwrap_or(part)
        })
        .collect();
    format!("{path}?{}", parts.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::from("hunter2");
        let json = serde_json::to_string(&secret).unwrap();
        assert_eq!(format!("{secret} {secret:?} {json}"), r#"*** *** "***""#);
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn one_newline_is_trimmed_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        for (content, expected) in [
            ("a b\n", "a b"),
            ("x\r\n", "x"),
            ("y\n\n", "y\n"),
            ("z", "z"),
        ] {
            std::fs::write(&file, content).unwrap();
            let secret = resolve("password", None, Some(&file)).unwrap().unwrap();
            assert_eq!(secret.expose(), expected);
        }
        std::fs::write(&file, "\n").unwrap();
        let error = resolve("password", None, Some(&file)).unwrap_err();
        assert!(matches!(error, SecretError::Empty { .. }), "{error}");
    }

    #[test]
    fn errors_name_the_key_and_the_file() {
        let missing = Path::new("/no/such/file");
        let error = resolve("token", None, Some(missing))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("token_file: /no/such/file cannot be read"),
            "{error}"
        );
        let error = resolve("token", Some(&"t".into()), Some(missing)).unwrap_err();
        assert!(matches!(error, SecretError::Both { .. }), "{error}");
        assert_eq!(resolve("token", None, None).unwrap(), None);
    }
}
