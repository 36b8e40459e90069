//! Files below a folder, or one file.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Take};
use std::ops::Range;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{ByteStream, Chunks, Listed, ObjectMeta, ObjectStore, StoreError, files};
use crate::buffers::Buffers;

/// The bucket name that the seed's schema gives to local files.
pub const LOCAL_BUCKET: &str = ":local";

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// Chunks on their way to who takes them, about.
const CHUNKS_KEPT: usize = 4;

/// This machine's name, the `reach` of its local folders.
pub fn host_name() -> String {
    let read = |path: &str| fs::read_to_string(path).ok();
    let name = read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname"));
    let name = name.map(|n| n.trim().to_owned()).unwrap_or_default();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

/// A folder, searched to any depth, or a single file. Links to files are followed, links to folders are not
/// (a link upwards would never end). Names that start with a dot are passed over.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder or file at an absolute path.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl Folder {
    async fn change(
        &self,
        key: &str,
        change: impl FnOnce(&Path, &str) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let (root, changed) = (self.root.clone(), key.to_owned());
        let done = tokio::task::spawn_blocking(move || change(&root, &changed));
        done.await.map_err(|e| StoreError::Unwritable {
            what: key.to_owned(),
            source: std::io::Error::other(e),
        })?
    }
}

#[async_trait]
impl ObjectStore for Folder {
    fn list(&self) -> BoxStream<'static, Result<Listed, StoreError>> {
        let root = self.root.clone();
        let what = root.display().to_string();
        listing(what, move |items| walk(&root, items))
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let metadata = tokio::fs::metadata(key).await;
        describe(
            key.to_owned(),
            &metadata.map_err(|e| StoreError::from_io(key, e))?,
        )
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<ByteStream, StoreError> {
        let mut reader = Reader::new(key, range);
        let opened = tokio::task::spawn_blocking(move || {
            reader.open()?;
            Ok::<_, StoreError>(reader)
        });
        let reader = opened.await.map_err(|e| StoreError::Io {
            what: "reader".to_owned(),
            source: std::io::Error::other(e),
        })??;
        let (chunks, stream) = mpsc::channel(1);
        tokio::task::spawn_blocking(move || {
            for chunk in reader {
                if chunks.blocking_send(chunk).is_err() {
                    return;
                }
            }
        });
        Ok(ReceiverStream::new(stream).boxed())
    }

    fn get_here(&self, key: &str, range: Range<u64>) -> Option<Chunks> {
        Some(Box::new(Reader::new(key, range)))
    }

    async fn put(&self, key: &str, body: Bytes, _content_type: &str) -> Result<(), StoreError> {
        self.change(key, move |root, key| files::write(root, key, &body))
            .await
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.change(key, files::remove).await
    }
}

/// What `walk` sends. One that panics ends the listing with an error: it must not look whole.
fn listing(
    what: String,
    walk: impl FnOnce(&Items) + Send + 'static,
) -> BoxStream<'static, Result<Listed, StoreError>> {
    let (items, listing) = mpsc::channel(1024);
    let walking = items.clone();
    let walk = tokio::task::spawn_blocking(move || walk(&walking));
    tokio::spawn(async move {
        if let Err(e) = walk.await {
            let reason = e.to_string();
            // Nobody may listen any more.
            let _ = items
                .send(Err(StoreError::BrokenListing { what, reason }))
                .await;
        }
    });
    ReceiverStream::new(listing).boxed()
}

/// Reads a range of a file chunk by chunk.
#[derive(Debug)]
struct Reader {
    key: String,
    range: Range<u64>,
    file: Option<Take<File>>,
    /// Nothing comes after an error.
    failed: bool,
    buffers: Buffers,
}

impl Reader {
    /// Opens the file as soon as something is read.
    fn new(key: &str, range: Range<u64>) -> Self {
        Self {
            key: key.to_owned(),
            range,
            file: None,
            failed: false,
            buffers: Buffers::new(CHUNK, CHUNKS_KEPT),
        }
    }

