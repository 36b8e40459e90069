//! A manifest as it is stored, and where it says the bytes of its parts are.

use serde::{Deserialize, Serialize};

use super::{RepositoryError, names};
use crate::manifest::{self, Manifest, Part};

/// A manifest, and where its parts lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Stored {
    #[serde(flatten)]
    pub(super) manifest: Manifest,
    /// How the parts lie; none where each is a file beside the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) layout: Option<Layout>,
}

/// Parts in a folder beside the manifest, each cut into objects of a fixed size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    /// The folder.
    pub(super) folder: String,
    /// Bytes of each object of a part but the last.
    pub(super) object_bytes: u64,
}

/// What manifests of every form have.
#[derive(Deserialize)]
struct Form {
    manifest_version: u32,
}

/// A file or object that holds bytes of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its path below the backup's folder.
    pub(super) path: String,
    /// Its size.
    pub(super) bytes: u64,
    /// The first byte that is asked for.
    pub(super) from: u64,
}

impl Layout {
    /// The path of a part's n-th object, counted from 0: the first has the part's name.
    pub(super) fn path(&self, part: &str, number: u64) -> String {
        let folder = &self.folder;
        match number {
            0 => format!("{folder}/{part}"),
            // No name of a part has a tilde in it.
            number => format!("{folder}/{part}~{}", number + 1),
        }
    }
}

impl Stored {
    /// Of parts that lie beside the manifest.
    pub(super) fn beside(manifest: &Manifest) -> Result<Self, RepositoryError> {
        names::check(&manifest.name)?;
        let mut parts = manifest.parts.iter();
        parts.try_for_each(|part| names::check(&part.name))?;
        Ok(Self {
            manifest: manifest.clone(),
            layout: None,
        })
    }

    /// Reads the manifest of the backup `name`.
    pub(super) fn parse(place: &str, name: &str, text: &[u8]) -> Result<Self, RepositoryError> {
        let unusable = |reason: String| RepositoryError::Manifest {
            place: place.to_owned(),
            name: name.to_owned(),
            reason,
        };
        let broken = |e: serde_json::Error| {
            unusable(format!(
                "it is damaged ({e}); put {place}/{name}/manifest.json back from a copy, or move {place}/{name} out of \
                 the repository"
            ))
        };
        let Form { manifest_version } = serde_json::from_slice(text).map_err(broken)?;
        if manifest_version > manifest::VERSION {
            return Err(unusable(format!(
                "its form {manifest_version} is of a newer Stoker; use that one"
            )));
        }
        let stored: Self = serde_json::from_slice(text).map_err(broken)?;
        if stored.manifest.name != name {
            let other = &stored.manifest.name;
            return Err(unusable(format!(
                "it is of the backup {other}; give the folder that name again"
            )));
        }
        // Names become paths.
        let folders = stored.layout.iter().map(|layout| &layout.folder);
        let parts = stored.manifest.parts.iter().map(|part| &part.name);
        for name in folders.chain(parts) {
            names::check(name).map_err(|e| unusable(e.to_string()))?;
        }
        Ok(stored)
    }

    /// As it is written.
    pub(super) fn text(&self, place: &str) -> Result<Vec<u8>, RepositoryError> {
        let written = serde_json::to_vec_pretty(self);
        written.map_err(|e| RepositoryError::Manifest {
            place: place.to_owned(),
            name: self.manifest.name.clone(),
            reason: e.to_string(),
        })
    }

    /// Makes a change that leaves name and parts as they are.
    pub(super) fn change(
        &mut self,
        place: &str,
        change: super::Change<'_>,
    ) -> Result<(), RepositoryError> {
        let mut changed = self.manifest.clone();
        change(&mut changed);
        if (&changed.name, &changed.parts) != (&self.manifest.name, &self.manifest.parts) {
            return Err(RepositoryError::Manifest {
                place: place.to_owned(),
                name: self.manifest.name.clone(),
                reason: "a change would give it another name or other parts".to_owned(),
            });
        }
        self.manifest = changed;
        Ok(())
    }

