use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Environment, File, FileFormat, Map, Value, ValueKind};

use super::strict::origin;
use super::{ConfigFaults, Fault, Faults, Load, SECTIONS, Settings};

/// Of environment variables.
pub(super) const PREFIX: &str = "STOKER";
const FLAG: &str = "--set";

pub(super) struct Layers {
    /// The section's values, merged.
    pub(super) values: Value,
    /// The section's values when nothing is given.
    pub(super) defaults: Value,
    /// The other sections.
    pub(super) others: Map<String, Value>,
}

pub(super) fn gather<C: Settings>(load: &Load) -> Result<Layers, ConfigFaults> {
    let section = load.section.as_str();
    let fault = |e: &ConfigError| ConfigFaults::one(section, None, e.to_string());
    let defaults = serde_json::to_value(C::default())
        .map_err(|e| ConfigFaults::one(section, None, e.to_string()))?;
    let defaults = from_json(defaults);
    let environment = Environment::with_prefix(PREFIX)
        .prefix_separator("__")
        .separator("__")
        .ignore_empty(true)
        .source(Some(load.environment.clone().into_iter().collect()));
    let mut builder = Config::builder()
        .set_default(section, defaults.clone())
        .map_err(|e| fault(&e))?;
    if let Some(file) = find_file(load) {
        builder = builder.add_source(read_file(&file)?);
    }
    builder = builder.add_source(environment);
    for (key, value) in &load.overrides {
        let value = Value::new(Some(&format!("{FLAG} {key}")), value.clone());
        let set = builder.set_override(format!("{section}.{key}"), value);
        builder = set.map_err(|e| {
            let key = format!("{section}.{key}");
            ConfigFaults::one(&key, Some(FLAG.to_owned()), e.to_string())
        })?;
    }
    let merged = builder.build().map_err(|e| fault(&e))?.cache;
    let mut others = merged.into_table().map_err(|e| fault(&e))?;
    let mut values = others.remove(section).unwrap_or_else(|| defaults.clone());
    fit(&mut values, &defaults);
    Ok(Layers {
        values,
        defaults,
        others,
    })
}

fn read_file(file: &Path) -> Result<Named, ConfigFaults> {
    let text = std::fs::read_to_string(file).map_err(|e| unreadable(file, &e))?;
    let parsed = Config::builder()
        .add_source(File::from_str(&text, FileFormat::Yaml))
        .build();
    Ok(Named {
        name: file.display().to_string(),
        values: parsed.map_err(|e| unreadable(file, &e))?.cache,
    })
}

pub(super) fn find_file(load: &Load) -> Option<PathBuf> {
    let variable = |name| load.environment.get(name).filter(|value| !value.is_empty());
    if let Some(given) = load
        .file
        .clone()
        .or_else(|| variable("STOKER_CONFIG").map(PathBuf::from))
    {
        return Some(given);
    }
    let own = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let own = own.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")));
    let places = [
        Some(load.folder.clone()),
        own.map(|folder| folder.join("stoker")),
    ];
    let files = places
        .into_iter()
        .flatten()
        .map(|folder| folder.join("stoker.yaml"));
    files.into_iter().find(|file| file.is_file())
}

/// Tells a misspelt section, which would otherwise have no effect.
pub(super) fn check_sections(load: &Load, others: &Map<String, Value>, faults: &mut Faults) {
    let mut unknown: Vec<_> = others
        .iter()
        .filter(|(key, _)| !SECTIONS.contains(&key.as_str()))
        .collect();
    unknown.sort_by_key(|(key, _)| *key);
    for (key, value) in unknown {
        let in_environment = format!("{PREFIX}__{}__", key.to_uppercase());
        let variable = load
            .environment
            .keys()
            .find(|name| name.starts_with(&in_environment));
        faults.add_section(Fault {
            key: key.clone(),
            origin: variable
                .cloned()
                .or_else(|| origin(value).map(str::to_owned)),
            problem: format!("not a section; this service reads {}", load.section),
        });
    }
}

/// `grpc:` with everything below it commented out means the defaults, not "nothing"; and a list may
/// be written as a text with commas, the one way that an environment variable has.
fn fit(value: &mut Value, default: &Value) {
    let origin = value.origin().map(str::to_owned);
    match (&mut value.kind, &default.kind) {
        (ValueKind::Nil, ValueKind::Table(_)) => *value = default.clone(),
        (ValueKind::Table(table), ValueKind::Table(defaults)) => {
            for (key, value) in table {
                if let Some(default) = defaults.get(key) {
                    fit(value, default);
                }
            }
        }
        (ValueKind::String(text), ValueKind::Array(_)) => {
            let items = text.split(',').map(str::trim).filter(|i| !i.is_empty());
            let items = items.map(|item| Value::new(origin.as_ref(), item));
            value.kind = ValueKind::Array(items.collect());
        }
        _ => {}
    }
}

fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> ConfigFaults {
    let file = file.display().to_string();
    ConfigFaults::one(&file, None, format!("cannot be read as YAML: {error}"))
}

fn from_json(value: serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => ValueKind::Nil,
        serde_json::Value::Bool(b) => b.into(),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => i.into(),
            (None, Some(u)) => u.into(),
            (None, None) => ValueKind::Float(n.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(s) => s.into(),
        serde_json::Value::Array(items) => {
            ValueKind::Array(items.into_iter().map(from_json).collect())
        }
        serde_json::Value::Object(fields) => {
            ValueKind::Table(fields.into_iter().map(|(k, v)| (k, from_json(v))).collect())
        }
    };
    Value::new(None, kind)
}

/// Values that know which file they are from.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    values: Value,
}

impl config::Source for Named {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        name_values(self.values.clone(), &self.name).into_table()
    }
}

fn name_values(value: Value, name: &str) -> Value {
    let name_all = |value| name_values(value, name);
    let kind = match value.kind {
        ValueKind::Table(fields) => {
            ValueKind::Table(fields.into_iter().map(|(k, v)| (k, name_all(v))).collect())
        }
        ValueKind::Array(items) => ValueKind::Array(items.into_iter().map(name_all).collect()),
        kind => kind,
    };
    Value::new(Some(&name.to_owned()), kind)
}
