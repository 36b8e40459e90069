//! The folder of a throwaway server, and taking away what is in it and runs in it.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use stoker_shared::process;
use uuid::Uuid;

use super::DrillError;
use crate::server::{self, User};

const NAME: &str = "stoker-drill-";

/// What the name of the link ends with that says whose a folder is: a link is made whole or not at all.
const OWNER: &str = ".owner";

/// Longest path of a throwaway folder: a socket's path has at most 107 bytes, unix(7), and its name takes some.
const LONGEST: usize = 88;

/// How often a folder is removed in which something may still be made.
const TRIES: u32 = 100;

/// A folder for one drill, or for what one backup needs meanwhile; goes with all that runs in it when it is dropped.
#[derive(Debug)]
pub(crate) struct Throwaway {
    folder: PathBuf,
    user: Option<User>,
    is_gone: bool,
}

impl Throwaway {
    pub(crate) fn make(scratch: &Path, user: Option<User>) -> Result<Self, DrillError> {
        fs::create_dir_all(scratch).map_err(unusable(scratch))?;
        // Processes are known by this path: the one that the system shows.
        let scratch = scratch.canonicalize().map_err(unusable(scratch))?;
        let id = Uuid::new_v4().simple().to_string();
        let folder = scratch.join(format!("{NAME}{}", &id[..12]));
        if folder.as_os_str().len() > LONGEST {
            let what = io::Error::other("its path is too long for a socket; give a shorter one");
            return Err(unusable(&scratch)(what));
        }
        let owner = owner_of(&folder);
        symlink(process::own(), &owner).map_err(unusable(&owner))?;
        let this = Self {
            folder,
            user,
            is_gone: false,
        };
        let made = fs::DirBuilder::new().mode(0o700).create(&this.folder);
        let made = made
            .and_then(|()| fs::create_dir(this.tablespaces()))
            .and_then(|()| this.give(&this.tablespaces()))
            .and_then(|()| this.give(&this.folder));
        made.map_err(unusable(&this.folder))?;
        Ok(this)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn tablespaces(&self) -> PathBuf {
        self.folder.join("tablespaces")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub(super) fn user(&self) -> Option<User> {
        self.user
    }

    /// Gives a file of it to the server's user.
    pub(super) fn give(&self, path: &Path) -> io::Result<()> {
        self.user
            .map_or(Ok(()), |user| lchown(path, Some(user.uid), Some(user.gid)))
    }

    /// Ends its processes and removes it.
    pub(crate) fn take_away(mut self) -> Result<(), DrillError> {
        self.is_gone = true;
        take_away(&self.folder)
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        if self.is_gone {
            return;
        }
        if let Err(error) = take_away(&self.folder) {
            tracing::warn!(%error, "a throwaway server is not all gone; the next drill tries again");
        }
    }
}

/// Takes away what drills of processes that have ended left in a scratch folder; answers the folders.
pub fn clean(scratch: &Path) -> Result<Vec<PathBuf>, DrillError> {
    let entries = match fs::read_dir(scratch) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unusable(scratch))?,
    };
    let scratch = scratch.canonicalize().map_err(unusable(scratch))?;
    let mut cleaned = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(folder) = name.to_str().and_then(|name| name.strip_suffix(OWNER)) else {
            continue;
        };
        let owner = fs::read_link(entry.path()).unwrap_or_default();
        if folder.starts_with(NAME) && process::is_gone(&owner.to_string_lossy()) {
            let folder = scratch.join(folder);
            take_away(&folder)?;
            cleaned.push(folder);
        }
    }
    Ok(cleaned)
}

/// Died before its end: the owner's link is still there, and the next finds it.
fn take_away(folder: &Path) -> Result<(), DrillError> {
    server::end_all(folder)?;
    let mut tries = 0;
    loop {
        match fs::remove_dir_all(folder) {
            Ok(()) => break,
            Err(e) if e.kind() == ErrorKind::NotFound && !folder.exists() => break,
            // A thread that is about to end, or another that cleans, is at it too.
            Err(_) if tries < TRIES => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(e) => return Err(unusable(folder)(e)),
        }
    }
    let owner = owner_of(folder);
    match fs::remove_file(&owner) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(unusable(&owner)(e)),
        _ => Ok(()),
    }
}

fn owner_of(folder: &Path) -> PathBuf {
    let mut owner = folder.as_os_str().to_owned();
    owner.push(OWNER);
    owner.into()
}

/// Makes an error of the system's one of ours.
pub(super) fn unusable(path: &Path) -> impl FnOnce(io::Error) -> DrillError + use<> {
    let folder = path.to_owned();
    move |source| DrillError::Scratch {
        folder,
        what: source.to_string(),
    }
}

/// Does what takes its time where it may.
pub(crate) async fn on_disk<T: Send + 'static>(
    scratch: &Path,
    work: impl FnOnce() -> Result<T, DrillError> + Send + 'static,
) -> Result<T, DrillError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(unusable(scratch)(io::Error::other(e))))
}
