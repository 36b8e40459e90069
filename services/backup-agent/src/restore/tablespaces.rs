//! Where tablespaces go. The base archive begins with `backup_label` and `tablespace_map`, by which the server makes the
//! links in `pg_tblspc` anew when it starts on the backup:
//! <https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-LOWLEVEL-BASE-BACKUP>

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;

use super::archive::of_decoder;
use super::error::failed;
use super::parts::Parts;
use super::{RestoreError, files};
use crate::compress::Decoder;
use crate::repository::Repository;
use crate::server::User;
use crate::tar::{Event, Reader, TarError};

/// The file that says where tablespaces are: a line for each, its oid and its path.
pub(super) const MAP: &str = "tablespace_map";

const LABEL: &[u8] = b"backup_label";

/// Where tablespaces are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Places {
    /// Those with an old path or an oid of these to the new path, all others to where they were.
    Mapped(Vec<(PathBuf, PathBuf)>),
    /// Each into a folder below this one.
    Below(PathBuf),
}

/// Tablespaces of a backup, and the folders that they go to.
#[derive(Debug, Default)]
pub(super) struct Tablespaces(BTreeMap<String, PathBuf>);

impl Tablespaces {
    /// Gives each a place. Only the beginning of the base archive is read.
    pub(super) async fn place(
        repository: &dyn Repository,
        backup: &str,
        parts: &Parts<'_>,
        places: &Places,
    ) -> Result<Self, RestoreError> {
        let old = if parts.tablespaces.is_empty() {
            BTreeMap::new()
        } else {
            parse(&read_map(repository, backup, parts).await?)
        };
        let missing = parts
            .tablespaces
            .iter()
            .find(|(oid, _)| !old.contains_key(oid));
        if let Some((oid, _)) = missing {
            return Err(RestoreError::Incomplete {
                backup: backup.to_owned(),
                what: format!("its tablespace_map does not say where tablespace {oid} was"),
            });
        }
        let archived = |oid: &String| parts.tablespaces.iter().any(|(with, _)| with == oid);
        if let Some(oid) = old.keys().find(|oid| !archived(oid)) {
            return Err(RestoreError::Incomplete {
                backup: backup.to_owned(),
                what: format!(
                    "it has no {oid}.tar, the tablespace that was at {}",
                    old[oid].display()
                ),
            });
        }
        placed(old, places)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, oid: &str) -> bool {
        self.0.contains_key(oid)
    }

    pub(super) fn list(&self) -> Vec<(String, PathBuf)> {
        self.0
            .iter()
            .map(|(oid, path)| (oid.clone(), path.clone()))
            .collect()
    }

    /// Where it goes; none where the backup has no such tablespace.
    pub(super) fn folder(&self, oid: &str) -> Option<&Path> {
        self.0.get(oid).map(PathBuf::as_path)
    }

    /// Links to them from a data folder, and says in its map where they are.
    pub(super) fn link(&self, data: &Path, owner: Option<User>) -> Result<(), RestoreError> {
        let mut map = Vec::new();
        for (oid, folder) in &self.0 {
            let link = data.join("pg_tblspc").join(oid);
            std::os::unix::fs::symlink(folder, &link).map_err(failed(&link, "made"))?;
            files::give(&link, owner)?;
            map.extend_from_slice(&line(oid, folder));
        }
        if map.is_empty() {
            return Ok(());
        }
        files::write(&data.join(MAP), &map, owner)
    }
}

/// The same where it is known where they were, by their oid.
pub(super) fn placed(
    old: BTreeMap<String, PathBuf>,
    places: &Places,
) -> Result<Tablespaces, RestoreError> {
    if let Places::Mapped(pairs) = places {
        let unknown = pairs
            .iter()
            .find(|(from, _)| !old.iter().any(|(oid, path)| names(from, oid, path)));
        if let Some((from, _)) = unknown {
            let has: Vec<_> = old
                .values()
                .map(|path| path.display().to_string())
                .collect();
            return Err(RestoreError::NoTablespace {
                old: from.clone(),
                has: if has.is_empty() {
                    "none".to_owned()
                } else {
                    has.join(", ")
                },
            });
        }
    }
    let place = |(oid, path): (String, PathBuf)| {
        let new = match places {
            Places::Below(folder) => folder.join(&oid),
            Places::Mapped(pairs) => {
                let mapped = pairs.iter().find(|(from, _)| names(from, &oid, &path));
                mapped.map_or(path, |(_, to)| to.clone())
            }
        };
        (oid, new)
    };
    Ok(Tablespaces(old.into_iter().map(place).collect()))
}

