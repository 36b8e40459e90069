//! A repository to test, and short words for what is done to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use backup_agent::manifest::{Manifest, Part, StoreKind, VERSION};
use backup_agent::repository::{
    self, Draft, Repository, RepositoryError, RepositoryOptions, verify_part,
};
use bytes::Bytes;
use chrono::DateTime;
use futures::TryStreamExt;
use stoker_shared::clock::{SharedClock, SystemClock};
use stoker_shared::object_store::S3Config;
use tempfile::TempDir;

use crate::minio::{BUCKET, KEY, Minio, SECRET};

/// A fresh, empty repository.
pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) minio: Option<Minio>,
    folder: TempDir,
}

impl World {
    pub(crate) fn folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            url: format!("file://{}/backups", folder.path().display()),
            minio: None,
            folder,
        }
    }

    pub(crate) async fn s3() -> Self {
        Self {
            url: format!("s3://{BUCKET}/some/prefix"),
            minio: Some(Minio::start().await),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Where the service is; empty for a folder.
    pub(crate) fn address(&self) -> String {
        self.minio.as_ref().map(Minio::address).unwrap_or_default()
    }

    pub(crate) fn open(&self) -> Arc<dyn Repository> {
        self.open_at(Arc::new(SystemClock))
    }

    pub(crate) fn open_at(&self, clock: SharedClock) -> Arc<dyn Repository> {
        repository::open(&self.url, &options(&self.address()), clock).unwrap()
    }

    /// Every file or object, by its path in the repository.
    pub(crate) async fn paths(&self) -> Vec<String> {
        let Some(minio) = &self.minio else {
            return self.files();
        };
        let listed = minio.client().list_objects_v2().bucket(BUCKET).send();
        let objects = listed.await.unwrap().contents.unwrap_or_default();
        let keys = objects.into_iter().map(|object| object.key.unwrap());
        let mut paths: Vec<_> = keys
            .map(|key| key.strip_prefix("some/prefix/").unwrap().to_owned())
            .collect();
        paths.extend(minio.uploads());
        paths
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("backups")
    }

    fn files(&self) -> Vec<String> {
        let (mut files, mut folders) = (Vec::new(), vec![self.root()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                let below = path.strip_prefix(self.root()).unwrap().to_owned();
                if path.is_dir() {
                    folders.push(path);
                    // A folder that is left behind is something left behind.
                    files.push(format!("{}/", below.display()));
                } else {
                    files.push(below.display().to_string());
                }
            }
        }
        files
    }

    /// What is there and belongs to no backup.
    pub(crate) async fn left_behind(&self) -> Vec<String> {
        let repository = self.open();
        let mut paths = self.paths().await;
        for name in repository.names().await.unwrap() {
            let manifest = repository.manifest(&name).await.unwrap();
            let mut ends: Vec<_> = manifest
                .parts
                .iter()
                .map(|p| format!("/{}", p.name))
                .collect();
            ends.push("/manifest.json".to_owned());
            for end in ends {
                let of_it =
                    |path: &String| path.starts_with(&format!("{name}/")) && path.ends_with(&end);
                let at = paths.iter().position(of_it);
                paths.remove(at.unwrap_or_else(|| panic!("{name}{end} is not there")));
            }
            paths.retain(|path| *path != format!("{name}/"));
        }
        paths
    }

    /// The path of a part's bytes.
    pub(crate) async fn path_of(&self, name: &str, part: &str) -> String {
        let mut paths = self.paths().await;
        paths.retain(|p| p.starts_with(&format!("{name}/")) && p.ends_with(&format!("/{part}")));
        assert_eq!(paths.len(), 1, "{paths:?}");
        paths.remove(0)
    }

    pub(crate) async fn bytes_at(&self, path: &str) -> Vec<u8> {
        let Some(minio) = &self.minio else {
            return std::fs::read(self.root().join(path)).unwrap();
        };
        let get = minio.client().get_object().bucket(BUCKET);
        let got = get.key(format!("some/prefix/{path}")).send().await.unwrap();
        got.body.collect().await.unwrap().to_vec()
    }

    /// Writes behind the repository's back.
    pub(crate) async fn put_at(&self, path: &str, bytes: Vec<u8>) {
        let Some(minio) = &self.minio else {
            let path = self.root().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            return std::fs::write(path, bytes).unwrap();
        };
        let put = minio.client().put_object().bucket(BUCKET);
        let put = put.key(format!("some/prefix/{path}"));
        put.body(ByteStream::from(bytes)).send().await.unwrap();
    }

    pub(crate) async fn remove_at(&self, path: &str) {
        let Some(minio) = &self.minio else {
            return std::fs::remove_file(self.root().join(path)).unwrap();
        };
        let delete = minio.client().delete_object().bucket(BUCKET);
        let delete = delete.key(format!("some/prefix/{path}"));
        delete.send().await.unwrap();
    }
}

pub(crate) fn options(address: &str) -> RepositoryOptions {
    RepositoryOptions {
        s3: S3Config {
            endpoint: (!address.is_empty()).then(|| format!("http://{address}")),
            access_key: Some(KEY.to_owned()),
            secret_key: Some(SECRET.into()),
            ..S3Config::default()
        },
        ..RepositoryOptions::default()
    }
}

/// Bytes that differ with the seed and do not repeat soon.
pub(crate) fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut content: Vec<u8> = words.take(bytes.div_ceil(8)).flatten().collect();
    content.truncate(bytes);
    content
}

