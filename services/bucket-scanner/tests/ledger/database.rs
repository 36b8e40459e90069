//! A database on the server that tests run on.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// A database of its own on the server that `STOKER_TEST_POSTGRES` names; dropped at the end.
pub(crate) struct Database {
    pub(crate) url: String,
    server: String,
    name: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        Self::create_as("").await
    }

    /// With more words of `CREATE DATABASE`.
    pub(crate) async fn create_as(how: &str) -> Self {
        let server = std::env::var("STOKER_TEST_POSTGRES").unwrap_or_else(|_| {
            panic!(
                "STOKER_TEST_POSTGRES is not set: run `make test`, or set it to the URL of a \
                 PostgreSQL server on which the user may create databases"
            )
        });
        let name = format!("ledger_{}", uuid::Uuid::new_v4().simple());
        let mut conn = PgConnection::connect(&server).await.unwrap();
        let create = format!("CREATE DATABASE {name} {how}");
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(&mut conn)
            .await
            .unwrap();
        let (start, _) = server.rsplit_once("/postgres").unwrap_or((&server, ""));
        Self {
            url: format!("{start}/{name}"),
            server,
            name,
        }
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let server = self.server.clone();
        // A runtime of its own: the test's cannot wait in a Drop.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let mut conn = PgConnection::connect(&server).await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(drop))
                    .execute(&mut conn)
                    .await
                    .unwrap();
            });
        });
        let dropped = dropped.join();
        assert!(dropped.is_ok() || std::thread::panicking());
    }
}
