//! The rows of a resource in the parameter tables: `spec/fhir-remote-index.md` §7.2, §7.3.

use crate::message::Values;
use crate::resolve::Ids;

mod add;
mod batch;
mod copy;

pub(crate) use batch::{Batch, Resource};
pub(crate) use copy::Rows;

/// A parameter table, and how values become rows of it.
#[derive(Debug)]
pub(crate) struct Table {
    /// Of a table of one type: what follows the type in its name; of a table of the whole system: its name.
    pub(crate) name: &'static str,
    /// What metrics call it.
    pub(crate) kind: &'static str,
    /// In the order in which rows give them.
    pub(crate) columns: &'static str,
    /// Which of them, counted from the right bit, hold ids that stand for texts.
    pub(crate) ids: u16,
    /// Adds the rows of a resource. None where a message lacks what it must have.
    pub(crate) add: for<'p> fn(&Values<'p>, &mut Ids<'p>, i64, &mut Rows) -> Option<()>,
}

/// The tables of one type, whose names begin with it.
pub(crate) const OF_TYPE: [Table; 10] = [
    Table {
        name: "str_values",
        kind: "str",
        columns: "parameter_name_id, str_value, str_value_lcase, logical_resource_id, composite_id",
        ids: 0b1,
        add: add::strings,
    },
    Table {
        name: "date_values",
        kind: "date",
        columns: "parameter_name_id, date_start, date_end, logical_resource_id, composite_id",
        ids: 0b1,
        add: add::dates,
    },
    Table {
        name: "number_values",
        kind: "number",
        columns: "parameter_name_id, number_value, number_value_low, number_value_high, logical_resource_id, composite_id",
        ids: 0b1,
        add: add::numbers,
    },
    Table {
        name: "quantity_values",
        kind: "quantity",
        columns: "parameter_name_id, code_system_id, code, quantity_value, quantity_value_low, quantity_value_high, logical_resource_id, composite_id",
        ids: 0b11,
        add: add::quantities,
    },
    Table {
        name: "resource_token_refs",
        kind: "token",
        columns: "parameter_name_id, common_token_value_id, logical_resource_id, composite_id",
        ids: 0b11,
        add: add::tokens,
    },
    Table {
        name: "latlng_values",
        kind: "latlng",
        columns: "parameter_name_id, latitude_value, longitude_value, logical_resource_id, composite_id",
        ids: 0b1,
        add: add::places,
    },
    Table {
        name: "tags",
        kind: "tag",
        columns: "common_token_value_id, logical_resource_id",
        ids: 0b1,
        add: add::tags,
    },
    Table {
        name: "profiles",
        kind: "profile",
        columns: "canonical_id, logical_resource_id, version, fragment",
        ids: 0b1,
        add: add::profiles,
    },
    Table {
        name: "security",
        kind: "security",
        columns: "common_token_value_id, logical_resource_id",
        ids: 0b1,
        add: add::labels,
    },
    Table {
        name: "ref_values",
        kind: "ref",
        columns: "parameter_name_id, logical_resource_id, ref_logical_resource_id, ref_version_id",
        ids: 0b101,
        add: add::references,
    },
];

/// The tables of the whole system, which hold values marked so.
pub(crate) const OF_SYSTEM: [Table; 6] = [
    Table {
        name: "str_values",
        kind: "system_str",
        columns: "parameter_name_id, str_value, str_value_lcase, logical_resource_id",
        ids: 0b1,
        add: add::system_strings,
    },
    Table {
        name: "date_values",
        kind: "system_date",
        columns: "parameter_name_id, date_start, date_end, logical_resource_id",
        ids: 0b1,
        add: add::system_dates,
    },
    Table {
        name: "resource_token_refs",
        kind: "system_token",
        columns: "parameter_name_id, common_token_value_id, logical_resource_id",
        ids: 0b11,
        add: add::system_tokens,
    },
    Table {
        name: "logical_resource_tags",
        kind: "system_tag",
        columns: "common_token_value_id, logical_resource_id",
        ids: 0b1,
        add: add::system_tags,
    },
    Table {
        name: "logical_resource_profiles",
        kind: "system_profile",
        columns: "canonical_id, logical_resource_id, version, fragment",
        ids: 0b1,
        add: add::system_profiles,
    },
    Table {
        name: "logical_resource_security",
        kind: "system_security",
        columns: "common_token_value_id, logical_resource_id",
        ids: 0b1,
        add: add::system_labels,
    },
];
