//! A look into the tables themselves, past the ledger.

use bucket_scanner::ledger::LedgerUrl;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, PgConnection};
use stoker_proto::ledger::v1::JobState;

use crate::world::{World, object, rejecting};

/// The one text that a query answers.
pub(crate) async fn ask(world: &World, sql: &'static str) -> String {
    match &world.url {
        LedgerUrl::Postgres(url) => {
            let mut conn = postgres(url).await;
            let answer = sqlx::query_scalar(sql).fetch_one(&mut conn).await;
            answer.unwrap()
        }
        url => {
            let mut conn = sqlite(url).await;
            let answer = sqlx::query_scalar(sql).fetch_one(&mut conn).await;
            answer.unwrap()
        }
    }
}

/// What a person might do with a database tool.
pub(crate) async fn execute(world: &World, sql: &'static str) {
    match &world.url {
        LedgerUrl::Postgres(url) => {
            let mut conn = postgres(url).await;
            sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
        }
        url => {
            let mut conn = sqlite(url).await;
            sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
        }
    }
}

async fn postgres(url: &str) -> PgConnection {
    let mut conn = PgConnection::connect(url).await.unwrap();
    let schema = sqlx::raw_sql("SET search_path TO fhirbucket");
    schema.execute(&mut conn).await.unwrap();
    conn
}

async fn sqlite(url: &LedgerUrl) -> SqliteConnection {
    let LedgerUrl::Sqlite(path) = url else {
        panic!("nobody else can look into a ledger in memory")
    };
    let options = SqliteConnectOptions::new().filename(path);
    options.connect().await.unwrap()
}

pub(crate) async fn a_load_says_how_it_ended(world: World) {
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let worker = world.worker().await;
    let unit = world.lease_one(worker).await;
    let sql = "SELECT CAST(rows_processed AS TEXT) || ' ' || CAST(failure_count AS TEXT) \
               FROM resource_bundle_loads WHERE load_completed IS NOT NULL";
    let commit = rejecting(&unit, 0..100, &[20, 40]);
    world.ledger.commit_outcomes(&commit).await.unwrap();
    world.finish(&unit).await.unwrap();
    assert_eq!(ask(&world, sql).await, "10 2");
    let status = "SELECT MIN(http_status_text) FROM resource_bundle_errors";
    assert_eq!(ask(&world, status).await, "Unprocessable Entity");
    let completed = "SELECT CAST(COUNT(load_completed) AS TEXT) FROM resource_bundles";
    assert_eq!(ask(&world, completed).await, "1");
    // What is taken up again has not ended.
    world.ledger.retry_job(job).await.unwrap();
    let ended = "SELECT CAST(COUNT(rows_processed) + COUNT(failure_count) \
                   + COUNT(load_completed) AS TEXT) FROM resource_bundle_loads";
    assert_eq!(ask(&world, ended).await, "0");
    assert_eq!(ask(&world, completed).await, "0");
    let unit = world.lease_one(worker).await;
    world.finish(&unit).await.unwrap();
    assert_eq!(ask(&world, sql).await, "8 0");
}

pub(crate) async fn silent_workers_are_shown_as_stopped(world: World) {
    let worker = world.worker().await;
    let status = "SELECT status FROM loader_instances";
    world.advance(59);
    assert_eq!(world.ledger.stop_silent_workers().await.unwrap(), 0);
    assert_eq!(ask(&world, status).await, "RUNNING");
    world.advance(1);
    assert_eq!(world.ledger.stop_silent_workers().await.unwrap(), 1);
    assert_eq!(ask(&world, status).await, "STOPPED");
    // It was only slow.
    world.ledger.heartbeat(worker).await.unwrap();
    assert_eq!(ask(&world, status).await, "RUNNING");
}

pub(crate) async fn a_unit_of_a_load_that_counts_no_more_is_not_leased(world: World) {
    let objects = [object("/data/a.ndjson", 100), object("/data/b.ndjson", 100)];
    let job = world.job_over(&objects).await;
    execute(
        &world,
        "UPDATE resource_bundles SET version = 2, content_version = 2 WHERE object_name = 'a.ndjson'; \
         UPDATE resource_bundle_loads SET latest = FALSE WHERE resource_bundle_id = \
           (SELECT resource_bundle_id FROM resource_bundles WHERE object_name = 'b.ndjson')",
    )
    .await;
    let worker = world.worker().await;
    assert_eq!(world.lease(worker, 10).await, []);
    let open = "SELECT CAST(COUNT(*) AS TEXT) FROM load_units WHERE state <> 'rescinded'";
    assert_eq!(ask(&world, open).await, "0");
    assert_eq!(world.state(job).await, JobState::Done);
}
