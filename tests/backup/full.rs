//! A disk that gets full: a small file system of a process's own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use backup_agent::drill::DrillError;
use backup_agent::postgres::Options;
use backup_agent::repository;
use backup_agent::restore::{RestoreError, restore};
use stoker_shared::clock::SystemClock;

use crate::server::{Server, Version, folder, is_root, text, well};
use crate::world::{back_up, drill, options, order, progress, verify_all};

/// Set for a process that a test has started: the server's address and the folder.
const CHILD: &str = "STOKER_TEST_FULL_SERVER";

/// Room for one backup of an empty server, and for a half besides.
const SIZE: &str = "64m";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_backup_restore_and_drill_and_spoils_nothing() {
    if let Ok(told) = std::env::var(CHILD) {
        let (url, folder) = told.split_once(' ').unwrap();
        return nothing_is_spoilt(url, folder.as_ref()).await;
    }
    let server = Server::start(Version::Newest, "");
    let folder = folder();
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let test = "full::a_full_disk_fails_backup_restore_and_drill_and_spoils_nothing";
    let line = format!(
        "mount -t tmpfs -o size={SIZE},mode=755 tmpfs {}; exec \"$0\" --exact {test}",
        small.display()
    );
    let mut command = Command::new("unshare");
    if !is_root() {
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    command
        .args(["--mount", "sh", "-c", &line])
        .arg(std::env::current_exe().unwrap());
    command.env(
        CHILD,
        format!("{} {}", server.url(), folder.path().display()),
    );
    well(&command.output().unwrap());
    assert!(folder.path().join("done").exists(), "it was not tried");
    server.is_left_alone().await;
}

async fn nothing_is_spoilt(url: &str, folder: &Path) {
    let small = folder.join("small");
    let place = small.join("backups");
    let repository = repository::open(text(&place), &options(""), Arc::new(SystemClock)).unwrap();
    let made = back_up(url, &*repository, "good", &Options::default())
        .await
        .unwrap();
    for _ in 0..2 {
        let error = back_up(url, &*repository, "more", &Options::default()).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("make room on its disk"), "{error}");
        assert_eq!(
            fs::read_dir(&place).unwrap().count(),
            1,
            "only the good one"
        );
    }
    let order = order("good", small.join("new"), None);
    let error = restore(&*repository, &order, &progress())
        .await
        .unwrap_err();
    assert!(matches!(error, RestoreError::Files { .. }), "{error}");
    assert!(!order.into.join("global/pg_control").exists());
    fs::remove_dir_all(&order.into).unwrap();

    let scratch = small.join("scratch");
    fs::create_dir(&scratch).unwrap();
    fs::set_permissions(&scratch, fs::Permissions::from_mode(0o755)).unwrap();
    let error = drill(&*repository, "good", &scratch, Version::Newest)
        .await
        .unwrap_err();
    assert!(matches!(error, DrillError::Restore(_)), "{error}");
    assert_eq!(
        fs::read_dir(&scratch).unwrap().count(),
        0,
        "the drill left something"
    );

    assert_eq!(verify_all(&*repository).await.unwrap(), ["good"]);
    assert_eq!(repository.manifest("good").await.unwrap(), made);
    fs::write(folder.join("done"), "").unwrap();
}
