//! A PostgreSQL server with some rows, a repository for its backups, and a user who has them made.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use stoker_tests::minio::{ACCESS_KEY, Minio, SECRET_KEY};
use stoker_tests::ports::free_port;
use stoker_tests::repository;
use stoker_tests::stoker::{Run, Stoker, isolated, stoker_bin};
use tempfile::TempDir;

pub(super) const ROWS: i64 = 20_000;

/// Its user may do nothing but replicate.
const USER: &str = "keeper";
pub(super) const PASSWORD: &str = "hush-hush";

const BUCKET: &str = "backups";

const LIMIT: Duration = Duration::from_mins(2);

/// A server of the test's own; removed with all that is in it when dropped.
pub(super) struct Server {
    port: u16,
}

impl Server {
    async fn start() -> Self {
        let server = Self {
            port: free_port().unwrap(),
        };
        server.script("start");
        let mut connection = PgConnection::connect(&server.url("postgres"))
            .await
            .unwrap();
        for statement in [
            "CREATE TABLE kept (id int PRIMARY KEY, what text)".to_owned(),
            format!("INSERT INTO kept SELECT n, 'row ' || n FROM generate_series(1, {ROWS}) n"),
            format!("CREATE ROLE {USER} REPLICATION LOGIN PASSWORD '{PASSWORD}'"),
            "CREATE ROLE visitor LOGIN".to_owned(),
        ] {
            connection.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        let file: String = sqlx::query_scalar("SHOW hba_file")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let rules = fs::read_to_string(&file).unwrap();
        let first = format!("host replication {USER} 127.0.0.1/32 scram-sha-256\n");
        fs::write(&file, first + &rules).unwrap();
        connection.execute("SELECT pg_reload_conf()").await.unwrap();
        server
    }

    pub(super) fn url(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port)
    }

    pub(super) fn stop(&self) {
        self.script("stop");
    }

    /// Connections that somebody's backup has.
    pub(super) async fn sessions(&self) -> i64 {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        let count =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stoker-backup-agent'";
        let counted = sqlx::query_scalar(count).fetch_one(&mut connection).await;
        counted.unwrap()
    }

    /// Slots and backups that somebody left.
    pub(super) async fn leftovers(&self) -> i64 {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        let count = "SELECT (SELECT count(*) FROM pg_replication_slots) \
                     + (SELECT count(*) FROM pg_stat_progress_basebackup)";
        let counted = sqlx::query_scalar(count).fetch_one(&mut connection).await;
        counted.unwrap()
    }

    /// Backs up as people do, by PostgreSQL's own program.
    pub(super) fn backed_up_by_hand(&self, into: &Path) {
        let port = self.port.to_string();
        let how = [
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "postgres",
            "-c",
            "fast",
            "-Ft",
            "-X",
            "stream",
        ];
        let ran = Command::new("pg_basebackup")
            .args(how)
            .arg("-D")
            .arg(into)
            .output();
        let ran = ran.unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "pg_basebackup: {said}");
    }

    fn script(&self, action: &str) {
        let script = repository::root().join("tests/parts/postgres.sh");
        let mut command = Command::new(script);
        let ran = command
            .arg(action)
            .env("STOKER_POSTGRES_PORT", self.port.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "postgres.sh {action}: {said}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A second panic would hide the first.
        let removed = std::panic::catch_unwind(|| self.script("remove"));
        assert!(
            removed.is_ok() || std::thread::panicking(),
            "the server is left"
        );
    }
}

pub(super) struct Scene {
    pub(super) server: Server,
    pub(super) user: Stoker,
    /// The server's user can enter it.
    pub(super) folder: TempDir,
    minio: Option<Minio>,
}

