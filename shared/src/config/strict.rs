use std::collections::BTreeSet;

use config::{ConfigError, Value, ValueKind};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::Faults;

/// Reads values into a configuration. A key that does not fit is reported and given its default,
/// and reading starts again, so that every such key is found.
pub(super) fn read<C: DeserializeOwned>(
    mut values: Value,
    defaults: &Value,
    faults: &mut Faults,
) -> Option<C> {
    let mut mended = BTreeSet::new();
    loop {
        let error = match serde_path_to_error::deserialize(values.clone()) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let path = keys(&error);
        faults.add(&path.join("."), problem(error.inner()));
        // What does not fit even as its default would be found again and again.
        if !mended.insert(path.clone()) || !mend(&mut values, defaults, &path) {
            return None;
        }
    }
}

/// The value at a path; items of arrays go by their index.
pub(super) fn find<'a, S: AsRef<str>>(value: &'a Value, path: &[S]) -> Option<&'a Value> {
    let Some((first, rest)) = path.split_first() else {
        return Some(value);
    };
    match &value.kind {
        ValueKind::Table(fields) => find(fields.get(first.as_ref())?, rest),
        ValueKind::Array(items) => find(items.get(first.as_ref().parse::<usize>().ok()?)?, rest),
        _ => None,
    }
}

/// Where a value is from. A merged table is from nowhere, but its first value is.
pub(super) fn origin(value: &Value) -> Option<&str> {
    value.origin().or_else(|| match &value.kind {
        ValueKind::Table(fields) => fields.values().find_map(origin),
        ValueKind::Array(items) => items.iter().find_map(origin),
        _ => None,
    })
}

fn keys(error: &serde_path_to_error::Error<ConfigError>) -> Vec<String> {
    let key = |segment: &Segment| match segment {
        Segment::Map { key } => Some(key.clone()),
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    error.path().iter().map_while(key).collect()
}

/// What is wrong, without the key and file that the library adds in words of its own.
fn problem(error: &ConfigError) -> String {
    match error {
        ConfigError::Type {
            unexpected,
            expected,
            ..
        } => {
            format!("is {unexpected}, expected {expected}")
        }
        ConfigError::At { error, .. } => problem(error),
        ConfigError::NotFound(key) => format!("{key} is missing"),
        ConfigError::Message(message) => match message.rsplit_once(", expected ") {
            // Of headers written as a text, for one: it may be a secret.
            Some((found, expected)) if found.starts_with("invalid type: string ") => {
                format!("is a text, expected {expected}")
            }
            _ => message.clone(),
        },
        other => other.to_string(),
    }
}

/// Puts the default in a value's place, or takes the value out when there is none. Within an array
/// whose item is unfit as a whole, it is the array that goes, since indices must not shift.
fn mend(values: &mut Value, defaults: &Value, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let Some(parent) = find_mut(values, parents) else {
        return false;
    };
    match &mut parent.kind {
        ValueKind::Table(fields) => match find(defaults, path) {
            Some(default) => fields.insert(last.clone(), default.clone()).is_some(),
            None => fields.remove(last).is_some(),
        },
        ValueKind::Array(_) => mend(values, defaults, parents),
        _ => false,
    }
}

fn find_mut<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    let Some((first, rest)) = path.split_first() else {
        return Some(value);
    };
    match &mut value.kind {
        ValueKind::Table(fields) => find_mut(fields.get_mut(first)?, rest),
        ValueKind::Array(items) => find_mut(items.get_mut(first.parse::<usize>().ok()?)?, rest),
        _ => None,
    }
}