    /// A part by its name.
    pub(super) fn part(&self, place: &str, part: &str) -> Result<&Part, RepositoryError> {
        let found = self.manifest.parts.iter().find(|p| p.name == part);
        found.ok_or_else(|| RepositoryError::NoPart {
            place: place.to_owned(),
            name: self.manifest.name.clone(),
            part: part.to_owned(),
        })
    }

    /// The files or objects of all parts, below the backup's folder.
    pub(super) fn paths(&self) -> Vec<String> {
        let parts = self.manifest.parts.iter();
        let pieces = parts.flat_map(|part| self.pieces(part, 0));
        pieces.map(|piece| piece.path).collect()
    }

    /// Where the bytes of a part are, from an offset on.
    pub(super) fn pieces(&self, part: &Part, from: u64) -> Vec<Piece> {
        let Some(layout) = &self.layout else {
            return vec![Piece {
                path: part.name.clone(),
                bytes: part.bytes,
                from: from.min(part.bytes),
            }];
        };
        let size = layout.object_bytes.max(1);
        let count = part.bytes.div_ceil(size).max(1);
        let first = (from / size).min(count - 1);
        (first..count)
            .map(|number| Piece {
                path: layout.path(&part.name, number),
                bytes: (part.bytes - number * size).min(size),
                from: from
                    .saturating_sub(number * size)
                    .min((part.bytes - number * size).min(size)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(layout: Option<Layout>, bytes: u64) -> Stored {
        let text = format!(
            r#"{{"manifest_version":1,"name":"x","store":"postgresql","source":"fhir","engine":"native",
            "started":"2026-01-01T00:00:00Z","ended":"2026-01-01T00:00:01Z","about":{{}},
            "parts":[{{"name":"p","bytes":{bytes},"sha256":"","compression":"none","raw_bytes":0}}]}}"#
        );
        let mut stored = Stored::parse("here", "x", text.as_bytes()).unwrap();
        stored.layout = layout;
        stored
    }

    #[test]
    fn a_part_is_found_from_any_byte_on() {
        let layout = Layout {
            folder: "id".to_owned(),
            object_bytes: 10,
        };
        for bytes in [0, 1, 9, 10, 11, 20, 25, 30] {
            for from in 0..=bytes + 1 {
                for layout in [None, Some(layout.clone())] {
                    let stored = stored(layout, bytes);
                    let pieces = stored.pieces(&stored.manifest.parts[0], from);
                    let rest: u64 = pieces.iter().map(|p| p.bytes - p.from).sum();
                    assert_eq!(rest, bytes.saturating_sub(from), "{bytes} {from}");
                }
            }
        }
        let paths = stored(Some(layout), 25).paths();
        assert_eq!(paths, ["id/p", "id/p~2", "id/p~3"]);
    }

    #[test]
    fn a_manifest_is_written_as_it_is_read() {
        let layout = Layout {
            folder: "id".to_owned(),
            object_bytes: 10,
        };
        for layout in [None, Some(layout)] {
            let stored = stored(layout, 7);
            let text = stored.text("here").unwrap();
            assert_eq!(Stored::parse("here", "x", &text).unwrap(), stored);
        }
    }

    #[test]
    fn a_manifest_that_cannot_be_used_says_why() {
        let good = String::from_utf8(stored(None, 7).text("here").unwrap()).unwrap();
        for (text, why) in [
            (good.replace("\"x\"", "\"y\""), "of the backup y"),
            (good.replace("version\": 1", "version\": 2"), "newer Stoker"),
            (good.replace("\"p\"", "\"../p\""), "no name for"),
            (good[..good.len() / 2].to_owned(), "damaged"),
            (String::new(), "damaged"),
        ] {
            let error = Stored::parse("here", "x", text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
