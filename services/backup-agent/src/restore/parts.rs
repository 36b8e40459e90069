//! Which part of a backup is what, by its name.

use super::RestoreError;
use crate::compress::told_by_name;
use crate::manifest::{Manifest, Part};

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// The data folder.
    Base,
    /// The tablespace of this oid.
    Tablespace(String),
    /// The log.
    Log,
}

/// The parts of a backup that a restore needs, and PostgreSQL's own manifest.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) base: &'a Part,
    pub(super) tablespaces: Vec<(String, &'a Part)>,
    pub(super) log: Option<&'a Part>,
    pub(super) manifest: Option<&'a Part>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(backup: &'a Manifest) -> Result<Self, RestoreError> {
        let named = |name: &str| {
            backup
                .parts
                .iter()
                .find(|part| told_by_name(&part.name).0 == name)
        };
        let oid = |part: &'a Part| {
            let oid = told_by_name(&part.name).0.strip_suffix(".tar")?;
            let is_oid = !oid.is_empty() && oid.bytes().all(|byte| byte.is_ascii_digit());
            is_oid.then(|| (oid.to_owned(), part))
        };
        Ok(Self {
            base: named("base.tar").ok_or_else(|| RestoreError::Incomplete {
                backup: backup.name.clone(),
                what: "it has no base.tar".to_owned(),
            })?,
            tablespaces: backup.parts.iter().filter_map(oid).collect(),
            log: named("pg_wal.tar"),
            manifest: named("backup_manifest"),
        })
    }

    /// In the order in which they are extracted: the log's folder is in the base.
    pub(super) fn archives(&self) -> impl Iterator<Item = (Kind, &'a Part)> {
        let tablespaces = self.tablespaces.iter();
        let tablespaces = tablespaces.map(|(oid, part)| (Kind::Tablespace(oid.clone()), *part));
        let log = self.log.map(|part| (Kind::Log, part));
        std::iter::once((Kind::Base, self.base))
            .chain(tablespaces)
            .chain(log)
    }
}
