//! Files and folders of a data folder, with their modes and owner.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::RestoreError;
use super::error::failed;
use crate::server::User;

/// Makes a file that is not there yet: 0600, and readable by the group where it was so (`initdb -g`).
pub(super) fn make_file(path: &Path, mode: u32, owner: Option<User>) -> Result<File, RestoreError> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(0o600 | (mode & 0o640));
    let file = options.open(path).map_err(failed(path, "made"))?;
    give(path, owner)?;
    Ok(file)
}

/// Makes a folder, or takes the one that is there: 0700, and readable by the group where it was so.
pub(super) fn make_folder(path: &Path, mode: u32, owner: Option<User>) -> Result<(), RestoreError> {
    let mode = 0o700 | (mode & 0o750);
    match DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(path, permissions).map_err(failed(path, "given its mode"))?;
        }
        result => result.map_err(failed(path, "made"))?,
    }
    give(path, owner)
}

/// Gives a file, folder or link to its owner.
pub(super) fn give(path: &Path, owner: Option<User>) -> Result<(), RestoreError> {
    let Some(User { uid, gid }) = owner else {
        return Ok(());
    };
    let given = std::os::unix::fs::lchown(path, Some(uid), Some(gid));
    given.map_err(failed(path, "given to its owner"))
}

/// Writes a file, in the place of one that is there.
pub(super) fn write(path: &Path, content: &[u8], owner: Option<User>) -> Result<(), RestoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed(path, "replaced")(e)),
        _ => {}
    }
    let mut file = make_file(path, 0, owner)?;
    std::io::Write::write_all(&mut file, content).map_err(failed(path, "written"))
}

/// Copies what is in a folder over what is in another.
pub(super) fn copy_over(from: &Path, to: &Path, owner: Option<User>) -> Result<(), RestoreError> {
    for path in paths_in(from)? {
        let Some(name) = path.file_name() else {
            continue;
        };
        let target = to.join(name);
        if path.is_dir() {
            make_folder(&target, 0, owner)?;
            copy_over(&path, &target, owner)?;
        } else {
            let content = fs::read(&path).map_err(failed(&path, "read"))?;
            write(&target, &content, owner)?;
        }
    }
    Ok(())
}

/// Takes away all that is in a folder but one name. Links are taken away, not followed.
pub(super) fn clear(folder: &Path, but: &str) -> Result<(), RestoreError> {
    for path in paths_in(folder)? {
        if path.file_name().is_some_and(|name| name == but) {
            continue;
        }
        let is_folder = path.symlink_metadata().is_ok_and(|there| there.is_dir());
        let removed = if is_folder {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(failed(&path, "removed"))?;
    }
    Ok(())
}

/// Makes all that is in a folder durable.
pub(super) fn sync_all(folder: &Path) -> Result<(), RestoreError> {
    for path in paths_in(folder)? {
        let there = path.symlink_metadata().map_err(failed(&path, "read"))?;
        if there.is_dir() {
            sync_all(&path)?;
        } else if there.is_file() {
            sync(&path)?;
        }
    }
    sync(folder)
}

/// Makes a file, or the names in a folder, durable.
pub(super) fn sync(path: &Path) -> Result<(), RestoreError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(failed(path, "made durable"))
}

/// What is in a folder; nothing where it is not there.
pub(super) fn paths_in(folder: &Path) -> Result<Vec<PathBuf>, RestoreError> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed(folder, "read"))?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Result<Vec<_>, _> = paths.collect();
    paths.map_err(failed(folder, "read"))
}
