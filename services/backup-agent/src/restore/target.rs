//! The data folder that is restored into, and the folders of its tablespaces.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::failed;
use super::parts::Kind;
use super::tablespaces::Tablespaces;
use super::tree::{HELD, Tree};
use super::{Order, RestoreError, files};
use crate::server::{self, User};

/// The file that says that a restore is not over; with it and without `pg_control` a folder is that restore's to clear.
const MARK: &str = "stoker-restore.json";

pub(super) const CONTROL: &str = "global/pg_control";

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Target {
    order: Order,
    spaces: Arc<Tablespaces>,
    /// Held while this process is at it; the system lets it go when the process dies.
    lock: Option<File>,
}

/// What a restore may clear when it is begun again.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    backup: String,
    tablespaces: Vec<PathBuf>,
}

impl Target {
    pub(super) fn new(order: &Order, spaces: Arc<Tablespaces>) -> Self {
        Self {
            order: order.clone(),
            spaces,
            lock: None,
        }
    }

    /// Looks at all folders, then makes them empty.
    ///
    /// Died before the first `pg_control` is removed: all is as it was. After: it is a restore that was not over.
    pub(super) fn prepare(mut self) -> Result<Self, RestoreError> {
        let into = &self.order.into;
        self.check_paths()?;
        if !into.exists() {
            files::make_folder(into, 0, self.order.owner)?;
        }
        self.lock = Some(self.locked()?);
        let aborted = aborted(into)?;
        self.check_empty(aborted.as_ref())?;
        for old in aborted.iter().flat_map(|mark| &mark.tablespaces) {
            files::clear(old, "")?;
        }
        self.mark()?;
        let control = into.join(CONTROL);
        if control.exists() {
            fs::remove_file(&control).map_err(failed(&control, "removed"))?;
            files::sync(&into.join("global"))?;
        }
        files::clear(into, MARK)?;
        files::make_folder(into, 0, self.order.owner)?;
        for (_, folder) in self.spaces.list() {
            files::make_folder(&folder, 0, self.order.owner)?;
            files::clear(&folder, "")?;
        }
        Ok(self)
    }

    /// What an archive is extracted into.
    pub(super) fn tree(&self, kind: Kind, part: &str) -> Result<Tree, RestoreError> {
        let root = match &kind {
            Kind::Base => self.order.into.clone(),
            Kind::Log => self.order.into.join("pg_wal"),
            Kind::Tablespace(oid) => match self.spaces.folder(oid) {
                Some(folder) => folder.to_owned(),
                None => return Err(self.incomplete("a tablespace has no place")),
            },
        };
        let spaces = Arc::clone(&self.spaces);
        Ok(Tree::new(kind, part, root, self.order.owner, spaces))
    }

    /// The folder, and who is to own what is in it.
    pub(super) fn folder(&self) -> (&Path, Option<User>) {
        (&self.order.into, self.order.owner)
    }

    /// The tablespaces by their oid, and their folders.
    pub(super) fn tablespaces(&self) -> Vec<(String, PathBuf)> {
        self.spaces.list()
    }

    /// Puts PostgreSQL's own manifest beside the files, where `pg_verifybackup` looks for it.
    pub(super) fn keep_manifest(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        files::write(
            &self.order.into.join("backup_manifest"),
            bytes,
            self.order.owner,
        )
    }

    /// Makes it a data folder that a server starts on; answers the server's major version.
    ///
    /// Died before `pg_control` is in its place: see [`Target::prepare`]. After: the folder is whole, and the file that
    /// is left over is of no account.
    pub(super) fn complete(self) -> Result<u32, RestoreError> {
        let into = &self.order.into;
        let major = self.look_over()?;
        if let Some(conf) = &self.order.conf {
            files::copy_over(conf, into, self.order.owner)?;
        }
        if self.order.durable {
            files::sync_all(into)?;
            for (_, folder) in self.spaces.list() {
                files::sync_all(&folder)?;
            }
        }
        let control = into.join(CONTROL);
        fs::rename(into.join(HELD), &control).map_err(failed(&control, "put in its place"))?;
        files::sync(&into.join("global"))?;
        let mark = into.join(MARK);
        fs::remove_file(&mark).map_err(failed(&mark, "removed"))?;
        files::sync(into)?;
        Ok(major)
    }

