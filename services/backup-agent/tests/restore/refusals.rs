//! What is not restored, and into what nothing is.

use backup_agent::restore::{Places, RestoreError};

use crate::world::{Server, World, run, start};

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_match_is_not_restored() {
    for part in ["base.tar", "pg_wal.tar", "backup_manifest"] {
        let world = World::new(false).await;
        world.damage(part, |bytes| bytes / 2);
        let order = world.order("new");
        let error = world.restore(&order).await.unwrap_err();
        assert!(error.is_of_backup(), "{part}: {error}");
        assert!(error.to_string().contains(part), "{error}");
        no_server_starts(&order.into);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_cut_off_is_not_restored() {
    let world = World::new(false).await;
    let path = world.path("backups/postgresql_1769860800/base.tar");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1024]).unwrap();
    let order = world.order("new");
    let error = world.restore(&order).await.unwrap_err();
    assert!(error.is_of_backup(), "{error}");
    no_server_starts(&order.into);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_empty_is_left_alone() {
    let world = World::new(false).await;
    let mut order = world.order("new");
    std::fs::create_dir(&order.into).unwrap();
    let mine = order.into.join("mine");
    std::fs::write(&mine, "x").unwrap();
    let error = world.restore(&order).await.unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
    assert_eq!(std::fs::read_dir(&order.into).unwrap().count(), 1);
    assert!(mine.exists());
    order.overwrite = true;
    world.restore(&order).await.unwrap();
    assert!(!mine.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_which_a_server_runs_is_left_alone_whatever_is_told() {
    let world = World::new(false).await;
    let mut order = world.order("new");
    order.start = Some(start());
    world.restore(&order).await.unwrap();
    let server = Server::of(order.into.clone(), world.path("socket"));
    order.overwrite = true;
    let error = world.restore(&order).await.unwrap_err();
    assert!(matches!(error, RestoreError::Running(_)), "{error}");
    // Without its file too: some remove it, so that they can start.
    std::fs::rename(order.into.join("postmaster.pid"), world.path("pid")).unwrap();
    let error = world.restore(&order).await.unwrap_err();
    assert!(matches!(error, RestoreError::Running(_)), "{error}");
    std::fs::rename(world.path("pid"), order.into.join("postmaster.pid")).unwrap();
    assert_eq!(server.sql("SELECT 1"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_make_no_sense_are_refused() {
    let world = World::new(true).await;
    let mut order = world.order("new");
    order.tablespaces = Places::Mapped(vec![("/nowhere".into(), world.path("x"))]);
    let error = world.restore(&order).await.unwrap_err();
    assert!(
        matches!(error, RestoreError::NoTablespace { .. }),
        "{error}"
    );
    order.tablespaces = Places::Mapped(vec![(world.path("space"), order.into.join("x"))]);
    let error = world.restore(&order).await.unwrap_err();
    assert!(matches!(error, RestoreError::Folder { .. }), "{error}");
    order.into = "new".into();
    let error = world.restore(&order).await.unwrap_err();
    assert!(matches!(error, RestoreError::Folder { .. }), "{error}");
    assert!(!world.path("new").exists(), "nothing was touched");
}

fn no_server_starts(data: &std::path::Path) {
    assert!(!data.join("global/pg_control").exists());
    let log = data.join("log");
    let ended = crate::world::try_run(
        "pg_ctl",
        &[
            "start",
            "-w",
            "-D",
            data.to_str().unwrap(),
            "-l",
            log.to_str().unwrap(),
        ],
    );
    assert!(!ended.status.success(), "a server starts on half a restore");
    assert!(run("pg_ctl", &["--version"]).contains("PostgreSQL"));
}
