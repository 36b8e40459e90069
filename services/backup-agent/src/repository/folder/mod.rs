//! A repository in a folder.
//!
//! `NAME/` is a backup: its parts and `manifest.json`. Hidden beside them: `.draft-ID/` with `owner`, who writes it, and
//! `NAME/`, which commit renames to its place; `.gone-ID/`, what is being removed. Every step that counts is a rename,
//! which happens or does not, and is durable when the call that made it returns.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::StreamExt;
use stoker_shared::clock::SharedClock;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::stored::{Piece, Stored};
use super::{Change, Draft, Found, PartStream, Repository, RepositoryError, names};
use crate::manifest::{self, Manifest};

mod adopt;
mod clean;
mod direct;
mod draft;
mod files;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// What the names of drafts begin with.
const DRAFT: &str = ".draft-";

/// What the names of what is being removed begin with.
const GONE: &str = ".gone-";

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
    clock: SharedClock,
}

impl Folder {
    /// The one at an absolute path. The folder is made by the first backup; the one above it must be there.
    pub(super) fn new(root: impl Into<PathBuf>, clock: SharedClock) -> Self {
        Self {
            root: root.into(),
            clock,
        }
    }

    /// Does `work` where it may take its time.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, RepositoryError> + Send + 'static,
    ) -> Result<T, RepositoryError> {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&this)).await;
        done.unwrap_or_else(|e| Err(files::failed(&self.root, "used")(io::Error::other(e))))
    }

    fn stored(&self, name: &str) -> Result<Stored, RepositoryError> {
        names::check(name)?;
        let path = self.root.join(name).join(manifest::FILE_NAME);
        match std::fs::read(&path) {
            Ok(text) => Stored::parse(&self.place(), name, &text),
            Err(e) if is_absent(&e) => Err(self.not_found(name)),
            Err(e) => Err(files::failed(&path, "read")(e)),
        }
    }

    fn not_found(&self, name: &str) -> RepositoryError {
        RepositoryError::NotFound {
            place: self.place(),
            name: name.to_owned(),
        }
    }

    /// What it means that something of the name is there.
    fn taken(&self, name: &str) -> RepositoryError {
        let (place, name) = (self.place(), name.to_owned());
        if self.root.join(&name).join(manifest::FILE_NAME).exists() {
            RepositoryError::Exists { place, name }
        } else {
            RepositoryError::InTheWay { place, name }
        }
    }

    fn listed(&self) -> Result<Vec<String>, RepositoryError> {
        let mut names = files::names_in(&self.root)?;
        names.retain(|name| {
            names::check(name).is_ok() && self.root.join(name).join(manifest::FILE_NAME).is_file()
        });
        names.sort();
        Ok(names)
    }

    /// A backup's manifest, and what keeps others from changing it until it is dropped: the folder's own lock, so that
    /// no file is left behind. Where the file system locks no folders, the last of two at once wins.
    fn locked(&self, name: &str) -> Result<(File, Stored), RepositoryError> {
        let lock = File::open(self.root.join(name)).map_err(|_| self.not_found(name))?;
        let _ = lock.lock();
        Ok((lock, self.stored(name)?))
    }

    fn removed(&self, name: &str) -> Result<(), RepositoryError> {
        self.stored(name).map(drop).or_else(|e| match e {
            // A backup that cannot be used can be taken away.
            RepositoryError::Manifest { .. } => Ok(()),
            e => Err(e),
        })?;
        let hidden = self.root.join(files::new_name(GONE));
        match std::fs::rename(self.root.join(name), &hidden) {
            Err(e) if is_absent(&e) => return Err(self.not_found(name)),
            done => done.map_err(files::failed(&self.root.join(name), "removed"))?,
        }
        files::sync(&self.root)?;
        files::remove_all(&hidden)
    }

    fn pieces(&self, name: &str, part: &str, from: u64) -> Result<Vec<Piece>, RepositoryError> {
        let stored = self.stored(name)?;
        let part = stored.part(&self.place(), part)?;
        let pieces = stored.pieces(part, from);
        self.check_sizes(name, &pieces)?;
        Ok(pieces)
    }

    /// Fails unless all are there and have the size they should have.
    fn check_sizes(&self, name: &str, pieces: &[Piece]) -> Result<(), RepositoryError> {
        for piece in pieces {
            let path = self.root.join(name).join(&piece.path);
            let damaged = |reason| RepositoryError::Differs {
                what: path.display().to_string(),
                reason,
            };
            match std::fs::metadata(&path) {
                Ok(there) if there.len() == piece.bytes => {}
                Ok(there) => {
                    let (is, should) = (there.len(), piece.bytes);
                    return Err(damaged(format!("it has {is} bytes, not {should}")));
                }
                Err(e) if is_absent(&e) => return Err(damaged("it is not there".to_owned())),
                Err(e) => return Err(files::failed(&path, "read")(e)),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Repository for Folder {
    fn place(&self) -> String {
        self.root.display().to_string()
    }

    async fn begin(&self, name: &str) -> Result<Box<dyn Draft>, RepositoryError> {
        names::check(name)?;
        let name = name.to_owned();
        let begun = self.on_disk(move |this| draft::begin(this, name)).await?;
        Ok(Box::new(begun))
    }

    async fn names(&self) -> Result<Vec<String>, RepositoryError> {
        self.on_disk(Self::listed).await
    }

    async fn manifest(&self, name: &str) -> Result<Manifest, RepositoryError> {
        let name = name.to_owned();
        self.on_disk(move |this| Ok(this.stored(&name)?.manifest))
            .await
    }

    async fn amend(&self, name: &str, change: Change<'_>) -> Result<Manifest, RepositoryError> {
        names::check(name)?;
        let name = name.to_owned();
        let folder = self.root.join(&name);
        let (lock, mut stored) = self.on_disk(move |this| this.locked(&name)).await?;
        stored.change(&self.place(), change)?;
        let text = stored.text(&self.place())?;
        self.on_disk(move |_| {
            let _lock = lock;
            files::replace(&folder, manifest::FILE_NAME, &text)
        })
        .await?;
        Ok(stored.manifest)
    }

    async fn read(&self, name: &str, part: &str, from: u64) -> Result<PartStream, RepositoryError> {
        let (name, part) = (name.to_owned(), part.to_owned());
        let folder = self.root.join(&name);
        let pieces = self
            .on_disk(move |this| this.pieces(&name, &part, from))
            .await?;
        Ok(stream(folder, pieces))
    }

    async fn delete(&self, name: &str) -> Result<(), RepositoryError> {
        let name = name.to_owned();
        self.on_disk(move |this| this.removed(&name)).await
    }

    async fn found(&self, name: &str) -> Result<Vec<Found>, RepositoryError> {
        let name = name.to_owned();
        self.on_disk(move |this| adopt::found(this, &name)).await
    }

    async fn read_found(&self, name: &str, file: &Found) -> Result<PartStream, RepositoryError> {
        names::check(name)?;
        names::check(&file.name)?;
        let piece = Piece {
            path: file.name.clone(),
            bytes: file.bytes,
            from: 0,
        };
        Ok(stream(self.root.join(name), vec![piece]))
    }

    async fn adopt(&self, manifest: &Manifest) -> Result<(), RepositoryError> {
        let stored = Stored::beside(manifest)?;
        self.on_disk(move |this| adopt::adopt(this, &stored)).await
    }

    async fn clean(&self, under_way: &[String]) -> Result<Vec<String>, RepositoryError> {
        let under_way = under_way.to_owned();
        self.on_disk(move |this| clean::clean(this, &under_way))
            .await
    }
}

/// A file of this machine, and its bytes.
pub(crate) fn file(path: &Path) -> Result<(Found, PartStream), RepositoryError> {
    let there = std::fs::metadata(path).map_err(files::failed(path, "read"))?;
    let changed = there.modified().map_err(files::failed(path, "read"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let found = Found {
        name: name.into_owned(),
        bytes: there.len(),
        changed: changed.into(),
    };
    let piece = Piece {
        path: found.name.clone(),
        bytes: found.bytes,
        from: 0,
    };
    let folder = path.parent().unwrap_or(path).to_owned();
    Ok((found, stream(folder, vec![piece])))
}

/// The bytes of files in a folder, one after the other.
fn stream(folder: PathBuf, pieces: Vec<Piece>) -> PartStream {
    let (chunks, stream) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        for piece in pieces {
            let path = folder.join(&piece.path);
            if let Err(e) = read_piece(&path, &piece, &chunks) {
                // Nobody may listen any more.
                let _ = chunks.blocking_send(Err(files::failed(&path, "read")(e)));
                return;
            }
        }
    });
    ReceiverStream::new(stream).boxed()
}

type Chunks = mpsc::Sender<Result<Bytes, RepositoryError>>;

fn read_piece(path: &Path, piece: &Piece, chunks: &Chunks) -> io::Result<()> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(piece.from))?;
    let mut left = piece.bytes - piece.from;
    while left > 0 {
        let mut chunk = BytesMut::zeroed(CHUNK.min(usize::try_from(left).unwrap_or(CHUNK)));
        let read = match file.read(&mut chunk) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        left -= read as u64;
        chunk.truncate(read);
        if chunks.blocking_send(Ok(chunk.freeze())).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
