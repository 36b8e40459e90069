//! A base backup, straight from the server into a repository.

use std::collections::BTreeMap;
use std::sync::Arc;

use stoker_shared::clock::SharedClock;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::compress::{Compression, Encoder};
use crate::manifest::Part;
use crate::repository::Draft;

use super::base::{BaseBackup, Piece};
use super::checksum::Algorithm;
use super::client::Client;
use super::error::PostgresError;
use super::log::LogStream;
use super::lsn::Lsn;
use super::receive::Receiving;
use super::source::Source;

/// The part that holds the data folder.
pub const BASE: &str = "base.tar";

/// The part that holds the log.
pub const LOG: &str = "pg_wal.tar";

/// The part that holds PostgreSQL's own manifest, which is never compressed.
pub const MANIFEST: &str = "backup_manifest";

/// How a backup is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Has the server write its checkpoint at once, which loads it more, instead of when it is due.
    pub fast_checkpoint: bool,
    /// Kilobytes a second that the server sends at most: 32 to 1048576.
    pub max_rate_kb: Option<u32>,
    /// Which checksums the server puts into its manifest.
    pub checksums: Algorithm,
    /// How parts are compressed here.
    pub compression: Compression,
    /// Threads that compress here.
    pub threads: usize,
    /// Has the server compress its archives, in the place of `compression`; 15 and later.
    pub server_compression: Option<Compression>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fast_checkpoint: true,
            max_rate_kb: None,
            checksums: Algorithm::default(),
            compression: Compression::None,
            threads: 2,
            server_compression: None,
        }
    }
}

/// How far a backup is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Archives in the order in which they come.
    pub archives: Vec<ArchiveProgress>,
}

/// How far an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveProgress {
    /// Its name, such as `base.tar`.
    pub name: String,
    /// Bytes received, as the server sends them.
    pub received: u64,
    /// The server's estimate, which is wrong where the database changes meanwhile.
    pub estimated: u64,
}

/// A backup whose parts are all written, and as the server's manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Its parts: archives, log, manifest.
    pub parts: Vec<Part>,
    /// `server_version`, `system_identifier`, `timeline`, `wal_segment_bytes`, `start_lsn`, `stop_lsn`.
    pub about: BTreeMap<String, String>,
}

/// Backs up the primary. All parts are finished when this ends well; the draft is the caller's to commit or abandon.
///
/// Died at any time: the server ends the backup and drops the slot when it sees the connections closed; the draft is no
/// backup. Nothing on the server is changed by a backup.
pub async fn capture(
    source: &Source,
    options: &Options,
    draft: &dyn Draft,
    clock: &SharedClock,
    progress: &watch::Sender<Progress>,
) -> Result<Captured, PostgresError> {
    let primary = source.primary().await?;
    let slot = format!("stoker_{}", Uuid::new_v4().simple());
    let beside = source.again(&primary).await?;
    let log = LogStream::reserve(beside, slot, Arc::clone(clock)).await?;
    let mut about = about(&primary.client, &log);
    let log_timeline = log.system().timeline;
    let (stop, stops) = watch::channel(None);
    let mut base = BaseBackup::begin(primary.client, options).await?;
    let start = start(&mut base, &log).await?;
    about.insert("start_lsn".to_owned(), start.to_string());
    let encoder = encoder(draft, LOG, options.compression, options.threads).await?;
    let mut streaming = AbortOnDropHandle::new(tokio::spawn(log.run(start, stops, encoder)));
    let mut receiving = Receiving::new(options, draft, progress);
    tokio::select! {
        // Where the log fails, the rest is of no use.
        ended = &mut streaming => {
            flat(ended)?;
            return Err(PostgresError::Stopped("the log ended before the base backup".to_owned()));
        }
        received = receiving.run(&mut base) => received?,
    }
    let received = receiving.finish(&base, start, log_timeline).await?;
    about.insert("stop_lsn".to_owned(), received.end.to_string());
    // The receiver is gone only where it failed, which its end tells.
    let _ = stop.send(Some(received.end));
    let log = flat(streaming.await)?;
    let mut parts = received.archives;
    parts.extend([log, received.manifest]);
    Ok(Captured { parts, about })
}

fn about(client: &Client, log: &LogStream) -> BTreeMap<String, String> {
    let system = log.system();
    let known = [
        ("server_version", client.version().to_owned()),
        ("system_identifier", system.identifier.clone()),
        ("timeline", system.timeline.to_string()),
        ("wal_segment_bytes", log.segments().bytes.to_string()),
    ];
    known.map(|(key, value)| (key.to_owned(), value)).into()
}

/// The first thing that the server says, after its checkpoint.
async fn start(base: &mut BaseBackup, log: &LogStream) -> Result<Lsn, PostgresError> {
    match base.next().await? {
        Some(Piece::Start(at, timeline)) if timeline == log.system().timeline => Ok(at),
        Some(Piece::Start(_, timeline)) => Err(base.failed_over(log.system().timeline, timeline)),
        _ => Err(base.odd("no beginning")),
    }
}

fn flat<T>(
    ended: Result<Result<T, PostgresError>, tokio::task::JoinError>,
) -> Result<T, PostgresError> {
    ended.unwrap_or_else(|panicked| Err(PostgresError::Stopped(panicked.to_string())))
}

pub(super) async fn encoder(
    draft: &dyn Draft,
    name: &str,
    compression: Compression,
    threads: usize,
) -> Result<Encoder, PostgresError> {
    let writer = draft
        .part(&format!("{name}{}", compression.suffix()))
        .await?;
    Ok(Encoder::new(writer, compression, threads))
}
