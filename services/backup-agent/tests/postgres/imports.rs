//! Backups that were made by hand, taken in.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use backup_agent::import::{ImportError, import};
use backup_agent::manifest::{Manifest, StoreKind};
use backup_agent::postgres::{HowMuch, PostgresError, verify};
use backup_agent::repository::{self, Repository, RepositoryOptions, verify_part};
use flate2::write::GzEncoder;
use stoker_shared::clock::{SharedClock, SystemClock};
use stoker_shared::object_store::S3Config;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::minio::{BUCKET, KEY, Minio, SECRET};
use crate::restored::Restored;
use crate::server::{Server, as_server, folder, newest};

const NAME: &str = "postgresql_1769860800";

/// A repository in a folder, and room beside it.
pub(crate) struct World {
    pub(crate) root: TempDir,
    pub(crate) repository: Arc<dyn Repository>,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = folder();
        let backups = root.path().join("backups");
        as_server(Path::new("/bin"), "mkdir", &[backups.to_str().unwrap()]);
        let url = backups.to_str().unwrap().to_owned();
        let repository = repository::open(&url, &RepositoryOptions::default(), clock()).unwrap();
        Self { root, repository }
    }

    fn beside(&self) -> PathBuf {
        self.root.path().join(NAME)
    }

    fn inside(&self) -> PathBuf {
        self.root.path().join("backups").join(NAME)
    }

    async fn import(&self, path: &Path) -> Result<Manifest, ImportError> {
        take_in(&*self.repository, path).await
    }

    /// What is there, hidden or not.
    pub(crate) fn entries(&self) -> usize {
        fs::read_dir(self.root.path().join("backups"))
            .unwrap()
            .count()
    }
}

pub(crate) fn clock() -> SharedClock {
    Arc::new(SystemClock)
}

async fn take_in(repository: &dyn Repository, path: &Path) -> Result<Manifest, ImportError> {
    let read = watch::Sender::new(0);
    let manifest = import(repository, path, "fhir", &clock(), &read).await?;
    let stored: u64 = manifest.parts.iter().map(|part| part.bytes).sum();
    assert_eq!(*read.borrow(), stored);
    assert_eq!(repository.manifest(&manifest.name).await.unwrap(), manifest);
    Ok(manifest)
}

pub(crate) async fn verified(
    repository: &dyn Repository,
    backup: &Manifest,
) -> Result<(), PostgresError> {
    verify(repository, backup, HowMuch::All, &watch::Sender::new(0)).await
}

pub(crate) async fn filled() -> Server {
    let server = Server::start();
    let client = server.client().await;
    let fill = "CREATE TABLE kept AS SELECT n FROM generate_series(1, 20000) n";
    client.batch_execute(fill).await.unwrap();
    server
}

