use std::fmt;

use config::Value;

use super::strict::{find, origin};

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key with its section: `bucket_scanner.service.http_listen`.
    pub key: String,
    /// The file, environment variable or flag it came from; none when that is not known.
    pub origin: Option<String>,
    /// What is wrong and what is expected.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)?;
        match &self.origin {
            Some(origin) => write!(f, " (from {origin})"),
            None => Ok(()),
        }
    }
}

/// All that is wrong with a configuration: at least one fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigFaults(pub Vec<Fault>);

impl ConfigFaults {
    pub(super) fn one(key: &str, origin: Option<String>, problem: impl Into<String>) -> Self {
        Self(vec![Fault {
            key: key.to_owned(),
            origin,
            problem: problem.into(),
        }])
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used; correct these keys:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// Collects faults while a configuration is read.
#[derive(Debug)]
pub struct Faults {
    section: String,
    values: Value,
    found: Vec<Fault>,
}

impl Faults {
    pub(super) fn new(section: &str, values: Value) -> Self {
        Self {
            section: section.to_owned(),
            values,
            found: Vec::new(),
        }
    }

    /// Reports a key of the section, such as `service.http_listen`: what is wrong and what is
    /// expected.
    pub fn add(&mut self, key: &str, problem: impl Into<String>) {
        let path: Vec<&str> = key.split('.').filter(|part| !part.is_empty()).collect();
        let origin = find(&self.values, &path).and_then(origin);
        let origin = origin.map(|origin| self.name_origin(origin, &path));
        let mut full = vec![self.section.as_str()];
        full.extend(path);
        self.found.push(Fault {
            key: full.join("."),
            origin,
            problem: problem.into(),
        });
    }

    pub(super) fn add_section(&mut self, fault: Fault) {
        self.found.push(fault);
    }

    pub(super) fn into_result(self) -> Result<(), ConfigFaults> {
        if self.found.is_empty() {
            Ok(())
        } else {
            Err(ConfigFaults(self.found))
        }
    }

    fn name_origin(&self, origin: &str, path: &[&str]) -> String {
        if origin != "the environment" {
            return origin.to_owned();
        }
        let mut name = format!("{}__{}", super::layers::PREFIX, self.section);
        for part in path {
            name = format!("{name}__{part}");
        }
        name.to_uppercase()
    }
}
