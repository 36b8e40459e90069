//! Taking in backups that were made by hand: folders of `pg_basebackup -Ft`, and archives of `mongodump --archive`.
//!
//! All of it is read, and held against what it says of itself. A folder that lies in the repository stays where it is and
//! becomes a backup by its manifest; all else is copied, and what it is copied from stays as it is.
//!
//! Died at any time before the manifest is there: there is no backup, and the same import begun again starts over. What
//! was copied by then is taken away by [`Repository::clean`].

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Utc};
use stoker_shared::clock::SharedClock;
use tokio::sync::watch;

use crate::manifest::{self, Manifest, Part, StoreKind, Verified};
use crate::repository::{Draft, Repository};

mod error;
mod given;
mod mongodb;
mod postgres;
mod taking;

pub use error::ImportError;

use given::Given;
use taking::Taking;

/// What the manifests of such backups name as their engine.
pub const ENGINE: &str = "import";

/// Takes a backup in, under the name of its folder or file. `path` is a folder or file of this machine or, for what lies in
/// a repository on S3, the address of its folder there. `source` is the source that it is of; `read` is told how many
/// bytes were read.
///
/// It counts as verified where it has checksums of its own that it was held against, which a PostgreSQL backup without
/// `backup_manifest` has not.
pub async fn import(
    repository: &dyn Repository,
    path: &Path,
    source: &str,
    clock: &SharedClock,
    read: &watch::Sender<u64>,
) -> Result<Manifest, ImportError> {
    let given = Given::find(repository, path, clock).await?;
    let told = |error| ImportError::of_repository(&given.name, error);
    let draft = if given.is_in_place() {
        None
    } else {
        Some(repository.begin(&given.name).await.map_err(told)?)
    };
    let taking = Taking {
        given: &given,
        draft: draft.as_deref(),
        read,
    };
    let taken = match given.kind() {
        StoreKind::Postgresql => postgres::take(&taking).await,
        StoreKind::Mongodb => mongodb::take(&taking).await,
    };
    let manifest = match taken {
        Ok(taken) => taken.manifest(&given, source, clock),
        Err(error) => {
            if let Some(draft) = draft
                && let Err(error) = draft.abandon().await
            {
                tracing::warn!(%error, "a draft that is over stays behind");
            }
            return Err(error);
        }
    };
    let done = match draft {
        Some(draft) => draft.commit(&manifest).await,
        None => repository.adopt(&manifest).await,
    };
    done.map(|()| manifest).map_err(told)
}

/// Copies the files of a backup that another program made in the folder `name` of `parent` into a draft, looked at as by
/// [`import`].
pub(crate) async fn copy(
    parent: &Path,
    name: &str,
    draft: &dyn Draft,
    clock: &SharedClock,
    read: &watch::Sender<u64>,
) -> Result<(Vec<Part>, BTreeMap<String, String>), ImportError> {
    let given = Given::elsewhere(&parent.join(name), parent, name, clock).await?;
    let taking = Taking {
        given: &given,
        draft: Some(draft),
        read,
    };
    let taken = postgres::take(&taking).await?;
    Ok((taken.parts, taken.about))
}

/// What is known of a backup that was read.
#[derive(Debug)]
struct Taken {
    parts: Vec<Part>,
    about: BTreeMap<String, String>,
    /// When it was begun, as it says itself.
    began: Option<DateTime<Utc>>,
    /// Whether it was held against checksums of its own.
    is_verified: bool,
}

impl Taken {
    fn manifest(self, given: &Given<'_>, source: &str, clock: &SharedClock) -> Manifest {
        let times = given.files.iter().map(|file| file.changed);
        let (first, last) = (times.clone().min(), times.max());
        let started = given.began_by_name().or(self.began).or(first);
        let started = started.unwrap_or_else(|| clock.now());
        Manifest {
            manifest_version: manifest::VERSION,
            name: given.name.clone(),
            store: given.kind(),
            source: source.to_owned(),
            engine: ENGINE.to_owned(),
            started,
            ended: last.unwrap_or(started).max(started),
            parts: self.parts,
            about: self.about,
            elsewhere: None,
            parent: None,
            verified: self.is_verified.then(|| Verified {
                at: clock.now(),
                full: true,
                good: true,
                problem: String::new(),
            }),
            proof: None,
        }
    }
}
