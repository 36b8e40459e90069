//! How the values of a resource become rows of each table. None where a message lacks what it must have.
#![expect(
    clippy::unnecessary_wraps,
    reason = "all tables' functions are of one type, and some may find a value missing"
)]

use super::Rows;
use crate::message::{TokenValue, Values, instant, normal};
use crate::resolve::Ids;

/// Characters of `str_value` and `str_value_lcase`.
const STRING_CHARS: usize = 1024;

pub(super) fn strings<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for value in &values.string_values {
        rows.begin(5);
        rows.int_of(ids.name(&value.name));
        text_twice(value.value.as_deref(), rows);
        rows.long(Some(resource));
        rows.int(value.composite_id);
        rows.end(ids);
    }
    Some(())
}

pub(super) fn system_strings<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for value in values.string_values.iter().filter(|v| v.whole_system) {
        rows.begin(4);
        rows.int_of(ids.name(&value.name));
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

pub(super) fn dates<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for value in &values.date_values {
        rows.begin(5);
        rows.int_of(ids.name(&value.name));
        rows.long(value.value_date_start.as_deref().and_then(instant::parse));
        rows.long(value.value_date_end.as_deref().and_then(instant::parse));
        rows.long(Some(resource));
        rows.int(value.composite_id);
        rows.end(ids);
    }
    Some(())
}

pub(super) fn system_dates<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for value in values.date_values.iter().filter(|v| v.whole_system) {
        rows.begin(4);
        rows.int_of(ids.name(&value.name));
        rows.long(value.value_date_start.as_deref().and_then(instant::parse));
        rows.long(value.value_date_end.as_deref().and_then(instant::parse));
        rows.long(Some(resource));
        rows.end(ids);
    }
    Some(())
}

pub(super) fn numbers<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for value in &values.number_values {
        rows.begin(6);
        rows.int_of(ids.name(&value.name));
        for number in [value.value, value.low_value, value.high_value] {
            rows.double(number.map(|number| number.0));
        }
        rows.long(Some(resource));
        rows.int(value.composite_id);
        rows.end(ids);
    }
    Some(())
}

pub(super) fn quantities<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for value in &values.quantity_values {
        rows.begin(8);
        rows.int_of(ids.name(&value.name));
        rows.int_of(ids.system(value.value_system.as_ref()?));
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

pub(super) fn places<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for value in &values.location_values {
        rows.begin(5);
        rows.int_of(ids.name(&value.name));
        rows.double(value.value_latitude.map(|degrees| degrees.0));
        rows.double(value.value_longitude.map(|degrees| degrees.0));
        rows.long(Some(resource));
        rows.int(value.composite_id);
        rows.end(ids);
    }
    Some(())
}

pub(super) fn tokens<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for value in &values.token_values {
        rows.begin(4);
        rows.int_of(ids.name(&value.name));
        token(value, ids, rows);
        rows.long(Some(resource));
        rows.int(value.composite_id);
        rows.end(ids);
    }
    Some(())
}

pub(super) fn system_tokens<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for value in values.token_values.iter().filter(|v| v.whole_system) {
        rows.begin(3);
        rows.int_of(ids.name(&value.name));
        token(value, ids, rows);
        rows.long(Some(resource));
        rows.end(ids);
    }
    Some(())
}

/// A token without a code has no row of its own, and NULL in the place of its id.
fn token<'p>(value: &TokenValue<'p>, ids: &mut Ids<'p>, rows: &mut Rows) {
    match (&value.value_system, &value.value_code) {
        (Some(system), Some(code)) => rows.long_of(ids.token(system, code)),
        _ => rows.long(None),
    }
}

pub(super) fn tags<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    marks(&values.tag_values, false, ids, resource, rows)
}

pub(super) fn system_tags<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    marks(&values.tag_values, true, ids, resource, rows)
}

pub(super) fn labels<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    marks(&values.security_values, false, ids, resource, rows)
}

pub(super) fn system_labels<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    marks(&values.security_values, true, ids, resource, rows)
}

fn marks<'p>(
    marks: &[TokenValue<'p>],
    of_system: bool,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for mark in marks.iter().filter(|v| v.whole_system || !of_system) {
        let token = ids.token(mark.value_system.as_ref()?, mark.value_code.as_ref()?);
        rows.begin(2);
        rows.long_of(token);
        rows.long(Some(resource));
        rows.end(ids);
    }
    Some(())
}

pub(super) fn profiles<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    canonicals(values, false, ids, resource, rows)
}

pub(super) fn system_profiles<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    canonicals(values, true, ids, resource, rows)
}

fn canonicals<'p>(
    values: &Values<'p>,
    of_system: bool,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for value in values
        .profile_values
        .iter()
        .filter(|v| v.whole_system || !of_system)
    {
        rows.begin(4);
        rows.long_of(ids.canonical(value.url.as_ref()?));
        rows.long(Some(resource));
        rows.text(value.version.as_deref());
        rows.text(value.fragment.as_deref());
        rows.end(ids);
    }
    Some(())
}

pub(super) fn references<'p>(
    values: &Values<'p>,
    ids: &mut Ids<'p>,
    resource: i64,
    rows: &mut Rows,
) -> Option<()> {
    for value in &values.ref_values {
        let target = ids.ident(value.resource_type.as_ref()?, value.logical_id.as_ref()?)?;
        rows.begin(4);
        rows.int_of(ids.name(&value.name));
        rows.long(Some(resource));
        rows.long_of(target);
        rows.int(value.ref_version_id);
        rows.end(ids);
    }
    Some(())
}