impl Scene {
    pub(super) async fn on_folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let user = Stoker::new().unwrap();
        fs::write(user.home().join("pw"), PASSWORD).unwrap();
        Self {
            server: Server::start().await,
            user,
            folder,
            minio: None,
        }
    }

    pub(super) async fn on_s3() -> Self {
        let minio = Minio::start().await.unwrap();
        minio.make_bucket(BUCKET).await.unwrap();
        Self {
            minio: Some(minio),
            ..Self::on_folder().await
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn place(&self) -> String {
        match &self.minio {
            Some(_) => format!("s3://{BUCKET}/fhir"),
            None => self.path("backups").display().to_string(),
        }
    }

    /// `stoker backup …` on the repository.
    pub(super) async fn asked(&self, words: &[&str]) -> Run {
        let place = self.place();
        let flags = ["--repository", &place];
        let mut command = self.user.args([&["backup"], words, &flags].concat());
        for (name, value) in self.environment() {
            command = command.env(name, value);
        }
        command.run().await.unwrap()
    }

    /// What leads to the bucket.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let Some(minio) = &self.minio else {
            return Vec::new();
        };
        vec![
            ("STOKER_S3_ENDPOINT", minio.endpoint()),
            ("STOKER_S3_ACCESS_KEY", ACCESS_KEY.to_owned()),
            ("STOKER_S3_SECRET_KEY", SECRET_KEY.to_owned()),
        ]
    }

    /// What such a command answers to `--json`, ending with this exit code.
    pub(super) async fn json(&self, words: &[&str], code: i32) -> Value {
        let run = self.asked(&[words, &["--json"]].concat()).await;
        assert_eq!(run.code, code, "{words:?}: {run:#?}");
        serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:#?}"))
    }

    pub(super) async fn back_up(&self, flags: &[&str]) -> Value {
        let url = self.server.url(USER);
        self.json(&run_words(&url, flags), 0).await
    }

    /// The same, left running.
    pub(super) fn start(&self, flags: &[&str]) -> Running {
        let (url, place) = (self.server.url(USER), self.place());
        let run = run_words(&url, flags);
        self.spawn(&[&run[..], &["--repository", &place]].concat())
    }

    /// `stoker backup …`, left running.
    pub(super) fn spawn(&self, words: &[&str]) -> Running {
        let mut command = isolated(&stoker_bin().unwrap(), self.user.home());
        command.arg("backup").args(words).envs(self.environment());
        let said = self.user.home().join("said");
        command.stderr(fs::File::create(&said).unwrap());
        let child = command.spawn().unwrap();
        Running { child, said }
    }

    /// What there is in the repository, hidden or not: a folder's entries, or the bucket's objects and uploads.
    pub(super) async fn lies_there(&self) -> Vec<String> {
        let Some(minio) = &self.minio else {
            let entries = fs::read_dir(self.path("backups")).into_iter().flatten();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<_> = names.collect();
            names.sort();
            return names;
        };
        let listed = minio.client().list_objects_v2().bucket(BUCKET).send().await;
        let objects = listed.unwrap().contents.unwrap_or_default();
        let keys = objects.into_iter().filter_map(|object| object.key);
        let uploads = minio.uploads().unwrap().into_iter();
        keys.chain(uploads.map(|path| path.display().to_string()))
            .collect()
    }

    pub(super) fn minio(&self) -> &Minio {
        self.minio.as_ref().unwrap()
    }

    /// Changes a byte of a part behind everybody's back.
    pub(super) async fn flip(&self, backup: &str, part: &str) {
        self.change(backup, part, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        })
        .await;
    }

    /// Changes a part behind everybody's back.
    pub(super) async fn change(&self, backup: &str, part: &str, how: impl FnOnce(&mut Vec<u8>)) {
        let Some(minio) = &self.minio else {
            let path = self.path("backups").join(backup).join(part);
            let mut bytes = fs::read(&path).unwrap();
            how(&mut bytes);
            return fs::write(&path, bytes).unwrap();
        };
        let listed = minio.client().list_objects_v2().bucket(BUCKET).send().await;
        let keys = listed.unwrap().contents.unwrap_or_default();
        let mut keys = keys.into_iter().filter_map(|object| object.key);
        let key = keys
            .find(|key| key.contains(backup) && key.ends_with(part))
            .unwrap();
        let read = minio
            .client()
            .get_object()
            .bucket(BUCKET)
            .key(&key)
            .send()
            .await;
        let mut bytes = read.unwrap().body.collect().await.unwrap().to_vec();
        how(&mut bytes);
        minio.put(BUCKET, &key, bytes).await.unwrap();
    }
}

/// `run` of the server at an address, with flags of its own.
pub(super) fn run_words<'a>(url: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    let run = [
        "run",
        "--source",
        url,
        "--password-file",
        "pw",
        "--name",
        "fhir",
    ];
    [&run, flags].concat()
}

/// A command under way; killed when dropped.
pub(super) struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    /// Sends a signal such as `INT`.
    pub(super) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .status();
        assert!(sent.unwrap().success(), "it does not run any more");
    }

    /// What it has said so far.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    /// Waits for its end; gives the exit code and what it said.
    pub(super) async fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), self.said());
            }
            assert!(Instant::now() < deadline, "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds.
pub(super) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Who is to own restored files: PostgreSQL does not run as root.
pub(super) fn owner() -> &'static [&'static str] {
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        &["--owner", "postgres"]
    } else {
        &[]
    }
}

/// A server that was restored and started; stopped when dropped.
pub(super) struct Restored {
    pub(super) data: PathBuf,
}

impl Drop for Restored {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.data.join("postmaster.pid"));
        let Some(pid) = pid
            .ok()
            .and_then(|text| text.lines().next().map(str::to_owned))
        else {
            return;
        };
        // At once: its data is thrown away.
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        let deadline = Instant::now() + LIMIT;
        while Path::new("/proc").join(&pid).exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
