//! A running backup-agent tells a webhook what is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection};
use stoker_proto::backup::v1::backup_service_client::BackupServiceClient;
use stoker_proto::backup::v1::{GetPlanRequest, RunState, StartBackupRequest, WatchRunRequest};
use stoker_shared::grpc::{self, Channel, GrpcClientConfig};
use stoker_tests::services::Service;
use stoker_tests::tls_postgres::TlsPostgres;
use tempfile::TempDir;
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_mins(3);

/// An agent over a PostgreSQL server of its own.
pub(crate) struct Backups {
    pub(crate) agent: Service,
    client: BackupServiceClient<Channel>,
    server: TlsPostgres,
    _folder: TempDir,
}

impl Backups {
    /// Proves each backup, and prunes after it.
    pub(crate) async fn start(settings: &[String]) -> Self {
        stoker_shared::tls::install_crypto_provider();
        let server = TlsPostgres::start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        // The throwaway servers' user enters it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut all = vec![
            format!("catalog.url=sqlite:{}", path("catalog.sqlite")),
            format!("repository.url={}", path("backups")),
            format!("drill.scratch={}", path("drills")),
            format!(
                "sources.fhir.url={}",
                server.url().replace("postgres@", "keeper@")
            ),
            "sources.fhir.schedule=0 0 1 1 *".to_owned(),
            "backup.drill=true".to_owned(),
            "backup.prune=true".to_owned(),
        ];
        all.extend_from_slice(settings);
        let agent = Service::start("backup-agent", &all).unwrap();
        agent.page("/readyz").await.unwrap();
        let channel = grpc::connect(&GrpcClientConfig::to_port(agent.grpc_port));
        let backups = Self {
            client: BackupServiceClient::new(channel.unwrap()),
            agent,
            server,
            _folder: folder,
        };
        backups.sql("CREATE ROLE keeper REPLICATION LOGIN").await;
        // A drill takes a server without a row for one whose data is gone.
        backups
            .sql("CREATE TABLE kept AS SELECT * FROM generate_series(1, 1000)")
            .await;
        backups
    }

    async fn sql(&self, statement: &'static str) {
        let mut connection = PgConnection::connect(&self.server.url()).await.unwrap();
        connection.execute(statement).await.unwrap();
    }

    /// Has a backup made, and waits until that is over.
    pub(crate) async fn back_up(&mut self) -> RunState {
        let wish = StartBackupRequest {
            source: "fhir".to_owned(),
        };
        let started = self.client.start_backup(wish).await.unwrap().into_inner();
        let run_id = started.run.unwrap().run_id;
        let watched = self.client.watch_run(WatchRunRequest { run_id }).await;
        let (mut seen, mut last) = (watched.unwrap().into_inner(), None);
        while let Some(answer) = seen.message().await.unwrap() {
            last = answer.run;
        }
        last.unwrap().state()
    }

    /// What the plan says is wrong.
    async fn troubles(&mut self) -> Vec<String> {
        let plan = self.client.get_plan(GetPlanRequest {}).await.unwrap();
        plan.into_inner().sources.remove(0).troubles
    }
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A webhook; what it got, as `STATE KIND`.
async fn webhook() -> (String, Arc<Mutex<Vec<String>>>) {
    let got = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let taken = Arc::clone(&got);
    let take = async move |body: String| {
        let body: Value = serde_json::from_str(&body).unwrap();
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        taken
            .lock()
            .unwrap()
            .push(format!("{} {}", text("state"), text("kind")));
    };
    let app = Router::new().route("/", post(take));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, got)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_once_whatever_becomes_of_the_agent() {
    let _turn = stoker_tests::parts::turn().await;
    let (url, got) = webhook().await;
    let mut backups = Backups::start(&[format!("notify.url={url}")]).await;
    backups.sql("ALTER ROLE keeper NOREPLICATION").await;
    assert_eq!(backups.back_up().await, RunState::Failed);
    until("it is told", async || !got.lock().unwrap().is_empty()).await;
    assert_eq!(backups.troubles().await.len(), 1);
    backups.agent.kill().unwrap();
    backups.agent.start_again().unwrap();
    backups.agent.page("/readyz").await.unwrap();
    backups.sql("ALTER ROLE keeper REPLICATION").await;
    assert_eq!(backups.back_up().await, RunState::Done);
    until("its end is told", async || got.lock().unwrap().len() > 1).await;
    assert_eq!(backups.troubles().await, [""; 0]);
    assert_eq!(
        *got.lock().unwrap(),
        ["began failed_run", "ended failed_run"]
    );
}
