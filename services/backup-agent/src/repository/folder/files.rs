//! Files and folders that are durable when the call returns, and that nobody but the owner reads: they hold patients' data.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use uuid::Uuid;

use crate::repository::RepositoryError;

/// What the names of new manifests begin with until they take the place of the old one.
pub(super) const NEW: &str = ".new-";

/// A name that no other file or folder has.
pub(super) fn new_name(start: &str) -> String {
    format!("{start}{}", Uuid::new_v4().simple())
}

/// Makes an error of the system's one of ours.
pub(super) fn failed(
    path: &Path,
    doing: &'static str,
) -> impl FnOnce(io::Error) -> RepositoryError + use<> {
    let what = path.display().to_string();
    move |source| RepositoryError::Files {
        what,
        doing,
        source,
    }
}

/// Makes a folder in one that is there. One that is there already fails.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)
}

/// Opens a file that is not there yet.
pub(super) fn create(path: &Path) -> Result<File, RepositoryError> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    opened.map_err(failed(path, "written"))
}

/// Writes a file that is not there yet.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), RepositoryError> {
    let mut file = create(path)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.map_err(failed(path, "written"))
}

/// Puts a file in the place of another.
///
/// Died before the rename: the old one stands, and a file that begins with [`NEW`] is left. After: the new one does.
pub(super) fn replace(folder: &Path, name: &str, content: &[u8]) -> Result<(), RepositoryError> {
    let new = folder.join(new_name(NEW));
    let path = folder.join(name);
    let renamed = write(&new, content)
        .and_then(|()| fs::rename(&new, &path).map_err(failed(&path, "written")));
    if renamed.is_err() {
        let _ = fs::remove_file(&new);
    }
    renamed?;
    sync(folder)
}

/// Makes the names in a folder durable.
pub(super) fn sync(folder: &Path) -> Result<(), RepositoryError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed(folder, "written"))
}

/// Removes a folder with all that is in it; another may be at it too.
pub(super) fn remove_all(folder: &Path) -> Result<(), RepositoryError> {
    loop {
        match fs::remove_dir_all(folder) {
            Err(_) if !folder.exists() => return Ok(()),
            // The other was faster with something in it.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            done => return done.map_err(failed(folder, "removed")),
        }
    }
}

/// Names in a folder; none where it is not there. Names that are no UTF-8 are none of ours.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>, RepositoryError> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed(folder, "read"))?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
    let names: Result<Vec<_>, _> = names.collect();
    let names = names.map_err(failed(folder, "read"))?;
    Ok(names.into_iter().flatten().collect())
}
