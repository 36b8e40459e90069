//! The rows that an indexer has written, in PostgreSQL's binary format, to be written again by other ways.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::TryStreamExt as _;
use stoker_tests::fhir_database::FhirDatabase;

use super::connect;

/// In the order in which they refer to each other, with the column that tells new rows from those before.
const LOOKUPS: [(&str, &str); 5] = [
    ("parameter_names", "parameter_name_id"),
    ("code_systems", "code_system_id"),
    ("common_token_values", "common_token_value_id"),
    ("common_canonical_values", "canonical_id"),
    ("logical_resource_ident", "logical_resource_id"),
];

/// Rows of one table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// As COPY takes them.
    pub copy: Bytes,
    /// The same, row by row and field by field; absent is NULL.
    pub rows: Vec<Row>,
}

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// The resource it belongs to; 0 in a lookup table.
    pub resource: i64,
    /// Its fields.
    pub fields: Vec<Option<Bytes>>,
}

/// What an indexer has added to a database.
#[derive(Debug, Clone)]
pub struct Filled {
    /// Lookup tables, those first that others refer to.
    pub lookups: Vec<Table>,
    /// Parameter tables, the largest first.
    pub parameters: Vec<Table>,
}

impl Filled {
    /// Reads what `after` has and `before` has not.
    pub async fn of(before: &FhirDatabase, after: &FhirDatabase) -> anyhow::Result<Self> {
        let (old, new) = (connect(before).await?, connect(after).await?);
        let mut lookups = Vec::new();
        for (name, id) in LOOKUPS {
            let last = format!("SELECT coalesce(max({id}), 0)::bigint FROM {name}");
            let last: i64 = old.query_one(&last, &[]).await?.get(0);
            let query = format!("SELECT * FROM {name} WHERE {id} > {last} ORDER BY {id}");
            lookups.push(read(&new, name, &query, None).await?);
        }
        let tables = "SELECT c.relname::text, a.attnum::int FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            WHERE c.relnamespace = 'fhirdata'::regnamespace AND c.relkind = 'r' AND pg_relation_size(c.oid) > 0
            AND a.attname = 'logical_resource_id'
            AND c.relname !~ '(^|_)(logical_resources|logical_resource_ident|resources)$'
            ORDER BY pg_relation_size(c.oid) DESC";
        let mut parameters = Vec::new();
        for row in new.query(tables, &[]).await? {
            let (name, place): (String, i32) = (row.get(0), row.get(1));
            let query = format!("SELECT * FROM {name} ORDER BY logical_resource_id");
            let place = usize::try_from(place - 1)?;
            parameters.push(read(&new, &name, &query, Some(place)).await?);
        }
        Ok(Self {
            lookups,
            parameters,
        })
    }

    /// Rows of all parameter tables.
    pub fn count(&self) -> usize {
        self.parameters.iter().map(|table| table.rows.len()).sum()
    }
}

async fn read(
    client: &tokio_postgres::Client,
    name: &str,
    query: &str,
    resource: Option<usize>,
) -> anyhow::Result<Table> {
    let copy = format!("COPY ({query}) TO STDOUT (FORMAT binary)");
    let chunks: Vec<Bytes> = client.copy_out(&copy).await?.try_collect().await?;
    let copy = Bytes::from(chunks.concat());
    let rows = rows(&copy, resource).with_context(|| format!("{name}: odd binary rows"))?;
    Ok(Table {
        name: name.to_owned(),
        copy,
        rows,
    })
}

/// <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format".
fn rows(copy: &Bytes, resource: Option<usize>) -> anyhow::Result<Vec<Row>> {
    /// Signature, flags, and the length of an extension, which is 0.
    const HEADER: usize = 19;
    let mut rest = copy.slice(HEADER..);
    let mut rows = Vec::new();
    loop {
        let count = i16::from_be_bytes(take(&mut rest, 2)?[..].try_into()?);
        if count < 0 {
            return Ok(rows);
        }
        let mut fields = Vec::new();
        for _ in 0..count {
            let length = i32::from_be_bytes(take(&mut rest, 4)?[..].try_into()?);
            let length = usize::try_from(length).ok();
            fields.push(length.map(|length| take(&mut rest, length)).transpose()?);
        }
        let id = resource.and_then(|place| fields.get(place)?.as_ref());
        let resource = match id {
            Some(id) => i64::from_be_bytes(id[..].try_into()?),
            None => 0,
        };
        rows.push(Row { resource, fields });
    }
}

fn take(rest: &mut Bytes, length: usize) -> anyhow::Result<Bytes> {
    if rest.len() < length {
        bail!("they end early");
    }
    Ok(rest.split_to(length))
}
