//! Processes that die in the middle of it, by `kill -9`.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backup_agent::repository;
use rand::{Rng, SeedableRng, rngs::StdRng};
use stoker_shared::clock::{Clock, ManualClock, SystemClock};

use crate::adoption::by_hand;
use crate::world::{World, back_up, content, manifest, options, verify_all, write_part};

/// Set for a process that a test has started: the repository's URL, the service's address and what to do.
const CHILD: &str = "STOKER_TEST_REPOSITORY_CHILD";

const KILLS: u64 = 24;
const BYTES: usize = 9 << 20;

/// This very test in a process of its own.
pub(crate) struct Child {
    pub(crate) process: std::process::Child,
    says: BufReader<ChildStdout>,
}

impl Child {
    pub(crate) fn start(world: &World, test: &str, what: &str, stdin: Stdio) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, format!("{} {} {what}", world.url, world.address()))
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(process.stdout.take().unwrap());
        Self { process, says }
    }

    /// Reads what it prints up to a line.
    pub(crate) fn says(&mut self, expected: &str) {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            let read = self.says.read_line(&mut line).unwrap();
            assert!(read > 0, "no {expected:?} in {all}");
            if line.trim_end() == expected {
                return;
            }
            all.push_str(&line);
        }
    }

    /// Kills it; answers whether it had got through by then.
    pub(crate) fn kill(mut self) -> bool {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let mut rest = String::new();
        self.says.read_to_string(&mut rest).unwrap();
        rest.lines().any(|line| line == "done")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Does what a child is to do; answers whether this is one.
pub(crate) async fn started_as_child() -> bool {
    let Ok(told) = std::env::var(CHILD) else {
        return false;
    };
    let told: Vec<_> = told.split(' ').collect();
    let repository = repository::open(told[0], &options(told[1]), Arc::new(SystemClock)).unwrap();
    // The harness may have begun a line.
    println!("\nstarted");
    match told[2] {
        "write" => drop(back_up(&*repository, told[3], BYTES).await.unwrap()),
        "delete" => repository.delete(told[3]).await.unwrap(),
        "adopt" => repository.adopt(&by_hand()).await.unwrap(),
        _ => {
            let draft = repository.begin("x").await.unwrap();
            let part = write_part(&*draft, "base.tar", content(1, BYTES)).await;
            let manifest = manifest("x", vec![part.unwrap()]);
            println!("written");
            std::io::stdin().read_line(&mut String::new()).unwrap();
            let lost = draft.commit(&manifest).await.unwrap_err();
            println!("failed: {}", format!("{lost:?}").split(' ').next().unwrap());
        }
    }
    println!("done");
    true
}

/// What a start of the agent does, and what must hold after it.
async fn start_again(world: &World) -> Vec<String> {
    let repository = world.open();
    let good = verify_all(&*repository).await.unwrap();
    repository.clean(&[]).await.unwrap();
    // What died before it could say whose it is goes when it has lain still for a day.
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    clock.advance(Duration::from_hours(25));
    world.open_at(clock).clean(&[]).await.unwrap();
    assert_eq!(world.left_behind().await, Vec::<String>::new());
    assert_eq!(verify_all(&*repository).await.unwrap(), good);
    good
}

pub(crate) async fn a_killed_writer_leaves_no_backup_and_nothing_behind(world: &World, test: &str) {
    let begun = Instant::now();
    let mut child = Child::start(world, test, "write whole", Stdio::null());
    child.says("done");
    let whole = begun.elapsed();
    child.process.wait().unwrap();
    let mut rng = StdRng::seed_from_u64(8);
    let repository = world.open();
    back_up(&*repository, "good", 1000).await.unwrap();
    repository.delete("whole").await.unwrap();
    let mut found_drafts = 0;
    for number in 0..KILLS {
        let name = format!("k{number}");
        let child = Child::start(world, test, &format!("write {name}"), Stdio::null());
        tokio::time::sleep(whole.mul_f64(rng.random_range(0.0..1.1))).await;
        let said_done = child.kill();
        found_drafts += usize::from(!world.left_behind().await.is_empty());
        let good = start_again(world).await;
        let is_there = good.contains(&name);
        assert!(is_there || !said_done, "{name}: what was committed is lost");
        assert!(good.contains(&"good".to_owned()), "{good:?}");
        if is_there {
            repository.delete(&name).await.unwrap();
        }
    }
    assert!(
        found_drafts >= 5,
        "only {found_drafts} were killed in the middle of it"
    );
}

pub(crate) async fn a_killed_deletion_leaves_nothing_behind(world: &World, test: &str) {
    let repository = world.open();
    let mut rng = StdRng::seed_from_u64(9);
    let mut whole = Duration::ZERO;
    for number in 0..12 {
        back_up(&*repository, "x", 100_000).await.unwrap();
        let mut child = Child::start(world, test, "delete x", Stdio::null());
        child.says("started");
        if number == 0 {
            let begun = Instant::now();
            child.says("done");
            whole = begun.elapsed();
        }
        tokio::time::sleep(whole.mul_f64(rng.random_range(0.0..1.0))).await;
        child.kill();
        if start_again(world).await.contains(&"x".to_owned()) {
            repository.delete("x").await.unwrap();
        }
    }
}
