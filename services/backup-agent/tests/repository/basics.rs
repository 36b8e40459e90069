//! Writing, listing, reading, changing, deleting.

use std::sync::Arc;
use std::time::Duration;

use backup_agent::manifest::Verified;
use backup_agent::repository::{self, RepositoryError};
use bytes::Bytes;
use chrono::DateTime;
use stoker_shared::clock::{Clock, ManualClock, SystemClock};

use crate::world::{World, back_up, content, manifest, options, read_from, verify_all, write_part};

/// More than goes into one request of an S3 service.
const LARGE: usize = (9 << 20) + 5;

pub(crate) async fn a_backup_is_written_read_amended_and_deleted(world: &World, _: &str) {
    let repository = world.open();
    assert!(repository.names().await.unwrap().is_empty());
    let written = back_up(&*repository, "b", LARGE).await.unwrap();
    back_up(&*repository, "a", 100).await.unwrap();
    let repository = world.open();
    assert_eq!(verify_all(&*repository).await.unwrap(), ["a", "b"]);
    assert_eq!(repository.manifest("b").await.unwrap(), written);
    assert_eq!(written.parts[0].bytes, LARGE as u64);
    for from in [0, 1, 8 << 20, LARGE - 1, LARGE] {
        let read = read_from(&*repository, "b", "base.tar", from as u64).await;
        assert!(read.unwrap() == content(1, LARGE)[from..], "from {from}");
    }

    let verified = Verified {
        at: DateTime::UNIX_EPOCH,
        full: true,
        good: true,
        problem: String::new(),
    };
    let change = |m: &mut backup_agent::manifest::Manifest| m.verified = Some(verified.clone());
    let amended = repository.amend("b", &change).await.unwrap();
    assert_eq!(amended.verified, Some(verified.clone()));
    assert_eq!(repository.manifest("b").await.unwrap(), amended);
    let renamed = repository.amend("b", &|m| m.parts.clear()).await;
    assert!(
        matches!(renamed, Err(RepositoryError::Manifest { .. })),
        "{renamed:?}"
    );

    assert!(world.left_behind().await.is_empty());
    repository.delete("b").await.unwrap();
    assert_eq!(verify_all(&*repository).await.unwrap(), ["a"]);
    assert!(world.left_behind().await.is_empty());
    for gone in [
        repository.delete("b").await,
        repository.manifest("b").await.map(drop),
        repository.amend("b", &change).await.map(drop),
        repository.read("b", "base.tar", 0).await.map(drop),
    ] {
        assert!(
            matches!(gone, Err(RepositoryError::NotFound { .. })),
            "{gone:?}"
        );
    }
    let no_part = repository.read("a", "x", 0).await.map(drop);
    assert!(
        matches!(no_part, Err(RepositoryError::NoPart { .. })),
        "{no_part:?}"
    );
}

pub(crate) async fn what_is_not_committed_is_no_backup(world: &World, _: &str) {
    let repository = world.open();
    let draft = repository.begin("x").await.unwrap();
    write_part(&*draft, "base.tar", content(1, LARGE))
        .await
        .unwrap();
    write_part(&*draft, "empty", Vec::new()).await.unwrap();
    let mut unfinished = draft.part("pg_wal.tar").await.unwrap();
    unfinished.write(content(2, LARGE).into()).await.unwrap();
    assert!(repository.names().await.unwrap().is_empty());
    let none = repository.manifest("x").await;
    assert!(
        matches!(none, Err(RepositoryError::NotFound { .. })),
        "{none:?}"
    );
    assert!(!world.left_behind().await.is_empty());
    drop(unfinished);
    draft.abandon().await.unwrap();
    assert_eq!(world.left_behind().await, Vec::<String>::new());
    for bad in ["../x", ".x", "a/b", "", "manifest.json"] {
        let refused = repository.begin(bad).await.map(drop);
        assert!(
            matches!(refused, Err(RepositoryError::Name { .. })),
            "{bad}"
        );
    }
}

