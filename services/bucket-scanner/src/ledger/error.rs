use stoker_shared::retry::Retry;
use stoker_shared::store::{StoreError, StoreFault};

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database did not, or holds what it should not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Tables of the same names, made neither by Stoker nor by the Java fhir-bucket, are in the way.
    #[error(
        "{place}: holds a table {table} that neither Stoker nor fhir-bucket made; give another schema name"
    )]
    ForeignTables {
        /// Path, or address and schema.
        place: String,
        /// One of the tables.
        table: &'static str,
    },
    /// Tables of the Java fhir-bucket, and an instance of it that may be at work.
    #[error(
        "{place}: fhir-bucket is running on its tables there ({instances}), and both at once would load objects twice; stop it and start Stoker a minute later, which then takes the tables over"
    )]
    JavaRunning {
        /// Address and database.
        place: String,
        /// Its instances, with their hosts.
        instances: String,
    },
    /// The Java fhir-bucket has not made all of its tables.
    #[error(
        "{place}: the making of fhir-bucket's tables there was not ended (version {version}); run `fhir-bucket --create-schema` once more, or drop the schema"
    )]
    JavaUnfinished {
        /// Address and database.
        place: String,
        /// What it wrote of how far it came.
        version: i64,
    },
    /// Something of others hangs on the tables of the Java fhir-bucket.
    #[error(
        "{place}: the tables of fhir-bucket cannot be taken over, since others hold on to them ({reason}); drop the views and foreign keys that do, and make them again after"
    )]
    JavaInUse {
        /// Address and database.
        place: String,
        /// What PostgreSQL says.
        reason: String,
    },
    /// A write came under a lease that does not hold any more; nothing was changed.
    #[error("unit {unit_id}: the lease is lost: {reason}")]
    LeaseLost {
        /// The unit.
        unit_id: i64,
        /// Why, for a person.
        reason: String,
    },
    /// A scan went on after another scanner had taken its source; nothing was changed.
    #[error("source {source_id}: another scanner has taken over its scan")]
    ScanLost {
        /// The source.
        source_id: i64,
    },
    /// There is no such thing.
    #[error("{}", missing(what, *id))]
    NotFound {
        /// What was asked for.
        what: &'static str,
        /// Its id.
        id: i64,
    },
    /// What was asked for cannot be done as things stand.
    #[error("{0}")]
    NotNow(String),
    /// A commit that contradicts itself or what is committed already; nothing was changed.
    #[error("unit {unit_id}: the commit cannot be taken: {reason}")]
    BadCommit {
        /// The unit.
        unit_id: i64,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl StoreFault for LedgerError {
    fn store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }

    fn into_store(self) -> Result<StoreError, Self> {
        match self {
            Self::Store(error) => Ok(error),
            other => Err(other),
        }
    }
}

impl LedgerError {
    /// Whether the same call may succeed later.
    pub fn retry(&self) -> Retry {
        self.store().map_or(Retry::Never, StoreError::retry)
    }
}

/// A worker that a ledger does not know has only to register again.
fn missing(what: &str, id: i64) -> String {
    match what {
        "worker" => format!("worker {id} is not known here; register again"),
        "job" => format!("there is no job {id}; `stoker jobs` lists those there are"),
        what => format!("there is no {what} {id}"),
    }
}
