//! What was written of a draft, held against the manifest that is to be committed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{RepositoryError, names};
use crate::manifest::{Manifest, Part};

/// The parts of a draft that were begun, and what became of them. Shared with the parts' writers.
#[derive(Debug, Clone, Default)]
pub(super) struct Written(Arc<Mutex<BTreeMap<String, Option<Part>>>>);

impl Written {
    /// Notes that a part is begun.
    pub(super) fn begin(&self, part: &str) -> Result<(), RepositoryError> {
        names::check(part)?;
        let mut parts = self.lock();
        if parts.contains_key(part) {
            return Err(RepositoryError::Name {
                name: part.to_owned(),
                reason: "the backup has such a part",
            });
        }
        parts.insert(part.to_owned(), None);
        Ok(())
    }

    /// Notes that a part is whole.
    pub(super) fn finish(&self, part: &Part) {
        self.lock().insert(part.name.clone(), Some(part.clone()));
    }

    /// Whether a manifest is of this backup and names just the parts that were finished, as they were.
    pub(super) fn check(
        &self,
        place: String,
        name: &str,
        manifest: &Manifest,
    ) -> Result<(), RepositoryError> {
        match self.difference(name, manifest) {
            None => Ok(()),
            Some(reason) => Err(RepositoryError::Parts {
                place,
                name: name.to_owned(),
                reason,
            }),
        }
    }

    fn difference(&self, name: &str, manifest: &Manifest) -> Option<String> {
        if manifest.name != name {
            return Some(format!("its manifest is of {}", manifest.name));
        }
        let mut written = self.lock().clone();
        for part in &manifest.parts {
            let shown = &part.name;
            match written.remove(shown) {
                None => return Some(format!("{shown} was not written, or is named twice")),
                Some(None) => return Some(format!("{shown} was not finished")),
                Some(Some(w)) if (w.bytes, &w.sha256) != (part.bytes, &part.sha256) => {
                    return Some(format!(
                        "{shown} was written otherwise than its manifest says"
                    ));
                }
                Some(Some(_)) => {}
            }
        }
        let left = written.into_keys().next()?;
        Some(format!(
            "{left} was written, and its manifest does not name it"
        ))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<Part>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
