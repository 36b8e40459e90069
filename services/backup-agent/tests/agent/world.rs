//! A server, a repository, a catalog, and agents over them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backup_agent::Agent;
use backup_agent::catalog::{self, Catalog};
use backup_agent::config::{Config, SourceSettings};
use backup_agent::control::Control;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use stoker_proto::backup::v1::backup_service_client::BackupServiceClient;
use stoker_proto::backup::v1::backup_service_server::BackupServiceServer;
use stoker_proto::backup::v1::{
    Backup, BackupRef, ListBackupsRequest, ListRunsRequest, Run, RunState, StartBackupRequest,
    WatchRunRequest,
};
use stoker_shared::clock::{Clock as _, ManualClock, SharedClock};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::server::Server;

/// Kilobytes a second: a backup is under way for minutes.
const SLOW: u32 = 32;

/// Something that is to come does within so long, however busy the machine.
const PATIENCE: Duration = Duration::from_mins(3);

pub(crate) type Client = BackupServiceClient<BackupServiceServer<Control>>;

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    /// Of one source, `fhir`, without a schedule.
    pub(crate) config: Config,
}

impl World {
    pub(crate) async fn new() -> Self {
        let server = Server::start();
        // Of a server without rows, nothing would be proven.
        let rows = "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS id";
        server.client().await.batch_execute(rows).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        // The server's user has to enter it.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut config = Config::default();
        let catalog = folder.path().join("catalog.sqlite");
        config.catalog.url = Some(format!("sqlite:{}", catalog.display()).parse().unwrap());
        config.repository.url = Some(folder.path().join("backups").display().to_string());
        config.drill.scratch = folder.path().join("scratch");
        let fhir = SourceSettings {
            url: Some(server.url().parse().unwrap()),
            ..SourceSettings::default()
        };
        config.sources.insert("fhir".to_owned(), fhir);
        Self {
            server,
            folder,
            clock: Arc::new(ManualClock::new(start())),
            config,
        }
    }

    pub(crate) fn fhir(&mut self) -> &mut SourceSettings {
        self.config.sources.get_mut("fhir").unwrap()
    }

    /// Has backups take minutes.
    pub(crate) fn slow(&mut self) {
        self.fhir().max_rate_kb = Some(SLOW);
    }

    pub(crate) fn place(&self) -> String {
        self.config.repository.url.clone().unwrap()
    }

    pub(crate) async fn agent(&self) -> Agent {
        let clock: SharedClock = self.clock.clone();
        Agent::open(&self.config, clock).await.unwrap()
    }

    /// The catalog as an agent sees it whose clock shows that time.
    pub(crate) async fn catalog_at(&self, time: DateTime<Utc>) -> Arc<dyn Catalog> {
        let url = self.config.catalog.url.as_ref().unwrap();
        let options = self.config.catalog.options().unwrap();
        let clock = Arc::new(ManualClock::new(time));
        catalog::open(url, &options, clock).await.unwrap()
    }

    pub(crate) async fn catalog(&self) -> Arc<dyn Catalog> {
        self.catalog_at(self.clock.now()).await
    }

    /// What lies in the repository's folder, hidden or not.
    pub(crate) fn left(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.place()) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Flips a bit of a part in the middle.
    pub(crate) fn damage(&self, backup: &str, part: &str) {
        let path = PathBuf::from(self.place()).join(backup).join(part);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
}

pub(crate) fn start() -> DateTime<Utc> {
    "2026-03-01T10:15:00Z".parse().unwrap()
}

pub(crate) fn client(agent: &Agent) -> Client {
    BackupServiceClient::new(agent.service())
}

pub(crate) async fn start_backup(client: &mut Client) -> Run {
    let request = StartBackupRequest {
        source: "fhir".to_owned(),
    };
    let answer = client.start_backup(request).await.unwrap();
    answer.into_inner().run.unwrap()
}

/// A backup that goes well.
pub(crate) async fn back_up(client: &mut Client) -> Backup {
    let run = start_backup(client).await;
    let run = done(client, run.run_id).await;
    let backups = backups(client).await;
    backups.into_iter().find(|b| b.name == run.backup).unwrap()
}

/// The run at its end, which is to be a good one.
pub(crate) async fn done(client: &mut Client, run_id: i64) -> Run {
    let run = over(client, run_id).await;
    assert_eq!(run.state(), RunState::Done, "{}", run.reason);
    run
}

/// The run at its end, as those who watch see it.
pub(crate) async fn over(client: &mut Client, run_id: i64) -> Run {
    let watching = client.watch_run(WatchRunRequest { run_id }).await.unwrap();
    let last = watching.into_inner().map(|seen| seen.unwrap().run.unwrap());
    let last = tokio::time::timeout(PATIENCE, last.fold(None, async |_, run| Some(run)));
    let last = last.await.unwrap().unwrap();
    assert_ne!(last.state(), RunState::Running);
    last
}

pub(crate) async fn backups(client: &mut Client) -> Vec<Backup> {
    let all = client.list_backups(ListBackupsRequest::default()).await;
    all.unwrap().into_inner().backups
}

pub(crate) async fn runs(client: &mut Client) -> Vec<Run> {
    let all = client.list_runs(ListRunsRequest::default()).await;
    all.unwrap().into_inner().runs
}

pub(crate) fn named(name: &str) -> BackupRef {
    BackupRef {
        name: name.to_owned(),
        ..BackupRef::default()
    }
}

/// An agent that keeps its schedules.
pub(crate) struct Working {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Working {
    pub(crate) fn start(agent: &Agent) -> Self {
        let shutdown = CancellationToken::new();
        let (agent, stop) = (agent.clone(), shutdown.clone());
        let task = tokio::spawn(async move { agent.work(stop).await });
        Self { shutdown, task }
    }

    /// As SIGTERM does.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap();
    }
}

/// Waits until something holds.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    found.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// Waits until a run receives what the server sends.
pub(crate) async fn until_receiving(client: &mut Client) -> Run {
    until("a backup that is received", async || {
        let running = runs(client).await.into_iter();
        let mut running = running.filter(|run| run.state() == RunState::Running);
        running.find(|run| run.phase.starts_with("receiving"))
    })
    .await
}
