//! The manifest that PostgreSQL makes of a base backup, and the comparison of what was received with it:
//! <https://www.postgresql.org/docs/current/backup-manifest-format.html>.

use std::collections::HashMap;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::backup::BASE;
use super::checksum::{Algorithm, hex, unhex};
use super::error::PostgresError;
use super::lsn::Lsn;

/// Files by their path in the data folder.
pub type Files = HashMap<Vec<u8>, File>;

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Bytes.
    pub size: u64,
    /// Kind of checksum.
    pub algorithm: Algorithm,
    /// The checksum; empty where there is none.
    pub sum: Vec<u8>,
}

/// A range of the log that the backup needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Range {
    /// The timeline.
    pub timeline: u32,
    /// Where it begins.
    #[serde(rename = "Start-LSN")]
    pub start: Lsn,
    /// Where it ends.
    #[serde(rename = "End-LSN")]
    pub end: Lsn,
}

/// The manifest that PostgreSQL makes of a base backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupManifest {
    /// The files.
    pub files: Files,
    /// The log that is needed.
    pub ranges: Vec<Range>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    #[serde(rename = "PostgreSQL-Backup-Manifest-Version")]
    version: u32,
    #[serde(rename = "Files")]
    files: Vec<WrittenFile>,
    #[serde(rename = "WAL-Ranges", default)]
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WrittenFile {
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    size: u64,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<Algorithm>,
    checksum: Option<String>,
}

impl BackupManifest {
    /// Reads one, and compares its own checksum.
    pub fn parse(bytes: &[u8]) -> Result<Self, PostgresError> {
        let wrong = |what: String| PostgresError::Manifest(what);
        check_own(bytes).map_err(|what| wrong(what.to_owned()))?;
        let written: Written = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
        if !(1..=2).contains(&written.version) {
            return Err(wrong(format!("its version {} is unknown", written.version)));
        }
        let mut files = Files::with_capacity(written.files.len());
        for file in written.files {
            let (path, file) = file.read().map_err(|what| wrong(what.to_owned()))?;
            if files.insert(path.clone(), file).is_some() {
                let path = String::from_utf8_lossy(&path).into_owned();
                return Err(wrong(format!("{path} is named twice")));
            }
        }
        let ranges = written.ranges;
        Ok(Self { files, ranges })
    }

    /// Compares what was found with it: each file must be there with its size and checksum, and no other.
    pub fn compare(&self, found: &Files) -> Result<(), PostgresError> {
        for (path, file) in found.iter().filter(|(path, _)| !is_free(path)) {
            let what = match self.files.get(path) {
                None => "it is not in the manifest".to_owned(),
                Some(said) if said.size != file.size => {
                    format!("{} bytes, {} in the manifest", file.size, said.size)
                }
                Some(said) if said.algorithm == file.algorithm && said.sum != file.sum => format!(
                    "{} {}, {} in the manifest",
                    file.algorithm,
                    hex(&file.sum),
                    hex(&said.sum)
                ),
                Some(said) if said.algorithm != file.algorithm => {
                    format!("its checksum is {}, not {}", said.algorithm, file.algorithm)
                }
                Some(_) => continue,
            };
            return Err(damaged(path, what));
        }
        let missing = self.files.keys().find(|path| !found.contains_key(*path));
        match missing {
            Some(path) => Err(damaged(path, "it is missing".to_owned())),
            None => Ok(()),
        }
    }
}

impl WrittenFile {
    fn read(self) -> Result<(Vec<u8>, File), &'static str> {
        let path = match (self.path, self.encoded_path) {
            (Some(path), None) => path.into_bytes(),
            (None, Some(path)) => unhex(&path).ok_or("an encoded path is damaged")?,
            _ => return Err("a file has no path, or two"),
        };
        let algorithm = self.algorithm.unwrap_or(Algorithm::None);
        let sum = unhex(self.checksum.as_deref().unwrap_or("")).ok_or("a checksum is damaged")?;
        if sum.is_empty() != (algorithm == Algorithm::None) {
            return Err("a checksum is missing");
        }
        let size = self.size;
        let file = File {
            size,
            algorithm,
            sum,
        };
        Ok((path, file))
    }
}

/// What tools that restore put beside or change after a backup; `pg_verifybackup` does not look at it either.
fn is_free(path: &[u8]) -> bool {
    let names: [&[u8]; 4] = [
        b"backup_manifest",
        b"postgresql.auto.conf",
        b"recovery.signal",
        b"standby.signal",
    ];
    names.contains(&path) || path.starts_with(b"pg_wal/")
}

