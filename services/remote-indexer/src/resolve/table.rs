//! The lookup tables of a FHIR schema, and the statements on them: `spec/fhir-schema.md` §3, §5.

use crate::config::SchemaType;

/// A lookup table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    ParameterNames,
    CodeSystems,
    Tokens,
    Canonicals,
    Idents,
}

/// What a statement calls its keys: `text` and `grp` in the order given, `n` from 1.
const KEYS: &str = "unnest($1::text[], $2::int[]) WITH ORDINALITY k(text, grp, n)";

impl Table {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::ParameterNames,
        Self::CodeSystems,
        Self::Tokens,
        Self::Canonicals,
        Self::Idents,
    ];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ParameterNames => "parameter_names",
            Self::CodeSystems => "code_systems",
            Self::Tokens => "common_token_values",
            Self::Canonicals => "common_canonical_values",
            Self::Idents => "logical_resource_ident",
        }
    }

    /// Ids that are remembered, at most; 25 bytes each.
    pub(super) fn remembered(self) -> usize {
        match self {
            Self::ParameterNames | Self::CodeSystems | Self::Canonicals => 10_000,
            Self::Tokens => 100_000,
            // References are to what was written just before, or to the same few again and again.
            Self::Idents => 56_000,
        }
    }

    /// Rows `(n, id)` of the keys that are there.
    pub(super) fn select(self) -> String {
        let (id, same) = match self {
            Self::ParameterNames => ("parameter_name_id", "t.parameter_name = k.text"),
            Self::CodeSystems => ("code_system_id", "t.code_system_name = k.text"),
            Self::Tokens => (
                "common_token_value_id",
                "t.token_value = k.text AND t.code_system_id = k.grp",
            ),
            Self::Canonicals => ("canonical_id", "t.url = k.text"),
            Self::Idents => (
                "logical_resource_id",
                "t.logical_id = k.text AND t.resource_type_id = k.grp",
            ),
        };
        let table = self.name();
        format!("SELECT k.n, t.{id}::bigint FROM {KEYS} JOIN {{s}}.{table} t ON {same}")
    }

    /// Adds those that are not there.
    pub(super) fn insert(self, kind: SchemaType) -> String {
        let (columns, values) = match (self, kind) {
            (Self::ParameterNames, _) => (
                "(parameter_name_id, parameter_name)",
                "nextval('{s}.fhir_ref_sequence'), k.text",
            ),
            (Self::CodeSystems, _) => (
                "(code_system_id, code_system_name)",
                "nextval('{s}.fhir_ref_sequence'), k.text",
            ),
            (Self::Tokens, SchemaType::Plain) => ("(code_system_id, token_value)", "k.grp, k.text"),
            (Self::Tokens, SchemaType::Distributed) => (
                "(common_token_value_id, code_system_id, token_value)",
                "nextval('{s}.fhir_sequence'), k.grp, k.text",
            ),
            (Self::Canonicals, _) => (
                "(canonical_id, url)",
                "nextval('{s}.fhir_ref_sequence'), k.text",
            ),
            (Self::Idents, _) => (
                "(logical_resource_id, resource_type_id, logical_id)",
                "nextval('{s}.fhir_sequence'), k.grp, k.text",
            ),
        };
        let table = self.name();
        format!(
            "INSERT INTO {{s}}.{table} {columns} SELECT {values} FROM {KEYS} ON CONFLICT DO NOTHING"
        )
    }
}
