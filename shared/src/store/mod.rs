//! Tables that a service keeps in SQLite or PostgreSQL: where they are, how they are opened and brought up
//! to date, and what the databases' own errors mean.
//!
//! A service writes its statements once, in SQL that both databases understand, and compiles them for each
//! (`docs/adr/0002-sqlx-one-text-two-databases.md`). [`in_transaction!`](crate::in_transaction) and
//! [`with_connection!`](crate::with_connection) run them.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::NaiveDateTime;
use sqlx::Pool;
use tokio_util::task::AbortOnDropHandle;

pub mod columns;
mod connect;
mod error;
mod place;
pub mod postgres;
pub mod rows;
pub mod sqlite;
mod transaction;
mod url;

use crate::clock::SharedClock;
use crate::secret::Secret;

pub use connect::Connect;
pub use error::{StoreError, StoreFault};
pub use place::Place;
pub use transaction::{Conflicts, breaks_connection};
pub use url::StoreUrl;

/// What PostgreSQL is opened with besides its URL.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The schema that holds the tables.
    pub schema: String,
    /// The user's password, when the URL holds none.
    pub password: Option<Secret>,
    /// The file that it was read from, if any: what is in it later is used from then on.
    pub password_file: Option<PathBuf>,
    /// Connections of this process, at most; 2 at least.
    pub connections: u32,
}

/// Tables by number, each a script that brings them from the version before to its own. Scripts are only
/// ever added.
#[derive(Debug, Clone, Copy)]
pub struct Versions {
    /// The table that notes which of them have been run.
    pub table: &'static str,
    /// From version 1.
    pub scripts: &'static [&'static str],
}

impl Versions {
    /// The last one known here.
    pub fn last(&self) -> i64 {
        i64::try_from(self.scripts.len()).unwrap_or(i64::MAX)
    }
}

/// An open database.
#[derive(Debug)]
pub struct Store<D: sqlx::Database> {
    /// Of SQLite one connection.
    pub write: Pool<D>,
    /// Sees what has been committed.
    pub read: Pool<D>,
    /// Gives the times of rows.
    pub clock: SharedClock,
    /// For messages.
    pub place: Place,
    /// Ends with the last clone.
    following: Option<Arc<AbortOnDropHandle<()>>>,
}

impl<D: sqlx::Database> Store<D> {
    /// The time for a row, in UTC.
    pub fn now(&self) -> NaiveDateTime {
        self.clock.now().naive_utc()
    }
}

impl<D: sqlx::Database> Clone for Store<D> {
    fn clone(&self) -> Self {
        Self {
            write: self.write.clone(),
            read: self.read.clone(),
            clock: self.clock.clone(),
            place: self.place.clone(),
            following: self.following.clone(),
        }
    }
}
