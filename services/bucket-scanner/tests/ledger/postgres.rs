//! What is PostgreSQL's alone: how it refuses, and the query that the seed prints.

use std::sync::Arc;
use std::time::Duration;

use bucket_scanner::ledger::{self, LedgerError, LedgerOptions, LedgerUrl, StartJob};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row};
use stoker_proto::common::v1::Interaction;
use stoker_proto::ledger::v1::{EntryOutcome, OutcomeKind, Unit};
use stoker_shared::clock::SystemClock;
use stoker_shared::retry::Retry;
use stoker_shared::store::{self, PostgresOptions, StoreError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use crate::look::{ask, execute};
use crate::opening::{open, open_at_once};
use crate::world::{Database, World, commit, count, key_of, object, outcome, start};

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_may_open_a_new_schema_at_once() {
    let database = Database::create().await;
    open_at_once(&LedgerUrl::Postgres(database.url.clone())).await;
}

#[tokio::test]
async fn a_schema_keeps_what_was_saved() {
    let world = World::postgres().await;
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let again = open(&world.url).await.unwrap();
    assert_eq!(again.job(job).await.unwrap().run.unwrap().objects, 1);
}

#[tokio::test]
async fn sums_of_many_rows_become_few_and_stay_the_same() {
    let world = World::postgres().await;
    let job = world.job_over(&[object("/data/a.ndjson", 100)]).await;
    execute(
        &world,
        "INSERT INTO job_sums (job_id, run, requests) \
         SELECT job_id, run, 1 FROM jobs, generate_series(1, 2000)",
    )
    .await;
    let before = world.ledger.job(job).await.unwrap();
    assert_eq!(before.run.as_ref().unwrap().requests, 2000);
    world.ledger.fold_sums().await.unwrap();
    assert_eq!(world.ledger.job(job).await.unwrap(), before);
    let rows = "SELECT CAST(COUNT(*) AS TEXT) FROM job_sums";
    assert_eq!(ask(&world, rows).await, "1");
}

#[tokio::test]
async fn two_schemas_are_two_ledgers() {
    let world = World::postgres().await;
    world.job_over(&[object("/data/a.ndjson", 100)]).await;
    let options = LedgerOptions {
        schema: "other".to_owned(),
        ..LedgerOptions::default()
    };
    let other = ledger::open(&world.url, &options, Arc::new(SystemClock))
        .await
        .unwrap();
    assert_eq!(other.jobs().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    // Bound, so that nobody else takes it, and not listening.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = taken.local_addr().unwrap().port();
    let url = LedgerUrl::Postgres(format!("postgres://ann:secret@127.0.0.1:{port}/x"));
    let error = open(&url).await.unwrap_err();
    assert!(
        matches!(error, LedgerError::Store(StoreError::Unreachable { .. })),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains(&port.to_string()) && !text.contains("secret"),
        "{text}"
    );
}

#[tokio::test]
async fn a_missing_database_is_named() {
    let database = Database::create().await;
    let url = LedgerUrl::Postgres(format!("{}_not", database.url));
    let error = open(&url).await.unwrap_err();
    assert!(
        matches!(
            error,
            LedgerError::Store(StoreError::DatabaseMissing { .. })
        ),
        "{error}"
    );
}

#[tokio::test]
async fn missing_rights_are_named() {
    let database = Database::create().await;
    let mut conn = database.connect().await;
    let role = format!("poor_{}", uuid::Uuid::new_v4().simple());
    let sql = format!("CREATE ROLE {role} LOGIN PASSWORD 'x'");
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut conn)
        .await
        .unwrap();
    let (scheme, rest) = database.url.split_once("://").unwrap();
    let (_, host) = rest.rsplit_once('@').unwrap_or(("", rest));
    let error = open(&LedgerUrl::Postgres(format!("{scheme}://{role}:x@{host}"))).await;
    let sql = format!("DROP ROLE {role}");
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut conn)
        .await
        .unwrap();
    let error = error.unwrap_err();
    assert!(
        matches!(error, LedgerError::Store(StoreError::LacksRights { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused() {
    let latin = "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    let database = Database::create_as(latin).await;
    let url = LedgerUrl::Postgres(database.url.clone());
    let error = open(&url).await.unwrap_err().to_string();
    assert!(error.contains("text as LATIN1"), "{error}");
}

#[tokio::test]
async fn a_missing_file_of_a_certificate_is_named() {
    for parameter in ["sslrootcert", "sslcert", "sslkey"] {
        let url = format!("postgres://ann:secret@127.0.0.1:1/x?{parameter}=/no/such.pem");
        let error = open(&LedgerUrl::Postgres(url)).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("/no/such.pem") && text.contains(parameter),
            "{text}"
        );
        assert_eq!(error.retry(), Retry::Never);
    }
}

#[tokio::test]
async fn tls_that_cannot_be_had_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        client.read_exact(&mut request).await.unwrap();
        client.write_all(b"N").await.unwrap();
    });
    let url = format!("postgres://ann:secret@127.0.0.1:{port}/x?sslmode=require");
    let error = open(&LedgerUrl::Postgres(url)).await.unwrap_err();
    server.await.unwrap();
    let text = error.to_string();
    assert!(
        text.contains(&port.to_string()) && text.contains("sslmode"),
        "{text}"
    );
}

/// A process that hangs in the middle of a transaction cannot be asked to end it; its connection stays.
#[tokio::test]
async fn what_a_hanging_process_has_locked_is_free_again() {
    let database = Database::create().await;
    let world = World::on(&database).await;
    let job = world.start(&start()).await;
    let options = PostgresOptions {
        schema: "fhirbucket".to_owned(),
        password: None,
        password_file: None,
        connections: 2,
    };
    let connect = store::postgres::connect(&database.url, &options).unwrap();
    let hanging = store::postgres::open(&connect, 2, Arc::new(SystemClock));
    let hanging = hanging.await.unwrap();
    let mut transaction = hanging.write.begin().await.unwrap();
    let lock = sqlx::raw_sql("SELECT job_id FROM fhirbucket.jobs FOR UPDATE");
    lock.execute(&mut *transaction).await.unwrap();
    let cancelled = tokio::time::timeout(Duration::from_mins(1), world.ledger.cancel_job(job));
    cancelled.await.expect("it is free again").unwrap();
    let late = sqlx::raw_sql("SELECT 1").execute(&mut *transaction).await;
    let late = connect
        .place
        .explain(StoreError::Database(late.unwrap_err()));
    assert_eq!(late.retry(), Retry::After(None), "{late}");
}

async fn set(database: &Database, setting: &str) {
    let name = database.url.rsplit_once('/').unwrap().1;
    let sql = format!("ALTER DATABASE {name} SET {setting}");
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut database.connect().await)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_the_server_cannot_do_at_the_moment_may_be_tried_again() {
    let database = Database::create().await;
    let job = World::on(&database).await.start(&start()).await;
    set(&database, "lock_timeout = '100ms'").await;
    let world = World::on(&database).await;
    let mut conn = database.connect().await;
    let mut rival = conn.begin().await.unwrap();
    let lock = "SELECT job_id FROM fhirbucket.jobs FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut *rival).await.unwrap();
    let error = world.ledger.cancel_job(job).await.unwrap_err();
    assert!(
        matches!(error, LedgerError::Store(StoreError::Unserved { .. })),
        "{error}"
    );
    assert_eq!(error.retry(), Retry::After(None));
    rival.rollback().await.unwrap();
    world.ledger.cancel_job(job).await.unwrap();

    set(&database, "default_transaction_read_only = on").await;
    let url = LedgerUrl::Postgres(database.url.clone());
    let world = open(&url).await.unwrap();
    let error = world.start_job(&start()).await.unwrap_err();
    assert!(
        matches!(error, LedgerError::Store(StoreError::Standby { .. })),
        "{error}"
    );
    assert_eq!(error.retry(), Retry::After(None));
}

/// Answers the first message of one client as PostgreSQL does when it refuses it.
async fn refuse(listener: TcpListener, code: &str) {
    let (mut client, _) = listener.accept().await.unwrap();
    let mut startup = [0; 1024];
    assert!(client.read(&mut startup).await.unwrap() > 0);
    let fields = format!("SFATAL\0VFATAL\0C{code}\0Mrefused for the test\0\0");
    let mut message = vec![b'E'];
    message.extend(u32::try_from(fields.len() + 4).unwrap().to_be_bytes());
    message.extend(fields.as_bytes());
    client.write_all(&message).await.unwrap();
}

#[tokio::test]
async fn refusals_of_the_server_are_told_apart() {
    for (code, expected) in [
        ("28P01", "refuses the user or password"),
        ("28000", "refuses the user or password"),
        ("57P03", "cannot be reached"),
        ("53300", "cannot be reached"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(refuse(listener, code));
        let url = format!("postgres://ann:secret@127.0.0.1:{port}/x?sslmode=disable");
        let error = open(&LedgerUrl::Postgres(url))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{code}: {error}");
        assert!(error.contains("refused for the test"), "{code}: {error}");
        server.await.unwrap();
    }
}

/// As the documentation of the Java fhir-bucket prints it.
const ANALYTIC_QUERY: &str = "\
SELECT loader_instance_id, substr(object_name, 1, 24) object_name, resource_type, resource_count, resource_count / run_seconds AS resources_per_second,
       EXTRACT(EPOCH FROM bundle_end - bundle_start) AS bundle_duration
  FROM (
       SELECT lr.loader_instance_id, resource_type_id, rb.object_name, count(*) AS resource_count,
              EXTRACT(EPOCH FROM max(lr.created_tstamp) - min(lr.created_tstamp)) AS run_seconds,
              min(rb.load_started) bundle_start,
              max(rb.load_completed) bundle_end
         FROM logical_resources lr,
              resource_bundles rb
        WHERE lr.loader_instance_id IS NOT NULL
          AND rb.resource_bundle_id = lr.resource_bundle_id
          AND rb.load_completed IS NOT NULL
     GROUP BY lr.loader_instance_id, resource_type_id, rb.object_name
     ) lr,
       resource_types rt
 WHERE rt.resource_type_id = lr.resource_type_id
   AND lr.run_seconds > 0
;";

/// Of the query, in the order of name and type: instance, name, type, count, rate, duration.
pub(crate) type Rate = (i64, String, String, i64, f64, f64);

pub(crate) async fn rates(conn: &mut PgConnection) -> Vec<Rate> {
    let path = "SET search_path=FHIRBUCKET,PUBLIC;";
    sqlx::raw_sql(path).execute(&mut *conn).await.unwrap();
    let rows = sqlx::raw_sql(ANALYTIC_QUERY).fetch_all(conn).await.unwrap();
    let text = |row: &PgRow, column| row.get_unchecked::<String, _>(column);
    let rate = |row: &PgRow| {
        (
            text(row, "loader_instance_id").parse().unwrap(),
            text(row, "object_name"),
            text(row, "resource_type"),
            text(row, "resource_count").parse().unwrap(),
            text(row, "resources_per_second").parse().unwrap(),
            text(row, "bundle_duration").parse().unwrap(),
        )
    };
    let mut rates: Vec<Rate> = rows.iter().map(rate).collect();
    rates.sort_by(|a, b| (&a.1, &a.2).cmp(&(&b.1, &b.2)));
    rates
}

/// One resource at each of these offsets, some seconds after the one before.
async fn create(world: &World, unit: &Unit, of: &str, created: &[(u64, u64)]) {
    for (offset, seconds) in created {
        world.advance(*seconds);
        let mut commit = commit(unit, *offset..*offset + 10);
        commit.header.counts = vec![count(of, [1, 0, 0, 0])];
        commit.outcomes = vec![EntryOutcome {
            resource_type: of.to_owned(),
            ..outcome(OutcomeKind::Created, *offset, None)
        }];
        world.ledger.commit_outcomes(&commit).await.unwrap();
    }
}

#[tokio::test]
async fn the_analytic_query_of_the_java_tool_gives_the_rates() {
    let database = Database::create().await;
    let world = World::on(&database).await;
    let into = StartJob {
        interaction: Interaction::Create,
        ..start()
    };
    world.start(&into).await;
    let long = "a-name-of-more-than-24-letters.ndjson";
    let objects = ["short.ndjson", long, "unfinished.ndjson"];
    world
        .scan(&objects.map(|name| object(&format!("/data/{name}"), 100)))
        .await;
    let workers = [world.worker().await, world.worker().await];
    let mut units = world.lease(workers[0], 2).await;
    units.extend(world.lease(workers[1], 1).await);
    let unit = |name: &str| units.iter().find(|u| key_of(u).ends_with(name)).unwrap();
    let by = |name: &str| {
        let first = units[..2].iter().any(|u| key_of(u).ends_with(name));
        if first { workers[0] } else { workers[1] }
    };
    // 3 in 4 s, 2 in 8 s, and one at one time, which has no rate.
    create(
        &world,
        unit("short.ndjson"),
        "Patient",
        &[(0, 1), (10, 1), (20, 3)],
    )
    .await;
    create(&world, unit("short.ndjson"), "Observation", &[(30, 0)]).await;
    create(&world, unit(long), "Encounter", &[(0, 0), (10, 8)]).await;
    create(
        &world,
        unit("unfinished.ndjson"),
        "Patient",
        &[(0, 0), (10, 5)],
    )
    .await;
    world.finish(unit("short.ndjson")).await.unwrap();
    world.advance(2);
    world.finish(unit(long)).await.unwrap();
    let mut conn = database.connect().await;
    let rate = |name: &str, shown: &str, of: &str, count, rate, took| {
        (by(name), shown.to_owned(), of.to_owned(), count, rate, took)
    };
    let expected = [
        rate(long, "a-name-of-more-than-24-l", "Encounter", 2, 0.25, 20.0),
        rate("short.ndjson", "short.ndjson", "Patient", 3, 0.75, 18.0),
    ];
    assert_eq!(rates(&mut conn).await, expected);
}
