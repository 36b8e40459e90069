//! HAPI's table of batch jobs, `BT2_JOB_INSTANCE`, read only. Which columns it has depends on HAPI's version: those of
//! 7.6.1 are known here, and one that is missing says nothing.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use stoker_shared::retry::Retry;
use stoker_shared::secret::SecretError;
use stoker_shared::store::{Connect, Place, PostgresOptions, StoreError, postgres};

use crate::config::HapiSettings;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// PostgreSQL's code for a table that is not there.
const UNDEFINED_TABLE: &str = "42P01";

/// A job for everything names every type the server knows, 146 in FHIR R4; one that names some types, fewer.
const TYPES_OF_EVERYTHING: usize = 100;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Jobs {
    pool: PgPool,
    place: Place,
}

/// Why HAPI's database did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobsError {
    #[error(transparent)]
    Password(#[from] SecretError),
    #[error(
        "{place}: there is no table BT2_JOB_INSTANCE; check database and schema of reindex_driver.hapi"
    )]
    NoTable { place: String },
    #[error("{error}; check reindex_driver.hapi")]
    Store { error: StoreError },
    #[error("HAPI's database holds a job that cannot be read: {0}")]
    Strange(#[from] serde_json::Error),
}

impl JobsError {
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Store { error } if error.retry() != Retry::Never)
    }
}

/// A row of the table.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Job {
    /// HAPI's own word for it.
    #[serde(rename = "stat")]
    pub(crate) state: String,
    /// Resources done.
    #[serde(default, rename = "cmb_recs_processed")]
    pub(crate) processed: Option<u64>,
    #[serde(default, rename = "cmb_recs_per_sec")]
    pub(crate) per_second: Option<f64>,
    #[serde(default, rename = "error_count")]
    pub(crate) errors: u64,
    #[serde(default, rename = "error_msg")]
    pub(crate) error: Option<String>,
    #[serde(default, rename = "warning_msg")]
    pub(super) warning: Option<String>,
}

/// Where a job stands. `ca.uhn.fhir.batch2.model.StatusEnum` has QUEUED, `IN_PROGRESS`, FINALIZE and ERRORED, which is
/// tried again by HAPI itself, for one that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    UnderWay,
    Completed,
    Failed,
    Cancelled,
}

impl Job {
    pub(crate) fn is(&self) -> State {
        match self.state.as_str() {
            "COMPLETED" => State::Completed,
            "FAILED" => State::Failed,
            "CANCELLED" => State::Cancelled,
            _ => State::UnderWay,
        }
    }

    /// What HAPI says of errors.
    pub(crate) fn said(&self) -> String {
        let said = [&self.error, &self.warning].into_iter().flatten();
        let said: Vec<&str> = said
            .map(|text| text.trim())
            .filter(|t| !t.is_empty())
            .collect();
        said.join("; ")
    }
}

/// A row of the table, for whether it is the job that was asked for.
#[derive(Debug, Deserialize)]
struct Asked {
    id: String,
    /// Short ones, in older versions.
    #[serde(default)]
    params_json: Option<String>,
    #[serde(default)]
    params_json_vc: Option<String>,
}

impl Asked {
    /// Whether it is for the same searches; for everything when there are none.
    fn is_for(&self, searches: &[String]) -> bool {
        let text = self.params_json_vc.as_ref().or(self.params_json.as_ref());
        let parameters = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let urls = parameters
            .as_ref()
            .and_then(|p| p["partitionedUrl"].as_array());
        let urls = urls.into_iter().flatten();
        let mut urls: Vec<&str> = urls.filter_map(|url| url["url"].as_str()).collect();
        if searches.is_empty() {
            return urls.len() > TYPES_OF_EVERYTHING && urls.iter().all(|url| url.ends_with('?'));
        }
        let mut searches: Vec<&str> = searches.iter().map(String::as_str).collect();
        urls.sort_unstable();
        searches.sort_unstable();
        urls == searches
    }
}

