//! A disk that gets full, and a limit on the size of files: on a small file system of a process's own.

use std::process::Command;
use std::sync::Arc;

use backup_agent::repository::{self, RepositoryError};
use stoker_shared::clock::SystemClock;

use crate::world::{back_up, options, verify_all};

/// Set for a process that a test has started: the folder to write to.
const CHILD: &str = "STOKER_TEST_FULL_DISK";

/// Runs this very test where a shell's line has set the limit.
fn run(test: &str, folder: &str, line: &str) {
    let exe = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg(format!("{line}; exec \"$0\" --exact {test} --nocapture"))
        .arg(exe)
        .env(CHILD, folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{problem}");
    assert!(said.contains("refused as it should be"), "{said}{problem}");
}

async fn fails_cleanly(folder: &str, advice: &str) {
    let url = format!("file://{folder}/backups");
    let repository = repository::open(&url, &options(""), Arc::new(SystemClock)).unwrap();
    back_up(&*repository, "small", 1 << 20).await.unwrap();
    for _ in 0..2 {
        let error = back_up(&*repository, "large", 12 << 20).await.unwrap_err();
        assert!(matches!(error, RepositoryError::Files { .. }), "{error:?}");
        assert!(error.to_string().contains(advice), "{error}");
        assert_eq!(verify_all(&*repository).await.unwrap(), ["small"]);
        let left = std::fs::read_dir(format!("{folder}/backups"))
            .unwrap()
            .count();
        assert_eq!(left, 1, "only the good backup");
    }
    back_up(&*repository, "small-again", 1 << 20).await.unwrap();
    println!("refused as it should be");
}

#[tokio::test]
async fn a_full_disk_fails_the_backup_and_no_other() {
    if let Ok(folder) = std::env::var(CHILD) {
        return fails_cleanly(&folder, "make room on its disk").await;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let mount = format!("mount -t tmpfs -o size=10m tmpfs {folder}");
    run(
        "full::a_full_disk_fails_the_backup_and_no_other",
        folder,
        &mount,
    );
}

#[tokio::test]
async fn a_limit_on_files_fails_the_backup_and_no_other() {
    if let Ok(folder) = std::env::var(CHILD) {
        return fails_cleanly(&folder, "ulimit -f").await;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    // In blocks of 512 bytes; without the trap the system would kill the process.
    let limit = "trap '' XFSZ; ulimit -f 16384";
    run(
        "full::a_limit_on_files_fails_the_backup_and_no_other",
        folder,
        limit,
    );
}
