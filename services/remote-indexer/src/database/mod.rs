//! The FHIR server's database: connections, and what its errors mean.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt as _;
use stoker_shared::mounted::Mounted;
pub use stoker_shared::postgres::address::BadUrl;
use stoker_shared::postgres::address::{self, Address};
use stoker_shared::postgres::tls;
pub use stoker_shared::postgres::tls::PostgresTlsError;
use stoker_shared::secret::SecretError;
use tokio::task::AbortHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::DatabaseSettings;

mod error;
mod schema;

pub(crate) use error::DbError;
pub(crate) use schema::{Schema, Types};

/// A database that does not answer is taken for gone.
const CONNECT: Duration = Duration::from_secs(10);

/// Bytes of rows that are sent at once: what is on its way is held twice.
const PIECE: usize = 64 << 10;

/// Every statement looks rows up by an index, whatever young statistics say; what is read whole costs so much by that
/// account that PostgreSQL would compile it, which takes longer than reading. No lock is waited for longer than
/// others of us hold one: who is in the way of longer is let go first. What a process that hangs has locked is free
/// again after ten seconds: the FHIR server waits for those rows too.
const SESSION: &str = "SET lock_timeout = '25ms'; SET plan_cache_mode = force_generic_plan; SET jit = off; \
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
    SET TIME ZONE 'UTC'; SET synchronous_commit = on; SET idle_in_transaction_session_timeout = '10s';";

/// Citus: statements on many shards one after the other, as `spec/fhir-remote-index.md` §2 says.
const CITUS: &str = "SET SESSION citus.multi_shard_modify_mode TO 'sequential'";

/// Opens connections to one database; when the files of the password or the certificates change, by what they hold
/// then.
#[derive(Clone)]
pub(crate) struct Database {
    reach: Arc<Mounted<Reach>>,
    citus: bool,
}

/// How to connect, and where to.
#[derive(Clone)]
struct Reach {
    config: tokio_postgres::Config,
    tls: Option<MakeRustlsConnect>,
}

