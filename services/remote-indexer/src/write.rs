//! One transaction: what a batch of resources had in the parameter tables goes, what they have now comes.
//!
//! The server locks a resource's row of `logical_resource_ident` while it changes it. So does this, without
//! waiting: a resource that the server is just changing is left for later. Then its version is looked at again, and held
//! against an erase. If the process dies before the commit, nothing has changed; after it, the same message gives the
//! same rows once more.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use crate::config::SchemaType;
use crate::database::{Connection, DbError, Params, Schema};
use crate::ready::{self, Look, Verdict};
use crate::resolve::Ids;
use crate::rows::{Batch, OF_SYSTEM, OF_TYPE, Resource, Rows, Table};

/// Tables whose rows are on their way at once.
const AT_ONCE: usize = 3;

/// What a transaction did.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Ids of the resources that were written; the others are to be looked at again.
    pub(crate) resources: Vec<i64>,
    /// Rows by what metrics call their tables.
    pub(crate) rows: BTreeMap<&'static str, u64>,
}

/// Writes those of a batch's resources that are still as their messages say.
pub(crate) async fn write(
    connection: &mut Connection,
    schema: &Schema,
    batch: Batch<'_>,
) -> Result<Written, DbError> {
    connection.simple("BEGIN").await?;
    let written = write_within(connection, schema, batch).await;
    match &written {
        Ok(_) => connection.simple("COMMIT").await?,
        // A connection that cannot be used is closed, which ends the transaction too.
        Err(error) if !(error.spares_connection() && connection.is_open()) => {}
        Err(_) => connection.simple("ROLLBACK").await?,
    }
    written
}

async fn write_within(
    connection: &mut Connection,
    schema: &Schema,
    batch: Batch<'_>,
) -> Result<Written, DbError> {
    let Batch {
        resources,
        ids,
        tables,
        ..
    } = batch;
    let locked = lock(connection, schema, &resources).await?;
    let still = still_current(connection, schema, by_type(&resources, &locked)).await?;
    let all: Vec<Resource<'_>> = still.values().flatten().copied().collect();
    if all.is_empty() {
        return Ok(Written::default());
    }
    delete(connection, schema, &still, &all).await?;
    let mut written = Written {
        resources: ids_of(&all),
        rows: BTreeMap::new(),
    };
    written.resources.sort_unstable();
    let tables = tables.named();
    let tables = tables.filter(|(_, _, rows)| !rows.is_empty_for(&written.resources));
    let tables = tables.collect();
    written.rows = copy(connection, schema, tables, &written.resources, &ids).await?;
    Ok(written)
}

/// The rows of these resources into their tables; answers how many went where. While the server is at one table,
/// the next is sent.
async fn copy(
    connection: &mut Connection,
    schema: &Schema,
    tables: Vec<(String, &'static Table, Rows)>,
    resources: &[i64],
    ids: &Ids<'_>,
) -> Result<BTreeMap<&'static str, u64>, DbError> {
    let copy_into = |(name, table, _): &(String, &Table, Rows)| {
        let (name, columns) = (schema.table(name), table.columns);
        format!("COPY {name} ({columns}) FROM STDIN (FORMAT binary)")
    };
    let texts: Vec<String> = tables.iter().map(copy_into).collect();
    let statements = connection.statements(texts.iter()).await?;
    let tables = statements.into_iter().zip(tables);
    let rows = copy_each(connection, tables, resources, ids).await;
    if rows.is_err() {
        connection.close();
    }
    rows
}

async fn copy_each(
    connection: &Connection,
    tables: impl Iterator<Item = (Statement, (String, &'static Table, Rows))>,
    resources: &[i64],
    ids: &Ids<'_>,
) -> Result<BTreeMap<&'static str, u64>, DbError> {
    let mut copies = Vec::new();
    for (statement, (_, table, rows)) in tables {
        copies.push(async move {
            let rows = rows.finish(resources, table.ids, ids);
            let rows = rows.ok_or_else(DbError::unresolved)?;
            Ok::<_, DbError>((table.kind, connection.copy(&statement, rows).await?))
        });
    }
    let mut counts = stream::iter(copies).buffered(AT_ONCE);
    let mut rows = BTreeMap::new();
    while let Some(of_table) = counts.next().await {
        let (kind, count) = of_table?;
        *rows.entry(kind).or_default() += count;
    }
    Ok(rows)
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

/// By what the names of their types' tables begin with.
type ByType<'v> = BTreeMap<&'v str, Vec<Resource<'v>>>;

/// In the order of the tables' indexes.
fn by_type<'v>(resources: &[Resource<'v>], locked: &[i64]) -> ByType<'v> {
    let mut types = ByType::new();
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
    mut types: ByType<'v>,
) -> Result<ByType<'v>, DbError> {
    let look = match schema.kind {
        SchemaType::Plain => Look::Held,
        // Without foreign keys an erase in between leaves rows that nobody finds, as the server's own writes do.
        SchemaType::Distributed => Look::Free,
    };
    let ids: BTreeMap<_, _> = types.iter().map(|(t, of)| (*t, ids_of(of))).collect();
    let current = ready::current(connection, schema, &ids, look).await?;
    types.retain(|_, resources| {
        resources.retain(|resource| {
            let current = current.get(&resource.head.logical_resource_id);
            ready::verdict(resource.head, current) == Verdict::Apply
        });
        !resources.is_empty()
    });
    Ok(types)
}

/// Takes the rows of these resources out of all tables. A table that holds no rows at all is passed over: while the
/// resources are locked, nobody else adds rows of theirs.
async fn delete(
    connection: &mut Connection,
    schema: &Schema,
    types: &ByType<'_>,
    all: &[Resource<'_>],
) -> Result<(), DbError> {
    let mut tables = BTreeMap::new();
    for (of_type, resources) in types {
        let ids = Arc::new(ids_of(resources));
        let names = OF_TYPE.map(|table| format!("{of_type}_{}", table.name));
        tables.extend(names.map(|name| (name, Arc::clone(&ids))));
    }
    let ids = Arc::new(ids_of(all));
    tables.extend(OF_SYSTEM.map(|table| (table.name.to_owned(), Arc::clone(&ids))));
    let with_rows = schema.with_rows(connection, tables.keys()).await?;
    tables.retain(|table, _| with_rows.contains(table));
    let params: Vec<[&(dyn ToSql + Sync); 1]> = tables.values().map(|ids| [&**ids as _]).collect();
    let delete = |table: &String| {
        let table = schema.table(table);
        format!("DELETE FROM {table} WHERE logical_resource_id = ANY($1)")
    };
    let texts = tables.keys().map(delete);
    let statements: Vec<_> = texts.zip(params.iter().map(<[_; 1]>::as_slice)).collect();
    connection.rows_each(&statements).await?;
    Ok(())
}
