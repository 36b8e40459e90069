//! Backups of a real server into an S3 service that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backup_agent::drill::DrillError;
use backup_agent::postgres::{Options, PostgresError};
use backup_agent::repository::{self, RepositoryError};
use backup_agent::restore::{RestoreError, restore};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use stoker_shared::clock::SystemClock;
use stoker_tests::minio::SECRET_KEY;

use crate::proxy::{Fate, Proxy};
use crate::server::{Server, Version};
use crate::world::{World, back_up, drill, options, progress, until, verify, verify_all};

/// What a connection carries before it breaks, in the middle of whatever it carries.
const CARRIES: Fate = Fate::Breaks(10 << 20, 10 << 20);

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_outlives_what_passes() {
    let server = Server::start(Version::Newest, "");
    server.sql("CREATE TABLE kept AS SELECT 1").await;
    let world = World::s3().await;
    let mut rng = StdRng::seed_from_u64(8);
    let mut faults = vec![Fate::Status(503), Fate::Status(500), Fate::Slow(4 << 20)];
    for _ in 0..5 {
        // In the middle of what is sent, or of an answer.
        faults.push(Fate::Breaks(rng.random_range(0..9 << 20), u64::MAX));
        faults.push(Fate::Breaks(u64::MAX, rng.random_range(0..600)));
    }
    let (count, mut faults) = (faults.len(), faults.into_iter());
    let fate = move || faults.next().unwrap_or(CARRIES);
    let proxy = Proxy::before(world.address(), fate).await;
    let repository = world.open_by(&proxy.address);
    for name in ["a", "b"] {
        let made = back_up(&server.url(), &*repository, name, &Options::default()).await;
        let made = made.unwrap();
        assert_eq!(repository.manifest(name).await.unwrap(), made);
    }
    assert_eq!(verify_all(&*repository).await.unwrap(), ["a", "b"]);
    let proof = drill(&*repository, "b", &world.path("scratch"), Version::Newest).await;
    let proof = proof.unwrap();
    assert!(proof.good, "{proof:#?}");
    let met = proxy.connections();
    assert!(met > count, "only {met} connections for {count} faults");
    assert_eq!(world.left_behind().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_taken_away_in_the_middle_fail_it() {
    let server = Server::start(Version::Newest, "");
    let mut world = World::s3().await;
    let repository = world.open();
    let (url, slow) = (
        server.url(),
        Options {
            max_rate_kb: Some(8192),
            ..Options::default()
        },
    );
    let backing_up = tokio::spawn(async move { back_up(&url, &*repository, "x", &slow).await });
    let minio = world.minio.as_mut().unwrap();
    until("something is uploaded", async || {
        !minio.uploads().unwrap().is_empty()
    })
    .await;
    minio.restart_with("another-secret").await.unwrap();
    let error = backing_up.await.unwrap().unwrap_err();
    assert!(
        error.to_string().contains("does not accept the keys"),
        "{error}"
    );
    server.is_left_alone().await;

    minio.restart_with(SECRET_KEY).await.unwrap();
    let repository = world.open();
    assert!(repository.names().await.unwrap().is_empty());
    assert!(
        !world.left_behind().await.is_empty(),
        "it was not in the middle"
    );
    repository.clean(&[]).await.unwrap();
    assert_eq!(world.left_behind().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_read_a_backup_does_not_call_it_bad() {
    let server = Server::start(Version::Newest, "");
    let world = World::s3().await;
    let made = back_up(&server.url(), &*world.open(), "x", &Options::default()).await;
    let made = made.unwrap();
    for status in [403, 503] {
        let carried = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&carried);
        let fate = move || match count.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Fate::Breaks(u64::MAX, 3 << 20),
            _ => Fate::Status(status),
        };
        let proxy = Proxy::before(world.address(), fate).await;
        let mut options = options(&proxy.address);
        options.s3.give_up_after = Duration::from_secs(1);
        let repository = repository::open(&world.url, &options, Arc::new(SystemClock)).unwrap();

        let error = verify(&*repository, &made).await.unwrap_err();
        let unread = |error: &RepositoryError| matches!(error, RepositoryError::Store(_));
        assert!(
            matches!(&error, PostgresError::Repository(e) if unread(e)),
            "{error}"
        );
        carried.store(0, Ordering::SeqCst);
        let order = world.order("x", &format!("new-{status}"), None);
        let error = restore(&*repository, &order, &progress())
            .await
            .unwrap_err();
        assert!(
            matches!(&error, RestoreError::Repository(e) if unread(e)),
            "{error}"
        );
        assert!(!order.into.join("global/pg_control").exists());
        carried.store(0, Ordering::SeqCst);
        let scratch = world.path("scratch");
        let error = drill(&*repository, "x", &scratch, Version::Newest)
            .await
            .unwrap_err();
        assert!(matches!(&error, DrillError::Restore(_)), "{error}");
        assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
    }
    assert_eq!(world.open().manifest("x").await.unwrap(), made);
}
