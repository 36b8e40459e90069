//! What must not pass for a backup.

use std::fs;
use std::time::Duration;

use backup_agent::postgres::{Options, PostgresError};
use bytes::{BufMut as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::backups::{back_up, manifest, verify_all};
use crate::server::{Server, free_port};

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_bit_and_every_cut_is_found() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let captured = back_up(&server.url(), &Options::default(), folder.path())
        .await
        .unwrap();
    let backup = manifest(&captured);
    for part in &backup.parts {
        let file = folder.path().join(&part.name);
        let good = fs::read(&file).unwrap();
        for place in [0, good.len() / 3, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[place] ^= 1 << (place % 8);
            fs::write(&file, &bad).unwrap();
            let found = verify_all(folder.path(), &backup).await;
            assert!(found.is_err(), "{} at {place}", part.name);
        }
        fs::write(&file, &good[..good.len() - 1]).unwrap();
        let found = verify_all(folder.path(), &backup)
            .await
            .unwrap_err()
            .to_string();
        assert!(found.contains(&part.name), "{found}");
        fs::write(&file, &good).unwrap();
    }
    verify_all(folder.path(), &backup).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_in_the_middle_fails_it() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let slow = Options {
        max_rate_kb: Some(1024),
        ..Options::default()
    };
    let url = server.url();
    let backing_up = back_up(&url, &slow, folder.path());
    let stop = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        tokio::task::block_in_place(|| server.stop());
    };
    let (ended, ()) = tokio::join!(backing_up, stop);
    let error = ended.unwrap_err();
    let clean = matches!(
        error,
        PostgresError::Connection { .. } | PostgresError::Refused { .. }
    );
    assert!(clean, "{error}");
    assert!(!folder.path().join("backup_manifest").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_given_up_leaves_no_slot() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let slow = Options {
        max_rate_kb: Some(1024),
        ..Options::default()
    };
    let url = server.url();
    let given_up =
        tokio::time::timeout(Duration::from_secs(3), back_up(&url, &slow, folder.path()));
    assert!(given_up.await.is_err());
    let gone = async {
        while server.slots().await > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_is_found_behind_a_host_that_is_away() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let (away, port) = (free_port(), server.port);
    let url = format!("postgres://postgres@127.0.0.1:{away},127.0.0.1:{port}/postgres");
    back_up(&url, &Options::default(), folder.path())
        .await
        .unwrap();
    let nobody = format!("postgres://postgres@127.0.0.1:{away},localhost:{away}/postgres");
    let error = back_up(&nobody, &Options::default(), folder.path())
        .await
        .unwrap_err();
    assert!(matches!(error, PostgresError::NoPrimary(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = stream.read_u32().await.unwrap();
        let mut startup = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut startup).await.unwrap();
        // What pgBouncer before 1.24 says.
        let fields = b"SFATAL\0C08P01\0Munsupported startup parameter: replication\0\0";
        let mut answer = BytesMut::new();
        answer.put_u8(b'E');
        answer.put_u32(u32::try_from(fields.len()).unwrap() + 4);
        answer.put_slice(fields);
        stream.write_all(&answer).await.unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable");
    let error = back_up(&url, &Options::default(), folder.path())
        .await
        .unwrap_err();
    assert!(matches!(error, PostgresError::Pool { .. }), "{error}");
}
