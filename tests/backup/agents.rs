//! Agents whose clock jumps, and several of them at once.

use std::sync::Arc;
use std::time::Duration;

use backup_agent::config::{Config, SourceSettings};
use backup_agent::retention::Rules;
use stoker_proto::backup::v1::backup_service_client::BackupServiceClient;
use stoker_proto::backup::v1::backup_service_server::BackupServiceServer;
use stoker_proto::backup::v1::{
    ListBackupsRequest, ListRunsRequest, PruneRequest, Pruning, Run, RunState, StartBackupRequest,
    Task,
};
use stoker_shared::clock::{Clock as _, ManualClock, SystemClock};
use stoker_shared::grpc::{self, GrpcClientConfig};
use stoker_tests::parts;
use stoker_tests::services::Service;
use tokio_util::sync::CancellationToken;

use crate::server::{Server, Version};
use crate::world::{World, until, verify_all};

const SIX_WEEKS: Duration = Duration::from_hours(42 * 24);

/// An agent of this process, whose clock the test sets.
struct Agent {
    clock: Arc<ManualClock>,
    agent: backup_agent::Agent,
}

impl Agent {
    async fn over(world: &World, database: &Server, schedule: Option<&str>) -> Self {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let mut config = Config::default();
        config.catalog.url = Some("none".parse().unwrap());
        config.repository.url = Some(world.url.clone());
        config.backup.keep = Rules {
            daily: 1,
            weekly: 0,
            monthly: 0,
            keep_within: Duration::ZERO,
            ..Rules::default()
        };
        let source = SourceSettings {
            url: Some(database.url().parse().unwrap()),
            schedule: schedule.map(|schedule| schedule.parse().unwrap()),
            ..SourceSettings::default()
        };
        config.sources.insert("fhir".to_owned(), source);
        let agent = backup_agent::Agent::open(&config, clock.clone())
            .await
            .unwrap();
        Self { clock, agent }
    }

    fn client(&self) -> BackupServiceClient<BackupServiceServer<backup_agent::control::Control>> {
        BackupServiceClient::new(self.agent.service())
    }

    async fn runs(&self) -> Vec<Run> {
        let asked = ListRunsRequest::default();
        self.client()
            .list_runs(asked)
            .await
            .unwrap()
            .into_inner()
            .runs
    }

    /// Waits until so many runs are over, and no other is under way.
    async fn has_done(&self, count: usize) {
        until(&format!("{count} runs are done"), async || {
            let runs = self.runs().await;
            runs.iter()
                .filter(|run| run.state() == RunState::Done)
                .count()
                == count
        })
        .await;
    }

    async fn back_up(&self) {
        let asked = StartBackupRequest::default();
        let begun = self
            .client()
            .start_backup(asked)
            .await
            .unwrap()
            .into_inner();
        let run_id = begun.run.unwrap().run_id;
        until("the backup is there", async || {
            let runs = self.runs().await;
            let run = runs.iter().find(|run| run.run_id == run_id).unwrap();
            assert_ne!(run.state(), RunState::Failed, "{}", run.reason);
            run.state() == RunState::Done
        })
        .await;
    }

    async fn prune(&self) -> Pruning {
        let asked = PruneRequest {
            apply: true,
            ..PruneRequest::default()
        };
        let pruned = self.client().prune(asked).await.unwrap().into_inner();
        pruned.prunings.into_iter().next().unwrap()
    }

