//! One transaction: what a batch of resources had in the parameter tables goes, what they have now comes.
//!
//! The server locks a resource's row of `logical_resource_ident` while it changes it. So does this, without
//! waiting: a resource that the server is just changing is left for later. Then its version is looked at again, and held
//! against an erase. If the process dies before the commit, nothing has changed; after it, the same message gives the
//! same rows once more.

use std::collections::BTreeMap;

use crate::config::SchemaType;
use crate::database::{Connection, DbError, Params, Schema};
use crate::message::{Head, Values};
use crate::ready::{self, Look, Verdict};
use crate::resolve::Ids;
use crate::rows::{OF_SYSTEM, OF_TYPE, Rows, Table};

/// A resource to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resource<'v> {
    /// Of its message.
    pub(crate) head: &'v Head,
    /// Id of its type.
    pub(crate) type_id: i32,
    /// What its tables' names begin with.
    pub(crate) tables: &'v str,
    /// Its new values.
    pub(crate) values: &'v Values<'v>,
}

/// What a transaction did.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Ids of the resources that were written; the others are to be looked at again.
    pub(crate) resources: Vec<i64>,
    /// Rows by what metrics call their tables.
    pub(crate) rows: BTreeMap<&'static str, u64>,
}

/// Writes those of `resources` that are still as their messages say. None is there twice.
pub(crate) async fn write(
    connection: &mut Connection,
    schema: &Schema,
    resources: &[Resource<'_>],
    ids: &Ids,
) -> Result<Written, DbError> {
    connection.simple("BEGIN").await?;
    let written = write_within(connection, schema, resources, ids).await;
    match &written {
        Ok(_) => connection.simple("COMMIT").await?,
        // A connection that cannot be used is closed, which ends the transaction too.
        Err(error) if !error.spares_connection() => {}
        Err(_) => connection.simple("ROLLBACK").await?,
    }
    written
}

async fn write_within(
    connection: &mut Connection,
    schema: &Schema,
    resources: &[Resource<'_>],
    ids: &Ids,
) -> Result<Written, DbError> {
    let locked = lock(connection, schema, resources).await?;
    let mut still = BTreeMap::new();
    for (tables, of_type) in by_type(resources, &locked) {
        let held = still_current(connection, schema, tables, of_type).await?;
        still.insert(tables, held);
    }
    let mut written = Written::default();
    for (tables, of_type) in &still {
        let name = |table: &Table| schema.table(&format!("{tables}_{}", table.name));
        replace(connection, &OF_TYPE, name, of_type, ids, &mut written).await?;
    }
    let all: Vec<Resource<'_>> = still.into_values().flatten().collect();
    let name = |table: &Table| schema.table(table.name);
    replace(connection, &OF_SYSTEM, name, &all, ids, &mut written).await?;
    written.resources = ids_of(&all);
    Ok(written)
}

fn ids_of(resources: &[Resource<'_>]) -> Vec<i64> {
    let ids = resources.iter().map(|r| r.head.logical_resource_id);
    ids.collect()
}

/// Ids of the resources that nobody else is changing, in order; nobody will until the transaction ends.
async fn lock(
    connection: &mut Connection,
    schema: &Schema,
    resources: &[Resource<'_>],
) -> Result<Vec<i64>, DbError> {
    let ident = schema.table("logical_resource_ident");
    let select = format!("SELECT logical_resource_id FROM {ident} WHERE");
    let lock = "FOR NO KEY UPDATE SKIP LOCKED";
    let mut rows = Vec::new();
    match schema.kind {
        SchemaType::Plain => {
            let sql = format!("{select} logical_resource_id = ANY($1) {lock}");
            rows = connection.rows(&sql, &[&ids_of(resources)]).await?;
        }
        // Citus locks rows of one shard at a time, which `logical_id` tells.
        SchemaType::Distributed => {
            let sql = format!("{select} logical_id = $1 AND resource_type_id = $2 {lock}");
            for resource in resources {
                let key: Params<'_> = &[&resource.head.logical_id, &resource.type_id];
                rows.extend(connection.rows(&sql, key).await?);
            }
        }
    }
    let locked: Result<Vec<i64>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    let mut locked = locked?;
    locked.sort_unstable();
    Ok(locked)
}

/// By what the tables' names begin with, in the order of the tables' indexes.
fn by_type<'v>(resources: &[Resource<'v>], locked: &[i64]) -> BTreeMap<&'v str, Vec<Resource<'v>>> {
    let mut types: BTreeMap<&str, Vec<Resource<'_>>> = BTreeMap::new();
    for resource in resources {
        if locked
            .binary_search(&resource.head.logical_resource_id)
            .is_ok()
        {
            types.entry(resource.tables).or_default().push(*resource);
        }
    }
    for of_type in types.values_mut() {
        of_type.sort_unstable_by_key(|r| r.head.logical_resource_id);
    }
    types
}

/// Those whose messages are about the version that is there now, and stays.
async fn still_current<'v>(
    connection: &mut Connection,
    schema: &Schema,
    tables: &str,
    mut resources: Vec<Resource<'v>>,
) -> Result<Vec<Resource<'v>>, DbError> {
    let ids = ids_of(&resources);
    let look = match schema.kind {
        SchemaType::Plain => Look::Held,
        // Without foreign keys an erase in between leaves rows that nobody finds, as the server's own writes do.
        SchemaType::Distributed => Look::Free,
    };
    let current = ready::current(connection, schema, tables, &ids, look).await?;
    resources.retain(|resource| {
        let current = current.get(&resource.head.logical_resource_id);
        ready::verdict(resource.head, current) == Verdict::Apply
    });
    Ok(resources)
}

/// Takes the rows of these resources out of the tables, and puts those of their values in.
async fn replace(
    connection: &mut Connection,
    tables: &[Table],
    name: impl Fn(&Table) -> String,
    resources: &[Resource<'_>],
    ids: &Ids,
    written: &mut Written,
) -> Result<(), DbError> {
    if resources.is_empty() {
        return Ok(());
    }
    let delete = |table| {
        format!(
            "DELETE FROM {} WHERE logical_resource_id = ANY($1)",
            name(table)
        )
    };
    let deletes: Vec<String> = tables.iter().map(delete).collect();
    connection
        .execute_each(&deletes, &[&ids_of(resources)])
        .await?;
    for table in tables {
        let mut rows = Rows::default();
        for resource in resources {
            let id = resource.head.logical_resource_id;
            (table.add)(resource.values, ids, id, &mut rows).ok_or_else(DbError::unresolved)?;
            rows.next_resource();
        }
        if rows.count() > 0 {
            let copy = format!(
                "COPY {} ({}) FROM STDIN (FORMAT binary)",
                name(table),
                table.columns
            );
            let copied = connection.copy(&copy, rows.finish()).await?;
            *written.rows.entry(table.kind).or_default() += copied;
        }
    }
    Ok(())
}
