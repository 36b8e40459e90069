//! A backup restored by hand: `tar` and `pg_ctl`, nothing of ours.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::server::{as_server, client, command, folder, free_port, give_away, newest, well};

/// A data folder made of a backup, and its server once started.
#[derive(Debug)]
pub(crate) struct Restored {
    folder: TempDir,
    port: u16,
    programs: PathBuf,
    started: bool,
}

impl Restored {
    /// Untars the parts of a backup that is not compressed, and has `pg_verifybackup` look at it.
    pub(crate) fn of(backup: &Path, programs: &Path) -> Self {
        let folder = folder();
        let restored = Self {
            folder,
            port: free_port(),
            programs: programs.to_owned(),
            started: false,
        };
        let data = restored.data();
        untar(&backup.join("base.tar"), &data);
        untar(&backup.join("pg_wal.tar"), &data.join("pg_wal"));
        fs::copy(backup.join("backup_manifest"), data.join("backup_manifest")).unwrap();
        let spaces = restored.tablespaces(backup);
        give_away(restored.folder.path());
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        let mut looks = vec![data.to_str().unwrap()];
        if programs != newest() {
            // What reads the log reads only that of its own version.
            looks.push("--no-parse-wal");
        }
        as_server(&newest(), "pg_verifybackup", &looks);
        if !spaces.is_empty() {
            fs::write(data.join("tablespace_map"), spaces).unwrap();
        }
        restored
    }

    /// Starts it, and waits until it is consistent and open.
    pub(crate) async fn start(&mut self) -> tokio_postgres::Client {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={}",
            self.port,
            self.folder.path().display()
        );
        let log = self.folder.path().join("log");
        let (data, log) = (self.data(), log.to_str().unwrap().to_owned());
        let data = data.to_str().unwrap();
        as_server(
            &self.programs,
            "pg_ctl",
            &["-D", data, "-w", "-l", &log, "-o", &options, "start"],
        );
        self.started = true;
        client(self.port).await.unwrap()
    }

    pub(crate) fn port(&self) -> String {
        self.port.to_string()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Puts tablespaces into folders of their own; answers the `tablespace_map` that leads there.
    fn tablespaces(&self, backup: &Path) -> String {
        let mut map = String::new();
        for entry in fs::read_dir(backup).unwrap() {
            let archive = entry.unwrap().path();
            let oid = archive.file_stem().unwrap().to_str().unwrap().to_owned();
            if oid.parse::<u32>().is_err() {
                continue;
            }
            let space = self.folder.path().join(&oid);
            untar(&archive, &space);
            let link = self.data().join("pg_tblspc").join(&oid);
            std::os::unix::fs::symlink(&space, link).unwrap();
            writeln!(map, "{oid} {}", space.display()).unwrap();
        }
        map
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        if self.started {
            let data = self.data();
            let arguments = [
                "-D",
                data.to_str().unwrap(),
                "-w",
                "-m",
                "immediate",
                "stop",
            ];
            let _ = command(&self.programs, "pg_ctl", &arguments).output();
        }
    }
}

fn untar(archive: &Path, into: &Path) {
    fs::create_dir_all(into).unwrap();
    let output = Command::new("tar")
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(into)
        .output();
    well(&output.unwrap(), "tar");
}
