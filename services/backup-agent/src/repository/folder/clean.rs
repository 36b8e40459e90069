//! Taking away what is left of drafts and deletions that are over.

use std::fs::{self, File};
use std::path::Path;

use chrono::{DateTime, Utc};

use super::draft::OWNER;
use super::{DRAFT, Folder, GONE, files};
use crate::repository::RepositoryError;
use crate::repository::owner::Trace;

/// Takes it away; answers what it was.
///
/// Died at any time: what is left is found by the next.
pub(super) fn clean(place: &Folder, under_way: &[String]) -> Result<Vec<String>, RepositoryError> {
    let mut cleaned = Vec::new();
    for entry in files::names_in(&place.root)? {
        if let Some(id) = entry.strip_prefix(DRAFT) {
            cleaned.extend(clean_draft(place, id, under_way)?);
        } else if entry.starts_with(GONE) {
            files::remove_all(&place.root.join(&entry))?;
            cleaned.push("what is left of a backup that was deleted".to_owned());
        } else if !entry.starts_with('.') {
            clean_backup(&place.root.join(&entry))?;
        }
    }
    Ok(cleaned)
}

fn clean_draft(
    place: &Folder,
    id: &str,
    under_way: &[String],
) -> Result<Option<String>, RepositoryError> {
    let folder = place.root.join(format!("{DRAFT}{id}"));
    let names = files::names_in(&folder)?;
    let name = names.into_iter().find(|name| name != OWNER);
    let trace = Trace {
        id,
        name: name.as_deref().unwrap_or_default(),
        owner: &fs::read_to_string(folder.join(OWNER)).unwrap_or_default(),
        changed: changed(&folder),
    };
    if !trace.is_over(under_way, place.clock.now()) {
        return Ok(None);
    }
    // After this rename its writer, should it live after all, can commit no more.
    let hidden = place.root.join(files::new_name(GONE));
    if let Err(e) = fs::rename(&folder, &hidden) {
        // Another took it away, or it has just ended by itself.
        let done = !folder.exists();
        return if done {
            Ok(None)
        } else {
            Err(files::failed(&folder, "removed")(e))
        };
    }
    files::remove_all(&hidden)?;
    Ok(Some(trace.shown()))
}

/// Removes manifests that were to take the place of one.
fn clean_backup(folder: &Path) -> Result<(), RepositoryError> {
    if !folder.is_dir() {
        return Ok(());
    }
    let mut names = files::names_in(folder)?;
    names.retain(|name| name.starts_with(files::NEW));
    if names.is_empty() {
        return Ok(());
    }
    // Who writes one holds the lock.
    let locked = File::open(folder).is_ok_and(|folder| folder.try_lock().is_ok());
    for name in names.iter().filter(|_| locked) {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(files::failed(&path, "removed"))?;
    }
    Ok(())
}

/// When something of a draft changed last, as its files tell; now where they do not.
fn changed(draft: &Path) -> DateTime<Utc> {
    let time = |path: &Path| -> Option<DateTime<Utc>> {
        Some(path.symlink_metadata().ok()?.modified().ok()?.into())
    };
    let below = |folder: &Path| -> Vec<_> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let mut paths = below(draft);
    let parts: Vec<_> = paths.iter().flat_map(|path| below(path)).collect();
    paths.extend(parts);
    let newest = paths.iter().filter_map(|path| time(path)).max();
    newest
        .or_else(|| time(draft))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
