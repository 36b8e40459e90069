//! Configuration: defaults, then a file, then the environment, then flags; all faults at once.
//!
//! A file holds one section a service, named like it with underscores. A file for one service has
//! one section; one `stoker.yaml` may hold all of them, and each service reads its own:
//!
//! ```yaml
//! bucket_scanner:
//!   service:
//!     http_listen: 127.0.0.1:7801
//! loader_worker:
//!   service:
//!     shutdown_deadline: 1m
//! ```
//!
//! In the environment the same keys are `STOKER__BUCKET_SCANNER__SERVICE__HTTP_LISTEN`. Sections of
//! other services are let alone; anything else that is not a known key is a fault.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

mod faults;
mod layers;
mod strict;
mod yaml;

pub use faults::{ConfigFaults, Fault, Faults};

/// Sections that a file may hold.
pub const SECTIONS: [&str; 9] = [
    "bucket_scanner",
    "loader_worker",
    "reindex_driver",
    "remote_indexer",
    "backup_agent",
    "load_driver",
    "ops_monitor",
    "console",
    "cli",
];

/// What a section is read into.
///
/// To be derived with `#[serde(deny_unknown_fields)]`. Keys that are not given keep what `Default`
/// says, also within nested structs; so defaults hold no secrets, and no enum variants with fields.
pub trait Settings: Serialize + DeserializeOwned + Default {
    /// Reports values that have the right type but make no sense.
    fn validate(&self, faults: &mut Faults);
}

/// Where to read from.
#[derive(Debug, Clone)]
pub struct Load {
    /// The file given with `--config`. Else `STOKER_CONFIG` names it; else it is `stoker.yaml` in
    /// `folder`, or `stoker/stoker.yaml` in `$XDG_CONFIG_HOME`, if there is one.
    pub file: Option<PathBuf>,
    /// The section, e.g. `bucket_scanner`.
    pub section: String,
    /// Keys within the section and their values, from flags.
    pub overrides: Vec<(String, String)>,
    /// The environment's variables.
    pub environment: BTreeMap<String, String>,
    /// The working folder.
    pub folder: PathBuf,
}

impl Load {
    /// The section of a service, whose name may have hyphens, with the process's environment and
    /// working folder.
    pub fn section(name: &str) -> Self {
        // A name or value that is not UTF-8 is kept as well as it can be, so that it becomes a fault
        // if it is meant for us.
        let environment = std::env::vars_os().map(|(k, v)| {
            (
                k.to_string_lossy().into_owned(),
                v.to_string_lossy().into_owned(),
            )
        });
        Self {
            file: None,
            section: name.replace('-', "_"),
            overrides: Vec::new(),
            environment: environment.collect(),
            folder: PathBuf::new(),
        }
    }
}

/// Reads and checks a section.
pub fn load<C: Settings>(load: &Load) -> Result<C, ConfigFaults> {
    let layers = layers::gather::<C>(load)?;
    let mut faults = Faults::new(&load.section, layers.values.clone());
    layers::check_sections(load, &layers.others, &mut faults);
    let config: Option<C> = strict::read(layers.values, &layers.defaults, &mut faults);
    if let Some(config) = &config {
        config.validate(&mut faults);
    }
    match (config, faults.into_result()) {
        (Some(config), Ok(())) => Ok(config),
        (_, Err(faults)) => Err(faults),
        (None, Ok(())) => Err(ConfigFaults::one(&load.section, None, "cannot be read")),
    }
}

/// The file that [`load`] reads, if any.
pub fn file(load: &Load) -> Option<PathBuf> {
    layers::find_file(load)
}

/// A configuration in effect as YAML, secrets as `***`.
pub fn show<C: Settings>(section: &str, config: &C) -> Result<String, serde_json::Error> {
    let values = serde_json::to_value(config)?;
    Ok(yaml::write(&serde_json::json!({ section: values })))
}

/// Splits `KEY=VALUE`, for flags.
pub fn parse_override(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("give KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests;
