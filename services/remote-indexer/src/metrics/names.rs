//! What the labels of metrics may say.

/// Kinds of tables that rows are written to: those of a resource type without its name, and those of the
/// whole system.
pub const ROW_KINDS: [&str; 16] = [
    "str",
    "number",
    "date",
    "quantity",
    "latlng",
    "token",
    "tag",
    "profile",
    "security",
    "ref",
    "system_str",
    "system_date",
    "system_token",
    "system_tag",
    "system_profile",
    "system_security",
];

/// Tables that texts are looked up in, and added to.
pub const LOOKUP_TABLES: [&str; 5] = [
    "parameter_names",
    "code_systems",
    "common_token_values",
    "common_canonical_values",
    "logical_resource_ident",
];

/// Why a message was done with without being written, and without anything being wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Discard {
    /// The resource has a newer version.
    Superseded,
    /// The version is there from another attempt of the server: another time or other parameters.
    OtherAttempt,
    /// The server's transaction was not committed within `max_ready_time`.
    TimedOut,
    /// It names another `instanceIdentifier`.
    OtherInstance,
    /// It has no value, or its value is JSON's `null`.
    Empty,
}

impl Discard {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Superseded,
        Self::OtherAttempt,
        Self::TimedOut,
        Self::OtherInstance,
        Self::Empty,
    ];

    /// Its name in metrics and status.
    pub fn code(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::OtherAttempt => "other_attempt",
            Self::TimedOut => "timed_out",
            Self::OtherInstance => "other_instance",
            Self::Empty => "empty",
        }
    }
}

/// Why a transaction was tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryCause {
    /// PostgreSQL ended one of several that waited for each other.
    Deadlock,
    /// A lock was held by another for too long.
    LockTimeout,
    /// The connection was lost or could not be made.
    Connection,
    /// Any other passing error.
    Other,
}

impl RetryCause {
    pub(super) const ALL: [Self; 4] = [
        Self::Deadlock,
        Self::LockTimeout,
        Self::Connection,
        Self::Other,
    ];

    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::LockTimeout => "lock_timeout",
            Self::Connection => "connection",
            Self::Other => "other",
        }
    }
}
