//! One schema of a FHIR server: its types, and the ids that are known of it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Connection, DbError};
use crate::config::SchemaType;
use crate::poison::{Poison, Reason};
use crate::resolve::{Caches, Table};

/// One schema; shared by all consumers of a process.
#[derive(Debug)]
pub(crate) struct Schema {
    /// With quotes, to stand before a table's name.
    quoted: String,
    name: String,
    pub(crate) kind: SchemaType,
    types: Mutex<Arc<Types>>,
    caches: Mutex<Caches>,
    /// Tables that were seen to hold rows.
    with_rows: Mutex<HashSet<String>>,
}

/// The resource types that a database knows.
#[derive(Debug, Default)]
pub(crate) struct Types(HashMap<String, Known>);

#[derive(Debug)]
struct Known {
    id: i32,
    /// What its tables' names begin with; none for abstract and retired types.
    tables: Option<String>,
}

impl Schema {
    /// Of this name, as the database's catalog has it.
    pub(crate) fn new(name: &str, kind: SchemaType, caches: Caches) -> Self {
        Self {
            quoted: format!("\"{}\"", name.replace('"', "\"\"")),
            name: name.to_owned(),
            kind,
            types: Mutex::default(),
            caches: Mutex::new(caches),
            with_rows: Mutex::default(),
        }
    }

    /// A statement of a pattern in which `{s}` stands for the schema.
    pub(crate) fn sql(&self, pattern: &str) -> String {
        pattern.replace("{s}", &self.quoted)
    }

    /// Of a table of this schema, with the schema.
    pub(crate) fn table(&self, table: &str) -> String {
        format!("{}.{table}", self.quoted)
    }

    /// Learns its types, and the parameter names known now.
    pub(crate) async fn load(&self, connection: &mut Connection) -> Result<(), DbError> {
        let types = self.sql(
            "SELECT t.resource_type_id, t.resource_type, EXISTS (SELECT FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 \
             AND c.relname = lower(t.resource_type) || '_logical_resources') FROM {s}.resource_types t",
        );
        let mut known = HashMap::new();
        for row in connection.rows(&types, &[&self.name]).await? {
            let (id, name): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
            let has_tables: bool = row.try_get(2)?;
            let tables = has_tables.then(|| name.to_lowercase());
            known.insert(name, Known { id, tables });
        }
        *lock(&self.types) = Arc::new(Types(known));
        let names =
            self.sql("SELECT parameter_name, parameter_name_id::bigint FROM {s}.parameter_names");
        let names = connection.rows(&names, &[]).await?;
        let mut caches = self.caches();
        for row in names {
            let (name, id): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
            let print = caches.prints().of(0, &name);
            caches.insert(Table::ParameterNames, print, id);
        }
        Ok(())
    }

    /// Those of these tables that may hold rows; the others hold none just now.
    pub(crate) async fn with_rows(
        &self,
        connection: &mut Connection,
        tables: impl Iterator<Item = &String> + Clone,
    ) -> Result<BTreeSet<String>, DbError> {
        // Citus keeps the rows elsewhere.
        if self.kind == SchemaType::Distributed {
            return Ok(tables.cloned().collect());
        }
        let known = |table: &&String| lock(&self.with_rows).contains(*table);
        let unknown: Vec<&String> = tables.clone().filter(|table| !known(table)).collect();
        // A table without a page has no row; what has partitions or heirs may have rows elsewhere.
        let sql = "SELECT c.relname::text FROM pg_catalog.pg_class c \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = $1::text AND c.relname = ANY($2::text[]) AND \
                   (c.relkind <> 'r' OR c.relhassubclass OR pg_catalog.pg_relation_size(c.oid) > 0)";
        let rows = connection.rows(sql, &[&self.name, &unknown]).await?;
        let found: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        let mut with_rows = lock(&self.with_rows);
        with_rows.extend(found?);
        Ok(tables
            .filter(|table| with_rows.contains(*table))
            .cloned()
            .collect())
    }

    /// The types known now.
    pub(crate) fn types(&self) -> Arc<Types> {
        Arc::clone(&lock(&self.types))
    }

    pub(crate) fn caches(&self) -> MutexGuard<'_, Caches> {
        lock(&self.caches)
    }
}

impl Types {
    /// Id of a type, and what its tables' names begin with.
    pub(crate) fn with_tables(&self, name: &str) -> Result<(i32, &str), Poison> {
        let known = self.0.get(name);
        let found = known.and_then(|known| Some((known.id, known.tables.as_deref()?)));
        found.ok_or_else(|| {
            let detail = "data.resourceType is no type that the database has tables for";
            Poison::new(Reason::UnknownType, detail)
        })
    }

    /// Id of a type that may be referred to.
    pub(crate) fn id(&self, name: &str) -> Result<i32, Poison> {
        let known = self.0.get(name).ok_or_else(|| {
            let detail = "refValues.resourceType is no type that the database knows";
            Poison::new(Reason::UnknownReferenceType, detail)
        })?;
        Ok(known.id)
    }

    /// Whether none was loaded yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
