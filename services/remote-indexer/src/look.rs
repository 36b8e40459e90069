//! Whether the FHIR server's database can be used as configured, asked once and without changing anything.

use crate::config::Config;
use crate::database::{Connection, Database, DatabaseConfigError, DbError};
use crate::resolve;
use crate::rows::OF_SYSTEM;

/// What can be seen of the FHIR server's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseLook {
    /// `host:port/database`.
    pub place: String,
    /// PostgreSQL's version.
    pub version: String,
    /// That of each tenant, or the only one.
    pub schemas: Vec<SchemaLook>,
}

/// What can be seen of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaLook {
    /// Its name.
    pub name: String,
    /// Resource types that have tables.
    pub types: usize,
    /// Tables that every FHIR schema has and this one does not.
    pub missing: Vec<String>,
    /// Tables that the user may not read and write as the service must.
    pub denied: Vec<String>,
}

/// Why the database cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The settings cannot be used.
    #[error("remote_indexer.{0}")]
    Config(#[from] DatabaseConfigError),
    /// It cannot be reached, or refuses us.
    #[error(
        "{place}: {reason}; check database.url, the user and the password, and that the database runs"
    )]
    Unusable {
        /// `host:port/database`.
        place: String,
        /// What the database or the system says.
        reason: String,
    },
}

/// Looks at the database and at the schema of each tenant.
pub async fn look(config: &Config) -> Result<DatabaseLook, LookError> {
    let database = Database::of(&config.database)?;
    let place = database.place();
    let looked = look_at(&database, config).await;
    let (version, schemas) = looked.map_err(|error| LookError::Unusable {
        place: place.clone(),
        reason: error.to_string(),
    })?;
    Ok(DatabaseLook {
        place,
        version,
        schemas,
    })
}

async fn look_at(
    database: &Database,
    config: &Config,
) -> Result<(String, Vec<SchemaLook>), DbError> {
    let mut connection = database.connect().await?;
    let version = connection.rows("SHOW server_version", &[]).await?;
    let version = version
        .first()
        .map_or(Ok(String::new()), |row| row.try_get(0))?;
    let names: Vec<&String> = if config.tenants.is_empty() {
        vec![&config.database.schema]
    } else {
        config.tenants.values().collect()
    };
    let mut schemas = Vec::with_capacity(names.len());
    for name in names {
        schemas.push(schema(&mut connection, name).await?);
    }
    Ok((version, schemas))
}

async fn schema(connection: &mut Connection, name: &str) -> Result<SchemaLook, DbError> {
    let mut look = SchemaLook {
        name: name.to_owned(),
        types: 0,
        missing: Vec::new(),
        denied: Vec::new(),
    };
    let lookups = resolve::Table::ALL.map(resolve::Table::name);
    let parameters: Vec<&str> = OF_SYSTEM.iter().map(|table| table.name).collect();
    for (tables, rights) in [
        (["resource_types", "logical_resources"].as_slice(), "SELECT"),
        (&lookups, "SELECT, INSERT"),
        (&parameters, "DELETE, INSERT"),
    ] {
        for (table, is_there, may) in of_tables(connection, name, tables, rights).await? {
            if !is_there {
                look.missing.push(table);
            } else if !may {
                look.denied.push(table);
            }
        }
    }
    let types = "SELECT COUNT(*) FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p') AND c.relname LIKE '%\\_logical\\_resources'";
    let types = connection.rows(types, &[&name]).await?;
    let types: i64 = types.first().map_or(Ok(0), |row| row.try_get(0))?;
    look.types = usize::try_from(types).unwrap_or(0);
    Ok(look)
}

/// Each table's name, whether it is there, and whether the user has the rights on it: all of them.
async fn of_tables(
    connection: &mut Connection,
    schema: &str,
    tables: &[&str],
    rights: &'static str,
) -> Result<Vec<(String, bool, bool)>, DbError> {
    let each = rights
        .split(", ")
        .map(|right| format!("has_table_privilege(c.oid, '{right}')"));
    let all: Vec<String> = each.collect();
    let sql = format!(
        "SELECT t.name, c.oid IS NOT NULL, COALESCE({}, false) FROM unnest($1::text[]) t(name) \
         LEFT JOIN pg_catalog.pg_class c ON c.relname = t.name AND c.relnamespace = \
         (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $2::text)",
        all.join(" AND ")
    );
    let mut found = Vec::with_capacity(tables.len());
    for row in connection.rows(&sql, &[&tables, &schema]).await? {
        found.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    }
    Ok(found)
}