    fn open(&mut self) -> Result<&mut Take<File>, StoreError> {
        if self.file.is_none() {
            let opened = open_at(&self.key, self.range.start);
            let file = opened.map_err(|e| StoreError::from_io(&self.key, e))?;
            let length = self.range.end.saturating_sub(self.range.start);
            self.file = Some(file.take(length));
        }
        match &mut self.file {
            Some(file) => Ok(file),
            None => unreachable!("it was opened just now"),
        }
    }

    fn read(&mut self) -> Result<Option<Bytes>, StoreError> {
        let mut buffer = self.buffers.take();
        let filled = fill(self.open()?, &mut buffer);
        match filled.map_err(|e| StoreError::from_io(&self.key, e))? {
            0 => Ok(None),
            n => Ok(Some(self.buffers.give(buffer, n))),
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Bytes, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read();
        self.failed = read.is_err();
        read.transpose()
    }
}

fn open_at(key: &str, start: u64) -> std::io::Result<File> {
    let mut file = File::open(key)?;
    if start > 0 {
        file.seek(SeekFrom::Start(start))?;
    }
    Ok(file)
}

fn fill(file: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

fn describe(key: String, metadata: &Metadata) -> Result<ObjectMeta, StoreError> {
    let modified = metadata
        .modified()
        .map_err(|e| StoreError::from_io(&key, e))?;
    let modified: DateTime<Utc> = modified.into();
    let micros = modified.timestamp_micros();
    Ok(ObjectMeta {
        bucket_name: LOCAL_BUCKET.to_owned(),
        size: metadata.len(),
        etag: String::new(),
        last_modified: DateTime::from_timestamp_micros(micros).unwrap_or(modified),
        key,
    })
}

type Items = mpsc::Sender<Result<Listed, StoreError>>;

/// Sends what lies below `root`; ends early when nobody listens any more.
fn walk(root: &Path, items: &Items) {
    let show = |path: &Path| path.display().to_string();
    let metadata = match fs::metadata(root) {
        Ok(metadata) => metadata,
        Err(e) => {
            let _ = items.blocking_send(Err(StoreError::from_io(show(root), e)));
            return;
        }
    };
    if metadata.is_file() {
        let _ = items.blocking_send(Ok(list_file(root)));
        return;
    }
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if folder == root => {
                let _ = items.blocking_send(Err(StoreError::from_io(show(root), e)));
                return;
            }
            Err(e) => {
                let reason = why(&e);
                let name = show(&folder);
                if items
                    .blocking_send(Ok(Listed::Unlistable { name, reason }))
                    .is_err()
                {
                    return;
                }
                continue;
            }
        };
        if !walk_entries(entries, &mut folders, items) {
            return;
        }
    }
}

/// Whether to go on.
fn walk_entries(entries: fs::ReadDir, folders: &mut Vec<PathBuf>, items: &Items) -> bool {
    for entry in entries {
        let sent = match entry {
            Err(e) => items.blocking_send(Err(StoreError::from_io("folder", e))),
            Ok(entry) if entry.file_name().as_encoded_bytes().starts_with(b".") => Ok(()),
            Ok(entry) => {
                let path = entry.path();
                let kind = entry.file_type().ok();
                if kind.is_some_and(|k| k.is_dir()) {
                    folders.push(path);
                    Ok(())
                } else if kind.is_some_and(|k| k.is_symlink()) && path.is_dir() {
                    Ok(())
                } else {
                    items.blocking_send(Ok(list_file(&path)))
                }
            }
        };
        if sent.is_err() {
            return false;
        }
    }
    true
}

/// Why something that is there cannot be listed.
fn why(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "it is a link that leads nowhere".to_owned(),
        ErrorKind::PermissionDenied => {
            "permission denied; give the user that runs Stoker the right to read it".to_owned()
        }
        _ => format!("it cannot be read: {error}"),
    }
}

