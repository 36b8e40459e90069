//! A folder as `pg_basebackup -Ft` makes it.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::taking::Taking;
use super::{ImportError, Taken};
use crate::compress::told_by_name;
use crate::postgres::{BASE, BackupManifest, Inside, LOG, MANIFEST};
use crate::repository::Found;

/// Reads all of it.
pub(super) async fn take(taking: &Taking<'_>) -> Result<Taken, ImportError> {
    let files = &taking.given.files;
    check_names(taking, files)?;
    let mut parts = Vec::new();
    let mut said = None;
    // First, for it says how the rest is to be looked at; it stands last, as in a backup of our own.
    if let Some(file) = files.iter().find(|file| file.name == MANIFEST) {
        let (part, bytes) = taking.file(file, Vec::new()).await?;
        let parsed = BackupManifest::parse(&bytes).map_err(|e| taking.bad(e))?;
        said = Some((part, parsed));
    }
    let (manifest_part, said) = said.unzip();
    let mut inside = Inside::new(said);
    for file in files.iter().filter(|file| file.name != MANIFEST) {
        let archive = told_by_name(&file.name).0;
        let (part, contents) = taking.file(file, inside.contents(archive)).await?;
        let taken = inside.take(archive, contents);
        taken.map_err(|e| taking.bad(e))?;
        parts.push(part);
    }
    inside.check().map_err(|e| taking.bad(e))?;
    parts.sort_by_key(|part| told_by_name(&part.name).0 == LOG);
    let is_verified = manifest_part.is_some();
    parts.extend(manifest_part);
    let label = String::from_utf8_lossy(inside.kept("backup_label")).into_owned();
    Ok(Taken {
        parts,
        about: about(&inside, &label),
        began: began(&label),
        is_verified,
    })
}

/// Fails where there is no data folder's archive, or something that is no part of a backup.
fn check_names(taking: &Taking<'_>, files: &[Found]) -> Result<(), ImportError> {
    let unknown = |what: String| ImportError::Unknown {
        path: taking.given.path.clone(),
        what,
    };
    let mut has_base = false;
    for file in files {
        let archive = told_by_name(&file.name).0;
        let oid = archive
            .strip_suffix(".tar")
            .and_then(|oid| oid.parse::<u32>().ok());
        has_base |= archive == BASE;
        if !([BASE, LOG].contains(&archive) || file.name == MANIFEST || oid.is_some()) {
            let name = &file.name;
            return Err(unknown(format!(
                "{name} is none of base.tar, pg_wal.tar, OID.tar and backup_manifest, .tar as it is or as .gz or .zst; move it away"
            )));
        }
    }
    if has_base {
        return Ok(());
    }
    Err(unknown(
        "it has no base.tar, so it is no backup of pg_basebackup -Ft".to_owned(),
    ))
}

/// As of a backup of our own.
fn about(inside: &Inside, label: &str) -> BTreeMap<String, String> {
    let control = inside.kept("global/pg_control").first_chunk();
    let version = String::from_utf8_lossy(inside.kept("PG_VERSION"));
    let start = line(label, "START WAL LOCATION: ").and_then(|start| start.split(' ').next());
    let segment_bytes = inside.segment_bytes();
    let known = [
        ("server_version", Some(version.trim().to_owned())),
        // The first field of the file: <src/include/catalog/pg_control.h>; servers of other byte orders are rare.
        (
            "system_identifier",
            control.map(|bytes| u64::from_le_bytes(*bytes).to_string()),
        ),
        (
            "timeline",
            line(label, "START TIMELINE: ").map(str::to_owned),
        ),
        ("wal_segment_bytes", Some(segment_bytes.to_string())),
        ("start_lsn", start.map(str::to_owned)),
        ("stop_lsn", inside.said_end().map(|end| end.to_string())),
    ];
    let known = known
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    known.collect()
}

/// The time in `backup_label`, where it is one of UTC: names of other zones do not tell their offset.
fn began(label: &str) -> Option<DateTime<Utc>> {
    let time = line(label, "START TIME: ")?;
    let time = time
        .strip_suffix(" UTC")
        .or_else(|| time.strip_suffix(" GMT"))?;
    let time = NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S").ok()?;
    Some(time.and_utc())
}

/// The rest of the line that begins so.
fn line<'a>(label: &'a str, start: &str) -> Option<&'a str> {
    label.lines().find_map(|line| line.strip_prefix(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_tells_when_it_was_begun() {
        let label = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
                     START TIME: 2026-11-28 23:05:33 UTC\nSTART TIMELINE: 1\n";
        assert_eq!(began(label).unwrap().timestamp(), 1_795_907_133);
        assert_eq!(began(&label.replace("UTC", "CET")), None);
        assert_eq!(line(label, "START TIMELINE: "), Some("1"));
    }
}
