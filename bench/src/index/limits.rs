//! The same rows into the same tables without an indexer: as fast as PostgreSQL takes them, and row by row.

use std::collections::HashMap;
use std::error::Error;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::SinkExt as _;
use futures::future::try_join_all;
use stoker_tests::fhir_database::FhirDatabase;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Statement};

use super::connect;
use super::rows::{Filled, Row, Table};

/// Resources to a transaction of the Java tool: the messages of one poll.
const RESOURCES: usize = 500;

/// Seconds that plain COPY takes over two connections, lookups first: what no indexer can be faster than.
pub async fn copy(database: &FhirDatabase, filled: &Filled) -> anyhow::Result<f64> {
    let clients = [connect(database).await?, connect(database).await?];
    let begun = Instant::now();
    copy_all(&clients[0], filled.lookups.iter()).await?;
    let (one, other) = shared_out(&filled.parameters);
    futures::try_join!(
        copy_all(&clients[0], one.into_iter()),
        copy_all(&clients[1], other.into_iter())
    )?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Seconds that one INSERT a row takes over two connections, sent in batches, in transactions of as many resources as the
/// Java tool takes messages at once. Lookups are copied first.
pub async fn row_at_a_time(database: &FhirDatabase, filled: &Filled) -> anyhow::Result<f64> {
    let clients = [connect(database).await?, connect(database).await?];
    let transactions = by_resources(&filled.parameters);
    let begun = Instant::now();
    copy_all(&clients[0], filled.lookups.iter()).await?;
    let (one, other) = transactions.split_at(transactions.len() / 2);
    futures::try_join!(insert_all(&clients[0], one), insert_all(&clients[1], other))?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Two halves of about the same size; the largest come first.
fn shared_out(tables: &[Table]) -> (Vec<&Table>, Vec<&Table>) {
    let (mut one, mut other) = ((0, Vec::new()), (0, Vec::new()));
    for table in tables {
        let smaller = if one.0 <= other.0 {
            &mut one
        } else {
            &mut other
        };
        smaller.0 += table.copy.len();
        smaller.1.push(table);
    }
    (one.1, other.1)
}

/// One transaction.
async fn copy_all(client: &Client, tables: impl Iterator<Item = &Table>) -> anyhow::Result<()> {
    client.batch_execute("BEGIN").await?;
    for table in tables {
        let copy = format!("COPY {} FROM STDIN (FORMAT binary)", table.name);
        let sink = client.copy_in::<_, Bytes>(&copy).await?;
        futures::pin_mut!(sink);
        sink.send(table.copy.clone()).await?;
        sink.finish().await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(())
}

type Rows<'t> = (&'t str, Vec<&'t Row>);

/// The rows of so many resources each, by table.
fn by_resources(tables: &[Table]) -> Vec<Vec<Rows<'_>>> {
    let mut ids: Vec<i64> = tables
        .iter()
        .flat_map(|t| t.rows.iter().map(|r| r.resource))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let of = |ids: &[i64]| {
        let (first, last) = (ids[0], ids[ids.len() - 1]);
        let rows = |table| of_resources(table, first, last);
        tables
            .iter()
            .map(rows)
            .filter(|(_, rows)| !rows.is_empty())
            .collect()
    };
    ids.chunks(RESOURCES).map(of).collect()
}

fn of_resources(table: &Table, first: i64, last: i64) -> Rows<'_> {
    let begin = table.rows.partition_point(|row| row.resource < first);
    let end = table.rows.partition_point(|row| row.resource <= last);
    (&table.name, table.rows[begin..end].iter().collect())
}

async fn insert_all(client: &Client, transactions: &[Vec<Rows<'_>>]) -> anyhow::Result<()> {
    let mut statements: HashMap<&str, Statement> = HashMap::new();
    for transaction in transactions {
        client.batch_execute("BEGIN").await?;
        for (table, rows) in transaction {
            let statement = if let Some(statement) = statements.get(table) {
                statement.clone()
            } else {
                let statement = prepare(client, table, rows[0].fields.len()).await?;
                statements.insert(table, statement.clone());
                statement
            };
            // All of them are on their way before the first is answered.
            try_join_all(rows.iter().map(|row| insert(client, &statement, row))).await?;
        }
        client.batch_execute("COMMIT").await?;
    }
    Ok(())
}

async fn prepare(client: &Client, table: &str, fields: usize) -> anyhow::Result<Statement> {
    let places: Vec<String> = (1..=fields).map(|n| format!("${n}")).collect();
    let insert = format!("INSERT INTO {table} VALUES ({})", places.join(", "));
    Ok(client.prepare(&insert).await?)
}

async fn insert(client: &Client, statement: &Statement, row: &Row) -> anyhow::Result<()> {
    let fields: Vec<Field<'_>> = row.fields.iter().map(|f| Field(f.as_ref())).collect();
    let fields: Vec<&(dyn ToSql + Sync)> = fields.iter().map(|f| f as _).collect();
    client.execute(statement, &fields).await?;
    Ok(())
}

/// Bytes as they came from PostgreSQL.
#[derive(Debug)]
struct Field<'b>(Option<&'b Bytes>);

impl ToSql for Field<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(bytes) = self.0 else {
            return Ok(IsNull::Yes);
        };
        out.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