pub(crate) fn manifest(name: &str, parts: Vec<Part>) -> Manifest {
    Manifest {
        manifest_version: VERSION,
        name: name.to_owned(),
        store: StoreKind::Postgresql,
        source: "fhir".to_owned(),
        engine: "native".to_owned(),
        started: DateTime::UNIX_EPOCH,
        ended: DateTime::UNIX_EPOCH,
        parts,
        about: BTreeMap::new(),
        elsewhere: None,
        parent: None,
        verified: None,
        proof: None,
    }
}

pub(crate) async fn write_part(
    draft: &dyn Draft,
    name: &str,
    content: Vec<u8>,
) -> Result<Part, RepositoryError> {
    let mut part = draft.part(name).await?;
    let mut content = Bytes::from(content);
    while !content.is_empty() {
        part.write(content.split_to(content.len().min(50_000)))
            .await?;
    }
    part.finish().await
}

/// Writes and commits a backup of two parts, side by side.
pub(crate) async fn back_up(
    repository: &dyn Repository,
    name: &str,
    bytes: usize,
) -> Result<Manifest, RepositoryError> {
    let draft = repository.begin(name).await?;
    let written = futures::future::try_join(
        write_part(&*draft, "base.tar", content(1, bytes)),
        write_part(&*draft, "pg_wal.tar", content(2, bytes / 3)),
    );
    let (base, wal) = match written.await {
        Ok(parts) => parts,
        Err(e) => {
            draft.abandon().await?;
            return Err(e);
        }
    };
    let manifest = manifest(name, vec![base, wal]);
    draft.commit(&manifest).await?;
    Ok(manifest)
}

pub(crate) async fn read_from(
    repository: &dyn Repository,
    name: &str,
    part: &str,
    from: u64,
) -> Result<Vec<u8>, RepositoryError> {
    let chunks = repository.read(name, part, from).await?;
    let chunks: Vec<Bytes> = chunks.try_collect().await?;
    Ok(chunks.concat())
}

/// Reads every part of every backup there is; answers their names.
pub(crate) async fn verify_all(
    repository: &dyn Repository,
) -> Result<Vec<String>, RepositoryError> {
    let names = repository.names().await?;
    for name in &names {
        for part in &repository.manifest(name).await?.parts {
            verify_part(repository, name, part).await?;
        }
    }
    Ok(names)
}