/// The archive that a file of the data folder is in.
pub(super) fn archive_of(path: &[u8]) -> String {
    let of_tablespace = path
        .strip_prefix(b"pg_tblspc/")
        .and_then(|rest| rest.split(|byte| *byte == b'/').next());
    match of_tablespace {
        Some(oid) => format!("{}.tar", String::from_utf8_lossy(oid)),
        None => BASE.to_owned(),
    }
}

fn damaged(path: &[u8], what: String) -> PostgresError {
    PostgresError::Damaged {
        part: archive_of(path),
        file: String::from_utf8_lossy(path).into_owned(),
        what,
    }
}

/// The last line holds the SHA-256 of all lines before it.
fn check_own(bytes: &[u8]) -> Result<(), &'static str> {
    let body = bytes.strip_suffix(b"\n").ok_or("it is cut off")?;
    let last = body.iter().rposition(|byte| *byte == b'\n');
    let (body, last) = bytes.split_at(last.ok_or("it is one line")? + 1);
    let said = std::str::from_utf8(last).ok();
    let said = said
        .and_then(|line| line.strip_prefix("\"Manifest-Checksum\": \""))
        .and_then(|line| line.strip_suffix("\"}\n"))
        .ok_or("its last line is no checksum")?;
    if hex(&Sha256::digest(body)) == said {
        Ok(())
    } else {
        Err("it has another checksum than it says")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &str) -> Vec<u8> {
        let body = format!(
            "{{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n{files}\n],\n\"WAL-Ranges\": [\n\
             {{ \"Timeline\": 1, \"Start-LSN\": \"0/4000028\", \"End-LSN\": \"0/4000100\" }}\n],\n"
        );
        let sum = hex(&Sha256::digest(body.as_bytes()));
        format!("{body}\"Manifest-Checksum\": \"{sum}\"}}\n").into_bytes()
    }

    fn file(path: &str, size: u64, sum: &str) -> String {
        format!(
            "{{ \"Path\": \"{path}\", \"Size\": {size}, \"Last-Modified\": \"2026-11-28 23:05:33 GMT\", \
             \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{sum}\" }}"
        )
    }

    fn found(path: &str, size: u64, sum: &str) -> (Vec<u8>, File) {
        let file = File {
            size,
            algorithm: Algorithm::Crc32c,
            sum: unhex(sum).unwrap(),
        };
        (path.into(), file)
    }

    #[test]
    fn each_difference_is_told() {
        let two = [
            file("a", 1, "00000001"),
            file("pg_tblspc/16385/b", 2, "00000002"),
        ]
        .join(",\n");
        let manifest = BackupManifest::parse(&written(&two)).unwrap();
        assert_eq!(manifest.ranges[0].start.to_string(), "0/4000028");
        let a = || found("a", 1, "00000001");
        let b = || found("pg_tblspc/16385/b", 2, "00000002");
        manifest.compare(&[a(), b()].into()).unwrap();
        let free = found("standby.signal", 0, "00000000");
        manifest.compare(&[a(), b(), free].into()).unwrap();
        let wrong = [
            (vec![a()], "16385.tar: pg_tblspc/16385/b: it is missing"),
            (
                vec![a(), found("pg_tblspc/16385/b", 3, "00000002")],
                "3 bytes, 2 in",
            ),
            (
                vec![found("a", 1, "00000003"), b()],
                "base.tar: a: CRC32C 00000003, 00000001 in",
            ),
            (
                vec![a(), b(), found("c", 0, "00000000")],
                "c: it is not in the manifest",
            ),
        ];
        for (files, told) in wrong {
            let error = manifest.compare(&files.into_iter().collect()).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = written(&file("a", 1, "00000001"));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(BackupManifest::parse(&bad).is_err(), "at {at}");
        }
    }

    #[test]
    fn a_path_that_is_no_text_is_read() {
        let one = "{ \"Encoded-Path\": \"62ff\", \"Size\": 0 }";
        let manifest = BackupManifest::parse(&written(one)).unwrap();
        assert!(manifest.files.contains_key(&b"b\xff"[..]));
        let none = "{ \"Size\": 0 }";
        assert!(BackupManifest::parse(&written(none)).is_err());
        let twice = [file("a", 1, "00000001"), file("a", 1, "00000001")].join(",");
        assert!(BackupManifest::parse(&written(&twice)).is_err());
    }
}
