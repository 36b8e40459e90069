//! Backups in each form that they have, as written and damaged.

use backup_agent::compress::Compression;
use backup_agent::manifest::Manifest;
use backup_agent::postgres::Options;
use backup_agent::repository::Repository;
use backup_agent::restore::{Order, Places, restore};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::server::{Server, Version};
use crate::world::{Restored, World, back_up, drill, progress, verify};

const NAME: &str = "postgresql_1";

/// Of each part.
const FLIPS: u32 = 4;

fn here(compression: Compression) -> Options {
    Options {
        compression,
        ..Options::default()
    }
}

fn by_server(compression: Compression) -> Options {
    Options {
        server_compression: Some(compression),
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_and_compressed_in_a_folder() {
    let server = server().await;
    for options in [
        here(Compression::None),
        here(Compression::Gzip(1)),
        by_server(Compression::Zstd(1)),
    ] {
        restores_and_shows_all_damage(&server, &World::folder(), &options).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_and_compressed_on_s3() {
    let server = server().await;
    for options in [
        here(Compression::None),
        here(Compression::Zstd(3)),
        by_server(Compression::Gzip(1)),
    ] {
        restores_and_shows_all_damage(&server, &World::s3().await, &options).await;
    }
}

async fn server() -> Server {
    let server = Server::start(Version::Newest, "");
    server
        .sql("CREATE TABLE kept AS SELECT n, 'row ' || n FROM generate_series(1, 5000) n")
        .await;
    let space = server.space("space");
    server
        .sql(&format!(
            "CREATE TABLESPACE space LOCATION '{}'",
            space.display()
        ))
        .await;
    server
        .sql("CREATE TABLE apart TABLESPACE space AS SELECT * FROM kept")
        .await;
    server
}

async fn restores_and_shows_all_damage(server: &Server, world: &World, options: &Options) {
    let repository = world.open();
    let made = back_up(&server.url(), &*repository, NAME, options).await;
    let made = made.unwrap();
    let mut order = world.order(NAME, "new", None);
    let (from, to) = (server.data().with_file_name("space"), world.path("apart"));
    order.tablespaces = Places::Mapped(vec![(from, to.clone())]);
    let restored = Restored::of(&*repository, &order, server).await.unwrap();
    for table in ["kept", "apart"] {
        let count = format!("SELECT count(*) FROM {table}");
        assert_eq!(restored.number(&count).await, 5000, "{table}: {options:?}");
    }
    drop(restored);
    std::fs::remove_dir_all(&order.into).unwrap();
    std::fs::remove_dir_all(to).unwrap();
    let mut rng = StdRng::seed_from_u64(8);
    for part in &made.parts {
        for _ in 0..FLIPS {
            let at = rng.random_range(0..part.bytes * 8);
            is_found_flipped(world, &made, &part.name, at).await;
        }
        let cut = usize::try_from(rng.random_range(0..part.bytes)).unwrap();
        let mut tail = Vec::new();
        let cut = |bytes: &mut Vec<u8>| tail = bytes.split_off(cut);
        world.change(NAME, &part.name, cut).await;
        is_told_bad(world, &*repository, &order).await;
        let mend = |bytes: &mut Vec<u8>| bytes.append(&mut tail);
        world.change(NAME, &part.name, mend).await;
    }
    verify(&*repository, &made).await.unwrap();
}

async fn is_found_flipped(world: &World, made: &Manifest, part: &str, bit: u64) {
    let byte = usize::try_from(bit / 8).unwrap();
    let flip = |bytes: &mut Vec<u8>| bytes[byte] ^= 1 << (bit % 8);
    world.change(NAME, part, flip).await;
    let found = verify(&*world.open(), made).await;
    assert!(found.is_err(), "{part}: bit {bit}");
    world.change(NAME, part, flip).await;
}

/// Nobody takes it for good.
async fn is_told_bad(world: &World, repository: &dyn Repository, order: &Order) {
    let made = repository.manifest(NAME).await.unwrap();
    assert!(verify(repository, &made).await.is_err());
    let error = restore(repository, order, &progress()).await.unwrap_err();
    assert!(error.is_of_backup(), "{error}");
    assert!(!order.into.join("global/pg_control").exists());
    let proof = drill(repository, NAME, &world.path("scratch"), Version::Newest).await;
    let proof = proof.unwrap();
    assert!(!proof.good, "{proof:#?}");
}
