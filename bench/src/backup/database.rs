//! A database with the tables of a FHIR server that take the room: versions of resources as text, and what is indexed of
//! them.

use std::fmt::Write as _;

use anyhow::Context as _;
use bytes::Bytes;
use futures::SinkExt as _;
use tokio_postgres::{Client, NoTls};
use tokio_util::task::AbortOnDropHandle;

use crate::data::sample_lines;

const TABLES: &str = "\
CREATE TABLE resource (res_id bigint PRIMARY KEY, res_type text NOT NULL, fhir_id text NOT NULL,
  updated timestamptz NOT NULL, version bigint NOT NULL, UNIQUE (res_type, fhir_id));
CREATE INDEX ON resource (updated);
CREATE TABLE resource_version (pid bigint PRIMARY KEY, res_id bigint NOT NULL, version bigint NOT NULL,
  updated timestamptz NOT NULL, content text NOT NULL, UNIQUE (res_id, version));
CREATE TABLE token (id bigserial PRIMARY KEY, res_id bigint NOT NULL, name text NOT NULL, hash bigint NOT NULL,
  system text, value text);
CREATE INDEX ON token (hash, res_id);
CREATE INDEX ON token (res_id);
CREATE UNLOGGED TABLE arrived (id bigint, content text);";

/// What is indexed of each resource: hashes are as random as those of a server.
const INDEX: &str = "\
INSERT INTO resource SELECT id, content::json->>'resourceType', content::json->>'id', now(), 1 FROM arrived;
INSERT INTO resource_version SELECT id, id, 1, now(), content FROM arrived;
INSERT INTO token (res_id, name, hash, system, value)
  SELECT id, 'p' || n, hashtextextended(content, n), 'http://loinc.org', left(md5(id::text || n), 8 + n)
  FROM arrived, generate_series(1, 5) n;
TRUNCATE arrived;";

/// Resources of a transaction.
const BATCH: usize = 2000;

/// The database `postgres` of a server that the benchmark has for itself.
#[derive(Debug)]
pub struct Database {
    /// Its URL.
    pub url: String,
    client: Client,
    resources: usize,
    _task: AbortOnDropHandle<()>,
}

impl Database {
    /// Makes the tables on the server that `STOKER_TEST_POSTGRES` names.
    pub async fn create() -> anyhow::Result<Self> {
        let url = std::env::var("STOKER_TEST_POSTGRES")
            .context("STOKER_TEST_POSTGRES is not set: run `make bench-backup`")?;
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        let task = tokio::spawn(async move {
            // Its end is told to who asks.
            let _ = connection.await;
        });
        client.batch_execute(TABLES).await?;
        Ok(Self {
            url,
            client,
            resources: 0,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// The server's setting.
    pub async fn setting(&self, name: &str) -> anyhow::Result<String> {
        let row = self.client.query_one(&format!("SHOW {name}"), &[]).await?;
        Ok(row.get(0))
    }

    /// Adds resources until it has so many bytes, and leaves nothing for the server to do.
    pub async fn fill(&mut self, bytes: i64) -> anyhow::Result<()> {
        let sample = sample_lines()?;
        let size = "SELECT pg_database_size(current_database())";
        while self.client.query_one(size, &[]).await?.get::<_, i64>(0) < bytes {
            let lines = sample.iter().cycle().skip(self.resources).take(BATCH);
            let mut rows = String::new();
            for (number, (head, tail)) in (self.resources..).zip(lines) {
                // As COPY's text format wants it.
                let line = format!("{head}-{number}{}", tail.trim_end()).replace('\\', "\\\\");
                writeln!(rows, "{number}\t{line}")?;
            }
            let sink = self.client.copy_in("COPY arrived FROM STDIN").await?;
            let mut sink = std::pin::pin!(sink);
            sink.send(Bytes::from(rows)).await?;
            sink.close().await?;
            self.client.batch_execute(INDEX).await?;
            self.resources += BATCH;
        }
        // Each by itself: VACUUM runs in no transaction.
        for sql in ["VACUUM ANALYZE", "CHECKPOINT"] {
            self.client.batch_execute(sql).await?;
        }
        Ok(())
    }
}
