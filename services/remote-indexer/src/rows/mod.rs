//! The rows of a resource in the parameter tables: `spec/fhir-remote-index.md` §7.2, §7.3.

use crate::message::{TokenValue, Values, instant, normal};
use crate::resolve::Ids;

mod copy;

pub(crate) use copy::Rows;

/// Characters of `str_value` and `str_value_lcase`.
const STRING_CHARS: usize = 1024;

/// A parameter table, and how values become rows of it.
#[derive(Debug)]
pub(crate) struct Table {
    /// Of a table of one type: what follows the type in its name; of a table of the whole system: its name.
    pub(crate) name: &'static str,
    /// What metrics call it.
    pub(crate) kind: &'static str,
    /// In the order in which rows give them.
    pub(crate) columns: &'static str,
    /// Adds the rows of a resource. None when an id is not known.
    pub(crate) add: fn(&Values<'_>, &Ids, i64, &mut Rows) -> Option<()>,
}

/// The tables of one type, whose names begin with it.
pub(crate) const OF_TYPE: [Table; 10] = [
    Table {
        name: "str_values",
        kind: "str",
        columns: "parameter_name_id, str_value, str_value_lcase, logical_resource_id, composite_id",
        add: strings,
    },
    Table {
        name: "date_values",
        kind: "date",
        columns: "parameter_name_id, date_start, date_end, logical_resource_id, composite_id",
        add: dates,
    },
    Table {
        name: "number_values",
        kind: "number",
        columns: "parameter_name_id, number_value, number_value_low, number_value_high, logical_resource_id, composite_id",
        add: numbers,
    },
    Table {
        name: "quantity_values",
        kind: "quantity",
        columns: "parameter_name_id, code_system_id, code, quantity_value, quantity_value_low, quantity_value_high, logical_resource_id, composite_id",
        add: quantities,
    },
    Table {
        name: "resource_token_refs",
        kind: "token",
        columns: "parameter_name_id, common_token_value_id, logical_resource_id, composite_id",
        add: tokens,
    },
    Table {
        name: "latlng_values",
        kind: "latlng",
        columns: "parameter_name_id, latitude_value, longitude_value, logical_resource_id, composite_id",
        add: places,
    },
    Table {
        name: "tags",
        kind: "tag",
        columns: "common_token_value_id, logical_resource_id",
        add: tags,
    },
    Table {
        name: "profiles",
        kind: "profile",
        columns: "canonical_id, logical_resource_id, version, fragment",
        add: profiles,
    },
    Table {
        name: "security",
        kind: "security",
        columns: "common_token_value_id, logical_resource_id",
        add: labels,
    },
    Table {
        name: "ref_values",
        kind: "ref",
        columns: "parameter_name_id, logical_resource_id, ref_logical_resource_id, ref_version_id",
        add: references,
    },
];

/// The tables of the whole system, which hold values marked so.
pub(crate) const OF_SYSTEM: [Table; 6] = [
    Table {
        name: "str_values",
        kind: "system_str",
        columns: "parameter_name_id, str_value, str_value_lcase, logical_resource_id",
        add: system_strings,
    },
    Table {
        name: "date_values",
        kind: "system_date",
        columns: "parameter_name_id, date_start, date_end, logical_resource_id",
        add: system_dates,
    },
    Table {
        name: "resource_token_refs",
        kind: "system_token",
        columns: "parameter_name_id, common_token_value_id, logical_resource_id",
        add: system_tokens,
    },
    Table {
        name: "logical_resource_tags",
        kind: "system_tag",
        columns: "common_token_value_id, logical_resource_id",
        add: system_tags,
    },
    Table {
        name: "logical_resource_profiles",
        kind: "system_profile",
        columns: "canonical_id, logical_resource_id, version, fragment",
        add: system_profiles,
    },
    Table {
        name: "logical_resource_security",
        kind: "system_security",
        columns: "common_token_value_id, logical_resource_id",
        add: system_labels,
    },
];

fn strings(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    for value in &values.string_values {
        rows.begin(5);
        rows.int(Some(ids.name(&value.name)?));
        text_twice(value.value.as_deref(), rows);
        rows.long(Some(resource));
        rows.int(value.composite_id);
        rows.end(ids);
    }
    Some(())
}

fn system_strings(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    for value in values.string_values.iter().filter(|v| v.whole_system) {
        rows.begin(4);
        rows.int(Some(ids.name(&value.name)?));
        text_twice(value.value.as_deref(), rows);
        rows.long(Some(resource));
        rows.end(ids);
    }
    Some(())
}

/// As it is, and as it is searched for.
fn text_twice(text: Option<&str>, rows: &mut Rows) {
    // The server cuts at so many bytes.
    let text = text.map(|text| &text[..text.floor_char_boundary(STRING_CHARS)]);
    rows.text(text);
    let normal = text.map(normal::for_search);
    // Taken apart, a text may have more characters than before.
    rows.text(normal.as_deref().map(|text| {
        let end = text
            .char_indices()
            .nth(STRING_CHARS)
            .map_or(text.len(), |(at, _)| at);
        &text[..end]
    }));
}

fn dates(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    for value in &values.date_values {
        rows.begin(5);
        rows.int(Some(ids.name(&value.name)?));
        rows.long(value.value_date_start.as_deref().and_then(instant::parse));
        rows.long(value.value_date_end.as_deref().and_then(instant::parse));
        rows.long(Some(resource));
        rows.int(value.composite_id);
        rows.end(ids);
    }
    Some(())
}

fn system_dates(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    for value in values.date_values.iter().filter(|v| v.whole_system) {
        rows.begin(4);
        rows.int(Some(ids.name(&value.name)?));
        rows.long(value.value_date_start.as_deref().and_then(instant::parse));
        rows.long(value.value_date_end.as_deref().and_then(instant::parse));
        rows.long(Some(resource));
        rows.end(ids);
    }
    Some(())
}

fn numbers(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    for value in &values.number_values {
        rows.begin(6);
        rows.int(Some(ids.name(&value.name)?));
        for number in [value.value, value.low_value, value.high_value] {
            rows.double(number.map(|number| number.0));
        }
        rows.long(Some(resource));
        rows.int(value.composite_id);
        rows.end(ids);
    }
    Some(())
}

fn quantities(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    for value in &values.quantity_values {
        rows.begin(8);
        rows.int(Some(ids.name(&value.name)?));
        rows.int(Some(ids.system(value.value_system.as_deref()?)?));
        rows.text(value.value_code.as_deref());
        let numbers = [
            value.value_number,
            value.value_number_low,
            value.value_number_high,
        ];
        for number in numbers {
            rows.double(number.map(|number| number.0));
        }
        rows.long(Some(resource));
        rows.int(value.composite_id);
        rows.end(ids);
    }
    Some(())
}

fn places(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    for value in &values.location_values {
        rows.begin(5);
        rows.int(Some(ids.name(&value.name)?));
        rows.double(value.value_latitude.map(|degrees| degrees.0));
        rows.double(value.value_longitude.map(|degrees| degrees.0));
        rows.long(Some(resource));
        rows.int(value.composite_id);
        rows.end(ids);
    }
    Some(())
}

fn tokens(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    for value in &values.token_values {
        rows.begin(4);
        rows.int(Some(ids.name(&value.name)?));
        token(value, ids, rows)?;
        rows.long(Some(resource));
        rows.int(value.composite_id);
        rows.end(ids);
    }
    Some(())
}

fn system_tokens(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    for value in values.token_values.iter().filter(|v| v.whole_system) {
        rows.begin(3);
        rows.int(Some(ids.name(&value.name)?));
        token(value, ids, rows)?;
        rows.long(Some(resource));
        rows.end(ids);
    }
    Some(())
}

/// A token without a code has no row of its own, and NULL in the place of its id.
fn token(value: &TokenValue<'_>, ids: &Ids, rows: &mut Rows) -> Option<()> {
    match (&value.value_system, &value.value_code) {
        (Some(system), Some(code)) => rows.long(Some(ids.token(system, code)?)),
        _ => rows.long(None),
    }
    Some(())
}

fn tags(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    marks(&values.tag_values, false, ids, resource, rows)
}

fn system_tags(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    marks(&values.tag_values, true, ids, resource, rows)
}

fn labels(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    marks(&values.security_values, false, ids, resource, rows)
}

fn system_labels(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    marks(&values.security_values, true, ids, resource, rows)
}

fn marks(
    marks: &[TokenValue<'_>],
    of_system: bool,
    ids: &Ids,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for mark in marks.iter().filter(|v| v.whole_system || !of_system) {
        let token = ids.token(mark.value_system.as_deref()?, mark.value_code.as_deref()?)?;
        rows.begin(2);
        rows.long(Some(token));
        rows.long(Some(resource));
        rows.end(ids);
    }
    Some(())
}

fn profiles(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    canonicals(values, false, ids, resource, rows)
}

fn system_profiles(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    canonicals(values, true, ids, resource, rows)
}

fn canonicals(
    values: &Values<'_>,
    of_system: bool,
    ids: &Ids,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for value in values
        .profile_values
        .iter()
        .filter(|v| v.whole_system || !of_system)
    {
        rows.begin(4);
        rows.long(Some(ids.canonical(value.url.as_deref()?)?));
        rows.long(Some(resource));
        rows.text(value.version.as_deref());
        rows.text(value.fragment.as_deref());
        rows.end(ids);
    }
    Some(())
}

fn references(values: &Values<'_>, ids: &Ids, resource: i64, rows: &mut Rows) -> Option<()> {
    for value in &values.ref_values {
        let target = ids.ident(
            value.resource_type.as_deref()?,
            value.logical_id.as_deref()?,
        )?;
        rows.begin(4);
        rows.int(Some(ids.name(&value.name)?));
        rows.long(Some(resource));
        rows.long(Some(target));
        rows.int(value.ref_version_id);
        rows.end(ids);
    }
    Some(())
}
