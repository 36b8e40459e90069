//! Faults of the ledger under a service that goes on.

use bucket_scanner::Config;
use bucket_scanner::ledger::LedgerUrl;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use stoker_proto::ledger::v1::{HeartbeatRequest, JobState, LeaseUnitsRequest};
use tonic::Code;

use crate::{folder, serve};

#[tokio::test]
async fn a_page_that_cannot_be_kept_fails_its_job_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.sqlite");
    let config = Config {
        ledger: Some(LedgerUrl::Sqlite(path.clone())),
        ..Config::default()
    };
    let mut service = serve(config).await;
    let mut conn = SqliteConnectOptions::new()
        .filename(&path)
        .connect()
        .await
        .unwrap();
    let broken = "CREATE TRIGGER broken BEFORE INSERT ON resource_bundles \
                  BEGIN SELECT RAISE(ABORT, 'broken for the test'); END";
    sqlx::raw_sql(broken).execute(&mut conn).await.unwrap();
    let folder = folder();
    let job_id = service.start(folder.path()).await.job_id;
    let failed = service.end_of(job_id).await;
    assert_eq!(failed.state(), JobState::Failed);
    assert!(
        failed.reason.contains("cannot be kept") && failed.reason.contains("broken for the test"),
        "{}",
        failed.reason
    );
    let mended = sqlx::raw_sql("DROP TRIGGER broken").execute(&mut conn);
    mended.await.unwrap();
    service.start(folder.path()).await;
    assert_eq!(service.lease(10_000).await.len(), 1);
    assert!(!service.ended.is_finished());
}

#[tokio::test]
async fn a_worker_of_another_ledger_is_told_to_register() {
    let mut service = serve(Config::default()).await;
    let heartbeat = HeartbeatRequest { worker_id: 7 };
    let beat = service.work.heartbeat(heartbeat).await.unwrap_err();
    let lease = LeaseUnitsRequest {
        worker_id: 7,
        max_units: 1,
        wait_ms: 60_000,
        ..LeaseUnitsRequest::default()
    };
    let lease = service.work.lease_units(lease).await.unwrap_err();
    for error in [beat, lease] {
        assert_eq!(error.code(), Code::NotFound);
        assert!(error.message().contains("register again"), "{error}");
    }
}
