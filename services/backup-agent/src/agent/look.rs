//! Which backups there are: the repositories decide, the catalog is what was seen of them last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Agent, AgentError};
use crate::catalog::Kept;
use crate::manifest::{Manifest, StoreKind};
use crate::repository::{Repository, RepositoryError};
use crate::store::{Postgres, Store};

/// Manifests read at a time.
const AT_A_TIME: usize = 16;

/// What stands for the newest backup of a source.
const LATEST: &str = "latest";

/// A backup as a person names it; what is empty may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupName {
    /// Its name, or `latest`.
    pub name: String,
    /// Its source.
    pub source: String,
    /// Its repository.
    pub place: String,
}

/// A backup whose manifest cannot be used, so that nothing else is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The repository.
    pub place: String,
    /// Its name.
    pub name: String,
    /// Why, and what to do.
    pub reason: String,
}

/// What a repository holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) manifests: Vec<Manifest>,
    pub(super) unusable: Vec<Unusable>,
}

impl Agent {
    /// Reads all repositories, and makes what the catalog knows of them the same. Where one is away, what is known of it
    /// stays, and the others are read all the same.
    pub async fn look(&self) -> Result<(), AgentError> {
        let mut failed = None;
        for (place, repository) in &*self.repositories {
            if let Err(error) = self.look_at(place, &**repository).await {
                tracing::warn!(%error, place, "the repository cannot be read");
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Looks, unless that was done since the agent was opened.
    pub async fn look_once(&self) -> Result<(), AgentError> {
        self.looked.get_or_try_init(|| self.look()).await?;
        Ok(())
    }

    async fn look_at(&self, place: &str, repository: &dyn Repository) -> Result<(), AgentError> {
        let mark = self.catalog.mark().await?;
        let found = found(repository).await?;
        for Unusable { name, reason, .. } in &found.unusable {
            tracing::warn!(place, name, "a backup is left out: {reason}");
        }
        self.lock_unusable()
            .insert(place.to_owned(), found.unusable);
        Ok(self.catalog.rebuild(place, mark, &found.manifests).await?)
    }

    /// Backups that were left out when the repositories were last read.
    pub fn unusable(&self) -> Vec<Unusable> {
        self.lock_unusable().values().flatten().cloned().collect()
    }

    fn lock_unusable(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Unusable>>> {
        self.unusable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The repository at a place.
    pub(super) fn repository(&self, place: &str) -> Result<Arc<dyn Repository>, AgentError> {
        let found = self.repositories.get(place).cloned();
        found.ok_or_else(|| {
            let known: Vec<&str> = self.repositories.keys().map(String::as_str).collect();
            AgentError::Asked(format!(
                "{place} is none of this agent's repositories; they are: {}",
                known.join(", ")
            ))
        })
    }

    /// What is known of backups of a source, or of all; those begun last first.
    pub async fn backups(&self, source: &str) -> Result<Vec<Kept>, AgentError> {
        self.look_once().await?;
        Ok(self.catalog.backups(source).await?)
    }

    /// The one backup that a person means.
    pub async fn backup(&self, wanted: &BackupName) -> Result<Kept, AgentError> {
        if wanted.name.is_empty() {
            return Err(AgentError::Asked(
                "say which backup; `latest` is the newest".to_owned(),
            ));
        }
        let known = self.backups(&wanted.source).await?;
        if let Some(found) = one(wanted, known)? {
            return Ok(found);
        }
        // It may have come meanwhile.
        self.look().await?;
        let known = self.catalog.backups(&wanted.source).await?;
        if let Some(found) = one(wanted, known)? {
            return Ok(found);
        }
        let mut unusable = self.unusable().into_iter();
        Err(
            match unusable.find(|unusable| unusable.name == wanted.name) {
                Some(unusable) => AgentError::Unusable(unusable.reason),
                None => AgentError::NoBackup(shown(wanted)),
            },
        )
    }

    /// What a backup is read by: its source as configured, or what holds for all of its kind.
    pub(super) fn store_of(&self, backup: &Manifest) -> Result<Arc<dyn Store>, AgentError> {
        if let Some(source) = self.sources.get(&backup.source)
            && source.store.kind() == backup.store
        {
            return Ok(Arc::clone(&source.store));
        }
        match backup.store {
            StoreKind::Postgresql => {
                let clock = Arc::clone(&self.clock);
                Ok(Arc::new(Postgres::of_backups_only(&self.config, clock)))
            }
            StoreKind::Mongodb => Err(AgentError::Asked(format!(
                "{} is of MongoDB, which Stoker lists and does not read yet; use mongorestore",
                backup.name
            ))),
        }
    }
}

/// Reads what a repository holds.
pub(super) async fn found(repository: &dyn Repository) -> Result<Found, RepositoryError> {
    let names = repository.names().await?.into_iter();
    let reading: Vec<_> = names.map(|name| one_of(repository, name)).collect();
    let read: Vec<_> = stream::iter(reading)
        .buffered(AT_A_TIME)
        .try_collect()
        .await?;
    let mut found = Found::default();
    for one in read.into_iter().flatten() {
        match one {
            Ok(manifest) => found.manifests.push(manifest),
            Err(unusable) => found.unusable.push(unusable),
        }
    }
    Ok(found)
}

/// A manifest, or why it cannot be used; none where the backup was deleted meanwhile.
async fn one_of(
    repository: &dyn Repository,
    name: String,
) -> Result<Option<Result<Manifest, Unusable>>, RepositoryError> {
    match repository.manifest(&name).await {
        Ok(manifest) => Ok(Some(Ok(manifest))),
        Err(RepositoryError::NotFound { .. }) => Ok(None),
        Err(error @ RepositoryError::Manifest { .. }) => Ok(Some(Err(Unusable {
            place: repository.place(),
            name,
            reason: error.to_string(),
        }))),
        Err(error) => Err(error),
    }
}

/// The backup that is meant, among those that are known, the newest of them first.
fn one(wanted: &BackupName, mut known: Vec<Kept>) -> Result<Option<Kept>, AgentError> {
    known.retain(|kept| wanted.place.is_empty() || kept.place == wanted.place);
    if wanted.name == LATEST {
        let sources: BTreeSet<&str> = known.iter().map(|k| k.manifest.source.as_str()).collect();
        if sources.len() > 1 {
            let sources: Vec<&str> = sources.into_iter().collect();
            return Err(AgentError::Asked(format!(
                "there are backups of several sources; say which: {}",
                sources.join(", ")
            )));
        }
        return Ok(known.into_iter().next());
    }
    known.retain(|kept| kept.manifest.name == wanted.name);
    if known.len() > 1 {
        let places: Vec<&str> = known.iter().map(|kept| kept.place.as_str()).collect();
        return Err(AgentError::Asked(format!(
            "several repositories hold {}; say which: {}",
            wanted.name,
            places.join(", ")
        )));
    }
    Ok(known.pop())
}

fn shown(wanted: &BackupName) -> String {
    let mut text = wanted.name.clone();
    for (word, what) in [("of", &wanted.source), ("in", &wanted.place)] {
        if !what.is_empty() {
            text = format!("{text} {word} {what}");
        }
    }
    text
}