/// Why the database cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseConfigError {
    /// The password cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The URL cannot be used.
    #[error("database.url: {0}")]
    Url(#[from] BadUrl),
    /// The certificates that it names cannot be used.
    #[error("database.url: {0}")]
    Tls(#[from] PostgresTlsError),
    /// None is given.
    #[error("database.url must be given, such as postgres://user@host:5432/database")]
    None,
}

impl Database {
    /// As configured; does not connect.
    pub(crate) fn of(settings: &DatabaseSettings) -> Result<Self, DatabaseConfigError> {
        let url = settings.url.as_ref().ok_or(DatabaseConfigError::None)?;
        let Address {
            mut config,
            security,
        } = address::parse(url.expose())?;
        config
            .application_name("stoker-remote-indexer")
            .connect_timeout(CONNECT)
            .keepalives_idle(CONNECT);
        let files = settings.password_file.iter().cloned();
        let files = files.chain(security.files()).collect();
        let given = settings.clone();
        let reach = move || -> Result<_, DatabaseConfigError> {
            let mut config = config.clone();
            if let Some(password) = given.password()? {
                config.password(password.expose());
            }
            let tls = tls::client_config(&security)?.map(MakeRustlsConnect::new);
            Ok(Reach { config, tls })
        };
        Ok(Self {
            reach: Arc::new(Mounted::new(files, reach)?),
            citus: settings.citus,
        })
    }

    /// A connection that is ready for work.
    pub(crate) async fn connect(&self) -> Result<Connection, DbError> {
        let connecting = tokio::time::timeout(CONNECT, self.open());
        let (client, driver) = connecting.await.map_err(|_| DbError::silent(CONNECT))??;
        let connection = Connection {
            client,
            driver,
            statements: HashMap::new(),
            is_closed: false,
        };
        connection.simple(SESSION).await?;
        if self.citus {
            connection.simple(CITUS).await?;
        }
        Ok(connection)
    }

    async fn open(&self) -> Result<(Client, AbortHandle), DbError> {
        // Who drives a connection learns of its end from the client's calls.
        let Reach { config, tls } = self.reach.get();
        if let Some(tls) = tls {
            let (client, driver) = config.connect(tls).await?;
            return Ok((client, tokio::spawn(driver).abort_handle()));
        }
        let (client, driver) = config.connect(NoTls).await?;
        Ok((client, tokio::spawn(driver).abort_handle()))
    }

    /// `host:port/database`, for people.
    pub(crate) fn place(&self) -> String {
        address::place(&self.reach.get().config)
    }
}

/// A connection, and the statements that it has prepared: twelve for each type met, and some that types share.
pub(crate) struct Connection {
    client: Client,
    driver: AbortHandle,
    statements: HashMap<String, Statement>,
    is_closed: bool,
}

/// Parameters of a statement.
pub(crate) type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

impl Connection {
    /// Whether it was not seen to end.
    pub(crate) fn is_open(&self) -> bool {
        !(self.is_closed || self.client.is_closed())
    }

    /// Ends it, and its transaction.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        self.driver.abort();
    }

    /// Statements without parameters and results.
    pub(crate) async fn simple(&self, sql: &str) -> Result<(), DbError> {
        Ok(self.client.batch_execute(sql).await?)
    }

    /// All rows of a statement.
    pub(crate) async fn rows(
        &mut self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, DbError> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query(&statement, params).await?)
    }

    /// How many rows a statement changed.
    pub(crate) async fn execute(&mut self, sql: &str, params: Params<'_>) -> Result<u64, DbError> {
        let statement = self.statement(sql).await?;
        Ok(self.client.execute(&statement, params).await?)
    }

    /// Several statements, sent at once; the rows of each.
    pub(crate) async fn rows_each(
        &mut self,
        statements: &[(String, Params<'_>)],
    ) -> Result<Vec<Vec<Row>>, DbError> {
        let prepared = self
            .statements(statements.iter().map(|(sql, _)| sql))
            .await?;
        let prepared = prepared.iter().zip(statements);
        all(prepared.map(|(statement, (_, params))| self.client.query(statement, params))).await
    }

    /// Of each of these texts, prepared.
    pub(crate) async fn statements<'t>(
        &mut self,
        texts: impl Iterator<Item = &'t String> + Clone,
    ) -> Result<Vec<Statement>, DbError> {
        let new: BTreeSet<&String> = texts
            .clone()
            .filter(|sql| !self.statements.contains_key(*sql))
            .collect();
        let prepared = all(new.iter().map(|sql| self.client.prepare(sql))).await?;
        let new = new.into_iter().cloned();
        self.statements.extend(new.zip(prepared));
        Ok(texts
            .filter_map(|sql| self.statements.get(sql).cloned())
            .collect())
    }

    /// How many rows a `COPY … FROM STDIN` took; several may be under way, one behind the other. Where one fails, the
    /// connection is to be closed: tokio-postgres ends it twice when the server refuses to begin it, and takes the
    /// answer to the second end for the next statement's.
    pub(crate) async fn copy(&self, sql: &Statement, mut data: Bytes) -> Result<u64, DbError> {
        let sink = self.client.copy_in(sql).await?;
        futures::pin_mut!(sink);
        while !data.is_empty() {
            sink.feed(data.split_to(data.len().min(PIECE))).await?;
        }
        Ok(sink.finish().await?)
    }

    async fn statement(&mut self, sql: &str) -> Result<Statement, DbError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// The results of what is under way at once. Of several that fail, the first says why; the others only that the
/// transaction had failed.
async fn all<T>(
    sent: impl IntoIterator<Item = impl Future<Output = Result<T, tokio_postgres::Error>>>,
) -> Result<Vec<T>, DbError> {
    let done = futures::future::join_all(sent).await;
    Ok(done.into_iter().collect::<Result<_, _>>()?)
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
