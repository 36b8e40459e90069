//! Writing a backup into a folder.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use stoker_shared::process;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::direct::DirectFile;
use super::{DRAFT, Folder, files};
use crate::manifest::{self, Manifest, Part};
use crate::repository::owner::Live;
use crate::repository::stored::Stored;
use crate::repository::written::Written;
use crate::repository::{Draft, PartWriter, Repository, RepositoryError, hex};

/// The file that says who writes a draft.
pub(super) const OWNER: &str = "owner";

/// Chunks on their way to the disk, at most.
const CHUNKS: usize = 16;

/// A backup that is being written into a folder.
#[derive(Debug)]
pub(super) struct FolderDraft {
    place: Folder,
    name: String,
    live: Arc<Live>,
    written: Written,
}

/// Begins a draft.
///
/// Died before the owner is written: the draft is nobody's, and over when it lay still for a day.
pub(super) fn begin(place: &Folder, name: String) -> Result<FolderDraft, RepositoryError> {
    if place.root.join(&name).symlink_metadata().is_ok() {
        return Err(place.taken(&name));
    }
    make_root(&place.root)?;
    let draft = FolderDraft {
        place: place.clone(),
        name,
        live: Arc::new(Live::new()),
        written: Written::default(),
    };
    if let Err(e) = draft.make() {
        // The first error is the one to tell.
        let _ = draft.remove();
        return Err(e);
    }
    Ok(draft)
}

fn make_root(root: &Path) -> Result<(), RepositoryError> {
    match files::make(root) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        // Making those above too would fill the wrong disk where one is not mounted.
        Err(e) => Err(files::failed(root, "made")(e)),
        Ok(()) => root.parent().map_or(Ok(()), files::sync),
    }
}

impl FolderDraft {
    fn folder(&self) -> PathBuf {
        self.place.root.join(format!("{DRAFT}{}", self.live.id()))
    }

    fn parts(&self) -> PathBuf {
        self.folder().join(&self.name)
    }

    fn make(&self) -> Result<(), RepositoryError> {
        let (folder, parts) = (self.folder(), self.parts());
        files::make(&folder).map_err(files::failed(&folder, "made"))?;
        files::write(&folder.join(OWNER), process::own().as_bytes())?;
        files::make(&parts).map_err(files::failed(&parts, "made"))
    }

    fn remove(&self) -> Result<(), RepositoryError> {
        files::remove_all(&self.folder())
    }

    fn lost_or(&self, error: RepositoryError) -> RepositoryError {
        if self.parts().exists() {
            return error;
        }
        RepositoryError::Lost {
            place: self.place.place(),
            name: self.name.clone(),
        }
    }

    fn commit_now(&self, manifest: &Manifest) -> Result<(), RepositoryError> {
        let (place, parts) = (self.place.place(), self.parts());
        self.written.check(place.clone(), &self.name, manifest)?;
        let stored = Stored {
            manifest: manifest.clone(),
            layout: None,
        };
        let text = stored.text(&place)?;
        let written = files::write(&parts.join(manifest::FILE_NAME), &text);
        let written = written.and_then(|()| files::sync(&parts));
        written.map_err(|e| self.lost_or(e))?;
        let to = self.place.root.join(&self.name);
        match fs::rename(&parts, &to) {
            Ok(()) => {}
            // What is in the way is looked at after it was found there: another may just have put it there.
            Err(_) if to.symlink_metadata().is_ok() => return Err(self.place.taken(&self.name)),
            Err(e) => return Err(self.lost_or(files::failed(&to, "written")(e))),
        }
        files::sync(&self.place.root)
    }
}

#[async_trait]
impl Draft for FolderDraft {
    async fn part(&self, name: &str) -> Result<Box<dyn PartWriter>, RepositoryError> {
        self.written.begin(name)?;
        let path = self.parts().join(name);
        let opening = path.clone();
        let opened = self
            .place
            .on_disk(move |_| DirectFile::create(&opening))
            .await;
        let file = opened.map_err(|e| self.lost_or(e))?;
        let (to_write, chunks) = mpsc::channel(CHUNKS);
        let writing = tokio::task::spawn_blocking(move || write_all(file, chunks));
        let (to_sum, chunks) = mpsc::channel(CHUNKS);
        Ok(Box::new(FolderPart {
            name: name.to_owned(),
            to_write,
            to_sum,
            writing: Some(writing),
            summing: tokio::task::spawn_blocking(move || sum_all(chunks)),
            path,
            written: self.written.clone(),
            _live: Arc::clone(&self.live),
        }))
    }

