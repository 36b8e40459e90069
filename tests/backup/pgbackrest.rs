//! Backups that pgBackRest makes and keeps: listed, verified, proven, restored and retired as all others.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backup_agent::config::{Config, Engine, SourceSettings};
use backup_agent::retention::Rules;
use stoker_proto::backup::v1::backup_service_client::BackupServiceClient;
use stoker_proto::backup::v1::backup_service_server::BackupServiceServer;
use stoker_proto::backup::v1::{
    Backup, BackupRef, ListBackupsRequest, ListRunsRequest, PruneRequest, Run, RunState,
    StartBackupRequest, StartRestoreRequest, StartVerifyRequest,
};
use stoker_shared::clock::{Clock as _, ManualClock, SystemClock};
use stoker_shared::grpc::{self, GrpcClientConfig};
use stoker_tests::services::Service;

use crate::server::{self, Server, Version, as_user, well};
use crate::world::{Restored, World, until};

const STANZA: &str = "fhir";

/// pgBackRest over one server: its configuration and its repository.
struct Pgbackrest {
    program: PathBuf,
    folder: PathBuf,
}

impl Pgbackrest {
    /// A server whose log it archives.
    async fn over(world: &World) -> (Self, Server) {
        let program = std::env::var_os("STOKER_TEST_PGBACKREST").map_or_else(
            || panic!("STOKER_TEST_PGBACKREST is not set; run `make test`"),
            PathBuf::from,
        );
        let database = Server::start(Version::Newest, "archive_mode = on");
        let folder = world.path("pgbackrest");
        for name in ["", "repo", "lock", "log"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        let data = database.data();
        let conf = format!(
            "[global]\nrepo1-path={0}/repo\nlock-path={0}/lock\nlog-path={0}/log\n\
             [{STANZA}]\npg1-path={1}\npg1-port={2}\npg1-socket-path={3}\n",
            folder.display(),
            data.display(),
            database.port,
            data.parent().unwrap().display(),
        );
        fs::write(folder.join("conf"), conf).unwrap();
        server::give(&folder, "postgres");
        let this = Self { program, folder };
        this.run(&["stanza-create"]);
        let push = format!(
            "{} --config={} --stanza={STANZA} archive-push %p",
            this.program.display(),
            this.conf().display()
        );
        database
            .sql(&format!("ALTER SYSTEM SET archive_command = '{push}'"))
            .await;
        database.sql("SELECT pg_reload_conf()").await;
        this.run(&["check"]);
        (this, database)
    }

    fn conf(&self) -> PathBuf {
        self.folder.join("conf")
    }

    fn run(&self, args: &[&str]) -> String {
        let (folder, name) = (
            self.program.parent().unwrap(),
            self.program.file_name().unwrap(),
        );
        let mut command = as_user("postgres", folder, name.to_str().unwrap());
        command
            .arg(format!("--config={}", self.conf().display()))
            .arg(format!("--stanza={STANZA}"));
        well(&command.args(args).output().unwrap())
    }

    /// Labels of the sets there are, the oldest first.
    fn labels(&self) -> Vec<String> {
        let said = self.run(&["info", "--output=json"]);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let sets = said[0]["backup"].as_array().unwrap();
        sets.iter()
            .map(|set| set["label"].as_str().unwrap().to_owned())
            .collect()
    }

    fn set(&self, label: &str) -> PathBuf {
        self.folder.join("repo/backup").join(STANZA).join(label)
    }
}

type Client = BackupServiceClient<BackupServiceServer<backup_agent::control::Control>>;

/// An agent of this process, whose clock the test sets.
struct Agent {
    clock: Arc<ManualClock>,
    agent: backup_agent::Agent,
}

impl Agent {
    async fn over(world: &World, pgbackrest: &Pgbackrest, database: &Server) -> Self {
        let mut config = Config::default();
        config.catalog.url = Some("none".parse().unwrap());
        config.repository.url = Some(world.url.clone());
        config.drill.scratch = world.path("scratch");
        config.backup.engine = Engine::Pgbackrest;
        config.backup.keep = Rules {
            daily: 1,
            weekly: 0,
            monthly: 0,
            keep_within: Duration::ZERO,
            ..Rules::default()
        };
        config.pgbackrest.program.clone_from(&pgbackrest.program);
        config.pgbackrest.config = Some(pgbackrest.conf());
        let source = SourceSettings {
            url: Some(database.url().parse().unwrap()),
            ..SourceSettings::default()
        };
        config.sources.insert(STANZA.to_owned(), source);
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let agent = backup_agent::Agent::open(&config, clock.clone()).await;
        Self {
            clock,
            agent: agent.unwrap(),
        }
    }

