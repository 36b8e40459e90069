//! An archive that becomes files and folders.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::RestoreError;
use super::error::failed;
use super::files;
use super::parts::Kind;
use super::tablespaces::{MAP, Tablespaces};
use crate::server::User;
use crate::tar::{self, Event, Header, Reader, TarError};

/// `pg_control` until all else is there.
pub(super) const HELD: &str = "global/pg_control.restoring";

/// Takes an archive's bytes and makes its files below a folder. Nothing outside of the folder is touched, whatever the
/// archive holds: links are made by [`Tree::finish`], so that no entry goes through one.
#[derive(Debug)]
pub(super) struct Tree {
    tar: Reader,
    sink: Sink,
}

#[derive(Debug)]
struct Sink {
    part: String,
    kind: Kind,
    root: PathBuf,
    owner: Option<User>,
    spaces: Arc<Tablespaces>,
    open: Option<(PathBuf, File)>,
}

impl Tree {
    pub(super) fn new(
        kind: Kind,
        part: &str,
        root: PathBuf,
        owner: Option<User>,
        spaces: Arc<Tablespaces>,
    ) -> Self {
        Self {
            tar: Reader::new(),
            sink: Sink {
                part: part.to_owned(),
                kind,
                root,
                owner,
                spaces,
                open: None,
            },
        }
    }

    /// Makes the links, when all of the archive was taken.
    pub(super) fn finish(self) -> Result<(), RestoreError> {
        let whole = self.tar.finish();
        whole.map_err(|source| Wrong::Tar(source).of(&self.sink.part))?;
        if self.sink.kind == Kind::Base {
            let Sink {
                spaces,
                root,
                owner,
                ..
            } = &self.sink;
            spaces.link(root, *owner)?;
        }
        Ok(())
    }
}

impl Write for Tree {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sink = &mut self.sink;
        let pushed = self.tar.push(bytes, &mut |event| sink.take(&event));
        let pushed = pushed.map_err(|wrong| wrong.of(&self.sink.part));
        pushed.map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Wrong {
    Tar(TarError),
    Other(RestoreError),
}

impl From<TarError> for Wrong {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

impl From<RestoreError> for Wrong {
    fn from(error: RestoreError) -> Self {
        Self::Other(error)
    }
}

impl Wrong {
    fn of(self, part: &str) -> RestoreError {
        match self {
            Self::Tar(source) => RestoreError::Tar {
                part: part.to_owned(),
                source,
            },
            Self::Other(error) => error,
        }
    }
}

impl Sink {
    fn take(&mut self, event: &Event<'_>) -> Result<(), Wrong> {
        match event {
            Event::Begin(header) => self.begin(header)?,
            Event::Data(bytes) => {
                if let Some((path, file)) = &mut self.open {
                    file.write_all(bytes).map_err(failed(path, "written"))?;
                }
            }
            Event::End => self.open = None,
        }
        Ok(())
    }

    fn begin(&mut self, header: &Header) -> Result<(), RestoreError> {
        let path = self.below(&header.path)?;
        match &header.kind {
            tar::Kind::Folder => files::make_folder(&self.root.join(path), header.mode, self.owner),
            tar::Kind::Link(_) => self.look_at_link(&header.path, &path),
            tar::Kind::File => {
                let base = self.kind == Kind::Base;
                let path = match path.to_str() {
                    // Its old paths are not where tablespaces are to be.
                    Some(MAP) if base && !self.spaces.is_empty() => return Ok(()),
                    Some("global/pg_control") if base => Path::new(HELD),
                    _ => &path,
                };
                let path = self.root.join(path);
                let file = files::make_file(&path, header.mode, self.owner)?;
                self.open = Some((path, file));
                Ok(())
            }
        }
    }

    /// The path below the root; names that lead out of it are refused.
    fn below(&self, path: &[u8]) -> Result<PathBuf, RestoreError> {
        use std::os::unix::ffi::OsStrExt as _;
        let entry = Path::new(std::ffi::OsStr::from_bytes(path));
        let mut below = PathBuf::new();
        for component in entry.components() {
            match component {
                Component::Normal(name) => below.push(name),
                Component::CurDir => {}
                _ => return Err(self.refused(path, "it leads out of the folder")),
            }
        }
        Ok(below)
    }

    /// Only tablespaces are linked to.
    fn look_at_link(&self, entry: &[u8], path: &Path) -> Result<(), RestoreError> {
        let oid = path.strip_prefix("pg_tblspc").ok().and_then(Path::to_str);
        match oid {
            Some(oid) if self.kind == Kind::Base && self.spaces.has(oid) => Ok(()),
            _ => Err(self.refused(entry, "it is a link, and to no tablespace of the backup")),
        }
    }

    fn refused(&self, entry: &[u8], what: &'static str) -> RestoreError {
        RestoreError::Entry {
            part: self.part.clone(),
            entry: String::from_utf8_lossy(entry).into_owned(),
            what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extract(root: &Path, header: &Header) -> Result<(), RestoreError> {
        let spaces = Arc::new(Tablespaces::default());
        let mut tree = Tree::new(Kind::Base, "base.tar", root.to_owned(), None, spaces);
        let archive = [&header.to_block().unwrap()[..], &tar::END].concat();
        let written = tree.write_all(&archive);
        written.map_err(|e| e.downcast::<RestoreError>().unwrap())?;
        tree.finish()
    }

    #[test]
    fn nothing_is_made_outside_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        extract(&root, &Header::file("./good", 0, 0o600, 0)).unwrap();
        let link = |path: &str| Header {
            kind: tar::Kind::Link(b"/etc".to_vec()),
            ..Header::file(path, 0, 0o777, 0)
        };
        for bad in [
            Header::file("../bad", 0, 0o600, 0),
            Header::file("a/../../bad", 0, 0o600, 0),
            Header::file("/tmp/bad", 0, 0o600, 0),
            link("bad"),
            link("pg_wal"),
            link("pg_tblspc/1"),
        ] {
            let error = extract(&root, &bad).unwrap_err();
            assert!(matches!(error, RestoreError::Entry { .. }), "{error}");
        }
        let twice = extract(&root, &Header::file("good", 0, 0o600, 0));
        assert!(matches!(twice, Err(RestoreError::Files { .. })));
        let made = |folder: &Path| std::fs::read_dir(folder).unwrap().count();
        assert_eq!((made(folder.path()), made(&root)), (1, 1));
    }

    #[test]
    fn an_archive_that_is_cut_off_is_no_archive() {
        let folder = tempfile::tempdir().unwrap();
        let spaces = Arc::new(Tablespaces::default());
        let root = folder.path().to_owned();
        let mut tree = Tree::new(Kind::Base, "base.tar", root, None, spaces);
        let header = Header::file("half", 600, 0o600, 0).to_block().unwrap();
        tree.write_all(&[header, [7; tar::BLOCK]].concat()).unwrap();
        assert!(matches!(tree.finish(), Err(RestoreError::Tar { .. })));
    }
}
