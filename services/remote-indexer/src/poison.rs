//! Why a message can never be indexed.

use std::fmt;

/// A message that can never be indexed, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Poison {
    /// What kind of fault.
    pub reason: Reason,
    /// A sentence that names the field; never a value.
    pub detail: String,
}

/// What kind of fault a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No JSON, or a field of another type.
    BadJson,
    /// A field is not there that every message has.
    MissingField,
    /// `messageVersion` is less than 1.
    BadVersion,
    /// A resource type without tables.
    UnknownType,
    /// A reference to a type that the database does not know.
    UnknownReferenceType,
    /// A value is longer than its column.
    ValueTooLong,
    /// A value is null that must not be.
    NullValue,
    /// A value that PostgreSQL cannot hold.
    BadValue,
    /// A tenant that is not configured, where tenants are.
    UnknownTenant,
    /// The database refuses the values.
    RefusedByDatabase,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::BadJson,
        Self::MissingField,
        Self::BadVersion,
        Self::UnknownType,
        Self::UnknownReferenceType,
        Self::ValueTooLong,
        Self::NullValue,
        Self::BadValue,
        Self::UnknownTenant,
        Self::RefusedByDatabase,
    ];

    /// A short code that does not change.
    pub fn code(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::MissingField => "missing_field",
            Self::BadVersion => "bad_version",
            Self::UnknownType => "unknown_type",
            Self::UnknownReferenceType => "unknown_reference_type",
            Self::ValueTooLong => "value_too_long",
            Self::NullValue => "null_value",
            Self::BadValue => "bad_value",
            Self::UnknownTenant => "unknown_tenant",
            Self::RefusedByDatabase => "refused_by_database",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Poison {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }

    pub(crate) fn missing(field: &str) -> Self {
        Self::new(Reason::MissingField, format!("{field} is not there"))
    }

    pub(crate) fn bad_value(detail: impl Into<String>) -> Self {
        Self::new(Reason::BadValue, detail)
    }
}
