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
