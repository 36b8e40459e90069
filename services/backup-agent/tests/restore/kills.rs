//! Processes that die in the middle of it, by `kill -9`.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backup_agent::drill;
use backup_agent::restore;
use stoker_shared::clock::{SharedClock, SystemClock};

use crate::drills::drill_order;
use crate::world::{self, ROWS, Server, World, progress, start};

/// Set for a process that a test has started: the world's folder.
const CHILD: &str = "STOKER_TEST_RESTORE_CHILD";

const KILLS: u32 = 12;

/// A process that runs this very test.
struct Child {
    process: std::process::Child,
    /// Its end of the pipe must stay open.
    _says: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Goes on when it has begun.
    fn start(world: &World, test: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, world.folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut says = BufReader::new(process.stdout.take().unwrap()).lines();
        let has_begun = says.any(|line| line.unwrap() == "started");
        assert!(has_begun, "the child does not start");
        Self {
            process,
            _says: says,
        }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn told() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Kills each after another part of the time that one takes.
async fn kill_many(world: &World, test: &str, mut after: impl FnMut(u32)) {
    let begun = Instant::now();
    let ended = Child::start(world, test).process.wait().unwrap();
    assert!(ended.success());
    let whole = begun.elapsed();
    after(0);
    for number in 1..=KILLS {
        let child = Child::start(world, test);
        tokio::time::sleep(whole * number / (KILLS + 1)).await;
        child.kill();
        after(number);
    }
}

/// Kills one while something can be seen of it: another is begun where it was over too soon.
async fn kill_when(world: &World, test: &str, before: &dyn Fn(), seen: &dyn Fn() -> bool) {
    for _ in 0..20 {
        before();
        let mut child = Child::start(world, test);
        while !seen() && child.process.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        child.kill();
        if seen() {
            return;
        }
    }
    panic!("none could be killed in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_restore_starts_no_server_and_is_done_again() {
    if let Some(folder) = told() {
        let repository = world::open(&folder);
        println!("\nstarted");
        let order = world::order(folder.join("new"));
        restore::restore(&*repository, &order, &progress())
            .await
            .unwrap();
        return;
    }
    let world = World::new(false).await;
    let data = world.path("new");
    let test = "kills::a_killed_restore_starts_no_server_and_is_done_again";
    kill_many(&world, test, |_| {
        if data.join("global/pg_control").exists() {
            std::fs::remove_dir_all(&data).unwrap();
        }
        // Half of one stays for the next, which goes over it.
    })
    .await;
    let is_whole = || data.join("global/pg_control").exists();
    let clear = || drop(std::fs::remove_dir_all(&data));
    let is_half = || data.join("base").exists() && !is_whole();
    kill_when(&world, test, &clear, &is_half).await;
    let mut order = world.order("new");
    order.start = Some(start());
    world.restore(&order).await.unwrap();
    let server = Server::of(data, world.path("socket"));
    assert_eq!(server.sql("SELECT count(*) FROM kept"), ROWS.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_drill_leaves_nothing_to_the_next() {
    let clock: SharedClock = Arc::new(SystemClock);
    if let Some(folder) = told() {
        let repository = world::open(&folder);
        println!("\nstarted");
        let order = drill_order(&folder);
        drill::drill(&*repository, &order, &clock, &progress())
            .await
            .unwrap();
        return;
    }
    let world = World::new(false).await;
    let scratch = world.path("scratch");
    let test = "kills::a_killed_drill_leaves_nothing_to_the_next";
    kill_many(&world, test, |_| {
        is_cleaned(&scratch);
    })
    .await;
    let is_up = || !processes_of(&scratch).is_empty();
    kill_when(&world, test, &|| (), &is_up).await;
    assert_eq!(is_cleaned(&scratch), 1);
}

/// Cleans up after a drill that was killed, and looks whether anything is left; answers how many folders it had left.
fn is_cleaned(scratch: &Path) -> usize {
    let cleaned = drill::clean(scratch).unwrap().len();
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
    // Children of a server that was ended see it and end.
    let begun = Instant::now();
    while !processes_of(scratch).is_empty() {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "a process is left"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    cleaned
}

/// Processes that work below a folder.
pub(crate) fn processes_of(folder: &Path) -> Vec<PathBuf> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let cwds = entries.filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok());
    cwds.filter(|cwd| cwd.starts_with(&folder)).collect()
}
