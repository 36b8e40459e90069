//! YAML as JSON values, which are easier to walk.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// The documents of a text; empty ones are left out.
///
/// # Panics
/// When it is no YAML that is understood.
#[expect(
    clippy::panic,
    reason = "what cannot be read is the failure of the test"
)]
pub fn parse(text: &str) -> Vec<Value> {
    let documents = YamlLoader::load_from_str(text).unwrap_or_else(|e| panic!("{e} in:\n{text}"));
    let values = documents.iter().map(to_json);
    values.filter(|value| !value.is_null()).collect()
}

/// The one document of a file.
///
/// # Panics
/// When there is none, or more than one.
#[expect(
    clippy::panic,
    reason = "what cannot be read is the failure of the test"
)]
pub fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut documents = parse(&text);
    assert_eq!(documents.len(), 1, "{}: documents", file.display());
    documents.remove(0)
}

#[expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what cannot be read is the failure of the test"
)]
fn to_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Real(_) => yaml.as_f64().unwrap().into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::String(text) => text.as_str().into(),
        Yaml::Boolean(truth) => (*truth).into(),
        Yaml::Array(items) => items.iter().map(to_json).collect(),
        Yaml::Hash(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (key.as_str().unwrap().to_owned(), to_json(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Yaml::Null => Value::Null,
        Yaml::Alias(_) | Yaml::BadValue => panic!("YAML that is not understood: {yaml:?}"),
    }
}
