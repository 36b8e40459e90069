//! The ledger in a schema of a PostgreSQL database.

use std::fs::File;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection};
use stoker_shared::clock::SharedClock;
use url::Url;

use super::error::LedgerError;
use super::explain::Place;
use super::{Ledger, LedgerOptions, LedgerUrl};

type Db = sqlx::Postgres;
type Pool = sqlx::PgPool;
type Conn = sqlx::PgConnection;

const BEGIN: &str = "BEGIN";
const TABLES: &str = include_str!("../../migrations/postgres/0001_ledger.sql");
const TABLE_EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM information_schema.tables \
     WHERE table_schema = current_schema() AND table_name = $1)";

macro_rules! lock {
    () => {
        " FOR UPDATE"
    };
}
macro_rules! skip_locked {
    () => {
        " FOR UPDATE SKIP LOCKED"
    };
}
/// The numbers of a JSON array that is bound as text.
macro_rules! numbers_in {
    ($bound:literal) => {
        concat!(
            "SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST(",
            $bound,
            " AS JSON))"
        )
    };
}

#[path = "steps/mod.rs"]
#[expect(
    clippy::duplicate_mod,
    reason = "the same steps are compiled for each database"
)]
mod steps;

const CONNECTIONS: u32 = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// `server_version_num` of PostgreSQL 12.
const OLDEST: i32 = 120_000;
/// Parameters of a URL that name files; the first three as libpq spells them, the others as the
/// driver takes them besides.
const TLS_FILES: [&str; 7] = [
    "sslrootcert",
    "sslcert",
    "sslkey",
    "ssl-root-cert",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
];
/// Any number, the same in every Stoker: makes processes that start together take turns.
const MIGRATION_LOCK: i64 = 0x0053_544f_4b45_5201;

/// Opens the schema; makes it when it is missing. TLS is chosen by the URL (`sslmode`,
/// `sslrootcert`, `sslcert`, `sslkey`).
pub(super) async fn open(
    url: &str,
    options: &LedgerOptions,
    clock: SharedClock,
) -> Result<Arc<dyn Ledger>, LedgerError> {
    let schema = checked_schema(&options.schema)?;
    tls_files_are_there(url)?;
    let shown = || LedgerUrl::Postgres(url.to_owned()).to_string();
    let parsed = PgConnectOptions::from_str(url);
    let mut connect = parsed
        .map_err(|_| LedgerError::BadUrl { url: shown() })?
        .application_name("stoker")
        .options([("search_path", schema)]);
    if let Some(password) = &options.password {
        connect = connect.password(password.expose());
    }
    let place = Place::Postgres(address(&connect));
    look(&connect, &place).await?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_lazy_with(connect);
    let ledger = steps::SqlLedger::new(pool.clone(), pool, clock, options, place);
    ledger
        .migrate(async |conn: &mut Conn| make_schema(conn, schema).await)
        .await?;
    Ok(Arc::new(ledger))
}

fn checked_schema(schema: &str) -> Result<&str, LedgerError> {
    let mut letters = schema.bytes();
    let first = letters
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let others = letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if first && others && schema.len() <= 63 {
        Ok(schema)
    } else {
        Err(LedgerError::BadSchema {
            schema: schema.to_owned(),
        })
    }
}

/// The driver's own error for a missing file names none.
fn tls_files_are_there(url: &str) -> Result<(), LedgerError> {
    let Ok(url) = Url::parse(url) else {
        return Ok(());
    };
    for (parameter, value) in url.query_pairs() {
        let known = TLS_FILES.into_iter().find(|known| *known == parameter);
        // A certificate may stand in the URL itself.
        let Some(parameter) = known.filter(|_| !value.trim().starts_with("-----BEGIN")) else {
            continue;
        };
        if let Err(e) = File::open(value.as_ref()) {
            return Err(LedgerError::NoTlsFile {
                parameter,
                path: value.as_ref().into(),
                reason: e.to_string(),
            });
        }
    }
    Ok(())
}

fn address(connect: &PgConnectOptions) -> String {
    let database = connect
        .get_database()
        .unwrap_or_else(|| connect.get_username());
    format!(
        "postgres://{}:{}/{database}",
        connect.get_host(),
        connect.get_port()
    )
}

/// Connects once outside of the pool, which would hide why it fails behind a timeout.
async fn look(connect: &PgConnectOptions, place: &Place) -> Result<(), LedgerError> {
    let attempt = async {
        let mut conn = Conn::connect_with(connect).await?;
        let number: String = sqlx::query_scalar("SHOW server_version_num")
            .fetch_one(&mut conn)
            .await?;
        let encoding: String = sqlx::query_scalar("SHOW server_encoding")
            .fetch_one(&mut conn)
            .await?;
        conn.close().await?;
        Ok::<_, sqlx::Error>((number, encoding))
    };
    let Ok(answer) = tokio::time::timeout(CONNECT_TIMEOUT, attempt).await else {
        let reason = format!("no answer in {} s", CONNECT_TIMEOUT.as_secs());
        return Err(LedgerError::Unreachable {
            place: place.show(),
            reason,
        });
    };
    let (number, encoding) = answer.map_err(|e| place.explain(LedgerError::Database(e)))?;
    check_version(&number, place)?;
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(LedgerError::NotUtf8 {
        place: place.show(),
        encoding,
    })
}

fn check_version(number: &str, place: &Place) -> Result<(), LedgerError> {
    let parsed: i32 = number.parse().unwrap_or(0);
    if parsed >= OLDEST {
        return Ok(());
    }
    let version = if parsed >= 100_000 {
        (parsed / 10_000).to_string()
    } else {
        format!("{}.{}", parsed / 10_000, parsed / 100 % 100)
    };
    Err(LedgerError::TooOld {
        place: place.show(),
        version,
    })
}

async fn make_schema(conn: &mut Conn, schema: &str) -> Result<(), LedgerError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *conn)
        .await?;
    // Looked up first: CREATE … IF NOT EXISTS asks for the right to create also when it is there.
    let there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)")
            .bind(schema)
            .fetch_one(&mut *conn)
            .await?;
    if !there {
        let create = format!("CREATE SCHEMA \"{schema}\"");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(conn).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused_by_name() {
        let place = Place::Postgres("postgres://db:5432/x".to_owned());
        assert!(check_version("150018", &place).is_ok());
        for (number, version) in [("90624", "9.6"), ("110022", "11")] {
            let error = check_version(number, &place).unwrap_err().to_string();
            assert!(
                error.contains(&format!("PostgreSQL {version} is too old")),
                "{error}"
            );
        }
    }

    #[test]
    fn schema_names_are_checked() {
        assert!(checked_schema("fhirbucket").is_ok());
        for wrong in ["", "Fhir", "1a", "a b", "a\"b", &"x".repeat(64)] {
            assert!(checked_schema(wrong).is_err(), "{wrong}");
        }
    }
}
