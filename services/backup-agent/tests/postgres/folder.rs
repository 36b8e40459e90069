//! A plain folder as repository.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use backup_agent::manifest::{Manifest, Part};
use backup_agent::repository::{Draft, Found, PartStream, PartWriter, Repository, RepositoryError};
use bytes::Bytes;
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};

/// One backup in one folder; it is a backup whatever is in it.
#[derive(Debug, Clone)]
pub(crate) struct Folder(pub(crate) PathBuf);

#[derive(Debug)]
struct Writer {
    name: String,
    file: std::fs::File,
    sum: Sha256,
    bytes: u64,
}

#[async_trait]
impl Draft for Folder {
    async fn part(&self, name: &str) -> Result<Box<dyn PartWriter>, RepositoryError> {
        Ok(Box::new(Writer {
            name: name.to_owned(),
            file: std::fs::File::create_new(self.0.join(name)).unwrap(),
            sum: Sha256::new(),
            bytes: 0,
        }))
    }

    async fn commit(self: Box<Self>, _: &Manifest) -> Result<(), RepositoryError> {
        Ok(())
    }

    async fn abandon(self: Box<Self>) -> Result<(), RepositoryError> {
        Ok(())
    }
}

#[async_trait]
impl PartWriter for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<(), RepositoryError> {
        self.file.write_all(&bytes).unwrap();
        self.sum.update(&bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Part, RepositoryError> {
        Ok(Part {
            name: self.name,
            bytes: self.bytes,
            sha256: backup_agent::repository::hex(self.sum),
            compression: String::new(),
            raw_bytes: 0,
        })
    }
}

#[async_trait]
impl Repository for Folder {
    fn place(&self) -> String {
        self.0.display().to_string()
    }

    async fn begin(&self, _: &str) -> Result<Box<dyn Draft>, RepositoryError> {
        Ok(Box::new(self.clone()))
    }

    async fn names(&self) -> Result<Vec<String>, RepositoryError> {
        Ok(Vec::new())
    }

    async fn manifest(&self, name: &str) -> Result<Manifest, RepositoryError> {
        panic!("nobody asks here for the manifest of {name}")
    }

    async fn amend(
        &self,
        _: &str,
        _: &(dyn for<'a> Fn(&'a mut Manifest) + Send + Sync),
    ) -> Result<Manifest, RepositoryError> {
        panic!("nobody amends here")
    }

    async fn read(&self, _: &str, part: &str, from: u64) -> Result<PartStream, RepositoryError> {
        let mut file = std::fs::File::open(self.0.join(part)).unwrap();
        file.seek(SeekFrom::Start(from)).unwrap();
        let pieces = std::iter::from_fn(move || {
            let mut piece = vec![0; 100_000];
            let read = file.read(&mut piece).unwrap();
            piece.truncate(read);
            (read > 0).then(|| Ok(Bytes::from(piece)))
        });
        Ok(futures::stream::iter(pieces).boxed())
    }

    async fn found(&self, name: &str) -> Result<Vec<Found>, RepositoryError> {
        panic!("nobody looks here for {name}")
    }

    async fn read_found(&self, name: &str, _: &Found) -> Result<PartStream, RepositoryError> {
        panic!("nobody looks here for {name}")
    }

    async fn adopt(&self, _: &Manifest) -> Result<(), RepositoryError> {
        panic!("nobody adopts here")
    }

    async fn delete(&self, _: &str) -> Result<(), RepositoryError> {
        Ok(())
    }

    async fn clean(&self, _: &[String]) -> Result<Vec<String>, RepositoryError> {
        Ok(Vec::new())
    }
}

/// What lies in a folder, in order.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
