//! Servers that restart, fail over, stand behind a pool, or wait for a repository.

use std::fs;
use std::time::Duration;

use backup_agent::postgres::{Options, PostgresError};
use backup_agent::repository::Repository;
use stoker_tests::parts::required;
use stoker_tests::ports::free_port;

use crate::server::{Server, Version, as_user, folder, give};
use crate::world::{Restored, World, back_up, until, verify_all};

const SENDS: &str =
    "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'stoker_%' AND active";

/// So slow that it takes some seconds.
fn slow() -> Options {
    Options {
        max_rate_kb: Some(4096),
        ..Options::default()
    }
}

/// Begins a backup and does something in the middle of it; answers the error with which it ends.
async fn fails(
    url: &str,
    server: &Server,
    repository: &dyn Repository,
    trouble: impl FnOnce(),
) -> PostgresError {
    let slow = slow();
    let backing_up = back_up(url, repository, "lost", &slow);
    let troubling = async {
        until("the log is streamed", async || {
            server.number(SENDS).await > 0
        })
        .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        tokio::task::block_in_place(trouble);
    };
    let (ended, ()) = tokio::join!(backing_up, troubling);
    let error = ended.unwrap_err().downcast().unwrap();
    assert!(repository.names().await.unwrap().is_empty(), "{error}");
    error
}

fn is_of_the_connection(error: &PostgresError) -> bool {
    matches!(
        error,
        PostgresError::Connection { .. } | PostgresError::Refused { .. }
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_fails_it_and_keeps_nothing_of_it() {
    let server = Server::start(Version::Newest, "");
    let world = World::folder();
    let repository = world.open();
    let error = fails(&server.url(), &server, &*repository, || {
        server.crash();
        server.start_again();
    })
    .await;
    assert!(is_of_the_connection(&error), "{error}");
    server.is_left_alone().await;
    assert_eq!(world.left_behind().await, Vec::<String>::new());
    let again = back_up(&server.url(), &*repository, "lost", &Options::default()).await;
    again.unwrap();
    assert_eq!(verify_all(&*repository).await.unwrap(), ["lost"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_fails_it_and_the_next_is_of_the_new_primary() {
    let primary = Server::start(Version::Newest, "");
    primary
        .sql("CREATE TABLE kept AS SELECT * FROM generate_series(1, 1000)")
        .await;
    let standby = Server::following(&primary);
    let (one, two) = (primary.port, standby.port);
    let url = format!("postgres://postgres@127.0.0.1:{one},127.0.0.1:{two}/postgres");
    let world = World::folder();
    let repository = world.open();
    let caught_up = async || standby.number("SELECT count(*) FROM kept").await == 1000;
    until("the standby has all", caught_up).await;
    let error = fails(&url, &primary, &*repository, || {
        primary.crash();
        standby.promote();
    })
    .await;
    assert!(is_of_the_connection(&error), "{error}");
    assert_eq!(world.left_behind().await, Vec::<String>::new());

    standby.sql("INSERT INTO kept VALUES (0)").await;
    let next = back_up(&url, &*repository, "next", &Options::default()).await;
    assert_eq!(next.unwrap().about["timeline"], "2");
    // The old primary comes back, and does not know that it is none.
    primary.start_again();
    let later = back_up(&url, &*repository, "later", &Options::default()).await;
    assert_eq!(later.unwrap().about["timeline"], "2");
    assert_eq!(verify_all(&*repository).await.unwrap(), ["later", "next"]);
    let order = world.order("next", "new", None);
    let restored = Restored::of(&*repository, &order, &standby).await.unwrap();
    assert_eq!(restored.number("SELECT count(*) FROM kept").await, 1001);
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_is_refused_however_it_is_set() {
    let server = Server::start(Version::Newest, "");
    let world = World::folder();
    for setting in ["", "ignore_startup_parameters = replication"] {
        let pool = Pool::before(&server, setting);
        let answers = async || {
            tokio::net::TcpStream::connect(("127.0.0.1", pool.port))
                .await
                .is_ok()
        };
        until("pgBouncer listens", answers).await;
        let url = crate::server::url(pool.port);
        let refused = back_up(&url, &*world.open(), "x", &Options::default()).await;
        let error = refused.unwrap_err().downcast::<PostgresError>().unwrap();
        assert!(
            matches!(error, PostgresError::Pool { .. }),
            "{setting}: {error}"
        );
        assert!(error.to_string().contains("pgBouncer"), "{error}");
    }
    server.is_left_alone().await;
}

/// A real pgBouncer; killed when dropped.
struct Pool {
    port: u16,
    process: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Pool {
    fn before(server: &Server, setting: &str) -> Self {
        let (folder, port) = (folder(), free_port().unwrap());
        let path = folder.path().join("pgbouncer.ini");
        let ini = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             auth_type = any\nunix_socket_dir =\n{setting}\n",
            server.port
        );
        fs::write(&path, ini).unwrap();
        give(folder.path(), "postgres");
        let program = required("STOKER_TEST_PGBOUNCER");
        let mut command = as_user("postgres", "".as_ref(), &program);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        command
            .arg(&path)
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Self {
            port,
            process: command.spawn().unwrap(),
            _folder: folder,
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_stands_still_is_waited_for() {
    // Less than the service stands still, and more than the time between two signs of life.
    let server = Server::start(
        Version::Newest,
        "wal_sender_timeout = 14s\nmax_wal_size = '1GB'",
    );
    let world = World::s3().await;
    let repository = world.open();
    let (url, slow) = (server.url(), slow());
    let backing_up = back_up(&url, &*repository, "x", &slow);
    let standing_still = async {
        until("the log is streamed", async || {
            server.number(SENDS).await > 0
        })
        .await;
        world.minio.as_ref().unwrap().signal("STOP").unwrap();
        // More log than is held on its way.
        let much = "SELECT pg_logical_emit_message(true, 'much', repeat('x', 1000000)) FROM generate_series(1, 150)";
        server.sql(much).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        world.minio.as_ref().unwrap().signal("CONT").unwrap();
    };
    let (ended, ()) = tokio::join!(backing_up, standing_still);
    ended.unwrap();
    assert_eq!(verify_all(&*repository).await.unwrap(), ["x"]);
    assert_eq!(world.left_behind().await, Vec::<String>::new());
}