pub(crate) async fn a_manifest_must_say_what_was_written(world: &World, _: &str) {
    let repository = world.open();
    for wrong in 0..5 {
        let draft = repository.begin("x").await.unwrap();
        let mut part = write_part(&*draft, "base.tar", content(1, 1000))
            .await
            .unwrap();
        let mut parts = vec![part.clone()];
        match wrong {
            0 => parts.clear(),
            1 => {
                "pg_wal.tar".clone_into(&mut part.name);
                parts.push(part);
            }
            2 => parts[0].bytes += 1,
            3 => parts[0].sha256 = "0".repeat(64),
            _ => {
                let mut unfinished = draft.part("pg_wal.tar").await.unwrap();
                unfinished.write(Bytes::from_static(b"x")).await.unwrap();
            }
        }
        let refused = draft.commit(&manifest("x", parts)).await;
        assert!(
            matches!(refused, Err(RepositoryError::Parts { .. })),
            "{wrong}: {refused:?}"
        );
        assert_eq!(world.left_behind().await, Vec::<String>::new(), "{wrong}");
    }
    let draft = repository.begin("x").await.unwrap();
    let refused = draft.commit(&manifest("y", Vec::new())).await;
    assert!(
        matches!(refused, Err(RepositoryError::Parts { .. })),
        "{refused:?}"
    );
}

pub(crate) async fn what_is_being_written_is_left_alone(world: &World, _: &str) {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let repository = world.open_at(clock.clone());
    let draft = repository.begin("x").await.unwrap();
    let part = write_part(&*draft, "base.tar", content(1, LARGE))
        .await
        .unwrap();
    clock.advance(Duration::from_hours(42 * 24));
    assert_eq!(repository.clean(&[]).await.unwrap(), Vec::<String>::new());
    draft.commit(&manifest("x", vec![part])).await.unwrap();

    let dropped = repository.begin("y").await.unwrap();
    write_part(&*dropped, "base.tar", content(1, LARGE))
        .await
        .unwrap();
    drop(dropped);
    let named = repository.clean(&["y".to_owned()]).await.unwrap();
    assert_eq!(named, Vec::<String>::new());
    let cleaned = repository.clean(&[]).await.unwrap();
    assert_eq!(cleaned.len(), 1, "{cleaned:?}");
    assert!(cleaned[0].starts_with("y, of "), "{cleaned:?}");
    assert_eq!(world.left_behind().await, Vec::<String>::new());
    assert_eq!(verify_all(&*repository).await.unwrap(), ["x"]);
}

pub(crate) async fn a_backup_that_cannot_be_used_can_be_deleted(world: &World, _: &str) {
    let repository = world.open();
    back_up(&*repository, "x", LARGE).await.unwrap();
    world.put_at("x/manifest.json", b"{".to_vec()).await;
    let broken = repository.manifest("x").await;
    assert!(
        matches!(broken, Err(RepositoryError::Manifest { .. })),
        "{broken:?}"
    );
    assert!(repository.clean(&[]).await.unwrap().is_empty());
    let again = repository.begin("x").await.map(drop);
    assert!(
        matches!(again, Err(RepositoryError::Exists { .. })),
        "{again:?}"
    );
    repository.delete("x").await.unwrap();
    assert_eq!(world.left_behind().await, Vec::<String>::new());
}

#[test]
fn an_address_that_is_none_is_refused() {
    for bad in ["backups", "file://backups", "ftp://x/y", "s3://", "s3:///x"] {
        let opened = repository::open(bad, &options(""), Arc::new(SystemClock));
        assert!(opened.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_folder_is_not_made_where_a_disk_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{}/not/there", folder.path().display());
    let repository = repository::open(&url, &options(""), Arc::new(SystemClock)).unwrap();
    assert!(repository.names().await.unwrap().is_empty());
    let error = repository
        .begin("x")
        .await
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(error.contains("its disk is mounted"), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_no_backup_is_not_written_over() {
    let world = World::folder();
    let repository = world.open();
    back_up(&*repository, "x", 10).await.unwrap();
    world.remove_at("x/manifest.json").await;
    let error = repository.begin("x").await.map(drop).unwrap_err();
    assert!(matches!(error, RepositoryError::InTheWay { .. }), "{error}");
    assert!(repository.names().await.unwrap().is_empty());
    assert!(repository.clean(&[]).await.unwrap().is_empty());
    assert_eq!(world.bytes_at("x/base.tar").await, content(1, 10));
}
