//! A database that is written to while it is backed up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backup_agent::postgres::{Lsn, Options};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use crate::server::{Server, Version};
use crate::world::{Restored, World, back_up, verify_all};

/// Megabytes of the database; 2000 and more hold as well.
const SIZE: &str = "STOKER_TEST_DATABASE_MB";

/// Rows of 1 KiB in a megabyte.
const ROWS: i64 = 950;

/// Commits rows 1, 2, 3… one after the other.
struct Writer {
    stop: Arc<AtomicBool>,
    commits: UnboundedReceiver<Commit>,
    task: JoinHandle<()>,
}

/// A row is safe in all log up to here.
#[derive(Debug, Clone, Copy)]
struct Commit {
    id: i64,
    at: Lsn,
}

impl Writer {
    /// Starts, and has written some.
    async fn start(server: &Server) -> Self {
        let table = "CREATE TABLE log (id bigint PRIMARY KEY, filler text NOT NULL); CREATE INDEX ON log (filler)";
        server.sql(table).await;
        let mut connection = PgConnection::connect(&server.url()).await.unwrap();
        let (tell, commits) = unbounded_channel();
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            for id in 1.. {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let insert = sqlx::query("INSERT INTO log VALUES ($1, repeat(md5($1::text), 30))");
                insert.bind(id).execute(&mut connection).await.unwrap();
                let at = sqlx::query("SELECT pg_current_wal_flush_lsn()::text");
                let at = at.fetch_one(&mut connection).await.unwrap();
                let at = at.get::<String, _>(0).parse().unwrap();
                tell.send(Commit { id, at }).unwrap();
            }
        });
        let mut writer = Self {
            stop,
            commits,
            task,
        };
        for _ in 0..50 {
            writer.commits.recv().await.unwrap();
        }
        writer
    }

    /// All commits but the first.
    async fn stop(mut self) -> Vec<Commit> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
        let mut commits = Vec::new();
        while let Some(commit) = self.commits.recv().await {
            commits.push(commit);
        }
        commits
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_newest_server_under_load_is_kept() {
    is_kept(Version::Newest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_postgresql_14_under_load_is_kept() {
    is_kept(Version::Old).await;
}

async fn is_kept(version: Version) {
    let server = Server::start(version, "max_wal_size = '4GB'");
    let megabytes = std::env::var(SIZE).map_or(200, |size| size.parse().unwrap());
    let rows: i64 = megabytes * ROWS;
    let filled = format!(
        "CREATE TABLE filler AS SELECT n, repeat(md5(n::text), 31) AS text FROM generate_series(1, {rows}) n;
         ALTER TABLE filler ADD PRIMARY KEY (n)"
    );
    server.sql(&filled).await;
    let bytes = server.number("SELECT pg_database_size('postgres')").await;
    assert!(bytes >= megabytes * 1_000_000, "{bytes}");
    let writer = Writer::start(&server).await;
    let world = World::folder();
    let repository = world.open();
    let backup = back_up(
        &server.url(),
        &*repository,
        "postgresql_1",
        &Options::default(),
    )
    .await;
    let backup = backup.unwrap();
    let commits = writer.stop().await;
    server.is_left_alone().await;

    assert_eq!(verify_all(&*repository).await.unwrap(), ["postgresql_1"]);
    let order = world.order("postgresql_1", "new", None);
    let restored = Restored::of(&*repository, &order, &server).await.unwrap();
    restored.is_sound();
    let found = restored.number("SELECT count(*) FROM filler").await;
    assert_eq!(found, rows);
    is_prefix(
        &restored,
        &commits,
        backup.about["stop_lsn"].parse().unwrap(),
    )
    .await;
}

/// Whether it holds a prefix of the commits, with all that were safe where the backup ends.
async fn is_prefix(restored: &Restored, commits: &[Commit], stop: Lsn) {
    let rows = restored.number("SELECT count(*) FROM log").await;
    let last = restored.number("SELECT max(id) FROM log").await;
    assert_eq!(rows, last, "a commit in the middle is missing");
    let needed = commits.iter().rfind(|commit| commit.at <= stop);
    // Something was committed while the backup was made.
    let needed = needed.unwrap().id;
    let all = commits.last().unwrap().id;
    assert!(
        (needed..=all).contains(&rows),
        "{needed} were committed before {stop}, {all} in all, {rows} are there"
    );
}
