//! Backups that PostgreSQL's own program makes.

use std::time::Duration;

use backup_agent::basebackup::{self, BasebackupError, Program};
use backup_agent::compress::Compression;
use backup_agent::manifest::Manifest;
use backup_agent::postgres::{Captured, Options, Progress, Source};
use tokio::sync::watch;

use crate::backups::manifest;
use crate::imports::{World, clock, filled, verified};
use crate::restored::Restored;
use crate::server::Server;

const NAME: &str = "postgresql_1769860800";

async fn capture(
    world: &World,
    url: &str,
    options: &Options,
    draft: &dyn backup_agent::repository::Draft,
) -> Result<Captured, BasebackupError> {
    let program = Program {
        programs: None,
        scratch: world.root.path().join("scratch"),
    };
    let source = Source::parse(url)?;
    let progress = watch::Sender::new(Progress::default());
    basebackup::capture(&program, &source, options, draft, &clock(), &progress).await
}

async fn back_up(world: &World, server: &Server, options: &Options) -> Manifest {
    let draft = world.repository.begin(NAME).await.unwrap();
    let captured = capture(world, &server.url(), options, &*draft)
        .await
        .unwrap();
    assert_eq!(captured.about.len(), 6, "{:?}", captured.about);
    let backup = Manifest {
        name: NAME.to_owned(),
        engine: basebackup::ENGINE.to_owned(),
        ..manifest(&captured)
    };
    draft.commit(&backup).await.unwrap();
    backup
}

/// Files and folders in the scratch folder.
fn left(world: &World) -> usize {
    std::fs::read_dir(world.root.path().join("scratch"))
        .unwrap()
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_as_one_of_our_own() {
    let (server, world) = (filled().await, World::new());
    let ways = [
        (Compression::Gzip(1), None, "base.tar.gz"),
        (Compression::Zstd(1), None, "base.tar.zst"),
        (
            Compression::Zstd(1),
            Some(Compression::Zstd(1)),
            "base.tar.zst",
        ),
        (Compression::None, None, "base.tar"),
    ];
    for (compression, server_compression, base) in ways {
        let options = Options {
            compression,
            server_compression,
            ..Options::default()
        };
        let backup = back_up(&world, &server, &options).await;
        assert_eq!(backup.parts[0].name, base);
        assert_eq!(backup.parts.len(), 3);
        verified(&*world.repository, &backup).await.unwrap();
        assert_eq!(left(&world), 0);
        if compression == Compression::None {
            let folder = world.root.path().join("backups").join(NAME);
            let mut restored = Restored::of(&folder, &server.programs);
            let client = restored.start().await;
            let count = client
                .query_one("SELECT count(*) FROM kept", &[])
                .await
                .unwrap();
            assert_eq!(count.get::<_, i64>(0), 20_000);
        }
        world.repository.delete(NAME).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_one_of_postgresql_14() {
    let (server, world) = (Server::start_14(), World::new());
    let backup = back_up(&world, &server, &Options::default()).await;
    verified(&*world.repository, &backup).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_program_says_is_told_and_nothing_is_left() {
    let (server, world) = (filled().await, World::new());
    let draft = world.repository.begin(NAME).await.unwrap();
    let lazy = "CREATE ROLE lazy LOGIN";
    server.client().await.batch_execute(lazy).await.unwrap();
    let url = server.url().replace("postgres@", "lazy:it%27s%5Csecret@");
    let error = capture(&world, &url, &Options::default(), &*draft)
        .await
        .unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");

    let wrong = Options {
        server_compression: Some(Compression::Zstd(99)),
        ..Options::default()
    };
    let error = capture(&world, &server.url(), &wrong, &*draft)
        .await
        .unwrap_err();
    assert!(matches!(error, BasebackupError::Failed { .. }), "{error}");
    assert!(error.to_string().contains("compression"), "{error}");
    assert_eq!(left(&world), 0);

    let slow = Options {
        max_rate_kb: Some(1024),
        ..Options::default()
    };
    let url = server.url();
    let given_up = capture(&world, &url, &slow, &*draft);
    assert!(
        tokio::time::timeout(Duration::from_secs(3), given_up)
            .await
            .is_err()
    );
    assert_eq!(left(&world), 0);
    let gone = async {
        while server.slots().await > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), gone)
        .await
        .unwrap();
    draft.abandon().await.unwrap();
    assert_eq!(world.entries(), 0);
}
