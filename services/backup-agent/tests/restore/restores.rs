//! What is restored is what was backed up.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use backup_agent::restore::{Places, Step};

use crate::world::{self, ROWS, Server, World, progress, run, start, user};

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_server_has_all_rows() {
    let world = World::new(false).await;
    let mut order = world.order("new");
    order.durable = true;
    order.start = Some(start());
    let progress = progress();
    let restored = backup_agent::restore::restore(&*world.repository, &order, &progress)
        .await
        .unwrap();
    let server = Server::of(order.into.clone(), world.path("socket"));
    assert_eq!(server.sql("SELECT count(*) FROM kept"), ROWS.to_string());
    let started = restored.started.unwrap();
    assert!(!started.archives_later);
    assert!(started.consistent_at.unwrap().starts_with("0/"));
    let now = progress.borrow().clone();
    assert_eq!((now.step, now.bytes), (Step::Done, now.of));
    run(
        "pg_amcheck",
        &[
            "-h",
            world.path("socket").to_str().unwrap(),
            "-U",
            "postgres",
            "--all",
            "--install-missing",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_a_restore_starts_leaves_the_old_archive_alone() {
    let world = World::new(false).await;
    let archive = world::folder(world.path("archive"));
    let (conf, mut order) = (world.path("conf"), world.order("new"));
    std::fs::create_dir(&conf).unwrap();
    let settings = format!(
        "listen_addresses = ''\nunix_socket_directories = '{}'\narchive_mode = on\narchive_command = 'cp %p {}/%f'\n",
        world.path("socket").display(),
        archive.display(),
    );
    std::fs::write(conf.join("postgresql.conf"), settings).unwrap();
    order.conf = Some(conf);
    order.start = Some(start());
    let restored = world.restore(&order).await.unwrap();
    let server = Server::of(order.into.clone(), world.path("socket"));
    assert!(restored.started.unwrap().archives_later);
    assert_eq!(server.sql("SHOW archive_mode"), "off");
    server.sql("INSERT INTO kept SELECT -1, 'new'; SELECT pg_switch_wal(); CHECKPOINT");
    assert_eq!(std::fs::read_dir(&archive).unwrap().count(), 0);
    // As its own service does.
    drop(server);
    let (data, log) = (
        order.into.to_str().unwrap(),
        world.path("socket").join("again"),
    );
    run(
        "pg_ctl",
        &["start", "-s", "-w", "-D", data, "-l", log.to_str().unwrap()],
    );
    let server = Server::of(order.into.clone(), world.path("socket"));
    assert_eq!(server.sql("SHOW archive_mode"), "on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_folder_is_as_pg_verifybackup_wants_it() {
    let world = World::new(false).await;
    let order = world.order("new");
    assert_eq!(world.restore(&order).await.unwrap().started, None);
    run("pg_verifybackup", &[order.into.to_str().unwrap()]);
    all_are_the_users(&order.into);
    assert!(!order.into.join("stoker-restore.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conf_folder_is_copied_over() {
    let world = World::new(false).await;
    let conf = world.path("conf");
    std::fs::create_dir_all(conf.join("conf.d")).unwrap();
    std::fs::write(conf.join("postgresql.conf"), "# mine\n").unwrap();
    std::fs::write(conf.join("conf.d/more.conf"), "# more\n").unwrap();
    let mut order = world.order("new");
    order.conf = Some(conf);
    world.restore(&order).await.unwrap();
    let read = |name: &str| std::fs::read_to_string(order.into.join(name)).unwrap();
    assert_eq!(read("postgresql.conf"), "# mine\n");
    assert_eq!(read("conf.d/more.conf"), "# more\n");
    all_are_the_users(&order.into);
}

#[tokio::test(flavor = "multi_thread")]
async fn tablespaces_go_where_they_are_mapped() {
    let world = World::new(true).await;
    let mut order = world.order("new");
    let refused = world.restore(&order).await.unwrap_err().to_string();
    assert!(
        refused.contains("is not empty"),
        "the old server's own: {refused}"
    );
    assert!(
        !order.into.join("PG_VERSION").exists(),
        "nothing was restored"
    );
    let to = world.path("apart");
    order.tablespaces = Places::Mapped(vec![(world.path("space"), to.clone())]);
    order.start = Some(start());
    let restored = world.restore(&order).await.unwrap();
    assert_eq!(restored.tablespaces[0].1, to);
    let server = Server::of(order.into.clone(), world.path("socket"));
    assert_eq!(server.sql("SELECT count(*) FROM far"), ROWS.to_string());
    let location = "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'apart'";
    assert_eq!(server.sql(location), to.to_str().unwrap());
    let link = order
        .into
        .join("pg_tblspc")
        .join(&restored.tablespaces[0].0);
    assert_eq!(std::fs::read_link(link).unwrap(), to);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_its_tablespaces_is_overwritten_when_told() {
    let world = World::new(true).await;
    let mut order = world.order("data");
    order.overwrite = true;
    std::fs::write(order.into.join("old"), "").unwrap();
    order.start = Some(start());
    world.restore(&order).await.unwrap();
    let server = Server::of(order.into.clone(), world.path("socket"));
    assert_eq!(server.sql("SELECT count(*) FROM far"), ROWS.to_string());
    assert!(!order.into.join("old").exists());
}

fn all_are_the_users(folder: &Path) {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let (there, shown) = (path.symlink_metadata().unwrap(), path.display());
            if let Some(user) = user() {
                assert_eq!((there.uid(), there.gid()), (user.uid, user.gid), "{shown}");
            }
            let mode = there.permissions().mode() & 0o7777;
            assert_eq!(mode, if there.is_dir() { 0o700 } else { 0o600 }, "{shown}");
            if there.is_dir() {
                folders.push(path);
            }
        }
    }
}
