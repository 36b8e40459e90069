//! What the properties cannot be understood for.

use super::jaas::JaasError;

/// Why Kafka cannot be used as a Java consumer's properties say.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JavaError {
    /// A property is needed that is not there.
    #[error("{name} is missing; {advice}")]
    Missing {
        /// The property.
        name: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A value that Java would not take either.
    #[error("{name}={value}: is not {expected}")]
    Value {
        /// The property.
        name: String,
        /// What is given; never a secret.
        value: String,
        /// What it takes.
        expected: String,
    },
    /// Java can, and this cannot.
    #[error("{name}={value}: is not supported; {advice}")]
    Unsupported {
        /// The property.
        name: &'static str,
        /// What is given; never a secret.
        value: String,
        /// What to use.
        advice: &'static str,
    },
    /// The line that says who we are.
    #[error("sasl.jaas.config: {0}")]
    Jaas(#[from] JaasError),
    /// The text of a property is no PEM.
    #[error(
        "{name}: holds no PEM; give -----BEGIN …----- to -----END …-----, or name a file by {file}"
    )]
    NoPem {
        /// The property.
        name: &'static str,
        /// The property that takes a file.
        file: &'static str,
    },
}

impl JavaError {
    pub(super) fn value(name: &str, value: &str, expected: &str) -> Self {
        Self::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            expected: expected.to_owned(),
        }
    }
}
