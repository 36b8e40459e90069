//! The store of reindexing runs: reachable, with the rights to make and use its tables.

use reindex_driver::Config;
use stoker_shared::clock::SystemClock;
use stoker_shared::store::{PostgresOptions, StoreError, StoreUrl, postgres, sqlite};

use super::finding::{Finding, in_time};
use crate::commands::reindex::keep_runs;
use crate::output::one_sentence;

const WHAT: &str = "reindex runs";

/// None where the configuration has faults.
pub(super) async fn check(config: Option<Config>) -> Vec<Finding> {
    let Some(mut config) = config else {
        return vec![Finding::none(WHAT, false, "", "")];
    };
    if let Err(error) = keep_runs(&mut config) {
        return vec![Finding::error(WHAT, one_sentence(&error))];
    }
    let runs = &config.runs;
    let options = PostgresOptions {
        schema: runs.schema.clone(),
        // Found to be readable when the configuration was read.
        password: runs.password().ok().flatten(),
        password_file: None,
        connections: runs.connections,
    };
    let none_yet = "none yet; the first reindexing makes it";
    let finding = match in_time(WHAT, look(runs.url.clone(), &options, none_yet)).await {
        Err(late) => return late,
        Ok(Ok(detail)) => Finding::ok(WHAT, detail),
        Ok(Err(error)) => Finding::error(WHAT, error),
    };
    vec![finding]
}

/// Looks at a store without making it.
pub(super) async fn look(
    url: Option<StoreUrl>,
    options: &PostgresOptions,
    none_yet: &str,
) -> Result<String, StoreError> {
    match url.unwrap_or(StoreUrl::Memory) {
        StoreUrl::Memory => Ok("in memory, gone with the process".to_owned()),
        StoreUrl::Sqlite(path) => {
            sqlite::look(Some(&path)).await?;
            let none = if path.exists() {
                String::new()
            } else {
                format!(", {none_yet}")
            };
            Ok(format!("{}{none}", path.display()))
        }
        StoreUrl::Postgres(url) => {
            let connect = postgres::connect(&url, options)?;
            let found = postgres::look(&connect, &SystemClock).await?;
            Ok(format!(
                "{}, PostgreSQL {}",
                connect.place.show(),
                found.version
            ))
        }
    }
}
