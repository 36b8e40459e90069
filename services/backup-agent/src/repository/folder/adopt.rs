//! Making a backup of a folder that somebody put there by hand.

use std::fs::{self, File};

use super::{Folder, files, is_absent};
use crate::manifest;
use crate::repository::stored::Stored;
use crate::repository::{Found, Repository as _, RepositoryError, names};

/// The files in a folder that is no backup.
pub(super) fn found(place: &Folder, name: &str) -> Result<Vec<Found>, RepositoryError> {
    names::check(name)?;
    let folder = place.root.join(name);
    let mut found = Vec::new();
    let entries = match fs::read_dir(&folder) {
        Err(e) if is_absent(&e) => return Err(place.not_found(name)),
        entries => entries.map_err(files::failed(&folder, "read"))?,
    };
    for entry in entries {
        let path = entry.map_err(files::failed(&folder, "read"))?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if file == manifest::FILE_NAME {
            return Err(place.taken(name));
        }
        // What an adoption that died was about to write.
        if file.starts_with(files::NEW) {
            continue;
        }
        let there = fs::metadata(&path).map_err(files::failed(&path, "read"))?;
        let foreign = |reason| RepositoryError::Foreign {
            what: path.display().to_string(),
            reason,
        };
        names::check(&file).map_err(|_| foreign("no part has such a name"))?;
        if !there.is_file() {
            return Err(foreign("it is no file"));
        }
        let changed = there.modified().map_err(files::failed(&path, "read"))?;
        found.push(Found {
            name: file.into_owned(),
            bytes: there.len(),
            changed: changed.into(),
        });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Writes its manifest, when its parts are durable. Who is at it holds the folder's lock, as who amends one.
pub(super) fn adopt(place: &Folder, stored: &Stored) -> Result<(), RepositoryError> {
    let name = &stored.manifest.name;
    let folder = place.root.join(name);
    let lock = match File::open(&folder) {
        Err(e) if is_absent(&e) => return Err(place.not_found(name)),
        opened => opened.map_err(files::failed(&folder, "read"))?,
    };
    let _ = lock.lock();
    if folder.join(manifest::FILE_NAME).exists() {
        return Err(place.taken(name));
    }
    for part in &stored.manifest.parts {
        place.check_sizes(name, &stored.pieces(part, 0))?;
        let path = folder.join(&part.name);
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(files::failed(&path, "written"))?;
    }
    let text = stored.text(&place.place())?;
    files::replace(&folder, manifest::FILE_NAME, &text)?;
    files::sync(&place.root)
}