/// Whether a mapping is of the tablespace: by its old path, or by its oid.
fn names(from: &Path, oid: &str, path: &Path) -> bool {
    from == path || from.as_os_str() == oid
}

async fn read_map(
    repository: &dyn Repository,
    backup: &str,
    parts: &Parts<'_>,
) -> Result<Vec<u8>, RestoreError> {
    let part = parts.base;
    let mut pieces = repository.read(backup, &part.name, 0).await?;
    let wrong = |error| of_decoder(&part.name, error);
    let mut decoder = Decoder::new(&part.compression, Beginning::default()).map_err(wrong)?;
    while let Some(piece) = pieces.try_next().await? {
        if let Err(error) = decoder.push(&piece) {
            return match error.downcast::<Stop>() {
                Ok(Stop::Enough(map)) => Ok(map),
                Ok(Stop::Tar(source)) => Err(RestoreError::Tar {
                    part: part.name.clone(),
                    source,
                }),
                Err(error) => Err(wrong(error)),
            };
        }
    }
    Ok(Vec::new())
}

/// Keeps the map of an archive, and stops at the first file after it.
#[derive(Debug, Default)]
struct Beginning {
    tar: Reader,
    in_map: bool,
    map: Vec<u8>,
}

/// Why no more of an archive is wanted.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("enough was read")]
    Enough(Vec<u8>),
    #[error(transparent)]
    Tar(#[from] TarError),
}

impl Write for Beginning {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (in_map, map) = (&mut self.in_map, &mut self.map);
        let pushed = self.tar.push(bytes, &mut |event| match event {
            Event::Begin(header) => {
                let path = header.path.strip_prefix(b"./").unwrap_or(&header.path);
                *in_map = path == MAP.as_bytes();
                if *in_map || path == LABEL {
                    return Ok(());
                }
                Err(Stop::Enough(std::mem::take(map)))
            }
            Event::Data(bytes) if *in_map => {
                map.extend_from_slice(bytes);
                Ok(())
            }
            _ => Ok(()),
        });
        pushed.map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines of `OID PATH`; a backslash before a character means that it is of the path.
fn parse(map: &[u8]) -> BTreeMap<String, PathBuf> {
    let (mut lines, mut line, mut escaped) = (Vec::new(), Vec::new(), false);
    for byte in map {
        match byte {
            b'\\' if !escaped => {
                escaped = true;
                continue;
            }
            b'\n' | b'\r' if !escaped => lines.push(std::mem::take(&mut line)),
            _ => line.push(*byte),
        }
        escaped = false;
    }
    lines.push(line);
    let parts = lines.iter().filter_map(|line| {
        let space = line.iter().position(|byte| *byte == b' ')?;
        let oid = std::str::from_utf8(&line[..space]).ok()?;
        let path = OsString::from_vec(line[space + 1..].to_vec());
        Some((oid.to_owned(), PathBuf::from(path)))
    });
    parts.collect()
}

fn line(oid: &str, folder: &Path) -> Vec<u8> {
    let mut line = format!("{oid} ").into_bytes();
    for byte in folder.as_os_str().as_bytes() {
        if [b'\n', b'\r', b'\\'].contains(byte) {
            line.push(b'\\');
        }
        line.push(*byte);
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_as_it_is_written() {
        let odd = PathBuf::from("/srv/a b\n\\c");
        let text = [line("16384", &odd), line("16385", Path::new("/srv/y"))].concat();
        assert_eq!(text, b"16384 /srv/a b\\\n\\\\c\n16385 /srv/y\n");
        let read = parse(&text);
        assert_eq!(read["16384"], odd);
        assert_eq!(read["16385"], Path::new("/srv/y"));
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn a_mapping_that_fits_nothing_is_told() {
        let old = BTreeMap::from([("1".to_owned(), PathBuf::from("/a"))]);
        let to = |from: &str| Places::Mapped(vec![(from.into(), "/new".into())]);
        let placed_at = |places| placed(old.clone(), &places).map(|spaces| spaces.list());
        assert_eq!(
            placed_at(to("/a")).unwrap(),
            [("1".to_owned(), PathBuf::from("/new"))]
        );
        let error = placed_at(to("/b")).unwrap_err().to_string();
        assert_eq!(error, "/b: the backup has no tablespace there; it has /a");
        let below = placed_at(Places::Below("/x".into())).unwrap();
        assert_eq!(below, [("1".to_owned(), PathBuf::from("/x/1"))]);
    }
}
