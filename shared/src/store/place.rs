//! What the databases' own errors mean.

use std::path::PathBuf;

use super::error::{StoreError, StoreFault, code, is_busy, sqlite_code};

/// Where a store lies, for messages.
#[derive(Debug, Clone)]
pub enum Place {
    /// A file, or `:memory:`.
    Sqlite(PathBuf),
    /// Address and database, without a password.
    Postgres(String),
}

impl Place {
    /// A path, or address and database.
    pub fn show(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(address) => address.clone(),
        }
    }

    /// Turns the database's own error into one that says what to do.
    pub fn explain<E: StoreFault>(&self, error: E) -> E {
        match error.into_store() {
            Ok(StoreError::Database(error)) => self.meaning(error).into(),
            Ok(told) => told.into(),
            Err(other) => other,
        }
    }

    fn meaning(&self, error: sqlx::Error) -> StoreError {
        match self {
            Self::Sqlite(path) => explain_sqlite(path.clone(), error),
            Self::Postgres(place) => explain_postgres(place.clone(), error),
        }
    }
}

fn explain_sqlite(path: PathBuf, error: sqlx::Error) -> StoreError {
    let place = path.display().to_string();
    if matches!(error, sqlx::Error::PoolTimedOut) {
        return StoreError::Overloaded { place };
    }
    if is_busy(&error) {
        return StoreError::Busy { place };
    }
    let Some(code) = sqlite_code(&error) else {
        return StoreError::Database(error);
    };
    match code {
        8 => StoreError::ReadOnly { place },
        11 | 26 => StoreError::NotADatabase { place },
        13 => StoreError::DiskFull { place },
        3 | 14 => {
            let reason = message_of(&error);
            StoreError::CannotOpen { path, reason }
        }
        _ => StoreError::Database(error),
    }
}

fn message_of(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .map(|e| e.message().to_owned())
        .unwrap_or_default()
}

fn explain_postgres(place: String, error: sqlx::Error) -> StoreError {
    use sqlx::Error;
    let reason = match &error {
        // A certificate that is refused.
        Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => {
            let reason = e.to_string();
            return StoreError::BadConnection { place, reason };
        }
        Error::Io(e) => e.to_string(),
        Error::PoolTimedOut => "no connection in time".to_owned(),
        Error::Tls(e) | Error::Configuration(e) => {
            let reason = e.to_string();
            return StoreError::BadConnection { place, reason };
        }
        _ => message_of(&error),
    };
    if matches!(error, Error::Io(_) | Error::PoolTimedOut) {
        return StoreError::Unreachable { place, reason };
    }
    // https://www.postgresql.org/docs/current/errcodes-appendix.html
    match code(&error).as_deref() {
        Some("28000" | "28P01") => StoreError::WrongPassword { place, reason },
        Some("3D000") => StoreError::DatabaseMissing { place },
        Some("42501") => StoreError::LacksRights { place, reason },
        Some("25006") => StoreError::Standby { place, reason },
        Some("53100") => StoreError::DiskFull { place },
        // Too many connections, a server that starts or stops, and one that hung up: this process slept too long.
        Some("53300" | "57P01" | "57P02" | "57P03" | "25P03") => {
            StoreError::Unreachable { place, reason }
        }
        // A time limit for locks or statements, and a fault of the server's disk.
        Some("55P03" | "57014" | "58030") => StoreError::Unserved { place, reason },
        // Insufficient resources.
        Some(code) if code.starts_with("53") => StoreError::Unserved { place, reason },
        _ => StoreError::Database(error),
    }
}

#[cfg(test)]
mod tests {
    use crate::retry::Retry;
    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
    use sqlx::{ConnectOptions, Executor};

    use super::*;

    async fn explained(conn: &mut SqliteConnection, sql: &'static str) -> StoreError {
        let error = conn.execute(sql).await.unwrap_err();
        Place::Sqlite("/x/x.sqlite".into()).explain(StoreError::Database(error))
    }

    #[tokio::test]
    async fn a_full_disk_is_told() {
        let mut conn = SqliteConnectOptions::new()
            .in_memory(true)
            .connect()
            .await
            .unwrap();
        conn.execute("PRAGMA max_page_count = 2; CREATE TABLE t (x BLOB)")
            .await
            .unwrap();
        let error = explained(&mut conn, "INSERT INTO t VALUES (zeroblob(100000))").await;
        assert!(matches!(&error, StoreError::DiskFull { place } if place.contains("/x/")));
        assert_eq!(error.retry(), Retry::After(None));
    }

    #[tokio::test]
    async fn a_read_only_file_and_a_busy_one_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new().filename(folder.path().join("x"));
        let mut writer = options
            .clone()
            .create_if_missing(true)
            .connect()
            .await
            .unwrap();
        writer.execute("CREATE TABLE t (x)").await.unwrap();
        let mut reader = options.clone().read_only(true).connect().await.unwrap();
        let error = explained(&mut reader, "INSERT INTO t VALUES (1)").await;
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
        writer.execute("BEGIN IMMEDIATE").await.unwrap();
        let quick = options.busy_timeout(std::time::Duration::ZERO);
        let mut second = quick.connect().await.unwrap();
        let error = explained(&mut second, "INSERT INTO t VALUES (1)").await;
        assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    }
}
