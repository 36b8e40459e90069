//! A schema that the Java fhir-bucket made becomes a ledger.

use std::sync::Arc;

use bucket_scanner::ledger::{
    self, JavaTool, Ledger, LedgerError, LedgerLook, LedgerOptions, LedgerUrl,
};
use chrono::DateTime;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use stoker_shared::clock::ManualClock;

use crate::world::{Database, World};

pub(crate) const SCHEMA: &str = include_str!("java_schema.sql");
pub(crate) const ROWS: &str = include_str!("java_rows.sql");
const JAVA_TABLES: [&str; 7] = [
    "loader_instances",
    "bucket_paths",
    "resource_bundles",
    "resource_bundle_loads",
    "resource_types",
    "logical_resources",
    "resource_bundle_errors",
];

/// A database, and a connection whose search path begins with the schema.
pub(crate) async fn database(schema: &str, scripts: &[&str]) -> (Database, PgConnection) {
    let database = Database::create().await;
    let mut conn = database.connect().await;
    let begin = format!("CREATE SCHEMA {schema}; SET search_path = {schema}");
    run(&mut conn, &begin).await;
    for script in scripts {
        run(&mut conn, script).await;
    }
    (database, conn)
}

pub(crate) async fn run(conn: &mut PgConnection, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(conn).await.unwrap();
}

pub(crate) async fn number(conn: &mut PgConnection, sql: &str) -> i64 {
    let found = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
    found.fetch_one(conn).await.unwrap()
}

pub(crate) async fn counts(conn: &mut PgConnection) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in JAVA_TABLES {
        counts.push(number(conn, &format!("SELECT COUNT(*) FROM {table}")).await);
    }
    counts
}

/// At the time of `World`.
fn clock() -> Arc<ManualClock> {
    let time = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    Arc::new(ManualClock::new(time))
}

pub(crate) async fn open(
    database: &Database,
    schema: &str,
) -> Result<Arc<dyn Ledger>, LedgerError> {
    let (url, options) = place(database, schema);
    ledger::open(&url, &options, clock()).await
}

pub(crate) async fn look(database: &Database) -> Result<LedgerLook, LedgerError> {
    let (url, options) = place(database, "fhirbucket");
    ledger::look(&url, &options, &*clock()).await
}

fn place(database: &Database, schema: &str) -> (LedgerUrl, LedgerOptions) {
    let options = LedgerOptions {
        schema: schema.to_owned(),
        ..LedgerOptions::default()
    };
    (LedgerUrl::Postgres(database.url.clone()), options)
}

pub(crate) async fn adopted() -> (Database, PgConnection, World) {
    let (database, conn) = database("fhirbucket", &[SCHEMA, ROWS]).await;
    let world = World::on(&database).await;
    (database, conn, world)
}

#[tokio::test]
async fn all_rows_are_kept_and_numbers_go_on_behind_them() {
    for schema in ["fhirbucket", "hospital_7"] {
        let (database, mut conn) = database(schema, &[SCHEMA, ROWS]).await;
        let mut before = counts(&mut conn).await;
        assert_eq!(before, [3, 4, 12, 10, 3, 10, 3]);
        let opened = open(&database, schema).await.unwrap();
        // All types there are, behind those that were met.
        before[4] = 141;
        assert_eq!(counts(&mut conn).await, before);
        let kept = "SELECT COUNT(*) FROM logical_resources r \
             JOIN resource_bundle_loads l USING (resource_bundle_load_id) \
             JOIN resource_types t USING (resource_type_id) \
             WHERE logical_id = 'rel-1' AND logical_resource_id = 8 AND l.resource_bundle_id = 7 \
               AND r.resource_bundle_id = 7 AND r.loader_instance_id = 1 AND line_number = 1 \
               AND resource_type = 'Observation' AND load_completed = '2023-11-14 10:00:20'";
        assert_eq!(number(&mut conn, kept).await, 1);
        let longest = "SELECT MAX(LENGTH(error_text))::BIGINT FROM resource_bundle_errors";
        assert_eq!(number(&mut conn, longest).await, 1024);
        let request = stoker_proto::ledger::v1::RegisterWorkerRequest::default();
        assert_eq!(opened.register_worker(&request).await.unwrap(), 4);
        let java = "SELECT COUNT(*) FROM pg_class WHERE relname LIKE 'java%' \
             OR relname = 'job_allocation_seq'";
        assert_eq!(number(&mut conn, java).await, 0);
        let jobs = open(&database, schema).await.unwrap().jobs().await.unwrap();
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].source.as_ref().unwrap().uri, "adopted:");
    }
}

