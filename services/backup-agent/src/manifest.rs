//! What a backup consists of: written last, so that without it there is no backup.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Version of the form of manifests that this Stoker writes.
pub const VERSION: u32 = 1;

/// The file that makes a folder a backup.
pub const FILE_NAME: &str = "manifest.json";

/// What a backup consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`VERSION`].
    pub manifest_version: u32,
    /// The backup's name: the folder in the repository, such as `postgresql_1769860800`.
    pub name: String,
    /// What kind of store it is of.
    pub store: StoreKind,
    /// The source as the configuration names it, such as `fhir`.
    pub source: String,
    /// What made it: `native`, `pg_basebackup`, `pgbackrest`, `import`.
    pub engine: String,
    /// When it was begun.
    pub started: DateTime<Utc>,
    /// When all of it was there.
    pub ended: DateTime<Utc>,
    /// Its files, in the order in which they were written.
    pub parts: Vec<Part>,
    /// What is known of the source that is the store's own affair: versions, system identifier, timeline, positions in
    /// the log; see the store's module.
    pub about: BTreeMap<String, String>,
    /// What its engine keeps of it in a repository of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<Elsewhere>,
    /// The backup that this one needs; none for one that stands on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The last time it was read back whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// The last time it was restored for proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

impl Manifest {
    /// Bytes before compression, of all there is.
    pub fn raw_bytes(&self) -> u64 {
        let elsewhere = self.elsewhere.as_ref().map_or(0, |set| set.raw_bytes);
        self.parts.iter().map(|part| part.raw_bytes).sum::<u64>() + elsewhere
    }

    /// Bytes as they are stored, of all there is.
    pub fn stored_bytes(&self) -> u64 {
        let elsewhere = self.elsewhere.as_ref().map_or(0, |set| set.bytes);
        self.parts.iter().map(|part| part.bytes).sum::<u64>() + elsewhere
    }
}

/// A set of pgBackRest's, in its own repository: see [`crate::pgbackrest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The cluster, as pgBackRest names it.
    pub stanza: String,
    /// The set, as pgBackRest names it.
    pub label: String,
    /// Bytes as they are stored.
    pub bytes: u64,
    /// Bytes before compression.
    pub raw_bytes: u64,
}

/// Kinds of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// PostgreSQL.
    Postgresql,
    /// MongoDB; such backups are taken in, not made.
    Mongodb,
}

impl StoreKind {
    /// As manifests and the names of backups spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Mongodb => "mongodb",
        }
    }
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name in the backup's folder.
    pub name: String,
    /// Bytes as they are stored.
    pub bytes: u64,
    /// SHA-256 of them, in lower-case hexadecimal digits.
    pub sha256: String,
    /// How it is compressed: `none`, `gzip`, `zstd`.
    pub compression: String,
    /// Bytes before compression.
    pub raw_bytes: u64,
}

/// What reading a backup back has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// When.
    pub at: DateTime<Utc>,
    /// All of it, or samples.
    pub full: bool,
    /// Whether it is as it was written.
    pub good: bool,
    /// What is wrong with it; empty where nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

/// A backup was restored into a throwaway server, and that server was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// When it was proven, or was not.
    pub at: DateTime<Utc>,
    /// Whether all went well.
    pub good: bool,
    /// From the first byte read to a server that answers: the measured recovery time, in milliseconds.
    pub recovery_ms: u64,
    /// What was looked at and what came of it, in order.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What, such as `pg_amcheck`.
    pub name: String,
    /// Whether it was as it should be.
    pub good: bool,
    /// What was seen.
    pub saw: String,
}
