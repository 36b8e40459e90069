//! Where backups lie: a folder or an S3 prefix, with a folder in it for each backup.
//!
//! A backup is written as a draft that nobody lists, and becomes one in a single step, with its manifest. What a
//! draft that was given up or killed leaves behind is found again by [`Repository::clean`]; what is being written is
//! left alone by it.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use stoker_shared::clock::SharedClock;
use stoker_shared::object_store::{S3Config, Stores};

use crate::manifest::{Manifest, Part};

mod check;
mod error;
mod folder;
mod names;
mod owner;
mod s3;
mod stored;
mod written;

pub use check::{checked, hex, verify_part};
pub use error::RepositoryError;
pub(crate) use folder::file;

/// A change that [`Repository::amend`] makes to a manifest; made once more where another was faster.
pub type Change<'a> = &'a (dyn Fn(&mut Manifest) + Send + Sync);

/// What a repository is opened with besides its address; of use for S3 only.
#[derive(Debug, Clone)]
pub struct RepositoryOptions {
    /// How to reach the service; read when the first object is.
    pub s3: S3Config,
    /// Bytes of an object that is sent in parts, at most; a larger part of a backup becomes several objects. It is sent
    /// in 8 MiB, of which S3 allows 10,000.
    pub object_bytes: u64,
}

impl Default for RepositoryOptions {
    fn default() -> Self {
        Self {
            s3: S3Config::default(),
            object_bytes: 64 << 30,
        }
    }
}

/// Opens the repository at a folder (`/backups`, `file:///backups`) or S3 prefix (`s3://bucket/prefix`). Does no I/O.
pub fn open(
    url: &str,
    options: &RepositoryOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Repository>, RepositoryError> {
    let wrong = |reason| RepositoryError::Url {
        url: url.to_owned(),
        reason,
    };
    let path = match url.split_once("://") {
        None => url,
        Some(("file", path)) => path,
        Some(("s3", _)) => {
            let bucket = Stores::new(options.s3.clone()).bucket(url);
            let bucket = bucket.map_err(|_| wrong("it names no bucket"))?;
            return Ok(Arc::new(s3::S3::new(bucket, clock, options.object_bytes)));
        }
        Some(_) => return Err(wrong("it begins with none of /, file:// and s3://")),
    };
    if !path.starts_with('/') {
        return Err(wrong("the path of a folder begins with /"));
    }
    Ok(Arc::new(folder::Folder::new(path, clock)))
}

/// A file in a folder of a repository that is no backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was changed last; of S3, when it was put there.
    pub changed: DateTime<Utc>,
}

/// Bytes of a part as they come.
pub type PartStream = BoxStream<'static, Result<Bytes, RepositoryError>>;

/// See the [module](self). What is not committed is no backup, whatever there is of it.
#[async_trait]
pub trait Repository: Debug + Send + Sync + 'static {
    /// Folder or address, for messages.
    fn place(&self) -> String;

    /// Begins a backup of this name. Fails with [`RepositoryError::Exists`] where one is committed.
    ///
    /// Died at any time before [`Draft::commit`] ends: there is no backup; [`Repository::clean`] takes away what there is.
    async fn begin(&self, name: &str) -> Result<Box<dyn Draft>, RepositoryError>;

    /// Names of committed backups, in order.
    async fn names(&self) -> Result<Vec<String>, RepositoryError>;

    /// What a committed backup consists of.
    async fn manifest(&self, name: &str) -> Result<Manifest, RepositoryError>;

    /// Changes a backup's manifest, all or nothing: for what was learnt of the backup since. Of two at once, neither
    /// undoes what the other changed. Name and parts stay as they are. Answers the manifest as it is now.
    ///
    /// Died before its end: the manifest is the old one or the new one.
    async fn amend(&self, name: &str, change: Change<'_>) -> Result<Manifest, RepositoryError>;

    /// A part's stored bytes from an offset on. Fails with [`RepositoryError::Differs`] where its size is not the
    /// manifest's; what the bytes are is not looked at: see [`verify_part`] and [`checked`].
    async fn read(&self, name: &str, part: &str, from: u64) -> Result<PartStream, RepositoryError>;

    /// Takes a backup away: its manifest first, so that half of it is none.
    ///
    /// Died before the manifest went: the backup is as it was. After: it is none, and [`Repository::clean`] takes away
    /// what is left of it.
    async fn delete(&self, name: &str) -> Result<(), RepositoryError>;

    /// The files in a folder that has no manifest, by name: what somebody put there by hand. Nothing here ever changes
    /// it. Fails with [`RepositoryError::Exists`] where it is a backup, with [`RepositoryError::NotFound`] where there
    /// is none, and with [`RepositoryError::Foreign`] where something in it could be no part.
    async fn found(&self, name: &str) -> Result<Vec<Found>, RepositoryError>;

    /// The bytes of such a file.
    async fn read_found(&self, name: &str, file: &Found) -> Result<PartStream, RepositoryError>;

    /// Makes such a folder a backup where it lies: by its manifest, in one step that happens or does not. Its parts must
    /// be there with their sizes; what their bytes are is for the caller to have looked at. Fails with
    /// [`RepositoryError::Exists`] where another manifest is there.
    ///
    /// Died before that step: the folder is as it was, and [`Repository::clean`] takes away what was to become the
    /// manifest. After: it is a backup, and it is durable.
    async fn adopt(&self, manifest: &Manifest) -> Result<(), RepositoryError>;

    /// Takes away what is left of drafts and deletions that are over; answers what it was, for people.
    ///
    /// Over is what a process of this machine left that has ended, and what this process dropped; what others left, or
    /// nobody says whose it is, when nothing of it changed for a day. Those named are not, however old they are.
    async fn clean(&self, under_way: &[String]) -> Result<Vec<String>, RepositoryError>;
}

/// A backup that is being written.
#[async_trait]
pub trait Draft: Debug + Send + Sync {
    /// Begins a part. Parts may be written side by side. A name can be begun once.
    async fn part(&self, name: &str) -> Result<Box<dyn PartWriter>, RepositoryError>;

    /// Makes it a backup: all parts durable first, then the manifest, in one step that happens or does not. Fails
    /// with [`RepositoryError::Exists`] where another committed the name meanwhile, with
    /// [`RepositoryError::Parts`] where the manifest names other parts than were finished.
    ///
    /// Died before that step: there is no backup. After: there is, and it is durable.
    async fn commit(self: Box<Self>, manifest: &Manifest) -> Result<(), RepositoryError>;

    /// Gives it up, and takes away what there is of it.
    async fn abandon(self: Box<Self>) -> Result<(), RepositoryError>;
}

/// A part that is being written; it is nothing before [`PartWriter::finish`] ends.
#[async_trait]
pub trait PartWriter: Debug + Send {
    /// Takes more bytes; waits while the repository is slower. What fails, has failed for good.
    async fn write(&mut self, bytes: Bytes) -> Result<(), RepositoryError>;

    /// Ends it; answers its size and checksum as stored. `compression` and `raw_bytes` are for the caller to fill in.
    async fn finish(self: Box<Self>) -> Result<Part, RepositoryError>;
}
