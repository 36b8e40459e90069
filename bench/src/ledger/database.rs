//! A database of its own on a PostgreSQL server.

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// To be dropped at the end.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// An empty one, on the server that `STOKER_TEST_POSTGRES` names.
    pub async fn create() -> anyhow::Result<Self> {
        let server = std::env::var("STOKER_TEST_POSTGRES").context(
            "STOKER_TEST_POSTGRES is not set: run `make bench-ledger`, or set it to the URL of a \
             PostgreSQL server on which the user may create databases",
        )?;
        let name = format!("bench_ledger_{}", std::process::id());
        let database = Self { server, name };
        database.run("CREATE DATABASE", "").await?;
        Ok(database)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let server = self.server.rsplit_once('/');
        let server = server.map_or(self.server.as_str(), |(server, _)| server);
        format!("{server}/{}", self.name)
    }

    /// Whether what it acknowledges is on disk: without that, figures of commits say nothing.
    pub async fn is_durable(&self) -> anyhow::Result<bool> {
        let mut conn = PgConnection::connect(&self.server).await?;
        let fsync: String = sqlx::query_scalar("SHOW fsync")
            .fetch_one(&mut conn)
            .await?;
        Ok(fsync == "on")
    }

    /// Removes it.
    pub async fn drop(self) -> anyhow::Result<()> {
        self.run("DROP DATABASE", "WITH (FORCE)").await
    }

    async fn run(&self, what: &str, how: &str) -> anyhow::Result<()> {
        let mut conn = PgConnection::connect(&self.server).await?;
        let sql = format!("{what} {} {how}", self.name);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await?;
        Ok(())
    }
}
