//! Backups that somebody put there by hand, without a manifest.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backup_agent::manifest::{Manifest, Part};
use backup_agent::repository::{RepositoryError, hex};
use futures::TryStreamExt;
use rand::{Rng, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use stoker_shared::clock::{Clock, ManualClock, SystemClock};

use crate::kills::Child;
use crate::world::{World, content, manifest, verify_all};

const FILES: [(&str, usize); 2] = [("base.tar", 2 << 20), ("pg_wal.tar", 12)];

/// The manifest of what is put there.
pub(crate) fn by_hand() -> Manifest {
    let parts = FILES.map(|(name, bytes)| Part {
        name: name.to_owned(),
        bytes: bytes as u64,
        sha256: hex(Sha256::new_with_prefix(content(1, bytes))),
        compression: "none".to_owned(),
        raw_bytes: bytes as u64,
    });
    manifest("x", parts.into())
}

async fn put(world: &World) {
    for (name, bytes) in FILES {
        world.put_at(&format!("x/{name}"), content(1, bytes)).await;
    }
}

pub(crate) async fn what_was_put_there_by_hand_becomes_a_backup(world: &World, _: &str) {
    let repository = world.open();
    let none = repository.found("x").await.unwrap_err();
    assert!(matches!(none, RepositoryError::NotFound { .. }), "{none}");
    put(world).await;
    let found = repository.found("x").await.unwrap();
    let seen: Vec<_> = found.iter().map(|f| (&*f.name, f.bytes)).collect();
    assert_eq!(seen, FILES.map(|(name, bytes)| (name, bytes as u64)));
    let read = repository.read_found("x", &found[0]).await.unwrap();
    let read: Vec<_> = read.try_collect().await.unwrap();
    assert!(read.concat() == content(1, FILES[0].1));

    let mut wrong = by_hand();
    wrong.parts[1].bytes += 1;
    let error = repository.adopt(&wrong).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Differs { .. }), "{error}");
    "16384.tar".clone_into(&mut wrong.parts[1].name);
    let error = repository.adopt(&wrong).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Differs { .. }), "{error}");
    assert!(repository.names().await.unwrap().is_empty());

    repository.adopt(&by_hand()).await.unwrap();
    assert_eq!(repository.manifest("x").await.unwrap(), by_hand());
    assert_eq!(verify_all(&*world.open()).await.unwrap(), ["x"]);
    let mut other = by_hand();
    "other".clone_into(&mut other.source);
    let again = repository.adopt(&other).await.unwrap_err();
    assert!(matches!(again, RepositoryError::Exists { .. }), "{again}");
    let found = repository.found("x").await.unwrap_err();
    assert!(matches!(found, RepositoryError::Exists { .. }), "{found}");
    repository.delete("x").await.unwrap();
    assert_eq!(world.left_behind().await, Vec::<String>::new());
}

pub(crate) async fn what_nobody_adopts_is_left_alone(world: &World, _: &str) {
    put(world).await;
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    clock.advance(Duration::from_hours(1000));
    let cleaned = world.open_at(clock).clean(&[]).await.unwrap();
    assert!(cleaned.is_empty(), "{cleaned:?}");
    assert_eq!(world.open().found("x").await.unwrap().len(), 2);
    world.put_at("x/not a part", vec![1]).await;
    let odd = world.open().found("x").await.unwrap_err();
    assert!(odd.to_string().contains("not a part"), "{odd}");
}

pub(crate) async fn of_many_adopters_one_wins(world: &World, _: &str) {
    put(world).await;
    let adopting = (0..8).map(|_| {
        let repository = world.open();
        tokio::spawn(async move { repository.adopt(&by_hand()).await })
    });
    let mut won = 0;
    for adopted in adopting.collect::<Vec<_>>() {
        match adopted.await.unwrap() {
            Ok(()) => won += 1,
            Err(lost) => assert!(matches!(lost, RepositoryError::Exists { .. }), "{lost}"),
        }
    }
    // Two writers of the same bytes cannot tell who was first, where an answer was lost.
    assert!(won >= 1);
    assert_eq!(verify_all(&*world.open()).await.unwrap(), ["x"]);
    assert_eq!(world.left_behind().await, Vec::<String>::new());
}

pub(crate) async fn a_killed_adoption_leaves_the_files_as_they_were(world: &World, test: &str) {
    let repository = world.open();
    let mut rng = StdRng::seed_from_u64(10);
    let mut whole = Duration::ZERO;
    for number in 0..12 {
        put(world).await;
        let mut child = Child::start(world, test, "adopt", Stdio::null());
        child.says("started");
        if number == 0 {
            let begun = Instant::now();
            child.says("done");
            whole = begun.elapsed();
        }
        tokio::time::sleep(whole.mul_f64(rng.random_range(0.0..1.0))).await;
        child.kill();
        repository.clean(&[]).await.unwrap();
        if repository.names().await.unwrap().is_empty() {
            assert_eq!(
                world
                    .paths()
                    .await
                    .iter()
                    .filter(|path| !path.ends_with('/'))
                    .count(),
                2
            );
            repository.adopt(&by_hand()).await.unwrap();
        }
        assert_eq!(verify_all(&*repository).await.unwrap(), ["x"]);
        repository.delete("x").await.unwrap();
        assert_eq!(world.left_behind().await, Vec::<String>::new());
    }
}
