//! What a sample finds, and what it cannot.

use std::fs;
use std::path::Path;

use backup_agent::compress::Compression;
use backup_agent::manifest::Manifest;
use backup_agent::postgres::{HowMuch, Options, PostgresError, verify};
use backup_agent::tar::{Event, Header, Reader, TarError};
use tokio::sync::watch;

use crate::backups::{back_up, manifest, verify_all};
use crate::folder::Folder;
use crate::server::Server;

const LARGE: u64 = 4 << 20;

/// Looks at a sample; answers how many bytes were read.
async fn sample(
    folder: &Path,
    backup: &Manifest,
    percent: u32,
    seed: u64,
) -> Result<u64, PostgresError> {
    let read = watch::Sender::new(0);
    let how_much = HowMuch::Sample { percent, seed };
    verify(&Folder(folder.to_owned()), backup, how_much, &read).await?;
    Ok(*read.borrow())
}

fn stored(backup: &Manifest) -> u64 {
    backup.parts.iter().map(|part| part.bytes).sum()
}

/// Where the content of the first file begins of which this holds.
fn first(archive: &[u8], is_it: impl Fn(&Header) -> bool) -> usize {
    let (mut reader, mut found) = (Reader::new(), None);
    for (number, block) in archive.chunks(512).enumerate() {
        reader
            .push::<TarError>(block, &mut |event| {
                if let Event::Begin(header) = event
                    && found.is_none()
                    && is_it(header)
                {
                    found = Some((number + 1) * 512);
                }
                Ok(())
            })
            .unwrap();
    }
    found.unwrap()
}

/// A server with some large files.
async fn filled() -> Server {
    let server = Server::start();
    let client = server.client().await;
    for table in ["one", "two", "three", "four"] {
        let fill = format!(
            "CREATE TABLE {table} AS SELECT repeat('x', 500) FROM generate_series(1, 20000)"
        );
        client.batch_execute(&fill).await.unwrap();
    }
    client.batch_execute("CHECKPOINT").await.unwrap();
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_reads_less_and_finds_what_it_says() {
    let server = filled().await;
    let folder = tempfile::tempdir().unwrap();
    let captured = back_up(&server.url(), &Options::default(), folder.path())
        .await
        .unwrap();
    let (backup, path) = (manifest(&captured), folder.path());
    let read = sample(path, &backup, 0, 1).await.unwrap();
    assert!(read < stored(&backup) / 2, "{read} of {}", stored(&backup));
    let read = sample(path, &backup, 100, 1).await.unwrap();
    assert_eq!(read, stored(&backup));

    let file = path.join("base.tar");
    let good = fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&file, bad).unwrap();
    };
    let in_small = first(&good, |header| header.path == b"global/pg_filenode.map");
    let in_large = first(&good, |header| header.size > LARGE);
    for at in [in_small, in_small - 512, in_large - 512] {
        flipped(at);
        assert!(sample(path, &backup, 0, 1).await.is_err(), "at {at}");
    }
    // Bytes of a large file are found by those samples that have the file, and by no others.
    flipped(in_large + 1_500_000);
    assert!(verify_all(path, &backup).await.is_err());
    sample(path, &backup, 0, 1).await.unwrap();
    assert!(sample(path, &backup, 100, 1).await.is_err());
    let mut found = 0;
    for seed in 0..40 {
        found += usize::from(sample(path, &backup, 50, seed).await.is_err());
    }
    assert!((5..=35).contains(&found), "{found} of 40");
    fs::write(&file, &good[..good.len() - 1024]).unwrap();
    assert!(sample(path, &backup, 0, 1).await.is_err(), "it is cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_part_is_read_whole_or_not_at_all() {
    let server = filled().await;
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        compression: Compression::Zstd(1),
        ..Options::default()
    };
    let captured = back_up(&server.url(), &options, folder.path())
        .await
        .unwrap();
    let (backup, path) = (manifest(&captured), folder.path());
    let said = backup.parts.last().unwrap();
    assert_eq!(sample(path, &backup, 0, 1).await.unwrap(), said.bytes);
    assert_eq!(
        sample(path, &backup, 100, 1).await.unwrap(),
        stored(&backup)
    );
    let mut sizes = Vec::new();
    for seed in 0..40 {
        sizes.push(sample(path, &backup, 50, seed).await.unwrap());
    }
    sizes.sort_unstable();
    sizes.dedup();
    assert_eq!(sizes.len(), 4, "none, either and both of two: {sizes:?}");
}