    fn client(&self) -> Client {
        BackupServiceClient::new(self.agent.service())
    }

    async fn over_is(&self, run: Option<Run>) -> Run {
        let run_id = run.unwrap().run_id;
        let mut found = None;
        until("the run is over", async || {
            let listed = self.client().list_runs(ListRunsRequest::default()).await;
            let runs = listed.unwrap().into_inner().runs;
            found = runs.into_iter().find(|run| run.run_id == run_id);
            found
                .as_ref()
                .is_some_and(|run| run.state() != RunState::Running)
        })
        .await;
        found.unwrap()
    }

    async fn back_up(&self) -> Backup {
        let asked = StartBackupRequest::default();
        let begun = self.client().start_backup(asked).await;
        let run = self.over_is(begun.unwrap().into_inner().run).await;
        assert_eq!(run.state(), RunState::Done, "{}", run.reason);
        let backup = self.list().await.remove(0);
        assert_eq!(backup.name, run.backup);
        backup
    }

    async fn list(&self) -> Vec<Backup> {
        let asked = ListBackupsRequest::default();
        let listed = self.client().list_backups(asked).await;
        listed.unwrap().into_inner().backups
    }

    async fn verify(&self, backup: &Backup) -> Run {
        let asked = StartVerifyRequest {
            backup: Some(named(backup)),
            ..StartVerifyRequest::default()
        };
        let begun = self.client().start_verify(asked).await.unwrap();
        self.over_is(begun.into_inner().run).await
    }

