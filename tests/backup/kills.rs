//! Agents that are killed at random moments, and started again: none leaves a backup that is none, none loses one that
//! is, and the next start leaves nothing of what was begun.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use backup_agent::manifest::Manifest;
use backup_agent::server::User;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use stoker_proto::backup::v1::backup_service_client::BackupServiceClient;
use stoker_proto::backup::v1::{
    BackupRef, GetRunRequest, ListRunsRequest, PruneRequest, Run, RunState, StartBackupRequest,
    StartDrillRequest, StartRestoreRequest, StartVerifyRequest,
};
use stoker_shared::grpc::{self, Channel, GrpcClientConfig};
use stoker_tests::minio::{ACCESS_KEY, SECRET_KEY};
use stoker_tests::services::Service;

use crate::server::{self, Server, Version};
use crate::world::{World, until, verify};

/// In each kind of repository.
const KILLS: u32 = 26;

/// What an agent is at when it is killed, in turn.
const TASKS: [Task; 6] = [
    Task::Backup,
    Task::Verify,
    Task::Drill,
    Task::Backup,
    Task::Restore,
    Task::Prune,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Backup,
    Verify,
    Drill,
    Restore,
    Prune,
}

/// All backups, by their names.
type Held = BTreeMap<String, Manifest>;

#[tokio::test(flavor = "multi_thread")]
async fn agents_over_a_folder_may_be_killed() {
    may_be_killed(World::folder()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_over_s3_may_be_killed() {
    may_be_killed(World::s3().await).await;
}

async fn may_be_killed(world: World) {
    let mut agent = Agent::start(world).await;
    let mut takes = BTreeMap::new();
    for task in TASKS {
        takes.insert(task, agent.do_whole(task).await);
    }
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut count = Count::default();
    for (number, task) in (0..KILLS).zip(TASKS.into_iter().cycle()) {
        // Evenly over all of each task, so that each time meets another part.
        let so_far = |kills: u32| -> f64 {
            let tasks = TASKS.into_iter().cycle().take(kills as usize);
            tasks.map(|other| f64::from(u8::from(other == task))).sum()
        };
        let share = (so_far(number) + rng.random_range(0.0..1.0)) / so_far(KILLS);
        let pause = takes[&task].mul_f64(share);
        let told =
            format!("kill {number} of seed {seed}, {pause:?} after the beginning of {task:?}");
        if agent.is_killed(task, pause, &told, &mut count).await {
            // The machine was busier when it was measured.
            takes.entry(task).and_modify(|takes| *takes = pause);
        }
    }
    assert!(count.broken_off >= KILLS / 2, "{count:?}");
    assert!(count.left_something >= KILLS / 4, "{count:?}");
    assert!(count.not_tidied * 4 <= count.left_something, "{count:?}");
    agent.do_whole(Task::Backup).await;
    agent.do_whole(Task::Drill).await;
    assert!(agent.is_tidy("the last").await);
    for (name, manifest) in agent.held().await {
        let read = verify(&*agent.world.open(), &manifest).await;
        read.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// What the kills met: tests that meet nothing show nothing.
#[derive(Debug, Default)]
struct Count {
    broken_off: u32,
    left_something: u32,
    not_tidied: u32,
}

/// An agent, what it backs up, and where to.
struct Agent {
    world: World,
    database: Server,
    service: Service,
    restores: u32,
}

impl Agent {
    async fn start(world: World) -> Self {
        let database = Server::start(Version::Newest, "");
        database
            .sql("CREATE TABLE kept AS SELECT * FROM generate_series(1, 1000)")
            .await;
        let mut settings = vec![
            "catalog.url=sqlite:catalog.sqlite".to_owned(),
            format!("sources.fhir.url={}", database.url()),
            format!("repository.url={}", world.url.replace("file://", "")),
            format!("drill.scratch={}", world.path("scratch").display()),
            "backup.keep.daily=1".to_owned(),
            "backup.keep.weekly=0".to_owned(),
            "backup.keep.monthly=0".to_owned(),
            "backup.keep.keep_within=0s".to_owned(),
        ];
        if let Some(minio) = &world.minio {
            settings.extend([
                format!("repository.s3.endpoint={}", minio.endpoint()),
                format!("repository.s3.access_key={ACCESS_KEY}"),
                format!("repository.s3.secret_key={SECRET_KEY}"),
            ]);
        }
        let service = Service::start("backup-agent", &settings).unwrap();
        Self {
            world,
            database,
            service,
            restores: 0,
        }
    }

    /// Once it answers.
    async fn client(&self) -> BackupServiceClient<Channel> {
        let config = GrpcClientConfig::to_port(self.service.grpc_port);
        let client = BackupServiceClient::new(grpc::connect(&config).unwrap());
        let asked = ListRunsRequest::default();
        until("the agent answers", async || {
            client.clone().list_runs(asked.clone()).await.is_ok()
        })
        .await;
        client
    }

    /// Begins a task; answers its run, but for one that only ends with its answer.
    async fn begin(&mut self, task: Task) -> Option<Run> {
        let mut client = self.client().await;
        let backup = Some(latest());
        let run = match task {
            Task::Backup => {
                let asked = StartBackupRequest::default();
                client.start_backup(asked).await.unwrap().into_inner().run
            }
            Task::Verify => {
                let asked = StartVerifyRequest {
                    backup,
                    sample_percent: 0,
                };
                client.start_verify(asked).await.unwrap().into_inner().run
            }
            Task::Drill => {
                let asked = StartDrillRequest { backup };
                client.start_drill(asked).await.unwrap().into_inner().run
            }
            Task::Restore => {
                self.restores += 1;
                let owner = User::for_server(None).unwrap();
                let asked = StartRestoreRequest {
                    backup,
                    into: self.restored().display().to_string(),
                    uid: owner.map(|owner| owner.uid),
                    gid: owner.map(|owner| owner.gid),
                    ..StartRestoreRequest::default()
                };
                client.start_restore(asked).await.unwrap().into_inner().run
            }
            Task::Prune => {
                let asked = PruneRequest {
                    apply: true,
                    ..PruneRequest::default()
                };
                // How it ends is for the repository to tell.
                tokio::spawn(async move { drop(client.prune(asked).await) });
                return None;
            }
        };
        Some(run.unwrap())
    }

    fn restored(&self) -> std::path::PathBuf {
        self.world.path(&format!("restored-{}", self.restores))
    }

    /// How long it takes.
    async fn do_whole(&mut self, task: Task) -> Duration {
        let begun = Instant::now();
        let Some(run) = self.begin(task).await else {
            return Duration::from_millis(300);
        };
        let client = self.client().await;
        let run_id = run.run_id;
        let mut ended = run;
        until("the run is over", async || {
            ended = client
                .clone()
                .get_run(GetRunRequest { run_id })
                .await
                .unwrap()
                .into_inner()
                .run
                .unwrap();
            ended.state() != RunState::Running
        })
        .await;
        assert_eq!(ended.state(), RunState::Done, "{task:?}: {}", ended.reason);
        begun.elapsed()
    }

    /// Whether it was through by then.
    async fn is_killed_at(&mut self, task: Task, pause: Duration) -> bool {
        let run = self.begin(task).await;
        tokio::time::sleep(pause).await;
        let mut is_over = false;
        if let Some(run) = run {
            let asked = GetRunRequest { run_id: run.run_id };
            let now = self
                .client()
                .await
                .get_run(asked)
                .await
                .unwrap()
                .into_inner();
            is_over = now.run.unwrap().state() != RunState::Running;
        }
        self.service.kill().unwrap();
        is_over
    }

    /// Whether it was through by then.
    async fn is_killed(
        &mut self,
        task: Task,
        pause: Duration,
        told: &str,
        count: &mut Count,
    ) -> bool {
        let before = self.held().await;
        let is_over = self.is_killed_at(task, pause).await;
        count.broken_off += u32::from(!is_over);
        self.nothing_is_spoilt(task, &before, told).await;
        count.left_something += u32::from(self.has_left().await);
        self.service.start_again().unwrap();
        count.not_tidied += u32::from(!self.is_tidy(told).await);
        is_over
    }

    async fn held(&self) -> Held {
        let repository = self.world.open();
        let mut held = Held::new();
        for name in repository.names().await.unwrap() {
            let manifest = repository.manifest(&name).await.unwrap();
            held.insert(name, manifest);
        }
        held
    }

    async fn nothing_is_spoilt(&self, task: Task, before: &Held, told: &str) {
        let after = self.held().await;
        for (name, was) in before {
            let Some(is) = after.get(name) else {
                assert_eq!(task, Task::Prune, "{told}: {name} is lost");
                continue;
            };
            assert_eq!(is.parts, was.parts, "{told}: {name}");
            let known = is.verified.is_some() || was.verified.is_none();
            assert!(
                known && (is.proof.is_some() || was.proof.is_none()),
                "{told}: {is:?}"
            );
        }
        let proven = before.values().rfind(|manifest| manifest.proof.is_some());
        let kept = proven.is_none_or(|proven| after.contains_key(&proven.name));
        assert!(kept, "{told}: the last proven one is lost");
        for (name, manifest) in &after {
            let read_good = manifest
                .verified
                .as_ref()
                .is_none_or(|verified| verified.good);
            let proven_good = manifest.proof.as_ref().is_none_or(|proof| proof.good);
            assert!(read_good && proven_good, "{told}: {manifest:?}");
            if !before.contains_key(name) {
                assert_eq!(task, Task::Backup, "{told}: {name}");
                let read = verify(&*self.world.open(), manifest).await;
                read.unwrap_or_else(|error| panic!("{told}: {name}: {error}"));
            }
        }
        if task == Task::Restore {
            self.is_restored_or_is_not();
        }
    }

    /// A folder on which a server starts is whole.
    fn is_restored_or_is_not(&self) {
        let data = self.restored();
        if data.join("global/pg_control").exists() {
            server::run(&server::newest(), "pg_verifybackup", &[server::text(&data)]);
        }
        // The kill may have come before it was made.
        let _ = std::fs::remove_dir_all(data);
    }

    async fn has_left(&self) -> bool {
        !self.world.left_behind().await.is_empty() || drilling(&self.world.path("scratch")) > 0
    }

    /// Whether the agent leaves nothing of what those before it began.
    async fn is_tidy(&self, told: &str) -> bool {
        self.client().await;
        self.database.is_left_alone().await;
        let scratch = self.world.path("scratch");
        until("no drill is left", async || drilling(&scratch) == 0).await;
        self.world.is_tidy(Duration::from_secs(5), told).await
    }
}

fn latest() -> BackupRef {
    BackupRef {
        name: "latest".to_owned(),
        ..BackupRef::default()
    }
}

/// Folders and processes of drills.
fn drilling(scratch: &Path) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let cwds = entries.filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok());
    let processes = cwds.filter(|cwd| cwd.starts_with(scratch)).count();
    let folders = std::fs::read_dir(scratch).into_iter().flatten().count();
    processes + folders
}
