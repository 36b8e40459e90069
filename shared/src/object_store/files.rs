//! Writes a file so that whoever reads it finds all of it or what was there before.
//!
//! Died before the rename: a file with a dot in front is left, which listings pass over. After it: the file is
//! whole, and durable once the folder is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use uuid::Uuid;

use super::StoreError;

/// Writes the file `key`, an absolute path below `root`; folders are made as needed.
pub(super) fn write(root: &Path, key: &str, body: &[u8]) -> Result<(), StoreError> {
    let path = inside(root, key).ok_or_else(|| StoreError::Outside {
        what: key.to_owned(),
    })?;
    let written = path.parent().map_or(Ok(()), make_folders);
    written
        .and_then(|()| replace(&path, body))
        .map_err(|source| StoreError::Unwritable {
            what: key.to_owned(),
            source,
        })
}

/// Removes the file `key`, if it is there.
pub(super) fn remove(root: &Path, key: &str) -> Result<(), StoreError> {
    let path = inside(root, key).ok_or_else(|| StoreError::Outside {
        what: key.to_owned(),
    })?;
    let removed = match fs::remove_file(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed,
    };
    removed
        .and_then(|()| path.parent().map_or(Ok(()), sync_folder))
        .map_err(|source| StoreError::Unwritable {
            what: key.to_owned(),
            source,
        })
}

/// The path of `key`, when it leads nowhere but below `root`.
fn inside(root: &Path, key: &str) -> Option<PathBuf> {
    let below = Path::new(key).strip_prefix(root).ok()?;
    let plain = |part| matches!(part, Component::Normal(_));
    let some = below.components().next().is_some();
    (some && !key.ends_with('/') && below.components().all(plain)).then(|| root.join(below))
}

/// Makes a folder and those above it, each durable in the one above.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folders(above)?;
    }
    match fs::create_dir(folder) {
        // Another writer was faster.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made,
    }?;
    folder.parent().map_or(Ok(()), sync_folder)
}

fn replace(path: &Path, body: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let temporary = folder.join(format!(".{}.part", Uuid::new_v4()));
    let renamed = write_whole(&temporary, body).and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed?;
    sync_folder(folder)
}

fn write_whole(path: &Path, body: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(body)?;
    file.sync_all()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_below_its_folder() {
        let root = Path::new("/out");
        for (key, stays) in [
            ("/out/a/b.json", true),
            ("/out/..a/..json", true),
            ("/out/a/../../etc/x", false),
            ("/out/../x", false),
            ("/outer/x", false),
            ("/etc/passwd", false),
            ("/out", false),
            ("/out/a/", false),
        ] {
            assert_eq!(inside(root, key).is_some(), stays, "{key}");
        }
    }

    #[test]
    fn what_is_removed_is_gone_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let key = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        for name in ["a", "b"] {
            fs::write(key(name), "1").unwrap();
        }
        for _ in 0..2 {
            remove(dir.path(), &key("a")).unwrap();
        }
        assert!(!dir.path().join("a").exists() && dir.path().join("b").exists());
        let outside = remove(&dir.path().join("in"), &key("b")).unwrap_err();
        assert!(matches!(outside, StoreError::Outside { .. }), "{outside}");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("x")).unwrap();
        let key = dir.path().join("x");
        let error = write(dir.path(), key.to_str().unwrap(), b"1").unwrap_err();
        assert!(matches!(error, StoreError::Unwritable { .. }), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