/// Backs up as people do.
fn by_hand(server: &Server, into: &Path, options: &[&str]) {
    let (port, into) = (server.port.to_string(), into.to_str().unwrap());
    let usual = [
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "postgres",
        "-c",
        "fast",
        "-D",
        into,
        "-Ft",
    ];
    as_server(&newest(), "pg_basebackup", &[&usual[..], options].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_elsewhere_is_copied() {
    let (server, world) = (filled().await, World::new());
    by_hand(&server, &world.beside(), &["-X", "stream"]);
    let backup = world.import(&world.beside()).await.unwrap();
    assert_eq!(
        (&*backup.name, backup.started.timestamp()),
        (NAME, 1_769_860_800)
    );
    assert_eq!(
        (backup.store, &*backup.engine),
        (StoreKind::Postgresql, "import")
    );
    assert!(backup.verified.as_ref().unwrap().good);
    let parts: Vec<_> = backup.parts.iter().map(|part| &*part.name).collect();
    assert_eq!(parts, ["base.tar", "pg_wal.tar", "backup_manifest"]);
    let client = server.client().await;
    let system = "SELECT system_identifier::text FROM pg_control_system()";
    let system: String = client.query_one(system, &[]).await.unwrap().get(0);
    assert_eq!(backup.about["system_identifier"], system);
    assert_eq!(backup.about["wal_segment_bytes"], "16777216");
    assert_eq!(backup.about.len(), 6, "{:?}", backup.about);
    verified(&*world.repository, &backup).await.unwrap();

    let again = world.import(&world.beside()).await.unwrap_err();
    assert!(matches!(again, ImportError::There { .. }), "{again}");
    assert_eq!(world.entries(), 1);
    let mut restored = Restored::of(&world.inside(), &server.programs);
    let client = restored.start().await;
    let count = client
        .query_one("SELECT count(*) FROM kept", &[])
        .await
        .unwrap();
    assert_eq!(count.get::<_, i64>(0), 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_the_repository_stays_where_it_is() {
    let (server, world) = (filled().await, World::new());
    let space = folder();
    let path = space.path().display();
    let client = server.client().await;
    for line in [
        &*format!("CREATE TABLESPACE side LOCATION '{path}'"),
        "CREATE TABLE far TABLESPACE side AS SELECT * FROM kept",
    ] {
        client.batch_execute(line).await.unwrap();
    }
    by_hand(&server, &world.inside(), &["-X", "stream", "-z"]);
    let file = world.inside().join("base.tar.gz");
    let was = fs::metadata(&file).unwrap().ino();
    let backup = world.import(&world.inside()).await.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().ino(), was);
    assert_eq!(backup.parts.len(), 4, "{:?}", backup.parts);
    assert_eq!(backup.parts[0].compression, "gzip");
    assert!(backup.parts.iter().all(|part| part.raw_bytes > 0));
    assert!(backup.parts[0].raw_bytes > backup.parts[0].bytes);
    verified(&*world.repository, &backup).await.unwrap();
    let again = world.import(&world.inside()).await.unwrap_err();
    assert!(matches!(again, ImportError::There { .. }), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_on_s3() {
    let (server, minio, world) = (filled().await, Minio::start().await, World::new());
    by_hand(&server, &world.beside(), &["-X", "stream"]);
    for entry in fs::read_dir(world.beside()).unwrap() {
        let path = entry.unwrap().path();
        let key = format!("all/{NAME}/{}", path.file_name().unwrap().to_str().unwrap());
        let body = ByteStream::from(fs::read(&path).unwrap());
        let put = minio
            .client()
            .put_object()
            .bucket(BUCKET)
            .key(key)
            .body(body);
        put.send().await.unwrap();
    }
    let options = RepositoryOptions {
        s3: S3Config {
            endpoint: Some(format!("http://{}", minio.address())),
            access_key: Some(KEY.to_owned()),
            secret_key: Some(SECRET.into()),
            ..S3Config::default()
        },
        ..RepositoryOptions::default()
    };
    let url = format!("s3://{BUCKET}/all");
    let repository = repository::open(&url, &options, clock()).unwrap();
    let path = PathBuf::from(format!("{url}/{NAME}"));
    let backup = take_in(&*repository, &path).await.unwrap();
    assert_eq!(backup.parts.len(), 3);
    verified(&*repository, &backup).await.unwrap();
    let again = take_in(&*repository, &path).await.unwrap_err();
    assert!(matches!(again, ImportError::There { .. }), "{again}");
    // From this machine into S3.
    let renamed = world.root.path().join("by_hand");
    fs::rename(world.beside(), &renamed).unwrap();
    let copied = take_in(&*repository, &renamed).await.unwrap();
    assert_eq!(copied.started.date_naive(), clock().now().date_naive());
    verified(&*repository, &copied).await.unwrap();
    assert_eq!(repository.names().await.unwrap(), ["by_hand", NAME]);
    assert!(minio.uploads().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_manifest_what_a_server_starts_with_must_be_there() {
    let (server, world) = (filled().await, World::new());
    by_hand(&server, &world.inside(), &["-X", "fetch", "--no-manifest"]);
    let backup = world.import(&world.inside()).await.unwrap();
    assert_eq!(backup.verified, None);
    let parts: Vec<_> = backup.parts.iter().map(|part| &*part.name).collect();
    assert_eq!(parts, ["base.tar"]);
    verified(&*world.repository, &backup).await.unwrap();
    let file = world.inside().join("base.tar");
    let mut bad = fs::read(&file).unwrap();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&file, bad).unwrap();
    let error = verified(&*world.repository, &backup).await.unwrap_err();
    assert!(error.is_of_backup(), "{error}");

    let other = world.root.path().join("other");
    by_hand(&server, &other, &["-X", "none", "--no-manifest"]);
    let error = world.import(&other).await.unwrap_err();
    assert!(
        error.is_of_backup() && error.to_string().contains("no log"),
        "{error}"
    );
    assert_eq!(world.entries(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_is_not_taken_in() {
    let (server, world) = (filled().await, World::new());
    for path in [world.inside(), world.beside()] {
        by_hand(&server, &path, &["-X", "stream"]);
        let before = world.entries();
        for part in ["base.tar", "backup_manifest"] {
            let file = path.join(part);
            let good = fs::read(&file).unwrap();
            for at in [512, good.len() / 3, good.len() / 2] {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                fs::write(&file, bad).unwrap();
                let error = world.import(&path).await.unwrap_err();
                assert!(error.is_of_backup(), "{part} at {at}: {error}");
            }
            fs::write(&file, &good[..good.len() / 2]).unwrap();
            let error = world.import(&path).await.unwrap_err();
            assert!(error.is_of_backup(), "{part}: {error}");
            fs::write(&file, good).unwrap();
        }
        let log = path.join("pg_wal.tar");
        let aside = world.root.path().join("pg_wal.tar");
        fs::rename(&log, &aside).unwrap();
        let error = world.import(&path).await.unwrap_err();
        assert!(error.is_of_backup(), "{error}");
        fs::rename(&aside, &log).unwrap();
        fs::write(path.join("notes.txt"), "x").unwrap();
        let error = world.import(&path).await.unwrap_err();
        assert!(error.to_string().contains("notes.txt"), "{error}");
        fs::remove_file(path.join("notes.txt")).unwrap();
        assert_eq!(world.entries(), before, "something is left");
        assert!(world.repository.names().await.unwrap().is_empty());
        fs::remove_dir_all(path).unwrap();
    }
    for (path, told) in [
        (world.root.path().join("none"), "no such folder"),
        (world.root.path().join("backups"), "no base.tar"),
    ] {
        let error = world.import(&path).await.unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_mongodump_is_taken_in_where_it_is_whole() {
    let world = World::new();
    let path = world.root.path().join("mongodump_1769860800.gz");
    let mut archive = 0x8199_e26d_u32.to_le_bytes().to_vec();
    archive.extend((0..200_000_u32).flat_map(u32::to_le_bytes));
    archive.extend([0xff; 4]);
    let member = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (first, second) = (member(&archive[..300_000]), member(&archive[300_000..]));
    let good = [first.clone(), second].concat();

    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for bad in [&good[..good.len() - 1], &first, &flipped] {
        fs::write(&path, bad).unwrap();
        let error = world.import(&path).await.unwrap_err();
        assert!(error.is_of_backup(), "{error}");
    }
    fs::write(&path, member(b"something else")).unwrap();
    let error = world.import(&path).await.unwrap_err();
    assert!(matches!(error, ImportError::Unknown { .. }), "{error}");
    assert_eq!(world.entries(), 0);

    fs::write(&path, &good).unwrap();
    let backup = world.import(&path).await.unwrap();
    assert_eq!(
        (&*backup.name, backup.store),
        ("mongodump_1769860800", StoreKind::Mongodb)
    );
    assert_eq!(backup.started.timestamp(), 1_769_860_800);
    let part = &backup.parts[0];
    assert_eq!(
        (part.raw_bytes, &*part.compression),
        (archive.len() as u64, "gzip")
    );
    verify_part(&*world.repository, &backup.name, part)
        .await
        .unwrap();
    assert_eq!(fs::read(&path).unwrap(), good);
    let again = world.import(&path).await.unwrap_err();
    assert!(matches!(again, ImportError::There { .. }), "{again}");
}
