//! What is in the parameter tables, told in text: ids looked up, a JSON object a row.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use futures::TryStreamExt as _;
use sqlx::{Executor as _, PgConnection};

use super::FhirDatabase;

/// Differences that a failed comparison shows.
const SHOWN: usize = 20;

/// All rows of all parameter tables, sorted; absent columns are NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterRows {
    /// Each different row once.
    pub distinct: Vec<String>,
    /// Each row that was found once more than once.
    pub duplicates: Vec<String>,
}

/// The rows of all parameter tables.
pub async fn parameter_rows(database: &FhirDatabase) -> anyhow::Result<ParameterRows> {
    read(database, "").await
}

/// The rows of one resource in all parameter tables.
pub async fn rows_of(
    database: &FhirDatabase,
    logical_resource_id: i64,
) -> anyhow::Result<ParameterRows> {
    read(
        database,
        &format!("WHERE p.logical_resource_id = {logical_resource_id}"),
    )
    .await
}

/// Fails where not exactly the expected rows are found, each once.
///
/// # Panics
/// With the first differences.
pub fn assert_same(expected: &[String], found: &ParameterRows) {
    let missing = not_in(expected, &found.distinct);
    let unexpected = not_in(&found.distinct, expected);
    let lists = [
        ("missing", missing),
        ("unexpected", unexpected),
        ("found twice", found.duplicates.iter().collect()),
    ];
    let mut told = String::new();
    for (what, rows) in lists.iter().filter(|(_, rows)| !rows.is_empty()) {
        let _ = writeln!(told, "{} rows {what}:", rows.len());
        for row in rows.iter().take(SHOWN) {
            let _ = writeln!(told, "  {row}");
        }
    }
    assert!(
        told.is_empty(),
        "of {} expected rows\n{told}",
        expected.len()
    );
}

/// Those of `some` that sorted `others` lacks.
fn not_in<'a>(some: &'a [String], others: &[String]) -> Vec<&'a String> {
    let lacks = |row: &&String| others.binary_search(row).is_err();
    some.iter().filter(lacks).collect()
}

async fn read(database: &FhirDatabase, condition: &str) -> anyhow::Result<ParameterRows> {
    let mut connection = database.connect().await?;
    // There are no statistics yet: plans look dear, and each would be compiled.
    connection.execute("SET jit = off").await?;
    let mut rows = Vec::new();
    // Tables of a kind in one query: each reads all resources to name them, and there are many tables.
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for table in filled_tables(&mut connection).await? {
        kinds.entry(kind_of(&table)).or_default().push(table);
    }
    for (kind, tables) in kinds {
        let Some(values) = values_of(&kind) else {
            continue;
        };
        let query = row_query(&tables, &values, condition);
        let mut text = Vec::new();
        let mut chunks = connection
            .copy_out_raw(&format!("COPY ({query}) TO STDOUT"))
            .await?;
        while let Some(chunk) = chunks.try_next().await? {
            text.extend_from_slice(&chunk);
        }
        drop(chunks);
        // COPY doubles backslashes; JSON has no other character that COPY changes.
        let text = String::from_utf8(text)?.replace(r"\\", r"\");
        rows.extend(text.lines().map(str::to_owned));
    }
    rows.sort_unstable();
    let (mut distinct, mut duplicates) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        let again = distinct.last() == Some(&row);
        if again {
            &mut duplicates
        } else {
            &mut distinct
        }
        .push(row);
    }
    Ok(ParameterRows {
        distinct,
        duplicates,
    })
}

/// A table that never had a row has no page.
async fn filled_tables(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    let query =
        "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace
        AND relkind = 'r' AND pg_relation_size(oid) > 0";
    sqlx::query_scalar(query).fetch_all(connection).await
}

/// What a parameter table holds besides parameter and resource; none for other tables.
struct Values {
    columns: &'static str,
    joins: &'static str,
    has_parameter: bool,
    is_composite: bool,
}

