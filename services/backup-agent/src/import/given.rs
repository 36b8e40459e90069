//! What is to be taken in, and where it lies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use stoker_shared::clock::SharedClock;

use super::ImportError;
use crate::compress::told_by_name;
use crate::manifest::StoreKind;
use crate::repository::{self, Found, PartStream, Repository, RepositoryError, RepositoryOptions};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Given<'a> {
    pub(super) path: PathBuf,
    /// The backup's name.
    pub(super) name: String,
    pub(super) files: Vec<Found>,
    lies: Lies<'a>,
}

#[derive(Debug)]
enum Lies<'a> {
    /// A folder in the repository.
    InPlace(&'a dyn Repository),
    /// A folder in another.
    Elsewhere(Arc<dyn Repository>),
    /// A file of this machine.
    Alone,
}

impl<'a> Given<'a> {
    /// Looks at what there is.
    pub(super) async fn find(
        repository: &'a dyn Repository,
        path: &Path,
        clock: &SharedClock,
    ) -> Result<Self, ImportError> {
        if path.is_file() {
            let (file, _) = repository::file(path)?;
            let name = told_by_name(&file.name).0.to_owned();
            return Ok(Self::of(path, name, vec![file], Lies::Alone));
        }
        let place = repository.place();
        let Ok(full) = path.canonicalize() else {
            let below = path.to_str().and_then(|path| path.strip_prefix(&place));
            let name = below.and_then(|below| below.strip_prefix('/'));
            let name = name.ok_or_else(|| unknown(path, "there is no such folder or file here"))?;
            return Self::in_place(path, repository, name.trim_end_matches('/')).await;
        };
        if full.join("PG_VERSION").exists() {
            let what = "it is a data folder; what can be taken in is made by pg_basebackup -Ft";
            return Err(unknown(path, what));
        }
        let (Some(parent), Some(name)) = (full.parent(), full.file_name()) else {
            return Err(unknown(path, "it is no folder of a backup"));
        };
        let name = name.to_string_lossy();
        let place = Path::new(&place).canonicalize();
        if place.is_ok_and(|place| place == parent) {
            Self::in_place(path, repository, &name).await
        } else {
            Self::elsewhere(path, parent, &name, clock).await
        }
    }

    async fn in_place(
        path: &Path,
        repository: &'a dyn Repository,
        name: &str,
    ) -> Result<Self, ImportError> {
        let files = repository.found(name).await;
        let files = files.map_err(|e| ImportError::of_repository(name, e))?;
        Ok(Self::of(
            path,
            name.to_owned(),
            files,
            Lies::InPlace(repository),
        ))
    }

    /// A folder of this machine that does not lie in the repository.
    pub(super) async fn elsewhere(
        path: &Path,
        parent: &Path,
        name: &str,
        clock: &SharedClock,
    ) -> Result<Self, ImportError> {
        let parent = parent.to_string_lossy();
        let options = RepositoryOptions::default();
        let elsewhere = repository::open(&parent, &options, Arc::clone(clock))?;
        let files = match elsewhere.found(name).await {
            Err(RepositoryError::Exists { .. }) => {
                let what = "it has a manifest.json, so it is a backup of another repository; name that one in the configuration";
                return Err(unknown(path, what));
            }
            files => files?,
        };
        Ok(Self::of(
            path,
            name.to_owned(),
            files,
            Lies::Elsewhere(elsewhere),
        ))
    }

    fn of(path: &Path, name: String, files: Vec<Found>, lies: Lies<'a>) -> Self {
        Self {
            path: path.to_owned(),
            name,
            files,
            lies,
        }
    }

    pub(super) fn is_in_place(&self) -> bool {
        matches!(self.lies, Lies::InPlace(_))
    }

    pub(super) fn kind(&self) -> StoreKind {
        match self.lies {
            Lies::Alone => StoreKind::Mongodb,
            _ => StoreKind::Postgresql,
        }
    }

    /// The bytes of one of its files.
    pub(super) async fn bytes(&self, file: &Found) -> Result<PartStream, ImportError> {
        Ok(match &self.lies {
            Lies::InPlace(place) => place.read_found(&self.name, file).await?,
            Lies::Elsewhere(place) => place.read_found(&self.name, file).await?,
            Lies::Alone => repository::file(&self.path)?.1,
        })
    }

    /// The time in names such as `postgresql_1769860800`.
    pub(super) fn began_by_name(&self) -> Option<DateTime<Utc>> {
        let (_, seconds) = self.name.rsplit_once('_')?;
        let is_time = seconds.len() >= 9 && seconds.bytes().all(|byte| byte.is_ascii_digit());
        DateTime::from_timestamp(seconds.parse().ok().filter(|_| is_time)?, 0)
    }
}

fn unknown(path: &Path, what: &'static str) -> ImportError {
    ImportError::Unknown {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}
