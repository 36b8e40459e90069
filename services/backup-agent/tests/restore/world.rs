//! A server with some rows and a tablespace, a backup of it in a repository, and short words for what is done with it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use backup_agent::manifest::{Manifest, StoreKind, VERSION};
use backup_agent::repository::{self, Repository, RepositoryOptions};
use backup_agent::restore::{self, Order, Places, Progress, RestoreError, Restored, Start};
use backup_agent::server::User;
use bytes::Bytes;
use chrono::DateTime;
use stoker_shared::clock::SystemClock;
use tempfile::TempDir;
use tokio::sync::watch;

pub(crate) const ROWS: i64 = 20_000;

/// The name of the backup.
pub(crate) const BACKUP: &str = "postgresql_1769860800";

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) repository: Arc<dyn Repository>,
}

impl World {
    /// With a backup of a new server.
    pub(crate) async fn new(with_tablespace: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The server's user has to enter it.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let made = make_backup(folder.path(), with_tablespace);
        let repository = open(folder.path());
        store(&*repository, &made).await;
        Self { folder, repository }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn order(&self, into: &str) -> Order {
        order(self.path(into))
    }

    pub(crate) async fn restore(&self, order: &Order) -> Result<Restored, RestoreError> {
        restore::restore(&*self.repository, order, &progress()).await
    }

    /// Changes a byte of a part behind the repository's back.
    pub(crate) fn damage(&self, part: &str, at: impl FnOnce(usize) -> usize) {
        let path = self.path("backups").join(BACKUP).join(part);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at(bytes.len());
        bytes[at] ^= 4;
        std::fs::write(&path, bytes).unwrap();
    }
}

pub(crate) fn open(folder: &Path) -> Arc<dyn Repository> {
    let url = folder.join("backups");
    let options = RepositoryOptions::default();
    repository::open(url.to_str().unwrap(), &options, Arc::new(SystemClock)).unwrap()
}

pub(crate) fn order(into: PathBuf) -> Order {
    Order {
        backup: BACKUP.to_owned(),
        into,
        tablespaces: Places::Mapped(Vec::new()),
        owner: user(),
        conf: None,
        overwrite: false,
        durable: false,
        start: None,
        pgbackrest: backup_agent::pgbackrest::Program::default(),
    }
}

pub(crate) fn start() -> Start {
    Start {
        programs: None,
        patience: Duration::from_mins(1),
    }
}

pub(crate) fn progress() -> watch::Sender<Progress> {
    watch::channel(Progress::default()).0
}

/// PostgreSQL does not run as root.
pub(crate) fn user() -> Option<User> {
    User::for_server(None).unwrap()
}

/// The newest server's programs.
pub(crate) fn bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").unwrap_or_else(|e| {
        panic!("PostgreSQL is not installed ({e}); run: tests/parts/postgres.sh install")
    });
    let mut numbers: Vec<u32> = versions
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    format!("/usr/lib/postgresql/{}/bin", numbers.last().unwrap()).into()
}

/// Runs a program of the server's as its user; fails where it does.
pub(crate) fn run(name: &str, args: &[&str]) -> String {
    let ended = try_run(name, args);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{name} {args:?}: {said}");
    String::from_utf8(ended.stdout).unwrap().trim().to_owned()
}

pub(crate) fn try_run(name: &str, args: &[&str]) -> Output {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(bin().join(name));
    command.args(args).current_dir("/").env("LC_ALL", "C");
    if let Some(user) = user() {
        command.uid(user.uid).gid(user.gid);
    }
    command.output().unwrap()
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) data: PathBuf,
    socket: PathBuf,
}

impl Server {
    /// Of a folder in which one runs, with its socket in another.
    pub(crate) fn of(data: PathBuf, socket: PathBuf) -> Self {
        Self { data, socket }
    }

    pub(crate) fn sql(&self, query: &str) -> String {
        let host = self.socket.to_str().unwrap();
        let args = [
            "-h",
            host,
            "-U",
            "postgres",
            "-X",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
        ];
        run("psql", &[&args[..], &[query, "postgres"]].concat())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        try_run(
            "pg_ctl",
            &[
                "stop",
                "-m",
                "immediate",
                "-w",
                "-D",
                self.data.to_str().unwrap(),
            ],
        );
    }
}

/// A new folder of the server's user.
pub(crate) fn folder(path: PathBuf) -> PathBuf {
    std::fs::create_dir(&path).unwrap();
    if let Some(user) = user() {
        std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).unwrap();
    }
    path
}

/// The folder of what `pg_basebackup` made.
fn make_backup(root: &Path, with_tablespace: bool) -> PathBuf {
    let socket = folder(root.join("socket"));
    let made = folder(root.join("made"));
    let data = folder(root.join("data"));
    run(
        "initdb",
        &[
            "-D",
            data.to_str().unwrap(),
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
        ],
    );
    let conf = data.join("postgresql.conf");
    let settings = format!(
        "\nlisten_addresses = ''\nunix_socket_directories = '{}'\nfsync = off\nwal_level = replica\n",
        socket.display()
    );
    let conf_text = std::fs::read_to_string(&conf).unwrap() + &settings;
    std::fs::write(&conf, conf_text).unwrap();
    let log = socket.join("log");
    run(
        "pg_ctl",
        &[
            "start",
            "-s",
            "-w",
            "-D",
            data.to_str().unwrap(),
            "-l",
            log.to_str().unwrap(),
        ],
    );
    let server = Server::of(data, socket.clone());
    server.sql("CREATE TABLE kept (id int PRIMARY KEY, what text)");
    server.sql(&format!(
        "INSERT INTO kept SELECT n, 'row ' || n FROM generate_series(1, {ROWS}) n"
    ));
    if with_tablespace {
        let space = folder(root.join("space"));
        server.sql(&format!(
            "CREATE TABLESPACE apart LOCATION '{}'",
            space.display()
        ));
        server.sql("CREATE TABLE far TABLESPACE apart AS SELECT * FROM kept");
    }
    let host = socket.to_str().unwrap();
    run(
        "pg_basebackup",
        &[
            "-h",
            host,
            "-U",
            "postgres",
            "-Ft",
            "-X",
            "stream",
            "-c",
            "fast",
            "-D",
            made.to_str().unwrap(),
        ],
    );
    made
}

/// Puts the files of a backup into a repository.
async fn store(repository: &dyn Repository, made: &Path) {
    let draft = repository.begin(BACKUP).await.unwrap();
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(made).unwrap() {
        let path = entry.unwrap().path();
        let mut writer = draft
            .part(path.file_name().unwrap().to_str().unwrap())
            .await
            .unwrap();
        for chunk in std::fs::read(&path).unwrap().chunks(1 << 20) {
            writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        parts.push(writer.finish().await.unwrap());
    }
    let manifest = Manifest {
        manifest_version: VERSION,
        name: BACKUP.to_owned(),
        store: StoreKind::Postgresql,
        source: "fhir".to_owned(),
        engine: "pg_basebackup".to_owned(),
        started: DateTime::UNIX_EPOCH,
        ended: DateTime::UNIX_EPOCH,
        parts,
        about: BTreeMap::new(),
        elsewhere: None,
        parent: None,
        verified: None,
        proof: None,
    };
    draft.commit(&manifest).await.unwrap();
}
