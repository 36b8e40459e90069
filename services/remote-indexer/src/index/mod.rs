//! What becomes of messages: decode → await ready → resolve → write, and dead letters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use stoker_shared::clock::SharedClock;
use stoker_shared::retry::Backoff;
use tokio_util::sync::CancellationToken;

use crate::consume::Record;
use crate::database::{Connection, Database, DbError, Schema};
use crate::dead_letters::{DeadLetter, DeadLetters};
use crate::message::{self, Head, Sight};
use crate::metrics::{Discard, IndexMetrics};
use crate::poison::{Poison, Reason};

mod round;

/// Pauses before a failed batch is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A batch that is not done by then has lost its database.
const BATCH: Duration = Duration::from_mins(5);

/// The schemas that messages go to.
#[derive(Debug, Clone)]
pub(crate) enum Schemas {
    /// All to one, whatever their tenant.
    One(Arc<Schema>),
    /// By tenant.
    ByTenant(BTreeMap<String, Arc<Schema>>),
}

/// Indexes messages over one connection to the database.
pub(crate) struct Indexer {
    /// Where the connection goes.
    pub(crate) database: Database,
    /// The connection; made when there is none.
    pub(crate) connection: Option<Connection>,
    /// Where rows go.
    pub(crate) schemas: Schemas,
    /// Where poison goes.
    pub(crate) dead_letters: DeadLetters,
    /// Whose messages are taken.
    pub(crate) instance: String,
    /// Then a version that is not there is taken for rolled back.
    pub(crate) max_ready_time: Duration,
    /// Counts.
    pub(crate) metrics: IndexMetrics,
    /// Tells the time.
    pub(crate) clock: SharedClock,
    /// What is the matter, for people.
    pub(crate) trouble: Trouble,
    /// Of the last messages none was early or late.
    pub(crate) all_in_time: bool,
}

/// What is the matter, if anything; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// In words.
    pub(crate) fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// A message on its way.
#[derive(Debug)]
struct Item {
    record: Record,
    state: State,
}

#[derive(Debug)]
enum State {
    /// To be looked at.
    Open(Arc<Schema>, Head),
    /// Its version is not there, or held by another transaction just now.
    Wait,
    Done,
    Poison(Poison),
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// Their effect is durable, or they have none.
    pub(crate) done: Vec<Record>,
    /// To be looked at again.
    pub(crate) waiting: Vec<Record>,
}

impl Indexer {
    /// Does with each message what can be done now. Tries until it succeeds; when `stop` comes first, messages that
    /// are not done wait.
    pub(crate) async fn index(&mut self, records: Vec<Record>, stop: &CancellationToken) -> Judged {
        let mut items: Vec<Item> = records
            .into_iter()
            .map(|record| self.sight(record))
            .collect();
        let mut backoff = Backoff::new(FIRST_PAUSE, MAX_PAUSE);
        let mut rng = StdRng::from_os_rng();
        while let Err(trouble) = self.try_all(&mut items).await {
            self.tell(Some(trouble));
            let pause = backoff.pause(None, &mut rng);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
        }
        let mut judged = Judged::default();
        for item in items {
            match item.state {
                State::Done => judged.done.push(item.record),
                _ => judged.waiting.push(item.record),
            }
        }
        judged
    }

    /// What a message is at first sight.
    fn sight(&self, record: Record) -> Item {
        let payload = record.payload.as_deref().unwrap_or_default();
        let state = match message::head(payload, &self.instance) {
            Ok(Sight::Ours(head)) => match self.schemas.of(&head.tenant) {
                Some(schema) => State::Open(schema, head),
                None => State::Poison(unknown_tenant()),
            },
            Ok(Sight::OtherInstance) => self.discard(Discard::OtherInstance),
            Ok(Sight::Empty) => self.discard(Discard::Empty),
            Err(poison) => State::Poison(poison),
        };
        Item { record, state }
    }

    fn discard(&self, why: Discard) -> State {
        self.metrics.discarded(why, 1);
        State::Done
    }