const TOKENS: &str = "LEFT JOIN common_token_values c USING (common_token_value_id)
    LEFT JOIN code_systems s ON s.code_system_id = c.code_system_id";
const TOKEN: &str = "s.code_system_name AS code_system, c.token_value";
const CANONICAL: &str = "c.url, p.version, p.fragment";
const CANONICALS: &str = "LEFT JOIN common_canonical_values c USING (canonical_id)";
const OF_SYSTEM: &str = "system ";
const SYSTEM_TABLES: [&str; 3] = ["str_values", "date_values", "resource_token_refs"];

/// Tables with the same columns are of one kind: a name without that of the resource type.
fn kind_of(table: &str) -> String {
    if SYSTEM_TABLES.contains(&table) || table.starts_with("logical_resource_") {
        return format!(
            "{OF_SYSTEM}{}",
            table.trim_start_matches("logical_resource_")
        );
    }
    // No name of a resource type has a low line in it.
    let (_, kind) = table.split_once('_').unwrap_or_default();
    kind.to_owned()
}

fn values_of(kind: &str) -> Option<Values> {
    let is_of_system = kind.starts_with(OF_SYSTEM);
    let kind = kind.trim_start_matches(OF_SYSTEM);
    let (columns, joins, has_parameter) = match kind {
        "str_values" => ("p.str_value, p.str_value_lcase", "", true),
        "date_values" => (
            "to_char(p.date_start, 'YYYY-MM-DD\"T\"HH24:MI:SS.US') AS date_start,
             to_char(p.date_end, 'YYYY-MM-DD\"T\"HH24:MI:SS.US') AS date_end",
            "",
            true,
        ),
        "number_values" => (
            "p.number_value, p.number_value_low, p.number_value_high",
            "",
            true,
        ),
        "latlng_values" => ("p.latitude_value, p.longitude_value", "", true),
        "quantity_values" => (
            "s.code_system_name AS code_system, p.code, p.quantity_value, p.quantity_value_low,
             p.quantity_value_high",
            "LEFT JOIN code_systems s USING (code_system_id)",
            true,
        ),
        "resource_token_refs" => (TOKEN, TOKENS, true),
        "ref_values" => (
            "i.resource_type AS ref_resource_type, i.logical_id AS ref_logical_id,
             p.ref_version_id",
            "LEFT JOIN (SELECT logical_resource_id AS ref_id, resource_type, logical_id
                FROM logical_resource_ident JOIN resource_types USING (resource_type_id)) i
             ON i.ref_id = p.ref_logical_resource_id",
            true,
        ),
        "profiles" => (CANONICAL, CANONICALS, false),
        "tags" | "security" => (TOKEN, TOKENS, false),
        _ => return None,
    };
    Some(Values {
        columns,
        joins,
        has_parameter,
        is_composite: has_parameter && !is_of_system,
    })
}

/// The rows of tables of a kind, each as JSON text. A row whose resource is gone is told with the id in its place.
fn row_query(tables: &[String], values: &Values, condition: &str) -> String {
    let (parameter, names) = if values.has_parameter {
        let join = "LEFT JOIN parameter_names n USING (parameter_name_id)";
        ("n.parameter_name AS parameter,", join)
    } else {
        ("", "")
    };
    let composite = if values.is_composite {
        ", p.composite_id"
    } else {
        ""
    };
    let rows = |table: &String| format!("SELECT '{table}' AS of, * FROM {table}");
    let rows: Vec<String> = tables.iter().map(rows).collect();
    let rows = rows.join(" UNION ALL ");
    let Values { columns, joins, .. } = values;
    format!(
        "SELECT json_strip_nulls(row_to_json(r)) FROM (
            SELECT coalesce(t.resource_type || '/' || l.logical_id, '?/' || p.logical_resource_id)
                AS resource, p.of AS \"table\", {parameter} {columns} {composite}
            FROM ({rows}) p LEFT JOIN logical_resources l USING (logical_resource_id)
            LEFT JOIN resource_types t USING (resource_type_id) {names} {joins} {condition}) r"
    )
}
