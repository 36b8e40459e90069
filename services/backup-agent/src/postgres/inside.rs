//! What all archives of a backup hold together, and whether that is a whole one.

use std::collections::{BTreeMap, HashMap};

use super::backup::{BASE, LOG};
use super::checksum::Algorithm;
use super::contents::Contents;
use super::error::PostgresError;
use super::lsn::{Lsn, Segments};
use super::manifest::{BackupManifest, File, Files, Range, archive_of};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Inside {
    said: Option<BackupManifest>,
    found: Files,
    log: Files,
    kept: BTreeMap<String, Vec<u8>>,
    log_is_left_out: bool,
}

impl Inside {
    /// Of a backup that is as PostgreSQL's manifest says, where there is one.
    pub(crate) fn new(said: Option<BackupManifest>) -> Self {
        Self {
            said,
            found: Files::new(),
            log: Files::new(),
            kept: BTreeMap::new(),
            log_is_left_out: false,
        }
    }

    /// What takes the bytes of an archive of this name, such as `base.tar`.
    pub(crate) fn contents(&self, archive: &str) -> Contents {
        let said = self.said.as_ref().filter(|_| archive != LOG);
        let first = said.and_then(|said| said.files.values().next());
        Contents::new(
            archive,
            first.map_or(Algorithm::None, |file| file.algorithm),
        )
    }

    /// Takes an archive's contents when all of it was read. A file whose bytes were passed over is held to be as said
    /// but for its size.
    pub(crate) fn take(
        &mut self,
        archive: &str,
        mut contents: Contents,
    ) -> Result<(), PostgresError> {
        self.kept.append(&mut contents.kept());
        let mut files = contents.finish()?;
        if archive == LOG {
            self.log.extend(files);
            return Ok(());
        }
        for (path, file) in &mut files {
            let said = self.said.as_ref().and_then(|said| said.files.get(path));
            if let Some(said) = said.filter(|_| file.algorithm == Algorithm::None) {
                *file = File {
                    size: file.size,
                    ..said.clone()
                };
            }
        }
        self.found.extend(files);
        Ok(())
    }

    /// Nothing is known of an archive that was not read.
    pub(crate) fn leave_out(&mut self, archive: &str) {
        if archive == LOG {
            self.log_is_left_out = true;
        } else if let Some(said) = &mut self.said {
            said.files.retain(|path, _| archive_of(path) != archive);
        }
    }

    /// Beginnings of `PG_VERSION`, `backup_label` and `global/pg_control`.
    pub(crate) fn kept(&self, file: &str) -> &[u8] {
        self.kept.get(file).map_or(&[], Vec::as_slice)
    }

    /// Up to where the manifest needs the log; none where there is no manifest.
    pub(crate) fn said_end(&self) -> Option<Lsn> {
        let said = self.said.as_ref()?;
        said.ranges.iter().map(|range| range.end).max()
    }

    /// Bytes of a segment of the log, as the segments say themselves.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segments().values().next().copied().unwrap_or_default()
    }

    /// Whether it is whole: each file as the manifest says, and the log all there. Without a manifest: whether what a
    /// server starts with is there.
    pub(crate) fn check(&self) -> Result<(), PostgresError> {
        let segments = self.segments();
        match &self.said {
            Some(said) => {
                said.compare(&self.found)?;
                let mut ranges = said.ranges.iter().filter(|_| !self.log_is_left_out);
                ranges.try_for_each(|range| covers(&segments, range))
            }
            None => self.could_start(&segments),
        }
    }

    fn could_start(&self, segments: &HashMap<&[u8], u64>) -> Result<(), PostgresError> {
        let damaged = |part: &str, file: &str, what: &str| PostgresError::Damaged {
            part: part.to_owned(),
            file: file.to_owned(),
            what: what.to_owned(),
        };
        for file in ["PG_VERSION", "backup_label", "global/pg_control"] {
            if !self.found.contains_key(file.as_bytes()) {
                return Err(damaged(BASE, file, "it is missing"));
            }
        }
        let bytes = self.segment_bytes();
        let odd = segments.iter().find(|(_, size)| **size != bytes);
        match odd {
            Some((name, _)) => Err(damaged(
                LOG,
                &String::from_utf8_lossy(name),
                "it is cut off",
            )),
            None if segments.is_empty() => Err(damaged(LOG, LOG, "it holds no log")),
            None => Ok(()),
        }
    }

    /// The log's segments and their sizes; `pg_basebackup -X fetch` puts them into the data folder's archive.
    fn segments(&self) -> HashMap<&[u8], u64> {
        let fetched = self.found.iter();
        let fetched =
            fetched.filter_map(|(path, file)| Some((path.strip_prefix(b"pg_wal/")?, file)));
        let streamed = self.log.iter().map(|(path, file)| (&path[..], file));
        let all = streamed
            .chain(fetched)
            .map(|(path, file)| (path, file.size));
        all.filter(|(path, _)| path.len() == 24 && path.iter().all(u8::is_ascii_hexdigit))
            .collect()
    }
}

/// Whether all segments of a range are there, whole. Which size they have, they say themselves.
fn covers(log: &HashMap<&[u8], u64>, range: &Range) -> Result<(), PostgresError> {
    let missing = |reached| PostgresError::LogMissing {
        reached,
        needed: range.end,
    };
    let bytes = log.values().next().copied().unwrap_or_default();
    let segments = Segments::new(bytes, range.timeline).ok_or_else(|| missing(range.start))?;
    let mut at = segments.start(range.start);
    while at < segments.end(range.end) {
        if log.get(segments.name(at).as_bytes()) != Some(&bytes) {
            return Err(missing(at));
        }
        at = Lsn(at.0 + bytes);
    }
    Ok(())
}
