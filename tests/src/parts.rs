//! The real servers and data that tests run against, started by `make test`.

use std::env;
use std::path::PathBuf;
use std::process::{self, Command};

use anyhow::{Context as _, bail};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::fhir::FhirServer;
use crate::ports::free_port;
use crate::repository;

/// The process whose end also ends a HAPI FHIR server: `make test`, or the test itself.
const OWNER: &str = "STOKER_HAPI_OWNER";

/// The URL of a PostgreSQL server on which the test may do anything.
///
/// # Panics
/// When `STOKER_TEST_POSTGRES` is not set.
pub fn postgres() -> String {
    required("STOKER_TEST_POSTGRES")
}

/// The URL of a new, empty database. It lives until PostgreSQL is next started.
///
/// # Panics
/// When `STOKER_TEST_POSTGRES` is not set.
pub async fn fresh_database() -> anyhow::Result<String> {
    let server = postgres();
    let name = format!("stoker_{}", Uuid::new_v4().simple());
    let mut connection = PgConnection::connect(&server)
        .await
        .with_context(|| format!("no PostgreSQL at {server}; run the tests with `make test`"))?;
    connection
        .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .await?;
    connection.close().await?;
    let (base, _) = server
        .rsplit_once('/')
        .context("STOKER_TEST_POSTGRES names no database")?;
    Ok(format!("{base}/{name}"))
}

/// Waits for the turn of a test that starts many processes: side by side, on two cores, they would keep
/// each other from answering in time. Held until dropped.
pub async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// The folder of Synthea's data: `bundles/` and `ndjson/`, see `tests/parts/synthea.sh`.
///
/// # Panics
/// When `STOKER_TEST_SYNTHEA` is not set.
pub fn synthea() -> PathBuf {
    required("STOKER_TEST_SYNTHEA").into()
}

/// The value of a variable that `make test` sets for a part of its own.
///
/// # Panics
/// When it is not set.
#[expect(clippy::panic, reason = "a test without its part has failed")]
pub fn required(variable: &str) -> String {
    match env::var(variable) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!(
            "{variable} is not set: this test needs a real server or its data; run `make test`"
        ),
    }
}

/// A HAPI FHIR server of the test's own with an empty database, stopped when dropped. One that a
/// killed test has left is stopped by the next start, or by `make test` at its end.
#[derive(Debug)]
pub struct FreshHapi {
    port: u16,
    postgres_port: String,
}

impl FreshHapi {
    /// Starts it, which takes half a minute.
    ///
    /// # Panics
    /// When `STOKER_TEST_POSTGRES` is not set.
    pub fn start() -> anyhow::Result<Self> {
        let server = Self {
            port: free_port()?,
            postgres_port: port_of(&postgres())?,
        };
        server.script("start")?;
        Ok(server)
    }

    /// The server.
    pub fn fhir(&self) -> FhirServer {
        FhirServer::new(format!("http://127.0.0.1:{}/fhir", self.port))
    }

    /// Its database.
    pub fn database(&self) -> String {
        let (host, port) = ("127.0.0.1", &self.postgres_port);
        format!("postgres://postgres@{host}:{port}/hapi_{}", self.port)
    }

    fn script(&self, action: &str) -> anyhow::Result<()> {
        let this_process = || process::id().to_string();
        let owner = env::var(OWNER).unwrap_or_else(|_| this_process());
        let script = repository::root().join("tests/parts/hapi-fhir.sh");
        let output = Command::new(&script)
            .arg(action)
            .env(OWNER, owner)
            .env("STOKER_HAPI_PORT", self.port.to_string())
            .env("STOKER_POSTGRES_PORT", &self.postgres_port)
            .output()
            .with_context(|| format!("cannot run {}", script.display()))?;
        if !output.status.success() {
            bail!(
                "hapi-fhir.sh {action}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }
}

impl Drop for FreshHapi {
    fn drop(&mut self) {
        let stopped = self.script("stop");
        if !std::thread::panicking() {
            assert!(stopped.is_ok(), "{stopped:?}");
        }
    }
}

fn port_of(url: &str) -> anyhow::Result<String> {
    let port = url
        .rsplit_once('/')
        .and_then(|(host, _)| host.rsplit_once(':'));
    let (_, port) = port.with_context(|| format!("no port in {url}"))?;
    Ok(port.to_owned())
}