    /// One try of all that is not done. What kept it from succeeding, in words.
    async fn try_all(&mut self, items: &mut [Item]) -> Result<(), String> {
        let trying = self.try_rounds(items);
        let tried = tokio::time::timeout(BATCH, trying).await;
        let tried = tried.unwrap_or_else(|_| Err(DbError::silent(BATCH)));
        if let Err(error) = tried {
            if !error.spares_connection() {
                self.connection = None;
            }
            error
                .cause()
                .into_iter()
                .for_each(|why| self.metrics.retried(why));
            return Err(format!("{}: {error}", self.database.place()));
        }
        self.send_letters(items).await?;
        self.tell(None);
        Ok(())
    }

    async fn try_rounds(&mut self, items: &mut [Item]) -> Result<(), DbError> {
        for schema in self.schemas.all() {
            let open = |item: &&mut Item| matches!(&item.state, State::Open(s, _) if Arc::ptr_eq(s, &schema));
            let mut items: Vec<&mut Item> = items.iter_mut().filter(open).collect();
            if items.is_empty() {
                continue;
            }
            let connection = self.connected().await?;
            if schema.types().is_empty() {
                schema.load(connection).await?;
            }
            self.round(&schema, &mut items).await?;
        }
        Ok(())
    }

    async fn connected(&mut self) -> Result<&mut Connection, DbError> {
        let connection = match self.connection.take() {
            Some(connection) if connection.is_open() => connection,
            _ => self.database.connect().await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// A letter is durable before its message is done.
    async fn send_letters(&self, items: &mut [Item]) -> Result<(), String> {
        let mut letters = Vec::new();
        for Item { record, state } in &*items {
            if let State::Poison(poison) = state {
                letters.push(DeadLetter {
                    key: record.key.as_deref(),
                    value: record.payload.as_deref(),
                    headers: record.headers.as_ref(),
                    partition: record.partition,
                    offset: record.offset,
                    time: record.time,
                    reason: poison.reason,
                    detail: &poison.detail,
                });
            }
        }
        self.dead_letters
            .send(&letters)
            .await
            .map_err(|e| e.to_string())?;
        for item in items {
            if let State::Poison(poison) = &item.state {
                let Record {
                    partition, offset, ..
                } = item.record;
                let (reason, detail) = (poison.reason.code(), &poison.detail);
                tracing::warn!(
                    // What stood in a message is in no span.
                    parent: None,
                    partition,
                    offset,
                    reason,
                    detail,
                    "a message can never be indexed; it is a dead letter now"
                );
                self.metrics.dead_letters(poison.reason, 1);
                item.state = State::Done;
            }
        }
        Ok(())
    }

    /// Sees to it that there is a connection, and what is known of the schemas. Only what waiting cannot heal is an
    /// error.
    pub(crate) async fn open(&mut self) -> Result<(), DbError> {
        if self.connection.as_ref().is_some_and(Connection::is_open) {
            return Ok(());
        }
        self.connection = None;
        let opened = self.load().await;
        let trouble = opened.as_ref().err();
        self.tell(trouble.map(|error| format!("{}: {error}", self.database.place())));
        match opened {
            Err(error @ DbError::Unusable(_)) => Err(error),
            _ => Ok(()),
        }
    }

    async fn load(&mut self) -> Result<(), DbError> {
        for schema in self.schemas.all() {
            let connection = self.connected().await?;
            schema.load(connection).await?;
        }
        Ok(())
    }

    /// Tells of trouble when it begins, changes and ends.
    fn tell(&mut self, trouble: Option<String>) {
        let before = self.trouble.get();
        match &trouble {
            // Nor is an address.
            Some(reason) if before != trouble => {
                tracing::warn!(parent: None, "{reason}; trying again");
            }
            None if before.is_some() => tracing::info!("indexing goes on"),
            _ => {}
        }
        self.metrics.set_database_up(self.connection.is_some());
        self.trouble.set(trouble);
    }
}

impl Schemas {
    fn of(&self, tenant: &str) -> Option<Arc<Schema>> {
        match self {
            Self::One(schema) => Some(Arc::clone(schema)),
            Self::ByTenant(schemas) => schemas.get(tenant).cloned(),
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Schema>> {
        match self {
            Self::One(schema) => vec![Arc::clone(schema)],
            Self::ByTenant(schemas) => schemas.values().cloned().collect(),
        }
    }
}

fn unknown_tenant() -> Poison {
    let detail = "tenantId is none of those configured under tenants";
    Poison::new(Reason::UnknownTenant, detail)
}
