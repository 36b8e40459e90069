//! Where objects to load lie: listed by the scanner, read by workers.
//!
//! [`ObjectStore`] has one implementation a kind of store; [`open`] picks it by the source's URI.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use stoker_proto::common::v1::Source;

mod folder;

pub use folder::{Folder, LOCAL_BUCKET, host_name};

/// One object as a listing or a look at it shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Bucket; [`LOCAL_BUCKET`] for files.
    pub bucket_name: String,
    /// Full key in the bucket; for files the absolute path.
    pub key: String,
    /// Stored size in bytes.
    pub size: u64,
    /// Entity tag; empty for files.
    pub etag: String,
    /// Last change, to the microsecond.
    pub last_modified: DateTime<Utc>,
}

/// One step of a listing.
#[derive(Debug)]
pub enum Listed {
    /// An object.
    Object(ObjectMeta),
    /// A thing that is there but cannot be told as an object: its name (as well as it can be shown) and why.
    Unlistable {
        /// The name, odd bytes replaced.
        name: String,
        /// What to tell the user.
        reason: String,
    },
}

/// Why a store did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The source's URI names no store there is.
    #[error("{uri}: not a source Stoker can read; give a folder or a file")]
    Unsupported {
        /// The URI given.
        uri: String,
    },
    /// The object, or the source's root, is not there.
    #[error("{what}: not found; check the name")]
    NotFound {
        /// Path or URI.
        what: String,
    },
    /// It is there but may not be read.
    #[error("{what}: permission denied; give the user that runs Stoker the right to read it")]
    Denied {
        /// Path or URI.
        what: String,
    },
    /// Reading failed in another way.
    #[error("{what}: cannot be read: {source}")]
    Io {
        /// Path or URI.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
}

impl StoreError {
    /// Tells the kinds of I/O error apart.
    pub fn from_io(what: impl Into<String>, source: std::io::Error) -> Self {
        let what = what.into();
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound { what },
            std::io::ErrorKind::PermissionDenied => Self::Denied { what },
            _ => Self::Io { what, source },
        }
    }

    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

/// The next bytes of an object.
pub type ByteStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// A place that holds objects.
#[async_trait]
pub trait ObjectStore: std::fmt::Debug + Send + Sync + 'static {
    /// Lists every object below the source, in no promised order, without holding the list in memory.
    /// The first item is an error when the source itself cannot be listed.
    fn list(&self) -> BoxStream<'static, Result<Listed, StoreError>>;

    /// Looks at one object.
    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError>;

    /// Reads a range of an object's stored bytes, in chunks of at most 1 MiB.
    async fn get(&self, key: &str, range: Range<u64>) -> Result<ByteStream, StoreError>;
}

/// Opens the store a source lies in.
pub fn open(source: &Source) -> Result<Arc<dyn ObjectStore>, StoreError> {
    match source.uri.strip_prefix("file://") {
        Some(path) => Ok(Arc::new(Folder::new(path))),
        None => Err(StoreError::Unsupported {
            uri: source.uri.clone(),
        }),
    }
}