    async fn commit(self: Box<Self>, manifest: &Manifest) -> Result<(), RepositoryError> {
        let (place, manifest) = (self.place.clone(), manifest.clone());
        let committed = place.on_disk(move |_| {
            let committed = self.commit_now(&manifest);
            // The backup is there or is not; what is left of the draft is found by `clean`.
            if let Err(error) = self.remove() {
                tracing::warn!(%error, "a draft that is over stays behind");
            }
            committed
        });
        committed.await
    }

    async fn abandon(self: Box<Self>) -> Result<(), RepositoryError> {
        let place = self.place.clone();
        place.on_disk(move |_| self.remove()).await
    }
}

/// A part that is being written by a thread of its own, and summed by another: both take as long.
#[derive(Debug)]
struct FolderPart {
    name: String,
    path: PathBuf,
    to_write: mpsc::Sender<Bytes>,
    to_sum: mpsc::Sender<Bytes>,
    /// None once it has failed.
    writing: Option<JoinHandle<io::Result<DirectFile>>>,
    summing: JoinHandle<(u64, Sha256)>,
    written: Written,
    _live: Arc<Live>,
}

fn write_all(mut file: DirectFile, mut coming: mpsc::Receiver<Bytes>) -> io::Result<DirectFile> {
    while let Some(chunk) = coming.blocking_recv() {
        file.write(&chunk)?;
    }
    Ok(file)
}

fn sum_all(mut coming: mpsc::Receiver<Bytes>) -> (u64, Sha256) {
    let (mut bytes, mut sum) = (0, Sha256::new());
    while let Some(chunk) = coming.blocking_recv() {
        sum.update(&chunk);
        bytes += chunk.len() as u64;
    }
    (bytes, sum)
}

impl FolderPart {
    /// Gives both threads more bytes; whether that which writes took them. There is room in both before either gets
    /// any: dropped in between, neither has bytes that the other has not.
    async fn hand_over(&self, bytes: Bytes) -> bool {
        let (to_sum, to_write) = tokio::join!(self.to_sum.reserve(), self.to_write.reserve());
        let Ok(to_write) = to_write else {
            return false;
        };
        // The thread that sums ends early only where it panics, which `finish` tells.
        if let Ok(to_sum) = to_sum {
            to_sum.send(bytes.clone());
        }
        to_write.send(bytes);
        true
    }

    /// What the thread that writes hands back; what failed once has failed for good.
    async fn file(&mut self) -> io::Result<DirectFile> {
        match self.writing.take() {
            Some(writing) => writing.await.unwrap_or_else(|e| Err(io::Error::other(e))),
            None => Err(io::Error::other("it has failed before")),
        }
    }
}

#[async_trait]
impl PartWriter for FolderPart {
    async fn write(&mut self, bytes: Bytes) -> Result<(), RepositoryError> {
        if self.hand_over(bytes).await {
            return Ok(());
        }
        let ended = self.file().await;
        let fault = ended
            .err()
            .unwrap_or_else(|| io::Error::other("its thread has ended"));
        Err(files::failed(&self.path, "written")(fault))
    }

    async fn finish(self: Box<Self>) -> Result<Part, RepositoryError> {
        let mut this = *self;
        let failed = files::failed(&this.path, "written");
        // The end of the bytes, for the threads.
        (this.to_write, this.to_sum) = (mpsc::channel(1).0, mpsc::channel(1).0);
        let file = this.file().await;
        let synced = tokio::task::spawn_blocking(move || file?.finish());
        let synced = synced.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        synced.map_err(failed)?;
        let summed = this.summing.await.map_err(io::Error::other);
        let (bytes, sum) = summed.map_err(files::failed(&this.path, "summed"))?;
        let part = Part {
            name: this.name,
            bytes,
            sha256: hex(sum),
            compression: "none".to_owned(),
            raw_bytes: bytes,
        };
        this.written.finish(&part);
        Ok(part)
    }
}
