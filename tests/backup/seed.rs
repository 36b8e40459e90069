//! The steps by which `seeds/000` restores PostgreSQL, as printed, with a backup of ours: `docker` is a script here, to
//! which a folder is the container.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use backup_agent::postgres::Options;
use stoker_tests::ports::free_port;
use stoker_tests::repository;
use tempfile::TempDir;

use crate::server::{self, Version, give, number_at, run, sql_at, text, url};
use crate::world::{World, back_up};

/// As whom the images of the platform run the server.
const USER: &str = "1001";

const NAME: &str = "postgresql_1769860800";

/// What finds the leader's container and has it start anew, and then what restores it.
const PIECES: [&str; 6] = [
    "23-find-leader.sh",
    "24-stop-leader.sh",
    "25-wait-for-leader.sh",
    "26-remove-leader.sh",
    "27-find-new-leader.sh",
    "30-postgres-restore.sh",
];

/// In the container, user postgres is not known, root may do all, and a server that ended is started again.
const DOCKER: &str = r#"#!/usr/bin/env bash
set -eu
inside=("${@//\/bitnami\/postgresql/$CONTAINER}")
server=(setpriv --reuid 1001 --regid 1001 --clear-groups)
if [ "$(id -u)" != 0 ]; then
  server=()
  inside=("${inside[@]//chown -v 1001/chown -v $(id -u)}")
fi
set -- "${inside[@]}"
export TAR_OPTIONS=--numeric-owner
case $1 in
ps) "${server[@]}" pg_ctl status -D "$CONTAINER/data" || "${server[@]}" pg_ctl start -D "$CONTAINER/data" ;;
rm) [ "$2" = leader ] ;;
cp) [ "${3%%:*}" = leader ] && cp "$2" "${3#*:}" ;;
exec)
  [ "$2" = -t ] && shift 2
  if [ "$1" = --user ] && [ "$2" = root ]; then
    server=()
    shift 2
  fi
  [ "$1" = leader ] && exec "${server[@]}" "${@:2}"
  ;;
*) exit 1 ;;
esac
"#;

const SUDO: &str = "#!/bin/sh\nexec \"$@\"\n";

/// See [`DOCKER`].
struct Container {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

impl Container {
    /// With a server that runs.
    fn start(version: Version) -> Self {
        let container = Self {
            folder: server::folder(),
            programs: version.programs(),
            port: free_port().unwrap(),
        };
        let data = container.path("data");
        let initdb = [
            "-D",
            text(&data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
        ];
        run(&container.programs, "initdb", &initdb);
        let conf = container.path("conf");
        fs::create_dir(&conf).unwrap();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nfsync = off\n",
            container.port,
            container.folder.path().display()
        );
        fs::write(conf.join("postgresql.conf"), settings).unwrap();
        fs::copy(conf.join("postgresql.conf"), data.join("postgresql.conf")).unwrap();
        give(container.folder.path(), USER);
        for (name, script) in [("docker", DOCKER), ("sudo", SUDO)] {
            let path = container.path("bin");
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join(name), script).unwrap();
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        container.sh("docker ps -a");
        container
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Does what a piece or its like says.
    fn sh(&self, script: &str) {
        let path = format!(
            "{}:{}:{}",
            self.path("bin").display(),
            self.programs.display(),
            std::env::var("PATH").unwrap()
        );
        let out = self.path("out");
        let file = fs::File::create(&out).unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-e", "-c", script])
            .env_clear()
            .env("PATH", path)
            .env("CONTAINER", self.folder.path())
            .current_dir("/")
            // No pipe: the server that is started would hold it open.
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        let ended = bash.status().unwrap();
        assert!(
            ended.success(),
            "{script}: {}",
            fs::read_to_string(out).unwrap()
        );
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        server::stop(&self.programs, &self.path("data"), USER);
    }
}

fn piece(name: &str, backup: &Path) -> String {
    let path = repository::root()
        .join("tests/seeds/openhim-platform")
        .join(name);
    let printed = fs::read_to_string(path).unwrap();
    let printed = printed.replace("<postgres_leader_container_id>", "leader");
    printed.replace("<backup_file>", text(backup))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_by_the_printed_steps() {
    is_restored_by_the_printed_steps(Version::Newest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_one_of_postgresql_14() {
    is_restored_by_the_printed_steps(Version::Old).await;
}

async fn is_restored_by_the_printed_steps(version: Version) {
    let container = Container::start(version);
    let space = container.path("space");
    fs::create_dir(&space).unwrap();
    give(&space, USER);
    for sql in [
        "CREATE TABLE kept AS SELECT * FROM generate_series(1, 1000)",
        "CREATE TABLE spoilt AS SELECT * FROM kept",
        &format!("CREATE TABLESPACE space LOCATION '{}'", text(&space)),
        "CREATE TABLE apart TABLESPACE space AS SELECT * FROM kept",
    ] {
        sql_at(container.port, sql).await;
    }
    let (world, options) = (World::folder(), Options::default());
    let backup = back_up(&url(container.port), &*world.open(), NAME, &options).await;
    let spoil =
        "INSERT INTO kept VALUES (0); INSERT INTO apart VALUES (0); DROP TABLE spoilt; CHECKPOINT";
    sql_at(container.port, spoil).await;

    let folder = world.path("backups").join(NAME);
    let parts = backup.unwrap().parts;
    let is_of_space = |name: &str| name.starts_with(|c: char| c.is_ascii_digit());
    let of_space = parts.iter().find(|part| is_of_space(&part.name)).unwrap();
    restore_by_the_printed_steps(&container, &folder, &of_space.name);
    for table in ["kept", "spoilt", "apart"] {
        let count = number_at(container.port, &format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(count, 1000, "{table}");
    }
}

fn restore_by_the_printed_steps(container: &Container, backup: &Path, of_space: &str) {
    // What is not printed, since the platform has no tablespace.
    let apart = format!(
        "rm -rf {0}/*\ntar --numeric-owner -xf {1}/{of_space} -C {0}\n",
        container.path("space").display(),
        backup.display()
    );
    for name in PIECES {
        let steps = piece(name, backup);
        container.sh(&steps.replace("# Start the server\n", &apart));
    }
}
