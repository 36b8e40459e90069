//! An S3 service that fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backup_agent::repository::{self, Repository, RepositoryError, RepositoryOptions};
use rand::{Rng, SeedableRng, rngs::StdRng};
use stoker_shared::clock::SystemClock;
use stoker_shared::object_store::StoreError;
use stoker_shared::retry::Retry;

use crate::proxy::{Fate, Proxy};
use crate::world::{World, back_up, content, manifest, options, read_from, verify_all, write_part};

const LARGE: usize = 20 << 20;

/// Connections on which something goes wrong.
const FAULTS: usize = 12;

fn open(world: &World, options: &RepositoryOptions) -> Arc<dyn Repository> {
    repository::open(&world.url, options, Arc::new(SystemClock)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_outlived() {
    let world = World::s3().await;
    let mut rng = StdRng::seed_from_u64(8);
    let mut faults = vec![Fate::Status(503), Fate::Status(500), Fate::Slow(4 << 20)];
    for _ in 0..FAULTS / 2 - 1 {
        // In the middle of what is sent, or of the first answers.
        faults.push(Fate::Breaks(rng.random_range(0..2 << 20), u64::MAX));
        faults.push(Fate::Breaks(u64::MAX, rng.random_range(0..600)));
    }
    let mut faults = faults.into_iter();
    let fate = move || faults.next().unwrap_or(Fate::Breaks(10 << 20, 10 << 20));
    let proxy = Proxy::before(world.address(), fate).await;
    let repository = open(&world, &options(&proxy.address));
    for name in ["a", "b", "c"] {
        let written = back_up(&*repository, name, LARGE).await.unwrap();
        assert_eq!(repository.manifest(name).await.unwrap(), written);
    }
    let read = read_from(&*repository, "a", "base.tar", 5).await.unwrap();
    assert!(read == content(1, LARGE)[5..]);
    repository.delete("b").await.unwrap();
    assert_eq!(verify_all(&*repository).await.unwrap(), ["a", "c"]);
    assert_eq!(verify_all(&*world.open()).await.unwrap(), ["a", "c"]);
    assert!(proxy.connections() > FAULTS, "not all was met");
    assert_eq!(world.left_behind().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_at_once() {
    let world = World::s3().await;
    let proxy = Proxy::before(world.address(), || Fate::Status(403)).await;
    let repository = open(&world, &options(&proxy.address));
    let begun = Instant::now();
    let error = repository.begin("x").await.map(drop).unwrap_err();
    let refused = matches!(error, RepositoryError::Store(StoreError::Refused { .. }));
    assert!(refused, "{error:?}");
    assert_eq!(error.retry(), Retry::Never);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(proxy.connections() <= 3, "{}", proxy.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stays_away_is_given_up() {
    let mut world = World::s3().await;
    let mut options = options(&world.address());
    options.s3.give_up_after = Duration::from_secs(1);
    let repository = open(&world, &options);
    let draft = repository.begin("x").await.unwrap();
    let part = write_part(&*draft, "base.tar", content(1, LARGE))
        .await
        .unwrap();
    world.minio.as_mut().unwrap().kill();
    let error = draft.commit(&manifest("x", vec![part])).await.unwrap_err();
    assert_eq!(error.retry(), Retry::After(None), "{error}");
    world.minio.as_mut().unwrap().run().await;
    assert!(repository.names().await.unwrap().is_empty());
    assert_eq!(repository.clean(&[]).await.unwrap().len(), 1);
    assert_eq!(world.left_behind().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_and_comes_back_is_waited_for() {
    let mut world = World::s3().await;
    let repository = world.open();
    let writing = tokio::spawn(async move { back_up(&*repository, "x", LARGE).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.minio.as_mut().unwrap().kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.minio.as_mut().unwrap().run().await;
    writing.await.unwrap().unwrap();
    assert_eq!(verify_all(&*world.open()).await.unwrap(), ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_larger_than_an_object_becomes_several() {
    let world = World::s3().await;
    let options = RepositoryOptions {
        object_bytes: 8 << 20,
        ..options(&world.address())
    };
    let repository = open(&world, &options);
    for (name, bytes) in [("even", 16 << 20), ("odd", (16 << 20) + 3)] {
        back_up(&*repository, name, bytes).await.unwrap();
        let objects = world.paths().await.into_iter();
        let objects =
            objects.filter(|p| p.starts_with(&format!("{name}/")) && p.contains("base.tar"));
        assert_eq!(objects.count(), bytes.div_ceil(8 << 20), "{name}");
        for from in [0, 7, 8 << 20, (8 << 20) + 1, bytes - 1, bytes] {
            let read = read_from(&*world.open(), name, "base.tar", from as u64).await;
            assert!(
                read.unwrap() == content(1, bytes)[from..],
                "{name} from {from}"
            );
        }
    }
    assert_eq!(verify_all(&*world.open()).await.unwrap(), ["even", "odd"]);
    repository.delete("odd").await.unwrap();
    repository.delete("even").await.unwrap();
    assert_eq!(world.left_behind().await, Vec::<String>::new());
}
