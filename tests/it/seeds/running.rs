//! What works is run: queries on PostgreSQL, properties files by Stoker's reader.

use std::fs;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_shared::properties::Properties;
use stoker_tests::parts;
use stoker_tests::stoker::Stoker;

use super::documents::{documents, folder, list, words};

#[test]
fn properties_files_are_read_as_java_reads_them() {
    let documents = documents();
    let pieces = documents.iter().flat_map(|document| &document.pieces);
    let files: Vec<_> = pieces
        .filter(|piece| piece.get("kind") == "properties")
        .collect();
    assert!(
        files.len() >= 8,
        "the documents print eight properties files"
    );
    for piece in files {
        let read = Properties::read(&folder().join(&piece.name)).unwrap();
        let expected = piece.entry["properties"].as_object().unwrap().iter();
        let expected = expected.map(|(key, value)| (key.as_str(), value.as_str().unwrap()));
        assert!(read.iter().eq(expected), "{}: {read:?}", piece.name);
    }
}

/// A database in which an SQL piece of the index finds what it asks for.
async fn database(on: &str) -> PgConnection {
    let url = parts::fresh_database().await.unwrap();
    let prepare = match on {
        "ledger" => {
            load_into(&url).await;
            "SET search_path=FHIRBUCKET,PUBLIC"
        }
        // The queries read PostgreSQL's own statistics: only the names of HAPI FHIR's tables count.
        "hapi" => {
            "CREATE TABLE hfj_resource (res_id BIGINT PRIMARY KEY, res_type TEXT);
             CREATE TABLE hfj_res_ver (pid BIGINT PRIMARY KEY);
             CREATE TABLE hfj_spidx_token (sp_id BIGINT PRIMARY KEY)"
        }
        "audit" => {
            "CREATE SCHEMA audit;
             CREATE TABLE audit.audit_events (event_time TIMESTAMPTZ, client_id TEXT, event_type TEXT, outcome TEXT)
                 PARTITION BY RANGE (event_time);
             CREATE TABLE audit.audit_events_old PARTITION OF audit.audit_events
                 FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
             CREATE TABLE audit.audit_events_new PARTITION OF audit.audit_events
                 FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
             INSERT INTO audit.audit_events VALUES (now(), 'a', 'OPERATION', 'ACCEPTED'),
                 (now(), 'b', 'OPERATION', 'REJECTED'), (now(), 'b', 'OPERATION', 'ACCEPTED')"
        }
        other => panic!("{other:?} is no database for an SQL piece"),
    };
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(prepare)
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

/// Loads 40 Patients with a ledger in a database.
async fn load_into(database: &str) {
    let latency = Duration::from_millis(20);
    let config = SandboxConfig {
        latency,
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    let user = Stoker::new().unwrap();
    let patients = "{\"resourceType\":\"Patient\"}\n".repeat(40);
    fs::write(user.home().join("patients.ndjson"), patients).unwrap();
    let base = sandbox.base_url();
    let load = [
        "load",
        "patients.ndjson",
        "--to",
        &base,
        "--ledger",
        database,
    ];
    // One request after the other, so that the resources are not all created in one moment.
    let slowly = [
        "--batch",
        "1",
        "--concurrency",
        "1",
        "--interaction",
        "create",
    ];
    let run = user.args(load.iter().chain(&slowly)).run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
}

#[tokio::test]
async fn queries_run_on_postgresql() {
    for piece in documents().iter().flat_map(|document| &document.pieces) {
        if piece.get("kind") != "sql" || piece.get("status") == "waiting" {
            continue;
        }
        let mut sql = piece.text.clone();
        for change in list(&piece.entry["replace"]) {
            let change = words(change);
            assert!(
                sql.contains(&change[0]),
                "{}: no {:?}",
                piece.name,
                change[0]
            );
            sql = sql.replace(&change[0], &change[1]);
        }
        let mut connection = database(piece.get("on")).await;
        let rows = sqlx::raw_sql(AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await;
        let rows = rows.unwrap_or_else(|e| panic!("{}: {e}", piece.name));
        let expected = piece.entry["rows"].as_u64();
        assert_eq!(
            u64::try_from(rows.len()).ok(),
            expected,
            "{}: rows",
            piece.name
        );
        for (column, value) in piece.entry["first_row"].as_object().into_iter().flatten() {
            let found: String = rows[0].get_unchecked(column.as_str());
            assert_eq!(
                Some(found.as_str()),
                value.as_str(),
                "{}: {column}",
                piece.name
            );
        }
    }
}

#[tokio::test]
async fn tables_that_are_named_are_in_the_ledger() {
    let documents = documents();
    let pieces = documents.iter().flat_map(|document| &document.pieces);
    for piece in pieces.filter(|piece| piece.get("kind") == "tables") {
        let mut connection = database("ledger").await;
        let tables = piece
            .text
            .lines()
            .skip(1)
            .map(|line| line.split(' ').next().unwrap());
        assert!(
            tables.clone().count() >= 7,
            "{}: {}",
            piece.name,
            piece.text
        );
        for table in tables {
            let query = format!("SELECT * FROM {table} LIMIT 1");
            let found = sqlx::raw_sql(AssertSqlSafe(query))
                .execute(&mut connection)
                .await;
            assert!(found.is_ok(), "{table}: {found:?}");
        }
    }
}