/// Names, types and rules of every column and index, but for what the database numbers itself.
async fn shape(conn: &mut PgConnection) -> Vec<String> {
    let rows = sqlx::raw_sql(
        "SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
             || ' ' || a.attnotnull || a.attidentity::TEXT
           FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          WHERE c.relnamespace = 'fhirbucket'::REGNAMESPACE AND a.attnum > 0 AND c.relname NOT IN
            ('control', 'whole_schema_version', 'version_history', 'control_pk',
             'whole_schema_version_pk', 'version_history_pk')
         UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index i
           JOIN pg_class t ON t.oid = i.indrelid
          WHERE t.relnamespace = 'fhirbucket'::REGNAMESPACE AND t.relname NOT IN
            ('control', 'whole_schema_version', 'version_history')
         ORDER BY 1",
    );
    let rows = rows.fetch_all(conn).await.unwrap();
    rows.iter()
        .map(|row| row.get_unchecked::<String, _>(0))
        .collect()
}

#[tokio::test]
async fn an_adopted_schema_is_shaped_as_a_new_one() {
    let (_adopted, mut conn, _) = adopted().await;
    let new = Database::create().await;
    World::on(&new).await;
    let expected = shape(&mut new.connect().await).await;
    assert!(expected.len() > 100, "{expected:?}");
    assert_eq!(shape(&mut conn).await, expected);
}

#[tokio::test]
async fn a_running_instance_is_not_robbed() {
    let (database, mut conn) = database("fhirbucket", &[SCHEMA, ROWS]).await;
    // 22:13:20 in UTC, in Berlin, in Kathmandu.
    for now in [
        "2023-11-14 22:13:10",
        "2023-11-14 23:12:40",
        "2023-11-15 03:58:20",
    ] {
        let beat = format!(
            "UPDATE loader_instances SET heartbeat_tstamp = '{now}' WHERE loader_instance_id = 3"
        );
        run(&mut conn, &beat).await;
        for error in [
            open(&database, "fhirbucket").await.unwrap_err(),
            look(&database).await.unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(matches!(error, LedgerError::JavaRunning { .. }), "{text}");
            assert!(text.contains("instance 3 on loader-c"), "{text}");
        }
    }
    assert_eq!(counts(&mut conn).await, [3, 4, 12, 10, 3, 10, 3]);
    assert!(number(&mut conn, "SELECT nextval('job_allocation_seq')").await > 2000);
    run(&mut conn, "UPDATE loader_instances SET status = 'STOPPED'").await;
    assert_eq!(look(&database).await.unwrap().java, JavaTool::Adoptable);
    open(&database, "fhirbucket").await.unwrap();
}

/// Of each statement of fhir-bucket the fault it now runs into.
const JAVA_STATEMENTS: [(&str, &str); 5] = [
    // At its start.
    (
        "INSERT INTO fhirbucket.loader_instances(loader_instance_key, hostname, pid, \
         heartbeat_tstamp, status) VALUES ('k', 'loader-d', -1, CURRENT_TIMESTAMP, 'RUNNING')",
        "23502",
    ),
    // Its scanner.
    (
        "INSERT INTO fhirbucket.resource_bundles(bucket_path_id, object_name, object_size, \
         file_type, etag, last_modified, scan_tstamp, version) VALUES (1, 'x.json', 1, 'JSON', '', \
         CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 1) ON CONFLICT (bucket_path_id, object_name) \
         DO NOTHING",
        "42P10",
    ),
    // Its readers, before they take work.
    ("SELECT nextval('fhirbucket.job_allocation_seq')", "42P01"),
    // Its recorders.
    (
        "INSERT INTO fhirbucket.logical_resources (resource_type_id, logical_id, \
         resource_bundle_load_id, line_number, created_tstamp, response_time_ms) \
         VALUES (1, 'new', 1, 2, CURRENT_TIMESTAMP, 5) \
         ON CONFLICT (resource_type_id, logical_id) DO NOTHING",
        "42P10",
    ),
    (
        "INSERT INTO fhirbucket.resource_bundle_errors(resource_bundle_load_id, line_number, \
         error_tstamp, error_text, response_time_ms, http_status_code, http_status_text) \
         VALUES (1, 9, CURRENT_TIMESTAMP, 'x', 1, 400, 'Bad Request')",
        "23502",
    ),
];

