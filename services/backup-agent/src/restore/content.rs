//! What a backup consists of, and how it comes into a data folder: archives out of the repository, or a set that
//! pgBackRest restores.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use super::error::failed;
use super::parts::Parts;
use super::tablespaces::{self, Places, Tablespaces};
use super::target::{CONTROL, Target};
use super::tree::HELD;
use super::{Progress, RestoreError, Step, archive, files, on_disk};
use crate::manifest::{Elsewhere, Manifest, Part};
use crate::pgbackrest;
use crate::repository::Repository;
use crate::server::User;

/// The folder in the data folder that pgBackRest restores into: it wants an empty one.
const ROOM: &str = "stoker-restoring";

/// See the [module](self).
#[derive(Debug)]
pub(super) enum Content<'a> {
    /// Archives as `pg_basebackup -Ft` writes them.
    Archives(Parts<'a>),
    /// A set of pgBackRest's.
    Set {
        set: &'a Elsewhere,
        program: &'a pgbackrest::Program,
        /// Of its tablespaces, the name of each by its oid, and where it was.
        names: BTreeMap<String, String>,
        old: BTreeMap<String, PathBuf>,
    },
}

impl<'a> Content<'a> {
    pub(super) async fn of(
        repository: &dyn Repository,
        backup: &'a Manifest,
        program: &'a pgbackrest::Program,
    ) -> Result<Self, RestoreError> {
        let Some(set) = &backup.elsewhere else {
            return Ok(Self::Archives(Parts::of(backup)?));
        };
        let is_it = |part: &&Part| part.name == pgbackrest::PART;
        let part = backup.parts.iter().find(is_it);
        let part = part.ok_or_else(|| RestoreError::Incomplete {
            backup: backup.name.clone(),
            what: format!("it has no {}", pgbackrest::PART),
        })?;
        let said = archive::whole(repository, &backup.name, part).await?;
        let (mut names, mut old) = (BTreeMap::new(), BTreeMap::new());
        for (oid, name, path) in pgbackrest::tablespaces(&said)? {
            names.insert(oid.clone(), name);
            old.insert(oid, path);
        }
        Ok(Self::Set {
            set,
            program,
            names,
            old,
        })
    }

    /// Stored bytes that are read; none where nobody tells how many of them were.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Archives(parts) => parts.archives().map(|(_, part)| part.bytes).sum(),
            Self::Set { .. } => 0,
        }
    }

    /// Gives each tablespace a place.
    pub(super) async fn place(
        &self,
        repository: &dyn Repository,
        backup: &str,
        places: &Places,
    ) -> Result<Tablespaces, RestoreError> {
        match self {
            Self::Archives(parts) => Tablespaces::place(repository, backup, parts, places).await,
            Self::Set { old, .. } => tablespaces::placed(old.clone(), places),
        }
    }

    /// Brings all of it into the folder, `pg_control` under another name.
    pub(super) async fn fill(
        &self,
        repository: &dyn Repository,
        backup: &str,
        target: &Target,
        progress: &watch::Sender<Progress>,
    ) -> Result<(), RestoreError> {
        match self {
            Self::Archives(parts) => extract(repository, backup, parts, target, progress).await,
            Self::Set {
                set,
                program,
                names,
                ..
            } => {
                let step = format!("pgBackRest's set {}", set.label);
                progress.send_modify(|now| now.step = Step::Extracting(step));
                restore_set(program, set, names, target).await
            }
        }
    }
}

async fn extract(
    repository: &dyn Repository,
    backup: &str,
    parts: &Parts<'_>,
    target: &Target,
    progress: &watch::Sender<Progress>,
) -> Result<(), RestoreError> {
    for (kind, part) in parts.archives() {
        progress.send_modify(|now| now.step = Step::Extracting(part.name.clone()));
        let tree = target.tree(kind, &part.name)?;
        archive::extract(repository, backup, part, tree, progress).await?;
    }
    if let Some(part) = parts.manifest {
        let bytes = archive::whole(repository, backup, part).await?;
        target.keep_manifest(&bytes)?;
    }
    Ok(())
}

async fn restore_set(
    program: &pgbackrest::Program,
    set: &Elsewhere,
    names: &BTreeMap<String, String>,
    target: &Target,
) -> Result<(), RestoreError> {
    let (into, owner) = target.folder();
    let room = into.join(ROOM);
    let making = room.clone();
    on_disk(move || {
        pgbackrest::end_restore(&making)?;
        files::make_folder(&making, 0, None)
    })
    .await?;
    let spaces = target.tablespaces();
    let place = |(oid, folder): (String, PathBuf)| Some((names.get(&oid)?.clone(), folder));
    let places = spaces.clone().into_iter().filter_map(place).collect();
    pgbackrest::restore(program, set, &room, &places).await?;
    let into = into.to_owned();
    on_disk(move || {
        move_up(&room, &into)?;
        for folder in spaces.iter().map(|(_, folder)| folder).chain([&into]) {
            give_all(folder, owner)?;
        }
        Ok(())
    })
    .await
}

/// Moves what was restored to where it belongs. No server starts on the folder at any time: see [`Target`].
fn move_up(room: &Path, into: &Path) -> Result<(), RestoreError> {
    let (control, held) = (room.join(CONTROL), room.join(HELD));
    fs::rename(&control, &held).map_err(failed(&control, "renamed"))?;
    for path in files::paths_in(room)? {
        let to = into.join(path.file_name().unwrap_or_default());
        fs::rename(&path, &to).map_err(failed(&path, "moved"))?;
    }
    fs::remove_dir(room).map_err(failed(room, "removed"))
}

fn give_all(path: &Path, owner: Option<User>) -> Result<(), RestoreError> {
    files::give(path, owner)?;
    let there = path.symlink_metadata().map_err(failed(path, "read"))?;
    if there.is_dir() {
        for path in files::paths_in(path)? {
            give_all(&path, owner)?;
        }
    }
    Ok(())
}
