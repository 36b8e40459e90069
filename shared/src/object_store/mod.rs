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

mod files;
mod folder;
mod s3;

pub use folder::{Folder, LOCAL_BUCKET, host_name};
pub use s3::{Bucket, OnlyIf, S3Config, S3ConfigError};

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
    /// IBM's IAM gives no token for the API key.
    #[error(
        "{what}: IBM's IAM does not accept the API key ({reason}); check iam_api_key, or cos.api.key, and that the key still exists"
    )]
    ApiKey {
        /// URI.
        what: String,
        /// What it says.
        reason: String,
    },
    /// IBM's IAM gives no answer, so that there is no token.
    #[error(
        "{what}: IBM's IAM cannot be asked for a token ({reason}); check iam_url and that it can be reached from here"
    )]
    NoToken {
        /// URI.
        what: String,
        /// What the system says.
        reason: String,
    },
    /// The object store knows us, but does not let us do this.
    #[error(
        "{what}: the object store refuses ({reason}); give the keys the right to list, read and, where it is written to, write"
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
    /// A listing that breaks off, which must not be taken for a whole one.
    #[error("{what}: the listing breaks off ({reason}); nothing after that is known, try again")]
    BrokenListing {
        /// Path or URI.
        what: String,
        /// Why.
        reason: String,
    },
    /// A key that leads out of the folder it is to be written in.
    #[error("{what}: its name leads out of the folder it is to be written to; rename it")]
    Outside {
        /// The key.
        what: String,
    },
    /// Writing failed.
    #[error(
        "{what}: cannot be written: {source}; check the folder's rights and the space on its disk"
    )]
    Unwritable {
        /// Path.
        what: String,
        /// The system's error.
        source: std::io::Error,
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

    /// What may be logged: names of objects can be names of patients.
    pub fn without_name(&self) -> String {
        let name = match self {
            Self::Unsupported { uri } => uri,
            Self::Settings(_) => "",
            Self::NotFound { what }
            | Self::Denied { what }
            | Self::NoBucket { what }
            | Self::Credentials { what, .. }
            | Self::ApiKey { what, .. }
            | Self::NoToken { what, .. }
            | Self::BrokenListing { what, .. }
            | Self::Outside { what }
            | Self::Unwritable { what, .. }
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
                | Self::ApiKey { .. }
                | Self::NoToken { .. }
                | Self::NoBucket { .. }
                | Self::Settings(_)
                | Self::Unreachable { .. }
        )
    }

    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Io { .. }
                | Self::Unreachable { .. }
                | Self::NoToken { .. }
                | Self::BrokenListing { .. }
        )
    }
}

/// The next bytes of an object.
pub type ByteStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// The next bytes of an object, for a thread that may block.
pub type Chunks = Box<dyn Iterator<Item = Result<Bytes, StoreError>> + Send>;

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

    /// The same where the bytes lie on this machine, for who has a thread that may block: it reads what it works on
    /// itself, while the processor still holds it. None where they come from elsewhere.
    fn get_here(&self, key: &str, range: Range<u64>) -> Option<Chunks> {
        let _ = (key, range);
        None
    }

    /// Writes a whole object, in place of one that is there. Who reads meanwhile, or after the process has
    /// died in the middle of it, finds the old object or the new one, never a part. When it returns, the
    /// object is durable.
    async fn put(&self, key: &str, body: Bytes, content_type: &str) -> Result<(), StoreError>;

    /// Removes an object; one that is not there is removed already. When it returns, it is gone for good.
    async fn remove(&self, key: &str) -> Result<(), StoreError>;
}

/// A place to write to: a store, and what every key in it begins with.
#[derive(Debug, Clone)]
pub struct Place {
    store: Arc<dyn ObjectStore>,
    prefix: String,
}

impl Place {
    /// The key of an object whose name is relative to this place.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The store it lies in; its keys are those of [`Place::key`].
    pub fn store(&self) -> &dyn ObjectStore {
        &*self.store
    }

    /// Whether this names a place to write to, and no server: `s3://…` or `file://…`.
    pub fn is_one(uri: &str) -> bool {
        uri.starts_with("s3://") || uri.starts_with("file://")
    }
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

    /// Opens a place to write to, `s3://bucket/prefix` or `file:///folder`: what is written lies below
    /// `prefix/`, or at the top of the bucket when there is no prefix. Does no I/O.
    pub fn place(&self, uri: &str) -> Result<Place, StoreError> {
        let store = self.open(&Source {
            uri: uri.to_owned(),
            reach: String::new(),
        })?;
        let rest = uri.split_once("://").map_or("", |(_, rest)| rest);
        let prefix = match rest.split_once('/') {
            Some(_) if uri.starts_with("file://") => rest,
            Some((_, prefix)) => prefix,
            None => "",
        };
        let mut prefix = prefix.trim_end_matches('/').to_owned();
        if !prefix.is_empty() || uri.starts_with("file://") {
            prefix.push('/');
        }
        Ok(Place { store, prefix })
    }

    /// Opens `s3://bucket/prefix` with all that S3 has: what lies below `prefix/`. Does no I/O.
    pub fn bucket(&self, uri: &str) -> Result<Bucket, StoreError> {
        let found = uri.strip_prefix("s3://").and_then(|rest| {
            let rest = rest.trim_end_matches('/');
            Bucket::parse(&self.s3, &format!("{rest}/"))
        });
        found.ok_or_else(|| StoreError::Unsupported {
            uri: uri.to_owned(),
        })
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
