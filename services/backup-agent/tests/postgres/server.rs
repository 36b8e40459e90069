//! Throwaway servers, and their programs.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;
use tokio_postgres::NoTls;

/// A server of a test's own; removed with all that is in it when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    script: &'static str,
    /// Where its programs are.
    pub(crate) programs: PathBuf,
}

impl Server {
    /// The newest that is installed.
    pub(crate) fn start() -> Self {
        Self::of("postgres.sh", newest())
    }

    /// PostgreSQL 14.
    pub(crate) fn start_14() -> Self {
        let programs = std::env::var("STOKER_TEST_POSTGRES14");
        let programs = programs
            .unwrap_or_else(|_| panic!("STOKER_TEST_POSTGRES14 is not set; run `make test`"));
        Self::of("postgres14.sh", programs.into())
    }

    fn of(script: &'static str, programs: PathBuf) -> Self {
        let server = Self {
            port: free_port(),
            script,
            programs,
        };
        server.script("start");
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        client(self.port).await.unwrap()
    }

    /// Slots that somebody left.
    pub(crate) async fn slots(&self) -> i64 {
        let client = self.client().await;
        let row = client.query_one("SELECT count(*) FROM pg_replication_slots", &[]);
        row.await.unwrap().get(0)
    }

    pub(crate) fn stop(&self) {
        self.script("stop");
    }

    fn script(&self, action: &str) {
        let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parts");
        let script = parts.join(self.script);
        let output = Command::new(script)
            .arg(action)
            .env("STOKER_POSTGRES_PORT", self.port.to_string())
            .output()
            .unwrap();
        well(&output, action);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic would hide the first.
            let _ = std::panic::catch_unwind(|| self.script("remove"));
        } else {
            self.script("remove");
        }
    }
}

/// Connects; nothing where no server answers.
pub(crate) async fn client(port: u16) -> Option<tokio_postgres::Client> {
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let (client, driver) = tokio_postgres::connect(&url, NoTls).await.ok()?;
    tokio::spawn(driver);
    Some(client)
}

/// Runs one of PostgreSQL's programs as the user that its servers run as.
pub(crate) fn as_server(programs: &Path, program: &str, arguments: &[&str]) {
    let output = command(programs, program, arguments).output().unwrap();
    well(&output, program);
}

pub(crate) fn command(programs: &Path, program: &str, arguments: &[&str]) -> Command {
    let program = programs.join(program);
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            "postgres",
            "--regid",
            "postgres",
            "--init-groups",
        ]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments).current_dir("/");
    command
}

/// A folder that servers can read and write.
pub(crate) fn folder() -> TempDir {
    if !is_root() {
        return tempfile::tempdir().unwrap();
    }
    let folder = tempfile::tempdir_in("/var/lib/postgresql").unwrap();
    give_away(folder.path());
    folder
}

/// Makes what is in a folder the servers' own.
pub(crate) fn give_away(folder: &Path) {
    if is_root() {
        let owned = Command::new("chown")
            .args(["-R", "postgres:postgres"])
            .arg(folder)
            .output();
        well(&owned.unwrap(), "chown");
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

pub(crate) fn well(output: &Output, what: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{what}: {said} {told}");
}

/// A port that nothing listens on, and that this process has not been given before.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 200).unwrap() * 40;
    loop {
        let port = 21_000 + first + NEXT.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Programs of the newest server that is installed.
pub(crate) fn newest() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").unwrap();
    let newest = versions
        .filter_map(|entry| {
            entry
                .unwrap()
                .file_name()
                .into_string()
                .ok()?
                .parse::<u32>()
                .ok()
        })
        .max();
    PathBuf::from(format!("/usr/lib/postgresql/{}/bin", newest.unwrap()))
}
