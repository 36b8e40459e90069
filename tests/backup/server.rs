//! PostgreSQL servers that can be stopped, killed, followed and promoted, and the programs of PostgreSQL's own.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use stoker_tests::ports::free_port;
use tempfile::TempDir;

/// Which PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// The newest that is installed.
    Newest,
    /// 14, which has another replication protocol.
    Old,
}

impl Version {
    /// Where its server's programs are.
    pub(crate) fn programs(self) -> PathBuf {
        match self {
            Self::Newest => newest(),
            Self::Old => std::env::var_os("STOKER_TEST_POSTGRES14").map_or_else(
                || panic!("STOKER_TEST_POSTGRES14 is not set; run `make test`"),
                PathBuf::from,
            ),
        }
    }
}

/// The newest that is installed, with all programs that clients use.
pub(crate) fn newest() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .unwrap_or_else(|e| panic!("PostgreSQL is not installed ({e}); run `make test`"));
    let numbers =
        versions.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    format!("/usr/lib/postgresql/{}/bin", numbers.max().unwrap()).into()
}

/// See the [module](self); removed with all that is in it when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) version: Version,
    pub(crate) port: u16,
    folder: TempDir,
}

impl Server {
    /// A new one, with lines for its configuration.
    pub(crate) fn start(version: Version, settings: &str) -> Self {
        let server = Self::prepare(version);
        let data = server.data();
        let initdb = [
            "-D",
            text(&data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
        ];
        run(&version.programs(), "initdb", &initdb);
        server.settle(settings);
        server.start_again();
        server
    }

    /// One that follows another.
    pub(crate) fn following(primary: &Self) -> Self {
        let server = Self::prepare(primary.version);
        let (data, port) = (server.data(), primary.port.to_string());
        let copy = [
            "-D",
            text(&data),
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "postgres",
            "-R",
            "-c",
            "fast",
            "--no-sync",
        ];
        run(&newest(), "pg_basebackup", &copy);
        server.settle("");
        server.start_again();
        server
    }

    fn prepare(version: Version) -> Self {
        let folder = folder();
        let port = free_port().unwrap();
        Self {
            version,
            port,
            folder,
        }
    }

    fn settle(&self, settings: &str) {
        let conf = self.data().join("postgresql.conf");
        let own = format!(
            "\nlisten_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nfsync = off\n{settings}\n",
            self.port,
            self.folder.path().display()
        );
        fs::write(&conf, fs::read_to_string(&conf).unwrap() + &own).unwrap();
    }

    pub(crate) fn start_again(&self) {
        self.control(&["-l", text(&self.folder.path().join("log")), "start"]);
    }

    /// Ends it as a power cut does.
    pub(crate) fn crash(&self) {
        self.control(&["-m", "immediate", "stop"]);
    }

    pub(crate) fn promote(&self) {
        self.control(&["promote"]);
    }

    fn control(&self, action: &[&str]) {
        let data = self.data();
        let args = [&["-D", text(&data), "-w", "-s"], action].concat();
        run(&self.version.programs(), "pg_ctl", &args);
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A new folder beside the data, for a tablespace.
    pub(crate) fn space(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir(&path).unwrap();
        give(&path, "postgres");
        path
    }

    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    pub(crate) async fn sql(&self, sql: &str) {
        sql_at(self.port, sql).await;
    }

    pub(crate) async fn number(&self, query: &str) -> i64 {
        number_at(self.port, query).await
    }

    /// Waits until no backup of it is left: neither slots nor processes that send.
    pub(crate) async fn is_left_alone(&self) {
        let left = "SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_stat_activity \
                    WHERE application_name = 'stoker-backup-agent')";
        crate::world::until("no slot and no sender is left", async || {
            self.number(left).await == 0
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&self.version.programs(), &self.data(), "postgres");
    }
}

/// Ends the server of a data folder, if one runs there.
pub(crate) fn stop(programs: &Path, data: &Path, user: &str) {
    let stop = ["-D", text(data), "-m", "immediate", "-w", "stop"];
    let _ = as_user(user, programs, "pg_ctl").args(stop).output();
}

pub(crate) fn url(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}

pub(crate) async fn sql_at(port: u16, sql: &str) {
    let mut connection = PgConnection::connect(&url(port)).await.unwrap();
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
}

pub(crate) async fn number_at(port: u16, query: &str) -> i64 {
    let mut connection = PgConnection::connect(&url(port)).await.unwrap();
    let row = sqlx::query(AssertSqlSafe(query))
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    row.get(0)
}

/// Runs one of PostgreSQL's programs as the servers' user; fails where it does.
pub(crate) fn run(programs: &Path, program: &str, args: &[&str]) {
    let mut command = as_user("postgres", programs, program);
    // A server that goes on would hold a pipe open.
    let log = tempfile::tempfile().unwrap();
    command
        .args(args)
        .stdout(Stdio::null())
        .stderr(log.try_clone().unwrap());
    let status = command.status().unwrap();
    assert!(status.success(), "{program} {args:?}: {}", whole(log));
}

fn whole(mut file: fs::File) -> String {
    use std::io::{Read as _, Seek as _};
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// One of PostgreSQL's programs; it does not run as root, and so runs as another user there.
pub(crate) fn as_user(user: &str, programs: &Path, program: &str) -> Command {
    let mut command = Command::new(programs.join(program));
    if is_root() {
        command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        command.arg(programs.join(program));
    }
    command
        .current_dir("/")
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command
}

/// A folder that servers can make theirs in.
pub(crate) fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    give(folder.path(), "postgres");
    folder
}

/// Makes a folder a user's own, with all that is in it.
pub(crate) fn give(path: &Path, user: &str) {
    if is_root() {
        let mut chown = Command::new("chown");
        well(
            &chown
                .arg("-R")
                .arg(format!("{user}:{user}"))
                .arg(path)
                .output()
                .unwrap(),
        );
    }
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

pub(crate) fn well(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said} {told}");
    told.into_owned()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
