//! Names of backups and parts: what is safe as a file's name, a key's and a word of a shell.

use super::RepositoryError;
use crate::manifest;

/// Bytes of the longest name.
const LONGEST: usize = 128;

/// Refuses what no backup or part can be named.
pub(super) fn check(name: &str) -> Result<(), RepositoryError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+:@=".contains(c);
    let reason = match name {
        "" => "it is empty",
        manifest::FILE_NAME => "it is that of the manifest",
        _ if name.len() > LONGEST => "it has more than 128 bytes",
        _ if name.starts_with(['.', '-']) => "it begins with a dot or a dash",
        _ if !name.chars().all(plain) => "it has other characters than are safe everywhere",
        _ => return Ok(()),
    };
    Err(RepositoryError::Name {
        name: name.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_safe_everywhere_is_a_name() {
        for good in [
            "postgresql_1769860800",
            "base.tar.zst",
            "16384.tar",
            "2026-11-28T10:00:00+01:00",
        ] {
            check(good).unwrap();
        }
        let long = "x".repeat(129);
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a b",
            ".hidden",
            "-rf",
            "ä",
            "a\0",
            "a\n",
            "manifest.json",
            &long,
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