impl Jobs {
    /// None where no database is configured. Does not connect.
    pub(crate) fn of(settings: &HapiSettings) -> Result<Option<Self>, JobsError> {
        let Some(url) = &settings.database else {
            return Ok(None);
        };
        let options = PostgresOptions {
            schema: settings.schema.clone(),
            password: settings.password()?,
            password_file: None,
            connections: 1,
        };
        let connect = postgres::connect(url.expose(), &options);
        let Connect { how, place, .. } = connect.map_err(|error| JobsError::Store { error })?;
        let pool = PgPoolOptions::new()
            .max_connections(options.connections)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(how);
        Ok(Some(Self { pool, place }))
    }

    pub(crate) async fn get(&self, id: &str) -> Result<Option<Job>, JobsError> {
        let ask = sqlx::query_scalar::<_, String>(
            "SELECT CAST(to_jsonb(job) - 'report' AS TEXT) FROM bt2_job_instance job WHERE id = $1",
        );
        let found = ask.bind(id).fetch_optional(&self.pool).await;
        let found = found.map_err(|error| self.explain(error))?;
        Ok(found.map(|row| serde_json::from_str(&row)).transpose()?)
    }

    /// Of all jobs that reindex.
    pub(crate) async fn ids(&self) -> Result<Vec<String>, JobsError> {
        let ask = sqlx::query_scalar(
            "SELECT id FROM bt2_job_instance WHERE definition_id = 'REINDEX' ORDER BY id",
        );
        let ids = ask.fetch_all(&self.pool).await;
        ids.map_err(|error| self.explain(error))
    }

    /// A job for these searches, for everything when there are none, that was not there before: the oldest. Whoever
    /// started it, it does what is asked for.
    pub(crate) async fn new_one(
        &self,
        searches: &[String],
        before: &[String],
    ) -> Result<Option<String>, JobsError> {
        let ask = sqlx::query_scalar::<_, String>(
            "SELECT CAST(to_jsonb(job) - 'report' AS TEXT) FROM bt2_job_instance job \
             WHERE definition_id = 'REINDEX' AND NOT id = ANY ($1) ORDER BY create_time, id",
        );
        let found = ask.bind(before).fetch_all(&self.pool).await;
        for row in found.map_err(|error| self.explain(error))? {
            let job: Asked = serde_json::from_str(&row)?;
            if job.is_for(searches) {
                return Ok(Some(job.id));
            }
        }
        Ok(None)
    }

    fn explain(&self, error: sqlx::Error) -> JobsError {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        if code.as_deref() == Some(UNDEFINED_TABLE) {
            return JobsError::NoTable {
                place: self.place.show(),
            };
        }
        JobsError::Store {
            error: self.place.explain(StoreError::from(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(urls: &[String]) -> Asked {
        let urls: Vec<Value> = urls
            .iter()
            .map(|url| serde_json::json!({ "url": url, "requestPartitionId": { "allPartitions": true } }))
            .collect();
        Asked {
            id: "a".to_owned(),
            params_json: None,
            params_json_vc: Some(serde_json::json!({ "partitionedUrl": urls }).to_string()),
        }
    }

    #[test]
    fn a_job_is_known_by_its_searches() {
        let searches = ["Patient?active=true", "Account?"].map(str::to_owned);
        let swapped = ["Account?", "Patient?active=true"].map(str::to_owned);
        assert!(asked(&searches).is_for(&swapped));
        assert!(!asked(&searches).is_for(&swapped[..1]));
        assert!(!asked(&searches).is_for(&[]));
        let types: Vec<String> = (0..146).map(|n| format!("Type{n}?")).collect();
        assert!(asked(&types).is_for(&[]));
        assert!(!asked(&types).is_for(&searches));
        let unreadable = Asked {
            params_json_vc: None,
            ..asked(&searches)
        };
        assert!(!unreadable.is_for(&searches) && !unreadable.is_for(&[]));
    }

    #[test]
    fn a_row_is_read_whatever_else_it_holds() {
        let row = r#"{"id":"a","stat":"FAILED","error_count":2,"error_msg":"no","warning_msg":" odd ",
            "cmb_recs_processed":null,"new_column":{}}"#;
        let job: Job = serde_json::from_str(row).unwrap();
        assert_eq!(
            (job.is(), job.errors, job.processed),
            (State::Failed, 2, None)
        );
        assert_eq!(job.said(), "no; odd");
    }
}