    async fn drill(&self, backup: &Backup) -> Run {
        let asked = stoker_proto::backup::v1::StartDrillRequest {
            backup: Some(named(backup)),
        };
        let begun = self.client().start_drill(asked).await.unwrap();
        self.over_is(begun.into_inner().run).await
    }
}

fn named(backup: &Backup) -> BackupRef {
    BackupRef {
        name: backup.name.clone(),
        ..BackupRef::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_verified_proven_restored_and_retired() {
    let world = World::folder();
    let (pgbackrest, database) = Pgbackrest::over(&world).await;
    let space = database.space("space");
    let space_is = format!("CREATE TABLESPACE apart LOCATION '{}'", space.display());
    database.sql(&space_is).await;
    let rows = "CREATE TABLE t TABLESPACE apart AS SELECT generate_series(1, 1000) AS n";
    database.sql(rows).await;
    let agent = Agent::over(&world, &pgbackrest, &database).await;

    let first = agent.back_up().await;
    let set = first.elsewhere.clone().unwrap();
    assert_eq!(first.engine, "pgbackrest");
    assert!(first.verified.as_ref().unwrap().good);
    assert!(
        set.raw_bytes > 10_000_000 && set.bytes > 1_000_000,
        "{set:?}"
    );
    assert_eq!(first.about["timeline"], "1");
    let run = agent.drill(&first).await;
    assert_eq!(run.state(), RunState::Done, "{}", run.reason);
    let proof = agent.list().await[0].proof.clone().unwrap();
    assert!(proof.good, "{proof:?}");
    assert!(left(&world.path("scratch")).is_empty());

    let elsewhere = world.path("moved");
    let asked = StartRestoreRequest {
        backup: Some(named(&first)),
        into: world.path("restored").display().to_string(),
        tablespaces: [(space.display().to_string(), elsewhere.display().to_string())].into(),
        ..StartRestoreRequest::default()
    };
    let begun = agent.client().start_restore(asked).await.unwrap();
    let run = agent.over_is(begun.into_inner().run).await;
    assert_eq!(run.state(), RunState::Done, "{}", run.reason);
    let restored = Restored::start(world.path("restored"), Version::Newest);
    assert_eq!(restored.number("SELECT count(*) FROM t").await, 1000);
    restored.is_sound();
    assert_eq!(left(&elsewhere).len(), 1);
    drop(restored);

    // As an agent leaves it that dies before it commits; and one of somebody else's.
    let mark = format!(
        "--annotation=stoker={}/postgresql_1",
        world.url.replace("file://", "")
    );
    for mark in [&mark, "--annotation=team=dba"] {
        pgbackrest.run(&[
            "backup",
            "--type=full",
            "--no-expire-auto",
            "--start-fast",
            mark,
        ]);
    }
    let foreign = pgbackrest.labels()[2].clone();
    agent.clock.advance(Duration::from_hours(1));
    let second = agent.back_up().await;
    // Before that the first is the last that was proven.
    assert_eq!(agent.drill(&second).await.state(), RunState::Done);
    let asked = PruneRequest {
        apply: true,
        ..PruneRequest::default()
    };
    let pruned = agent.client().prune(asked).await.unwrap().into_inner();
    assert_eq!(pruned.prunings[0].deleted, [&*first.name], "{pruned:?}");
    let kept = second.elsewhere.unwrap().label;
    assert_eq!(pgbackrest.labels(), [foreign, kept]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_as_it_was_written_is_found() {
    let world = World::folder();
    let (pgbackrest, database) = Pgbackrest::over(&world).await;
    database.sql("CREATE TABLE t AS SELECT 1 AS n").await;
    let agent = Agent::over(&world, &pgbackrest, &database).await;
    let backup = agent.back_up().await;
    let label = backup.elsewhere.clone().unwrap().label;
    let set = pgbackrest.set(&label);
    let log = fs::read_dir(set.join("pg_data/pg_wal")).unwrap();
    let log = log
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_file());
    // pgBackRest keeps its manifest twice, and reads the other where one is damaged.
    fs::remove_file(set.join("backup.manifest.copy")).unwrap();
    let own = world
        .path("backups")
        .join(&backup.name)
        .join("pgbackrest.json");
    for file in [
        set.join("pg_data/PG_VERSION.gz"),
        set.join("backup.manifest"),
        log.unwrap(),
        own,
    ] {
        let good = fs::read(&file).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 3] ^= 1;
        fs::write(&file, bad).unwrap();
        let run = agent.verify(&backup).await;
        assert!(run.found_bad, "{}: {run:?}", file.display());
        fs::write(&file, good).unwrap();
        assert!(!agent.verify(&backup).await.found_bad);
    }

    let away = pgbackrest.folder.join("away");
    fs::rename(pgbackrest.folder.join("repo"), &away).unwrap();
    let run = agent.verify(&backup).await;
    assert_eq!(run.state(), RunState::Failed);
    assert!(!run.found_bad, "what is away is not bad: {run:?}");
    fs::rename(&away, pgbackrest.folder.join("repo")).unwrap();

    pgbackrest.run(&["backup", "--type=full", "--no-expire-auto", "--start-fast"]);
    pgbackrest.run(&["expire", &format!("--set={label}")]);
    let run = agent.verify(&backup).await;
    assert!(run.found_bad && run.reason.contains(&label), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_leaves_no_backup_that_goes_on() {
    let world = World::folder();
    let (pgbackrest, database) = Pgbackrest::over(&world).await;
    let settings = |fast: bool| {
        [
            format!("catalog.url=sqlite:{}", world.path("catalog.db").display()),
            format!("repository.url={}", world.path("backups").display()),
            format!("drill.scratch={}", world.path("scratch").display()),
            format!("pgbackrest.program={}", pgbackrest.program.display()),
            format!("pgbackrest.config={}", pgbackrest.conf().display()),
            "backup.engine=pgbackrest".to_owned(),
            format!("backup.fast_checkpoint={fast}"),
            format!("sources.{STANZA}.url={}", database.url()),
        ]
    };
    // So that the checkpoint that the backup waits for takes its time.
    database
        .sql("CREATE TABLE t AS SELECT generate_series(1, 100000) AS n")
        .await;
    let mut agent = Service::start("backup-agent", &settings(false)).unwrap();
    begin(&agent).await;
    let scratch = world.path("scratch");
    until("pgBackRest runs", async || told_of(&scratch) > 0).await;
    agent.kill().unwrap();
    assert!(told_of(&scratch) > 0, "it goes on without the agent");
    let mut agent = Service::start("backup-agent", &settings(true)).unwrap();
    until("nothing goes on", async || told_of(&scratch) == 0).await;
    begin(&agent).await;
    let names = async || world.open().names().await.unwrap();
    until("there is a backup", async || names().await.len() == 1).await;
    agent.kill().unwrap();
    assert_eq!(pgbackrest.labels().len(), 1);
    assert!(left(&scratch).is_empty());
}

async fn begin(agent: &Service) {
    let config = GrpcClientConfig::to_port(agent.grpc_port);
    agent.listening().await.unwrap();
    let mut client = BackupServiceClient::new(grpc::connect(&config).unwrap());
    let asked = StartBackupRequest::default();
    client.start_backup(asked).await.unwrap();
}

/// Processes that were told of a folder, other than agents.
fn told_of(folder: &Path) -> usize {
    let folder = server::text(folder);
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let commands = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands
        .filter(|command| {
            let command = String::from_utf8_lossy(command);
            command.contains(folder) && command.contains("--stanza")
        })
        .count()
}

fn left(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}
