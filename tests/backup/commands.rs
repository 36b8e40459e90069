//! `stoker backup run` that is killed: the next one finds what it left, and takes it away.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use backup_agent::manifest::Manifest;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use stoker_tests::minio::{ACCESS_KEY, SECRET_KEY};
use stoker_tests::stoker::{isolated, stoker_bin};
use tempfile::TempDir;

use crate::server::{Server, Version};
use crate::world::{World, until, verify, verify_all};

/// In each kind of repository.
const KILLS: u32 = 7;

/// A user of the command line, whose configuration names a source.
struct Keeper {
    world: World,
    database: Server,
    home: TempDir,
}

impl Keeper {
    async fn of(world: World, backup: Value) -> Self {
        let database = Server::start(Version::Newest, "");
        database
            .sql("CREATE TABLE kept AS SELECT * FROM generate_series(1, 1000)")
            .await;
        let home = TempDir::new().unwrap();
        let config = json!({"backup_agent": {
            "repository": {"url": world.url.replace("file://", "")},
            "sources": {"fhir": {"url": database.url()}},
            "drill": {"scratch": world.path("scratch")},
            "backup": backup,
        }});
        // JSON is YAML.
        fs::write(home.path().join("stoker.yaml"), config.to_string()).unwrap();
        Self {
            world,
            database,
            home,
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = isolated(&stoker_bin().unwrap(), self.home.path());
        command.arg("backup").args(words);
        if let Some(minio) = &self.world.minio {
            command
                .env("STOKER_S3_ENDPOINT", minio.endpoint())
                .env("STOKER_S3_ACCESS_KEY", ACCESS_KEY)
                .env("STOKER_S3_SECRET_KEY", SECRET_KEY);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn start(&self) -> Child {
        self.command(&["run", "fhir"]).spawn().unwrap()
    }

    fn does(&self, words: &[&str], told: &str) {
        let ended = self.command(words).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{told}: {words:?}: {said}");
    }

    async fn held(&self) -> BTreeMap<String, Manifest> {
        let repository = self.world.open();
        let mut held = BTreeMap::new();
        for name in repository.names().await.unwrap() {
            let manifest = repository.manifest(&name).await.unwrap();
            held.insert(name, manifest);
        }
        held
    }

    /// What was there is there, and what is new is good.
    async fn nothing_is_spoilt(&self, before: &BTreeMap<String, Manifest>, told: &str) {
        let after = self.held().await;
        for (name, was) in before {
            assert_eq!(after.get(name), Some(was), "{told}: {name}");
        }
        for (name, manifest) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
            let read = verify(&*self.world.open(), manifest).await;
            read.unwrap_or_else(|error| panic!("{told}: {name}: {error}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_over_a_folder_may_be_killed() {
    may_be_killed(World::folder()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_over_s3_may_be_killed() {
    may_be_killed(World::s3().await).await;
}

async fn may_be_killed(world: World) {
    let keeper = Keeper::of(world, json!({"compression": "zstd"})).await;
    let begun = Instant::now();
    keeper.does(&["run", "fhir"], "the first");
    let takes = begun.elapsed();
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut broken_off, mut left_something, mut not_tidied) = (0, 0, 0);
    for number in 0..KILLS {
        // Evenly over all of it, so that each time meets another part.
        let share = (f64::from(number) + rng.random_range(0.0..1.0)) / f64::from(KILLS);
        let pause = takes.mul_f64(share);
        let told = format!("kill {number} of seed {seed}, {pause:?} after the start");
        let before = keeper.held().await;
        let mut running = keeper.start();
        tokio::time::sleep(pause).await;
        if number == 0 {
            until("something is begun", async || {
                !keeper.world.left_behind().await.is_empty()
            })
            .await;
        }
        running.kill().unwrap();
        let ended = running.wait().unwrap();
        broken_off += u32::from(ended.code().is_none());
        keeper.nothing_is_spoilt(&before, &told).await;
        left_something += u32::from(!keeper.world.left_behind().await.is_empty());
        keeper.does(&["run", "fhir"], &told);
        not_tidied += u32::from(!keeper.world.is_tidy(Duration::ZERO, &told).await);
        keeper.database.is_left_alone().await;
    }
    assert!(broken_off > 0, "none of seed {seed}");
    assert!(left_something > 0, "none of seed {seed}");
    assert!(not_tidied < 2, "{not_tidied} of seed {seed}");
    keeper.does(&["verify", "--all"], "all");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_of_a_killed_command_goes_with_the_next() {
    let how = json!({"engine": "pg_basebackup", "max_rate_kb": 1024});
    let keeper = Keeper::of(World::folder(), how).await;
    let scratch = keeper.world.path("scratch");
    let mut running = keeper.start();
    until("the program writes", async || {
        !told_of(&scratch).is_empty() && fs::read_dir(&scratch).unwrap().count() > 0
    })
    .await;
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(!told_of(&scratch).is_empty(), "it is on its own now");
    assert_eq!(keeper.held().await.len(), 0);

    let file = keeper.home.path().join("stoker.yaml");
    let slow = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        slow.replace(r#""max_rate_kb":1024"#, r#""max_rate_kb":null"#),
    )
    .unwrap();
    keeper.does(&["run", "fhir"], "the next");
    assert_eq!(told_of(&scratch), [0; 0]);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    assert_eq!(keeper.world.left_behind().await, [""; 0]);
    assert_eq!(verify_all(&*keeper.world.open()).await.unwrap().len(), 1);
    let senders = "SELECT count(*) FROM pg_stat_replication";
    until("no sender is left", async || {
        keeper.database.number(senders).await == 0
    })
    .await;
    keeper.database.is_left_alone().await;
}

/// Processes that were told of a folder in it.
fn told_of(folder: &Path) -> Vec<u32> {
    let within = format!("{}/", folder.display());
    let told = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&within)
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(told).collect()
}
