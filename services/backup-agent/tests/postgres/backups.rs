//! Backups of a server that is written to meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use backup_agent::compress::Compression;
use backup_agent::manifest::{Manifest, StoreKind};
use backup_agent::postgres::{
    Algorithm, Captured, HowMuch, Options, PostgresError, Progress, Source, capture, verify,
};
use chrono::DateTime;
use stoker_shared::clock::{SharedClock, SystemClock};
use tokio::sync::watch;

use crate::folder::{Folder, names};
use crate::restored::Restored;
use crate::server::{Server, as_server, folder, newest};

/// Backs up into a folder.
pub(crate) async fn back_up(
    url: &str,
    options: &Options,
    into: &Path,
) -> Result<Captured, PostgresError> {
    let source = Source::parse(url)?;
    let clock: SharedClock = Arc::new(SystemClock);
    let (progress, _) = watch::channel(Progress::default());
    let draft = Folder(into.to_owned());
    let captured = capture(&source, options, &draft, &clock, &progress).await?;
    let seen = progress.borrow();
    assert!(
        seen.archives
            .iter()
            .any(|a| a.name == "base.tar" && a.received > 0),
        "{seen:?}"
    );
    Ok(captured)
}

/// The manifest of what was captured.
pub(crate) fn manifest(captured: &Captured) -> Manifest {
    Manifest {
        manifest_version: backup_agent::manifest::VERSION,
        name: "postgresql_0".to_owned(),
        store: StoreKind::Postgresql,
        source: "fhir".to_owned(),
        engine: "native".to_owned(),
        started: DateTime::UNIX_EPOCH,
        ended: DateTime::UNIX_EPOCH,
        parts: captured.parts.clone(),
        about: BTreeMap::new(),
        elsewhere: None,
        parent: None,
        verified: None,
        proof: None,
    }
}

/// Reads all of it back.
pub(crate) async fn verify_all(folder: &Path, backup: &Manifest) -> Result<(), PostgresError> {
    let read = watch::Sender::new(0);
    let verified = verify(&Folder(folder.to_owned()), backup, HowMuch::All, &read).await;
    let stored: u64 = backup.parts.iter().map(|part| part.bytes).sum();
    assert!(verified.is_err() || *read.borrow() == stored, "{read:?}");
    verified
}

/// Commits rows 1, 2, 3… one after the other, until told to stop.
struct Writer {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicI64>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    async fn start(server: &Server) -> Self {
        let client = server.client().await;
        let table = "CREATE TABLE log (id bigint PRIMARY KEY, filler text NOT NULL)";
        client.batch_execute(table).await.unwrap();
        let (stop, committed) = (Arc::<AtomicBool>::default(), Arc::<AtomicI64>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&committed));
        let task = tokio::spawn(async move {
            let insert = "INSERT INTO log VALUES ($1, repeat('x', 2000))";
            for id in 1_i64.. {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                client.execute(insert, &[&id]).await.unwrap();
                count.store(id, Ordering::SeqCst);
            }
        });
        let writer = Self {
            stop,
            committed,
            task,
        };
        while writer.committed() < 50 {
            tokio::task::yield_now().await;
        }
        writer
    }

    fn committed(&self) -> i64 {
        self.committed.load(Ordering::SeqCst)
    }

    async fn stop(self) -> i64 {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
        self.committed.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_write_load_it_restores_to_a_prefix_of_the_commits() {
    restores_to_a_prefix(&Server::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_of_postgresql_14() {
    restores_to_a_prefix(&Server::start_14()).await;
}

async fn restores_to_a_prefix(server: &Server) {
    let space = folder();
    let client = server.client().await;
    let path = space.path().display();
    client
        .batch_execute(&format!("CREATE TABLESPACE side LOCATION '{path}'"))
        .await
        .unwrap();
    let filled = "CREATE TABLE other TABLESPACE side AS SELECT n, repeat('y', 500) FROM generate_series(1, 20000) n";
    client.batch_execute(filled).await.unwrap();
    let writer = Writer::start(server).await;
    let into = tempfile::tempdir().unwrap();
    let before = writer.committed();
    let captured = back_up(&server.url(), &Options::default(), into.path())
        .await
        .unwrap();
    let after = writer.stop().await;

    let stored = names(into.path());
    assert_eq!(stored.len(), 4, "{stored:?}");
    let parts: Vec<_> = captured
        .parts
        .iter()
        .map(|part| part.name.as_str())
        .collect();
    assert_eq!(parts[2..], ["pg_wal.tar", "backup_manifest"]);
    assert_eq!(server.slots().await, 0);
    verify_all(into.path(), &manifest(&captured)).await.unwrap();

    let mut restored = Restored::of(into.path(), &server.programs);
    let client = restored.start().await;
    let row = client
        .query_one("SELECT count(*), coalesce(max(id), 0) FROM log", &[])
        .await
        .unwrap();
    let (rows, last): (i64, i64) = (row.get(0), row.get(1));
    assert_eq!(rows, last, "a commit in the middle is missing");
    assert!(
        (before..=after).contains(&rows),
        "{before} <= {rows} <= {after}"
    );
    let others: i64 = client
        .query_one("SELECT count(*) FROM other", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(others, 20_000);
    if server.programs == newest() {
        let port = restored.port();
        let looks = [
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "--install-missing",
            "postgres",
        ];
        as_server(&server.programs, "pg_amcheck", &looks);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn however_compressed_it_is_what_the_server_has() {
    let server = Server::start();
    let by_server = |compression| Options {
        server_compression: Some(compression),
        ..Options::default()
    };
    let here = |compression| Options {
        compression,
        ..Options::default()
    };
    let ways = [
        (here(Compression::Zstd(3)), ".zst"),
        (here(Compression::Gzip(1)), ".gz"),
        (by_server(Compression::Zstd(1)), ".zst"),
        (by_server(Compression::Gzip(1)), ".gz"),
    ];
    for (options, suffix) in ways {
        let into = tempfile::tempdir().unwrap();
        let captured = back_up(&server.url(), &options, into.path()).await.unwrap();
        let base = &captured.parts[0];
        assert_eq!(base.name, format!("base.tar{suffix}"));
        assert!(base.raw_bytes > base.bytes * 2, "{base:?}");
        verify_all(into.path(), &manifest(&captured)).await.unwrap();
        let unpack = if suffix == ".gz" { "gzip" } else { "zstd" };
        let packed = into.path().join(&base.name);
        let output = std::process::Command::new(unpack)
            .arg("-dqt")
            .arg(packed)
            .output();
        crate::server::well(&output.unwrap(), unpack);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_may_hold_any_checksum() {
    let server = Server::start();
    for checksums in [
        Algorithm::Sha224,
        Algorithm::Sha256,
        Algorithm::Sha512,
        Algorithm::None,
    ] {
        let into = tempfile::tempdir().unwrap();
        let options = Options {
            checksums,
            ..Options::default()
        };
        back_up(&server.url(), &options, into.path()).await.unwrap();
        drop(Restored::of(into.path(), &server.programs));
    }
}
