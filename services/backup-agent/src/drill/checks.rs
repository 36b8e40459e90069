//! What is looked at in a throwaway server. What is seen is kept in the backup's manifest, so no values of rows are in it.

use std::fmt::Write as _;

use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};
use tokio_util::task::AbortOnDropHandle;

use super::Canary;
use super::throwaway::Throwaway;
use crate::server::{Programs, program};

/// Lines of what `pg_amcheck` found that are kept.
const LINES: usize = 5;

/// A database that is always there.
const ALWAYS: &str = "template1";

const DATABASES: &str = "SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname";

/// Tables whose rows are kept by a backup: those that are not logged come back empty.
const TABLES: &str = "\
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p'
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY 1";

type Outcome = Result<String, String>;

/// Checks all tables and indexes of all databases.
pub(super) async fn amcheck(programs: &Programs, throwaway: &Throwaway, role: &str) -> Outcome {
    if !programs.has("pg_amcheck") {
        return Ok("not run: pg_amcheck is not beside the server's programs".to_owned());
    }
    let mut command = program(programs, "pg_amcheck", throwaway.user());
    command
        .args(["--all", "--install-missing", "--no-password", "--jobs=2"])
        .args(["--port=5432", "--username", role, "--host"])
        .arg(throwaway.folder());
    let ended = command.output().await;
    let ended = ended.map_err(|e| format!("pg_amcheck cannot be run: {e}"))?;
    if ended.status.success() {
        return Ok("tables and indexes of all databases are sound".to_owned());
    }
    let (out, err) = (
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
    let lines: Vec<_> = out.lines().chain(err.lines()).take(LINES).collect();
    Err(format!("{}: {}", ended.status, lines.join(" / ")))
}

/// Counts the rows of all tables of users. A server without any is none that somebody wants back.
pub(super) async fn rows(throwaway: &Throwaway, role: &str) -> Outcome {
    let databases = texts(&connect(throwaway, role, ALWAYS).await?, DATABASES).await?;
    let (mut saw, mut all) = (String::new(), 0);
    for database in databases {
        let of_it = |what: String| format!("{database}: {what}");
        let connection = connect(throwaway, role, &database).await.map_err(of_it)?;
        let tables = texts(&connection, TABLES).await.map_err(of_it)?;
        let mut rows = 0;
        for table in &tables {
            let of_table = |what: String| format!("{database}: {table}: {what}");
            let query = format!("SELECT count(*) FROM ONLY {table}");
            rows += number(&connection, &query).await.map_err(of_table)?;
        }
        all += rows;
        let separator = if saw.is_empty() { "" } else { "; " };
        // Writing to a text cannot fail.
        let _ = write!(
            saw,
            "{separator}{database}: {rows} rows in {} tables",
            tables.len()
        );
    }
    if all > 0 {
        Ok(saw)
    } else {
        Err(format!(
            "no rows at all ({saw}): see whether it is the right server and its data is there; one that was just \
             installed is proven once it has data"
        ))
    }
}

/// Asks a question.
pub(super) async fn canary(throwaway: &Throwaway, role: &str, canary: &Canary) -> Outcome {
    let connection = connect(throwaway, role, &canary.database).await?;
    let answer = number(&connection, &canary.query).await?;
    let saw = format!("{answer}, at least {} expected", canary.at_least);
    if answer >= canary.at_least {
        Ok(saw)
    } else {
        Err(saw)
    }
}

struct Connection {
    client: Client,
    _task: AbortOnDropHandle<()>,
}

async fn connect(throwaway: &Throwaway, role: &str, database: &str) -> Result<Connection, String> {
    let mut config = Config::new();
    config
        .host_path(throwaway.folder())
        .port(5432)
        .user(role)
        .dbname(database)
        .options("-c default_transaction_read_only=on")
        .application_name("stoker-drill");
    let connected = config.connect(NoTls).await;
    // No rows were read yet, so its words hold none.
    let refused = |e: tokio_postgres::Error| {
        let words = e.as_db_error().map(|e| e.message().to_owned());
        format!(
            "cannot connect as {role}: {}",
            words.unwrap_or_else(|| e.to_string())
        )
    };
    let (client, connection) = connected.map_err(refused)?;
    let task = tokio::spawn(async move {
        // Its end is told to who asks.
        let _ = connection.await;
    });
    Ok(Connection {
        client,
        _task: AbortOnDropHandle::new(task),
    })
}

/// The first column of what a query answers.
async fn texts(connection: &Connection, query: &str) -> Result<Vec<String>, String> {
    let answered = connection
        .client
        .simple_query(query)
        .await
        .map_err(|e| told(&e))?;
    let first = answered.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten().map(str::to_owned),
        _ => None,
    });
    Ok(first.collect())
}

async fn number(connection: &Connection, query: &str) -> Result<i64, String> {
    let answers = texts(connection, query).await?;
    let first = answers.first().and_then(|answer| answer.parse().ok());
    first.ok_or_else(|| "the query answers no whole number".to_owned())
}

/// The kind of an error by its number: its words may hold values of rows.
fn told(error: &tokio_postgres::Error) -> String {
    match error.code() {
        Some(code) => format!("the query fails with SQLSTATE {}", code.code()),
        None => "the server went away".to_owned(),
    }
}
