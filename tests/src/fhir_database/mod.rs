//! A database as LinuxForHealth's FHIR server makes it, for tests of what reads and writes beside that server.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::str::FromStr as _;

use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use crate::parts;

mod rows;
mod schema;
mod server;

pub use rows::{ParameterRows, assert_same, parameter_rows, rows_of};
pub use schema::{ResourceType, SchemaType, resource_types};
pub use server::{FhirTransaction, Stored};

/// The server's default schema.
pub const SCHEMA: &str = "fhirdata";

/// Guards the making of templates; any number that nothing else on the server locks.
const TEMPLATE_LOCK: i64 = 0x5354_4f4b_4649;

/// See the [module](self). It lives until PostgreSQL is next started, or [`FhirDatabase::remove`].
#[derive(Debug, Clone)]
pub struct FhirDatabase {
    /// Where it is.
    pub url: String,
    /// The schema of the server's tables.
    pub schema: String,
    schema_type: SchemaType,
}

impl FhirDatabase {
    /// A new one with the schema [`SCHEMA`]: all tables, the resource types, and nothing else.
    ///
    /// # Panics
    /// When `STOKER_TEST_POSTGRES` is not set.
    pub async fn fresh(schema_type: SchemaType) -> anyhow::Result<Self> {
        Self::fresh_on(&parts::postgres(), schema_type).await
    }

    /// The same on the given server, whose user may make databases.
    pub async fn fresh_on(server: &str, schema_type: SchemaType) -> anyhow::Result<Self> {
        let template = template(server, schema_type).await?;
        let name = format!("stoker_fhir_{}", Uuid::new_v4().simple());
        let copy = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy");
        let mut connection = connect(server, None).await?;
        connection.execute(AssertSqlSafe(copy)).await?;
        connection.close().await?;
        Ok(Self {
            url: in_database(server, &name)?,
            schema: SCHEMA.to_owned(),
            schema_type,
        })
    }

    /// Another schema in the same database, as of another tenant, with tables for `types` only.
    pub async fn with_schema(&self, schema: &str, types: &[&str]) -> anyhow::Result<Self> {
        make(&self.url, schema, self.schema_type, types).await?;
        Ok(Self {
            schema: schema.to_owned(),
            ..self.clone()
        })
    }

    /// A connection that looks into the schema.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        connect(&self.url, Some(&self.schema)).await
    }

    /// Removes it, and ends whoever is connected to it.
    pub async fn remove(self) -> anyhow::Result<()> {
        let (server, name) = self.url.rsplit_once('/').context("no database")?;
        let mut connection = connect(&format!("{server}/postgres"), None).await?;
        let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        connection.execute(AssertSqlSafe(drop)).await?;
        Ok(())
    }
}

/// The name of a database that is to be copied: made by whoever needs it first, while the others wait. Its name
/// tells what is in it, so that it is made anew when that changes.
async fn template(server: &str, schema_type: SchemaType) -> anyhow::Result<String> {
    let types: Vec<&str> = resource_types()
        .iter()
        .filter(|t| t.has_tables)
        .map(|t| t.name)
        .collect();
    let mut hasher = DefaultHasher::new();
    schema::statements(SCHEMA, schema_type, &types).hash(&mut hasher);
    let name = format!("stoker_template_{:016x}", hasher.finish());
    let mut connection = connect(server, None).await?;
    // Ends with the connection.
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut connection)
        .await?;
    let there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(&name)
            .fetch_one(&mut connection)
            .await?;
    if !there {
        let begun = format!("{name}_begun");
        // Who made it before may have been killed.
        for statement in [
            format!("DROP DATABASE IF EXISTS {begun} WITH (FORCE)"),
            format!("CREATE DATABASE {begun}"),
        ] {
            connection.execute(AssertSqlSafe(statement)).await?;
        }
        make(&in_database(server, &begun)?, SCHEMA, schema_type, &types).await?;
        let done = format!("ALTER DATABASE {begun} RENAME TO {name}");
        connection.execute(AssertSqlSafe(done)).await?;
    }
    connection.close().await?;
    Ok(name)
}

async fn make(
    database: &str,
    schema: &str,
    schema_type: SchemaType,
    types: &[&str],
) -> anyhow::Result<()> {
    let mut connection = connect(database, Some(schema)).await?;
    for text in schema::statements(schema, schema_type, types) {
        let made = sqlx::raw_sql(AssertSqlSafe(text.clone()));
        made.execute(&mut connection)
            .await
            .with_context(|| format!("not taken: {}…", text.get(..200).unwrap_or(&text)))?;
    }
    connection.close().await?;
    Ok(())
}

async fn connect(url: &str, schema: Option<&str>) -> anyhow::Result<PgConnection> {
    let options = PgConnectOptions::from_str(url)?;
    let options = match schema {
        Some(schema) => options.options([("search_path", schema)]),
        None => options,
    };
    let connection = options.connect().await;
    connection.with_context(|| format!("no PostgreSQL at {url}; run the tests with `make test`"))
}

fn in_database(server: &str, name: &str) -> anyhow::Result<String> {
    let (base, _) = server
        .rsplit_once('/')
        .with_context(|| format!("{server} names no database"))?;
    Ok(format!("{base}/{name}"))
}
