//! The checksums of files that a backup manifest can hold.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use crc_fast::CrcAlgorithm;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

/// Kinds of them: <https://www.postgresql.org/docs/current/backup-manifest-files.html>.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// None: only sizes are compared.
    None,
    /// The server's default, and the fastest.
    #[default]
    Crc32c,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "NONE",
            Self::Crc32c => "CRC32C",
            Self::Sha224 => "SHA224",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        })
    }
}

/// A checksum that is none of [`Algorithm`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of NONE, CRC32C, SHA224, SHA256, SHA384, SHA512")]
pub struct NoAlgorithm(String);

impl FromStr for Algorithm {
    type Err = NoAlgorithm;

    fn from_str(text: &str) -> Result<Self, NoAlgorithm> {
        let all = [
            Self::None,
            Self::Crc32c,
            Self::Sha224,
            Self::Sha256,
            Self::Sha384,
            Self::Sha512,
        ];
        all.into_iter()
            .find(|algorithm| algorithm.to_string() == text)
            .ok_or_else(|| NoAlgorithm(text.to_owned()))
    }
}

/// A checksum that is being made.
pub(super) enum Summing {
    None,
    Crc32c(crc_fast::Digest),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl fmt::Debug for Summing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Summing")
    }
}

impl Summing {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::None => Self::None,
            Algorithm::Crc32c => Self::Crc32c(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            Algorithm::Sha224 => Self::Sha224(Sha224::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha384 => Self::Sha384(Sha384::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Crc32c(sum) => sum.update(bytes),
            Self::Sha224(sum) => sum.update(bytes),
            Self::Sha256(sum) => sum.update(bytes),
            Self::Sha384(sum) => sum.update(bytes),
            Self::Sha512(sum) => sum.update(bytes),
        }
    }

    /// The bytes that the manifest shows in hexadecimal digits.
    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            // The server prints the four bytes as they lie in its memory: <src/common/checksum_helper.c>.
            Self::Crc32c(sum) => sum.finalize().to_le_bytes()[..4].to_vec(),
            Self::Sha224(sum) => sum.finalize().to_vec(),
            Self::Sha256(sum) => sum.finalize().to_vec(),
            Self::Sha384(sum) => sum.finalize().to_vec(),
            Self::Sha512(sum) => sum.finalize().to_vec(),
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Bytes of hexadecimal digits; none where they are not.
pub(super) fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(algorithm: Algorithm, pieces: &[&str]) -> String {
        let mut summing = Summing::new(algorithm);
        for piece in pieces {
            summing.update(piece.as_bytes());
        }
        hex(&summing.finish())
    }

    #[test]
    fn checksums_are_those_of_their_standards() {
        // The check value of CRC-32/ISCSI is e3069283; the server shows its bytes the other way round.
        assert_eq!(sum(Algorithm::Crc32c, &["1234", "56789"]), "839206e3");
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sum(Algorithm::Sha256, &[]), empty);
        assert_eq!(sum(Algorithm::None, &["1"]), "");
        for (algorithm, digits) in [
            (Algorithm::Sha224, 56),
            (Algorithm::Sha384, 96),
            (Algorithm::Sha512, 128),
        ] {
            assert_eq!(sum(algorithm, &["1"]).len(), digits);
        }
    }

    #[test]
    fn digits_are_read_as_written() {
        assert_eq!(unhex("00fF"), Some(vec![0, 255]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("+1"), None);
        assert_eq!(unhex(""), Some(vec![]));
    }
}
