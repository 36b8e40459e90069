//! A ledger that an earlier Stoker has made.

use std::sync::Arc;

use bucket_scanner::ledger::{self, Ledger, LedgerOptions, LedgerUrl};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use stoker_proto::common::v1::FileType;
use stoker_proto::ledger::v1::{LeaseUnitsRequest, RegisterWorkerRequest, Unit, UnitLimit};
use stoker_shared::clock::SystemClock;

use crate::database::Database;

const POSTGRES: &str = include_str!("../../migrations/postgres/0001_ledger.sql");
const SQLITE: &str = include_str!("../../migrations/sqlite/0001_ledger.sql");
const TYPES: &str = include_str!("../../migrations/common/0002_resource_types.sql");
const LISTED: &str = include_str!("../../migrations/common/0003_listed.sql");

/// A running job over an object of each type, one of them in its second version.
const ROWS: &str = "
CREATE TABLE stoker_schema_versions (version BIGINT PRIMARY KEY, applied TIMESTAMP NOT NULL);
INSERT INTO stoker_schema_versions (version, applied) VALUES
    (1, '2026-01-01 00:00:00'), (2, '2026-01-01 00:00:00'), (3, '2026-01-01 00:00:00');
INSERT INTO sources (source_id, uri, reach, added) VALUES (1, 's3://b/', '', '2026-01-01 00:00:00');
INSERT INTO jobs (job_id, source_id, base_url, tenant, interaction, state, reason, created, started,
    run, reload, scan_wanted, scan_begun, scan_run, objects_unchanged, objects_ignored)
    VALUES (1, 1, 'http://fhir', '', 'auto', 'loading', '', '2026-01-01 00:00:00', '2026-01-01 00:00:00', 1, FALSE, 1,
    1, 1, 0, 0);
INSERT INTO bucket_paths (bucket_path_id, bucket_name, bucket_path) VALUES (7, 'b', '/');
INSERT INTO resource_bundles (resource_bundle_id, source_id, bucket_path_id, object_name,
    object_size, file_type, compression, etag, last_modified, scan_tstamp, version) VALUES
    (1, 1, 7, 'a.json', 10, 'JSON', 'none', '', '2026-01-01 00:00:00', '2026-01-01 00:00:00', 1),
    (2, 1, 7, 'b.ndjson', 10, 'NDJSON', 'none', '', '2026-01-01 00:00:00', '2026-01-01 00:00:00', 2);
INSERT INTO resource_bundle_loads (resource_bundle_load_id, resource_bundle_id, job_id, version,
    run, latest, planned, requests, retries) VALUES
    (1, 1, 1, 1, 1, TRUE, '2026-01-01 00:00:00', 0, 0), (2, 2, 1, 1, 1, FALSE, '2026-01-01 00:00:00', 0, 0),
    (3, 2, 1, 2, 1, TRUE, '2026-01-01 00:00:00', 0, 0);
INSERT INTO load_units (resource_bundle_load_id, job_id, state, range_start, range_end,
    done_ranges, attempts, not_before, reason, source_bytes, lines, decoded_bytes) VALUES
    (1, 1, 'open', 0, 10, '', 0, '2026-01-01 00:00:00', '', 0, 0, 0),
    (2, 1, 'open', 0, 10, '', 0, '2026-01-01 00:00:00', '', 0, 0, 0),
    (3, 1, 'open', 0, 10, '0-5', 0, '2026-01-01 00:00:00', '', 0, 0, 0);
";

async fn open(url: LedgerUrl) -> Arc<dyn Ledger> {
    let options = LedgerOptions::default();
    ledger::open(&url, &options, Arc::new(SystemClock))
        .await
        .unwrap()
}

async fn lease(ledger: &dyn Ledger, of: FileType) -> Vec<Unit> {
    let worker = RegisterWorkerRequest::default();
    let request = LeaseUnitsRequest {
        worker_id: ledger.register_worker(&worker).await.unwrap(),
        max_units: 10,
        limits: vec![UnitLimit {
            file_type: of.into(),
            max_units: 10,
        }],
        ..LeaseUnitsRequest::default()
    };
    ledger.lease_units(&request).await.unwrap().units
}

async fn what_was_planned_is_loaded(ledger: &dyn Ledger) {
    let json = lease(ledger, FileType::Json).await;
    assert_eq!(json.len(), 1);
    assert_eq!(json[0].object.as_ref().unwrap().key, "a.json");
    let ndjson = lease(ledger, FileType::Ndjson).await;
    assert_eq!(ndjson.len(), 1, "not of the version before");
    assert_eq!(ndjson[0].object.as_ref().unwrap().version, 2);
    assert_eq!(ndjson[0].done[0].end, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_ledger_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.sqlite");
    let made = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true);
    let mut conn = made.connect().await.unwrap();
    for script in [SQLITE, TYPES, LISTED, ROWS] {
        sqlx::raw_sql(script).execute(&mut conn).await.unwrap();
    }
    conn.close().await.unwrap();
    let ledger = open(LedgerUrl::Sqlite(file)).await;
    what_was_planned_is_loaded(&*ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_ledger_is_brought_up_to_date() {
    let database = Database::create().await;
    let mut conn = database.connect().await;
    let schema = "CREATE SCHEMA fhirbucket; SET search_path TO fhirbucket";
    for script in [schema, POSTGRES, TYPES, LISTED, ROWS] {
        sqlx::raw_sql(script).execute(&mut conn).await.unwrap();
    }
    conn.close().await.unwrap();
    let ledger = open(LedgerUrl::Postgres(database.url.clone())).await;
    what_was_planned_is_loaded(&*ledger).await;
}