    async fn names(&self) -> Vec<String> {
        let asked = ListBackupsRequest::default();
        let backups = self
            .client()
            .list_backups(asked)
            .await
            .unwrap()
            .into_inner()
            .backups;
        backups.into_iter().map(|backup| backup.name).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_retired_by_a_clock_that_jumps() {
    let database = Server::start(Version::Newest, "");
    let world = World::folder();
    let agent = Agent::over(&world, &database, None).await;
    for _ in 0..3 {
        agent.back_up().await;
        agent.clock.advance(Duration::from_hours(1));
    }
    let [newest, ..] = <[String; 3]>::try_from(agent.names().await).unwrap();
    agent.clock.advance(SIX_WEEKS);
    refuses(&agent, 3, "the clock has jumped").await;
    // One that is made while the clock is wrong must not drive out the others, now or when it is right again.
    agent.back_up().await;
    refuses(&agent, 4, "if the clock was wrong then").await;
    agent.clock.set(SystemClock.now());
    refuses(&agent, 4, "one of them is wrong").await;
    agent.clock.set(SystemClock.now() - SIX_WEEKS);
    refuses(&agent, 4, "one of them is wrong").await;
    assert_eq!(verify_all(&*world.open()).await.unwrap().len(), 4);

    let wrong = agent.names().await.into_iter().find(|name| *name > newest);
    world.open().delete(&wrong.unwrap()).await.unwrap();
    agent.clock.set(SystemClock.now() + Duration::from_hours(3));
    let pruning = agent.prune().await;
    assert_eq!((pruning.deleted.len(), &*pruning.refused), (2, ""));
    assert_eq!(world.open().names().await.unwrap(), [newest]);
}

async fn refuses(agent: &Agent, backups: usize, why: &str) {
    let pruning = agent.prune().await;
    assert!(pruning.refused.contains(why), "{}", pruning.refused);
    assert!(pruning.deleted.is_empty(), "{pruning:?}");
    assert_eq!(agent.names().await.len(), backups);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_costs_one_run_and_no_silence() {
    let database = Server::start(Version::Newest, "");
    let world = World::folder();
    let agent = Agent::over(&world, &database, Some("@hourly")).await;
    let shutdown = CancellationToken::new();
    let (worker, stop) = (agent.agent.clone(), shutdown.clone());
    let working = tokio::spawn(async move { worker.work(stop).await });
    // It has seen the clock.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (number, jump) in [(1, true), (2, false)] {
        if jump {
            agent.clock.advance(SIX_WEEKS);
        } else {
            agent.clock.set(agent.clock.now() - SIX_WEEKS);
        }
        agent.has_done(number).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(agent.runs().await.len(), number, "{:?}", agent.runs().await);
    }
    agent.clock.advance(Duration::from_hours(1));
    agent.has_done(3).await;
    shutdown.cancel();
    working.await.unwrap();
    assert_eq!(verify_all(&*world.open()).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_agents_one_does_what_is_due() {
    let database = Server::start(Version::Newest, "");
    let world = World::folder();
    let settings = settings(&world, &database).await;
    let mut agents = [(); 2].map(|()| Service::start("backup-agent", &settings).unwrap());
    let before = runs(&agents[0], 3).await.len();
    let of_first = format!(":{}", agents[0].pid());
    agents[0].kill().unwrap();
    let all = runs(&agents[1], before + 2).await;
    one_after_the_other(&all);
    let last = done_of(&all).next().unwrap();
    assert!(!last.agent.ends_with(&of_first), "{last:?}");
    agents[1].kill().unwrap();
    let names = verify_all(&*world.open()).await.unwrap();
    for run in done_of(&all) {
        assert!(names.contains(&run.backup), "{run:?}");
    }
    database.is_left_alone().await;
}

/// SIGTERM to one after the other, as an upgrade does it, whatever they are at.
#[tokio::test(flavor = "multi_thread")]
async fn agents_that_are_restarted_in_turn_fail_and_double_nothing() {
    stoker_shared::tls::install_crypto_provider();
    let database = Server::start(Version::Newest, "");
    let world = World::folder();
    let settings = settings(&world, &database).await;
    let mut agents = [(); 2].map(|()| Service::start("backup-agent", &settings).unwrap());
    let mut done = 0;
    for next in [0, 1, 0, 1, 0, 1, 0, 1] {
        done = done_of(&runs(&agents[1 - next], done + 1).await).count();
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..2500))).await;
        assert_eq!(agents[next].stop().await.unwrap(), Some(0));
        agents[next].upgrade().unwrap();
        agents[next].page("/readyz").await.unwrap();
    }
    let all = runs(&agents[0], done + 1).await;
    for agent in &mut agents {
        assert_eq!(agent.stop().await.unwrap(), Some(0));
    }
    one_after_the_other(&all);
    assert!(
        all.iter().all(|run| run.state() != RunState::Failed),
        "{all:#?}"
    );
    let names = verify_all(&*world.open()).await.unwrap();
    for run in done_of(&all) {
        assert!(names.contains(&run.backup), "{run:?}");
    }
    database.is_left_alone().await;
}

/// Of agents that share a catalog, and always have something to do.
async fn settings(world: &World, database: &Server) -> [String; 4] {
    [
        format!("catalog.url={}", parts::fresh_database().await.unwrap()),
        format!("sources.fhir.url={}", database.url()),
        "sources.fhir.schedule=*/2 * * * * *".to_owned(),
        format!("repository.url={}", world.path("backups").display()),
    ]
}

/// Waits until so many runs are done; all there are then, newest first.
async fn runs(agent: &Service, count: usize) -> Vec<Run> {
    let config = GrpcClientConfig::to_port(agent.grpc_port);
    let mut runs = Vec::new();
    until(&format!("{count} runs"), async || {
        let mut client = BackupServiceClient::new(grpc::connect(&config).unwrap());
        let listed = client.list_runs(ListRunsRequest::default()).await;
        runs = listed.map_or_else(|_| Vec::new(), |listed| listed.into_inner().runs);
        done_of(&runs).count() >= count
    })
    .await;
    runs
}

fn done_of(runs: &[Run]) -> impl Iterator<Item = &Run> {
    runs.iter().filter(|run| run.state() == RunState::Done)
}

/// No two of a task at once, and none for what another had done.
fn one_after_the_other(newest_first: &[Run]) {
    let runs: Vec<_> = newest_first
        .iter()
        .filter(|run| run.task() == Task::Backup)
        .collect();
    for pair in runs.windows(2) {
        let (later, earlier) = (pair[0], pair[1]);
        let ended = earlier.ended.as_ref().map(|at| (at.seconds, at.nanos));
        let started = later.started.as_ref().map(|at| (at.seconds, at.nanos));
        assert!(ended.is_some() && ended <= started, "{earlier:?} {later:?}");
        assert_ne!(earlier.due, later.due, "{earlier:?} {later:?}");
    }
}