fn list_file(path: &Path) -> Listed {
    let unlistable = |reason: String| Listed::Unlistable {
        name: path.display().to_string(),
        reason,
    };
    let Some(key) = path.to_str() else {
        return unlistable("its name is not UTF-8; rename it".to_owned());
    };
    match fs::metadata(path) {
        Err(e) => unlistable(why(&e)),
        Ok(metadata) if !metadata.is_file() => unlistable("it is no regular file".to_owned()),
        Ok(metadata) => match describe(key.to_owned(), &metadata) {
            Ok(meta) => Listed::Object(meta),
            Err(e) => unlistable(e.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    async fn keys(root: &Path) -> (Vec<String>, Vec<String>) {
        let (mut objects, mut others) = (Vec::new(), Vec::new());
        let mut listing = Folder::new(root).list();
        while let Some(item) = listing.next().await {
            match item.unwrap() {
                Listed::Object(meta) => objects.push(meta.key),
                Listed::Unlistable { name, .. } => others.push(name),
            }
        }
        objects.sort();
        (objects, others)
    }

    #[tokio::test]
    async fn lists_files_to_any_depth_but_no_dot_names_or_linked_folders() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/ä b")).unwrap();
        fs::write(root.join("a/ä b/患者.json"), "{}").unwrap();
        fs::write(root.join("one.ndjson"), "").unwrap();
        fs::write(root.join(".hidden.json"), "{}").unwrap();
        symlink(root, root.join("a/up")).unwrap();
        symlink(root.join("one.ndjson"), root.join("linked.ndjson")).unwrap();
        symlink("/no/such/file", root.join("a/dangling.json")).unwrap();
        let odd = std::ffi::OsStr::from_bytes(b"odd-\xff.json");
        fs::write(root.join(odd), "{}").unwrap();
        let (objects, others) = keys(root).await;
        let found: Vec<_> = objects
            .iter()
            .map(|k| &k[root.to_str().unwrap().len()..])
            .collect();
        assert_eq!(found, ["/a/ä b/患者.json", "/linked.ndjson", "/one.ndjson"]);
        assert_eq!(others.len(), 2, "{others:?}");
    }

    #[tokio::test]
    async fn a_file_is_a_source_of_one_object() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.json");
        fs::write(&file, "{}").unwrap();
        assert_eq!(keys(&file).await.0, [file.to_str().unwrap()]);
    }

    #[tokio::test]
    async fn a_missing_root_is_an_error() {
        let first = Folder::new("/no/such/folder").list().next().await.unwrap();
        assert!(
            matches!(first, Err(StoreError::NotFound { .. })),
            "{first:?}"
        );
    }

    #[tokio::test]
    async fn a_walk_that_panics_is_no_whole_listing() {
        let found: Vec<_> = listing("/in".to_owned(), |items| {
            let one = list_file(Path::new("/"));
            items.blocking_send(Ok(one)).unwrap();
            panic!("a fault in the walk");
        })
        .collect()
        .await;
        assert_eq!(found.len(), 2);
        let error = found[1].as_ref().unwrap_err();
        assert!(matches!(error, StoreError::BrokenListing { .. }), "{error}");
        assert!(error.to_string().starts_with("/in: the listing breaks off"));
    }

    #[tokio::test]
    async fn reads_exactly_the_range() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("big");
        let content: Vec<u8> = (0..=250).cycle().take(3 * CHUNK + 17).collect();
        fs::write(&file, &content).unwrap();
        let key = file.to_str().unwrap();
        let range = 5..(2 * CHUNK + 9) as u64;
        let stream = Folder::new(dir.path())
            .get(key, range.clone())
            .await
            .unwrap();
        let read: Vec<Bytes> = stream.map(Result::unwrap).collect().await;
        assert_eq!(read.concat(), content[5..2 * CHUNK + 9]);
        assert!(read.iter().all(|chunk| chunk.len() <= CHUNK));
        let here = Folder::new(dir.path()).get_here(key, range);
        let here: Vec<Bytes> = here.unwrap().map(Result::unwrap).collect();
        assert_eq!(here.concat(), read.concat());
    }

    #[test]
    fn a_file_that_is_not_there_is_one_error() {
        let here = Folder::new("/no/such").get_here("/no/such/file", 0..5);
        let read: Vec<_> = here.unwrap().collect();
        assert!(
            matches!(read.as_slice(), [Err(StoreError::NotFound { .. })]),
            "{read:?}"
        );
    }
}
