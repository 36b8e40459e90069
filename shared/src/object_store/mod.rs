//! Where objects to load lie: listed by the scanner, read by workers.
//!
//! [`ObjectStore`] has one implementation a kind of store; [`Stores::open`] picks it by the source's URI.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use stoker_proto::common::v1::Source;

mod folder;
mod s3;

pub use folder::{Folder, LOCAL_BUCKET, host_name};
pub use s3::{Bucket, S3Config, S3ConfigError};

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
    #[error("{uri}: not a source Stoker can read; give a folder, a file or s3://bucket/prefix")]
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
    /// The bucket is not there.
    #[error("{what}: there is no such bucket; check its name and the endpoint")]
    NoBucket {
        /// URI.
        what: String,
    },
    /// The object store does not accept who we are.
    #[error(
        "{what}: the object store does not accept the keys ({reason}); check access_key and secret_key, or the environment's AWS_… variables"
    )]
    Credentials {
        /// URI.
        what: String,
        /// What it says.
        reason: String,
    },
    /// The object store knows us, but does not let us do this.
    #[error(
        "{what}: the object store refuses ({reason}); give the keys the right to list and read"
    )]
    Refused {
        /// URI.
        what: String,
        /// What it says.
        reason: String,
    },
    /// The object is not the one any more that was begun to be read.
    #[error("{what}: changed while it was read; load again to load its new version")]
    Changed {
        /// URI.
        what: String,
    },
    /// The object store gives no answer.
    #[error(
        "{what}: the object store cannot be reached ({reason}); check the endpoint and that it runs"
    )]
    Unreachable {
        /// URI.
        what: String,
        /// What the system says.
        reason: String,
    },
    /// The settings for the object store cannot be used.
    #[error("{0}")]
    Settings(String),
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

    /// What may be logged: names of objects can be names of patients.
    pub fn without_name(&self) -> String {
        let name = match self {
            Self::Unsupported { uri } => uri,
            Self::Settings(_) => "",
            Self::NotFound { what }
            | Self::Denied { what }
            | Self::NoBucket { what }
            | Self::Credentials { what, .. }
            | Self::Refused { what, .. }
            | Self::Changed { what }
            | Self::Unreachable { what, .. }
            | Self::Io { what, .. } => what,
        };
        let text = self.to_string();
        let rest = text.strip_prefix(name).unwrap_or(&text);
        rest.trim_start_matches(": ").to_owned()
    }

    /// Whether it is no fault of one object: others of the store will fare no better.
    pub fn is_of_the_store(&self) -> bool {
        matches!(
            self,
            Self::Credentials { .. }
                | Self::NoBucket { .. }
                | Self::Settings(_)
                | Self::Unreachable { .. }
        )
    }

    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Unreachable { .. })
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

/// Opens sources; cloning shares the connections.
#[derive(Debug, Clone)]
pub struct Stores {
    s3: s3::Service,
}

impl Default for Stores {
    fn default() -> Self {
        Self::new(S3Config::default())
    }
}

impl Stores {
    /// With settings for S3, read when the first object store is.
    pub fn new(s3: S3Config) -> Self {
        Self {
            s3: s3::Service::new(s3),
        }
    }

    /// Opens the store a source lies in. Does no I/O.
    pub fn open(&self, source: &Source) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let uri = source.uri.as_str();
        let store = match uri.split_once("://") {
            Some(("file", path)) => Some(Arc::new(Folder::new(path)) as Arc<dyn ObjectStore>),
            Some(("s3", rest)) => Bucket::parse(&self.s3, rest).map(|b| Arc::new(b) as _),
            _ => None,
        };
        store.ok_or_else(|| StoreError::Unsupported {
            uri: uri.to_owned(),
        })
    }
}