    fn check_paths(&self) -> Result<(), RestoreError> {
        let mut seen = BTreeSet::from([self.order.into.clone()]);
        let wrong = |folder: &Path, what: &str| RestoreError::Folder {
            folder: folder.to_owned(),
            what: what.to_owned(),
        };
        if !self.order.into.is_absolute() {
            return Err(wrong(&self.order.into, "give its full path, from / on"));
        }
        for (_, folder) in self.spaces.list() {
            if !folder.is_absolute() {
                return Err(wrong(&folder, "give the tablespace's full path, from / on"));
            }
            let overlaps =
                |other: &PathBuf| folder.starts_with(other) || other.starts_with(&folder);
            if seen.iter().any(overlaps) {
                return Err(wrong(
                    &folder,
                    "a tablespace needs a folder of its own, outside of others",
                ));
            }
            seen.insert(folder);
        }
        match &self.order.conf {
            Some(conf) if !conf.is_dir() => Err(wrong(conf, "there is no such conf folder")),
            _ => Ok(()),
        }
    }

    fn locked(&self) -> Result<File, RestoreError> {
        let into = &self.order.into;
        let lock = File::open(into).map_err(failed(into, "opened"))?;
        match lock.try_lock() {
            Err(fs::TryLockError::WouldBlock) => Err(RestoreError::Busy(into.clone())),
            // Where the file system locks no folders, two at once are the caller's to keep apart.
            _ => Ok(lock),
        }
    }

    fn check_empty(&self, aborted: Option<&Mark>) -> Result<(), RestoreError> {
        let into = &self.order.into;
        if server::is_running_in(into) {
            return Err(RestoreError::Running(into.clone()));
        }
        let may_clear = aborted.is_some() || self.order.overwrite;
        if !may_clear && !files::paths_in(into)?.is_empty() {
            return Err(RestoreError::NotEmpty {
                folder: into.clone(),
                advice: "give another folder, or say that it may be overwritten",
            });
        }
        for (_, folder) in self.spaces.list() {
            let is_marked = aborted.is_some_and(|mark| mark.tablespaces.contains(&folder));
            let may_clear = is_marked || (self.order.overwrite && is_linked(into, &folder)?);
            if !may_clear && !files::paths_in(&folder)?.is_empty() {
                return Err(RestoreError::NotEmpty {
                    folder,
                    advice: "it is for a tablespace and not one of the folder that is overwritten; map the tablespace to another folder, or empty this one",
                });
            }
        }
        Ok(())
    }

    fn mark(&self) -> Result<(), RestoreError> {
        let into = &self.order.into;
        let mark = Mark {
            backup: self.order.backup.clone(),
            tablespaces: self
                .spaces
                .list()
                .into_iter()
                .map(|(_, folder)| folder)
                .collect(),
        };
        let path = into.join(MARK);
        let text = serde_json::to_vec(&mark).map_err(|e| failed(&path, "written")(e.into()))?;
        let new = into.join(format!("{MARK}.new"));
        files::write(&new, &text, None)?;
        files::sync(&new)?;
        fs::rename(&new, &path).map_err(failed(&path, "written"))?;
        files::sync(into)
    }

    /// Whether all that a server needs is there.
    fn look_over(&self) -> Result<u32, RestoreError> {
        let into = &self.order.into;
        for (path, what) in [
            (
                "backup_label",
                "it has no backup_label, so a server would start on torn pages",
            ),
            (HELD, "it has no global/pg_control"),
        ] {
            if !into.join(path).is_file() {
                return Err(self.incomplete(what));
            }
        }
        let is_segment = |path: &PathBuf| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if !files::paths_in(&into.join("pg_wal"))?
            .iter()
            .any(is_segment)
        {
            return Err(
                self.incomplete("it has no log (pg_wal.tar), without which it is not consistent")
            );
        }
        let version = fs::read_to_string(into.join("PG_VERSION")).unwrap_or_default();
        let major = version.trim().parse();
        major.map_err(|_| self.incomplete("its PG_VERSION is missing or no number"))
    }

    fn incomplete(&self, what: &str) -> RestoreError {
        RestoreError::Incomplete {
            backup: self.order.backup.clone(),
            what: what.to_owned(),
        }
    }
}

/// The mark of a restore that was not over; none where a server could start on the folder.
fn aborted(into: &Path) -> Result<Option<Mark>, RestoreError> {
    let path = into.join(MARK);
    if !path.is_file() || into.join(CONTROL).exists() {
        return Ok(None);
    }
    let text = fs::read(&path).map_err(failed(&path, "read"))?;
    let mark = serde_json::from_slice(&text).map_err(|e| failed(&path, "read")(e.into()))?;
    Ok(Some(mark))
}

/// Whether a folder is a tablespace of the data folder.
fn is_linked(data: &Path, folder: &Path) -> Result<bool, RestoreError> {
    let links = files::paths_in(&data.join("pg_tblspc"))?;
    let leads = |link: &PathBuf| fs::read_link(link).is_ok_and(|to| to == folder);
    Ok(links.iter().any(leads))
}
