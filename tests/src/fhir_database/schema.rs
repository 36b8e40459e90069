//! The tables, keys and functions of LinuxForHealth's FHIR server (schema version 30), as SQL.

/// How the server's tables were made; its `--schema-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaType {
    /// With all unique keys, and foreign keys.
    Plain,
    /// For Citus: without foreign keys, and with other unique keys.
    Distributed,
}

/// A resource type that the server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceType {
    /// Its fixed number.
    pub id: i32,
    /// Its name.
    pub name: &'static str,
    /// Whether FHIR R4B has it no more.
    pub retired: bool,
    /// Whether it has tables: not the retired and the abstract ones.
    pub has_tables: bool,
}

const RESOURCE_TYPES: &str = include_str!("resource_types.csv");
const SYSTEM: &str = include_str!("sql/system.sql");
const SYSTEM_PLAIN: &str = include_str!("sql/system_plain.sql");
const SYSTEM_DISTRIBUTED: &str = include_str!("sql/system_distributed.sql");
const FUNCTIONS: &str = include_str!("sql/functions.sql");
const TYPE: &str = include_str!("sql/type.sql");
const TYPE_PLAIN: &str = include_str!("sql/type_plain.sql");
const TYPE_DISTRIBUTED: &str = include_str!("sql/type_distributed.sql");

/// The storage that the server asks for parameter tables and the tables of identities.
const PARAMETERS: &str = "WITH (autovacuum_vacuum_scale_factor = 0.01, \
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_limit = 2000, fillfactor = 90)";

/// All resource types of FHIR R4 and R4B, 161 of them; 141 have tables.
pub fn resource_types() -> Vec<ResourceType> {
    let lines = RESOURCE_TYPES.lines().skip(1);
    lines.filter_map(resource_type).collect()
}

fn resource_type(line: &'static str) -> Option<ResourceType> {
    let mut fields = line.split(',');
    let (id, name, kind) = (fields.next()?, fields.next()?, fields.next()?);
    Some(ResourceType {
        id: id.parse().ok()?,
        name,
        retired: kind == "retired",
        has_tables: kind == "concrete",
    })
}

/// SQL texts that make the schema, each to be run by itself: a schema in one transaction takes more locks than
/// PostgreSQL has by default. `types` are the resource types that get tables.
pub(super) fn statements(schema: &str, schema_type: SchemaType, types: &[&str]) -> Vec<String> {
    let (system, of_type) = match schema_type {
        SchemaType::Plain => (SYSTEM_PLAIN, TYPE_PLAIN),
        SchemaType::Distributed => (SYSTEM_DISTRIBUTED, TYPE_DISTRIBUTED),
    };
    let mut all = vec![
        format!("CREATE SCHEMA {schema}"),
        SYSTEM.to_owned(),
        system.to_owned(),
        FUNCTIONS.replace("{schema}", schema),
        rows_of_types(),
    ];
    for name in types {
        let t = name.to_lowercase();
        all.extend([TYPE, of_type].map(|text| text.replace("{t}", &t)));
    }
    let complete = |text: &String| text.replace("{parameters}", PARAMETERS);
    all.iter().map(complete).collect()
}

fn rows_of_types() -> String {
    let row = |t: &ResourceType| {
        let retired = if t.retired { 'Y' } else { 'N' };
        format!("({}, '{}', '{retired}')", t.id, t.name)
    };
    let rows: Vec<String> = resource_types().iter().map(row).collect();
    format!("INSERT INTO resource_types VALUES {}", rows.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_are_those_of_r4_and_r4b() {
        let types = resource_types();
        let ids: Vec<i32> = types.iter().map(|t| t.id).collect();
        assert_eq!(ids, (1..=161).collect::<Vec<_>>());
        assert_eq!(types.iter().filter(|t| t.has_tables).count(), 141);
        assert_eq!(types.iter().filter(|t| t.retired).count(), 18);
    }
}
