//! What an error of the database means.

use std::time::Duration;

use crate::metrics::RetryCause;

/// Why something could not be done in the database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    /// It may be done at once: another transaction was in the way.
    #[error("another transaction was in the way: {}", said(source))]
    InTheWay {
        /// What kind of.
        cause: RetryCause,
        /// The database's error.
        source: tokio_postgres::Error,
    },
    /// A row was gone that was there before: the server erased a resource, or someone tidied up the lookups.
    #[error("a row was gone that was there before")]
    RowGone(#[source] Option<tokio_postgres::Error>),
    /// The database is away, or was.
    #[error("the database cannot be used: {}", said(.0))]
    Away(tokio_postgres::Error),
    /// It does not answer.
    #[error("the database does not answer within {}", humantime(*.0))]
    Silent(Duration),
    /// It refuses values of a message.
    #[error("the database refuses a value: {}", said(.0))]
    Refused(tokio_postgres::Error),
    /// It refuses us, or does not have what every FHIR database has.
    #[error("{}; check database.url, the user's rights and database.schema", said(.0))]
    Unusable(tokio_postgres::Error),
}

impl DbError {
    /// An id that was there when the batch began is not known any more.
    pub(crate) fn unresolved() -> Self {
        Self::RowGone(None)
    }

    pub(crate) fn silent(limit: Duration) -> Self {
        Self::Silent(limit)
    }

    /// Why it is to be tried again; none where values are refused.
    pub(crate) fn cause(&self) -> Option<RetryCause> {
        match self {
            Self::InTheWay { cause, .. } => Some(*cause),
            Self::RowGone(_) => Some(RetryCause::Other),
            Self::Away(_) | Self::Silent(_) | Self::Unusable(_) => Some(RetryCause::Connection),
            Self::Refused(_) => None,
        }
    }

    /// Whether the connection may be used again.
    pub(crate) fn spares_connection(&self) -> bool {
        matches!(
            self,
            Self::InTheWay { .. } | Self::RowGone(_) | Self::Refused(_)
        )
    }
}

impl From<tokio_postgres::Error> for DbError {
    fn from(source: tokio_postgres::Error) -> Self {
        let Some(code) = source.code().map(|state| state.code().to_owned()) else {
            return Self::Away(source);
        };
        let cause = match code.as_str() {
            "40P01" => RetryCause::Deadlock,
            "55P03" => RetryCause::LockTimeout,
            "23503" => return Self::RowGone(Some(source)),
            "40001" | "57014" | "55006" | "53200" | "53100" => RetryCause::Other,
            // The server's tables have changed since statements were prepared.
            "0A000" | "26000" => return Self::Away(source),
            _ => {
                return match &code[..2] {
                    "22" | "23" => Self::Refused(source),
                    "28" | "3D" | "3F" | "42" => Self::Unusable(source),
                    _ => Self::Away(source),
                };
            }
        };
        Self::InTheWay { cause, source }
    }
}

/// What the database says, without values: those stand in its details.
pub(crate) fn said(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", said.message(), said.code().code());
    }
    let reason = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", reason.unwrap_or_default())
}

fn humantime(limit: Duration) -> String {
    format!("{} s", limit.as_secs())
}
