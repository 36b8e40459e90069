//! Taking away what is left of drafts and deletions that are over, as their notes tell.

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use stoker_shared::object_store::{Listed, ObjectStore, OnlyIf, StoreError};
use stoker_shared::process;

use super::note::{FOLDER, SUFFIX, Text};
use super::{RepositoryError, S3};
use crate::repository::owner::Trace;

/// Takes it away; answers what it was.
///
/// Died at any time: the note is still there, and the next does the rest.
pub(super) async fn clean(
    place: &S3,
    under_way: &[String],
) -> Result<Vec<String>, RepositoryError> {
    let mut cleaned = Vec::new();
    let mut notes = place.bucket.below(FOLDER).list();
    while let Some(item) = notes.try_next().await? {
        let Listed::Object(note) = item else {
            continue;
        };
        cleaned.extend(clean_one(place, &note.key, note.last_modified, under_way).await?);
    }
    Ok(cleaned)
}

async fn clean_one(
    place: &S3,
    key: &str,
    changed: DateTime<Utc>,
    under_way: &[String],
) -> Result<Option<String>, RepositoryError> {
    let (text, etag) = match place.bucket.read_whole(key).await {
        Err(StoreError::NotFound { .. }) => return Ok(None),
        read => read?,
    };
    let mut text: Text = serde_json::from_slice(&text).unwrap_or_default();
    let id = key.rsplit('/').next().unwrap_or_default();
    let trace = Trace {
        id: id.trim_end_matches(SUFFIX),
        name: &text.name,
        owner: &text.owner,
        changed,
    };
    if !trace.is_over(under_way, place.clock.now()) {
        return Ok(None);
    }
    let shown = trace.shown();
    // After this its writer, should it live after all, gives up.
    text.owner = process::own();
    let taken = place.bucket.put_if(key, text.bytes(), OnlyIf::Is(&etag));
    if taken.await?.is_none() {
        return Ok(None);
    }
    let left = !is_backup(place, &text).await?;
    if left {
        place.remove(&text.name, &text.paths).await?;
        // A writer that lived after all may have written its manifest a moment ago.
        if is_backup(place, &text).await? {
            let key = place.manifest_key(&text.name);
            place.bucket.remove(&key).await?;
        }
    }
    place.bucket.remove(key).await?;
    Ok(left.then_some(shown))
}

/// Whether a backup consists of what a note names. One whose manifest cannot be read is left as it is.
async fn is_backup(place: &S3, text: &Text) -> Result<bool, RepositoryError> {
    let stored = match place.stored(&text.name).await {
        Ok((stored, _)) => stored,
        Err(RepositoryError::NotFound { .. } | RepositoryError::Name { .. }) => return Ok(false),
        Err(RepositoryError::Manifest { .. }) => return Ok(true),
        Err(e) => return Err(e),
    };
    let named = stored.paths();
    Ok(text.paths.iter().any(|path| named.contains(path)))
}