#[tokio::test]
async fn an_instance_that_was_overlooked_cannot_go_on() {
    let (database, mut conn, _world) = adopted().await;
    for (sql, fault) in JAVA_STATEMENTS {
        let error = sqlx::raw_sql(sql).execute(&mut conn).await.unwrap_err();
        let code = error
            .as_database_error()
            .unwrap()
            .code()
            .unwrap()
            .into_owned();
        assert_eq!(code, fault, "{sql}");
    }
    // So that --bootstrap-schema makes nothing.
    let version = "SELECT version_id::BIGINT FROM whole_schema_version";
    assert_eq!(number(&mut conn, version).await, 1);
    assert_eq!(look(&database).await.unwrap().java, JavaTool::Nothing);
    let beat = "UPDATE loader_instances SET heartbeat_tstamp = '2023-11-15 00:13:15' \
         WHERE loader_instance_id = 3";
    run(&mut conn, beat).await;
    let running = JavaTool::Running(vec!["instance 3 on loader-c".to_owned()]);
    assert_eq!(look(&database).await.unwrap().java, running);
    open(&database, "fhirbucket").await.unwrap();
}

#[tokio::test]
async fn tables_that_are_not_whole_or_of_others_are_refused() {
    let unfinished = "UPDATE whole_schema_version SET version_id = 0";
    let begun = "CREATE TABLE whole_schema_version (record_id INT PRIMARY KEY, version_id INT)";
    for scripts in [[SCHEMA, unfinished], [begun, ""]] {
        let (database, _conn) = database("fhirbucket", &scripts).await;
        let error = open(&database, "fhirbucket").await.unwrap_err();
        assert!(
            matches!(error, LedgerError::JavaUnfinished { .. }),
            "{error}"
        );
    }
    // A FHIR server's schema, a table missing, somebody's own.
    let server =
        "CREATE TABLE logical_resources (x INT); INSERT INTO whole_schema_version VALUES (1, 31)";
    let missing = "DROP TABLE resource_bundle_errors";
    let own = "CREATE TABLE jobs (x INT)";
    for scripts in [[begun, server], [SCHEMA, missing], [own, ""]] {
        let (database, mut conn) = database("fhirbucket", &scripts).await;
        let error = open(&database, "fhirbucket").await.unwrap_err();
        assert!(
            matches!(error, LedgerError::ForeignTables { .. }),
            "{error}"
        );
        let ours = "SELECT COUNT(*) FROM pg_class WHERE relname = 'stoker_schema_versions'";
        assert_eq!(number(&mut conn, ours).await, 0);
    }
}

#[tokio::test]
async fn all_is_taken_over_or_nothing() {
    let (database, mut conn) = database("fhirbucket", &[SCHEMA, ROWS]).await;
    run(
        &mut conn,
        "CREATE VIEW mine AS SELECT COUNT(*) FROM logical_resources",
    )
    .await;
    let error = open(&database, "fhirbucket").await.unwrap_err();
    assert!(matches!(error, LedgerError::JavaInUse { .. }), "{error}");
    assert!(error.to_string().contains("view mine"), "{error}");
    assert_eq!(counts(&mut conn).await, [3, 4, 12, 10, 3, 10, 3]);
    assert_eq!(look(&database).await.unwrap().java, JavaTool::Adoptable);
    run(&mut conn, "DROP VIEW mine").await;
    open(&database, "fhirbucket").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_may_adopt_at_once() {
    let (database, mut conn) = database("fhirbucket", &[SCHEMA, ROWS]).await;
    let database = Arc::new(database);
    let opens = (0..8).map(|_| {
        let database = Arc::clone(&database);
        tokio::spawn(async move { open(&database, "fhirbucket").await })
    });
    for opened in opens.collect::<Vec<_>>() {
        assert_eq!(
            opened.await.unwrap().unwrap().jobs().await.unwrap().len(),
            1
        );
    }
    assert_eq!(counts(&mut conn).await, [3, 4, 12, 10, 141, 10, 3]);
}

#[tokio::test]
async fn readers_stay_readers() {
    let (database, mut conn) = database("fhirbucket", &[SCHEMA, ROWS]).await;
    let role = format!("reader_{}", uuid::Uuid::new_v4().simple());
    let grants = format!("CREATE ROLE {role}; GRANT SELECT ON logical_resources TO {role}");
    run(&mut conn, &grants).await;
    open(&database, "fhirbucket").await.unwrap();
    let may =
        format!("SELECT has_table_privilege('{role}', 'logical_resources', 'SELECT')::INT::BIGINT");
    let may = number(&mut conn, &may).await;
    run(
        &mut conn,
        &format!("DROP OWNED BY {role}; DROP ROLE {role}"),
    )
    .await;
    assert_eq!(may, 1);
}
