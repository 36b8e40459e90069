//! How backups are made and kept; a source may say otherwise of each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SourceSettings;
use crate::basebackup;
use crate::compress::Compression;
use crate::pgbackrest;
use crate::postgres::Options;
use crate::retention::Rules;
use crate::schedule::{Schedule, Timing};

/// What makes a backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Stoker itself, by PostgreSQL's replication protocol.
    #[default]
    Native,
    /// PostgreSQL's program of that name, by way of the drills' scratch folder.
    PgBasebackup,
    /// pgBackRest, which keeps them in its own repository: see [`crate::pgbackrest`].
    Pgbackrest,
}

impl Engine {
    /// As configuration and manifests spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::PgBasebackup => basebackup::ENGINE,
            Self::Pgbackrest => pgbackrest::ENGINE,
        }
    }
}

/// How backups are made and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct BackupSettings {
    /// What makes them.
    pub engine: Engine,
    /// `none`, `gzip[:LEVEL]` or `zstd[:LEVEL]`.
    pub compression: Compression,
    /// Threads that compress, of each backup.
    pub threads: usize,
    /// Has the server compress, which saves network and costs it processor time; PostgreSQL 15 and later.
    pub server_compression: bool,
    /// Kilobytes a second that the server sends at most: 32 to 1048576; no limit unless given.
    pub max_rate_kb: Option<u32>,
    /// Has the server write its checkpoint at once, which loads it more, instead of when it is due.
    pub fast_checkpoint: bool,
    /// Reads each backup back once it is there.
    pub verify: bool,
    /// Restores each backup for proof once it is there.
    pub drill: bool,
    /// Deletes what is no longer to be kept after each backup.
    pub prune: bool,
    /// How much is kept.
    pub keep: Rules,
    /// Scheduled runs begin up to so much later, each source at its own time.
    #[serde(with = "humantime_serde")]
    pub jitter: Duration,
    /// A backup or drill that takes longer is given up, so that it does not keep the next from beginning.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// A scheduled run whose agents keep dying is begun so often; then the next that comes due is waited for.
    pub attempts: u32,
}

impl Default for BackupSettings {
    fn default() -> Self {
        Self {
            engine: Engine::default(),
            compression: Compression::None,
            threads: 2,
            server_compression: false,
            max_rate_kb: None,
            fast_checkpoint: true,
            verify: true,
            drill: false,
            prune: false,
            keep: Rules::default(),
            jitter: Duration::ZERO,
            deadline: Duration::from_hours(24),
            attempts: 3,
        }
    }
}

impl BackupSettings {
    /// What holds for a source.
    #[must_use]
    pub fn of(&self, source: &SourceSettings) -> Self {
        Self {
            engine: source.engine.unwrap_or(self.engine),
            compression: source.compression.unwrap_or(self.compression),
            threads: source.threads.unwrap_or(self.threads),
            server_compression: source.server_compression.unwrap_or(self.server_compression),
            max_rate_kb: source.max_rate_kb.or(self.max_rate_kb),
            fast_checkpoint: source.fast_checkpoint.unwrap_or(self.fast_checkpoint),
            verify: source.verify.unwrap_or(self.verify),
            drill: source.drill.unwrap_or(self.drill),
            prune: source.prune.unwrap_or(self.prune),
            keep: source.keep.clone().unwrap_or_else(|| self.keep.clone()),
            jitter: source.jitter.unwrap_or(self.jitter),
            deadline: source.deadline.unwrap_or(self.deadline),
            attempts: source.attempts.unwrap_or(self.attempts),
        }
    }

    /// How PostgreSQL is asked for a backup.
    pub fn options(&self) -> Options {
        let by_server = self.server_compression && self.compression != Compression::None;
        Options {
            fast_checkpoint: self.fast_checkpoint,
            max_rate_kb: self.max_rate_kb,
            compression: self.compression,
            threads: self.threads,
            server_compression: by_server.then_some(self.compression),
            ..Options::default()
        }
    }

    /// When runs of a schedule are.
    pub fn timing(&self, schedule: &Schedule) -> Timing {
        Timing {
            schedule: schedule.clone(),
            jitter: self.jitter,
            deadline: Some(self.deadline),
        }
    }
}
