//! A FHIR server's database, a topic of its own on a broker that tests share, and indexers as processes.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use stoker_tests::fhir_database::{
    FhirDatabase, FhirTransaction, ParameterRows, SchemaType, Stored, rows_of,
};
use stoker_tests::kafka::{self, Kafka};
use stoker_tests::remote_index::{
    DeadLetter, INSTANCE, Message, create_topic, dead_letters, publish, until_all_committed,
};
use stoker_tests::services::Service;
use uuid::Uuid;

/// Longest wait for what is to happen.
pub(super) const LIMIT: Duration = Duration::from_mins(2);

pub(super) struct Scene {
    pub(super) kafka: Arc<Kafka>,
    pub(super) database: FhirDatabase,
    /// Also the consumer group's name.
    pub(super) topic: String,
}

impl Scene {
    pub(super) async fn plain() -> Self {
        Self::of(SchemaType::Plain).await
    }

    pub(super) async fn of(schema_type: SchemaType) -> Self {
        let kafka = kafka::shared().await.unwrap();
        Self::on(kafka, schema_type).await
    }

    pub(super) async fn on(kafka: Arc<Kafka>, schema_type: SchemaType) -> Self {
        stoker_shared::tls::install_crypto_provider();
        let scene = Self {
            kafka,
            database: FhirDatabase::fresh(schema_type).await.unwrap(),
            topic: format!("index-{}", Uuid::new_v4().simple()),
        };
        create_topic(&scene.kafka.broker(), &scene.topic)
            .await
            .unwrap();
        scene
    }

    /// What an indexer is told.
    pub(super) fn settings(&self, more: &[&str]) -> Vec<String> {
        let mut settings = vec![
            format!("kafka.brokers={}", self.kafka.broker()),
            format!("topic.name={}", self.topic),
            format!("topic.group={}", self.topic),
            format!("instance_identifier={INSTANCE}"),
            format!("database.url={}", self.database.url),
            format!("database.schema={}", self.database.schema),
        ];
        settings.extend(more.iter().map(ToString::to_string));
        settings
    }

    /// An indexer that has begun to start.
    pub(super) fn indexer(&self, more: &[&str]) -> Service {
        Service::start("remote-indexer", &self.settings(more)).unwrap()
    }

    pub(super) async fn send(&self, messages: &[Message]) {
        let sent = publish(messages, &self.kafka.broker(), &self.topic).await;
        sent.unwrap();
    }

    /// The next version of a resource, committed.
    pub(super) async fn put(&self, resource_type: &str, id: &str, hash: &str) -> Stored {
        let mut transaction = self.begin().await;
        let stored = transaction.put(resource_type, id, hash).await.unwrap();
        transaction.commit().await.unwrap();
        stored
    }

    pub(super) async fn begin(&self) -> FhirTransaction {
        FhirTransaction::begin(&self.database).await.unwrap()
    }

    /// Waits until all messages are committed.
    pub(super) async fn until_done(&self) {
        let broker = self.kafka.broker();
        let done = until_all_committed(&broker, &self.topic, &self.topic, LIMIT).await;
        done.unwrap();
    }

    /// The parameter rows of a resource.
    pub(super) async fn rows(&self, stored: &Stored) -> ParameterRows {
        rows_of(&self.database, stored.logical_resource_id)
            .await
            .unwrap()
    }

    /// The values of the strings of a resource; fails where a row is there twice.
    pub(super) async fn strings(&self, stored: &Stored) -> Vec<String> {
        let rows = self.rows(stored).await;
        assert!(rows.duplicates.is_empty(), "{rows:?}");
        let rows = rows
            .distinct
            .iter()
            .map(|row| serde_json::from_str::<Value>(row).unwrap());
        let strings = rows.filter_map(|row| row["str_value"].as_str().map(str::to_owned));
        strings.collect()
    }

    /// Waits until a resource has exactly these strings.
    pub(super) async fn until_strings(&self, stored: &Stored, expected: &[&str]) {
        until(&format!("{expected:?}"), || async {
            self.strings(stored).await == expected
        })
        .await;
    }

    pub(super) async fn dead_letters(&self) -> Vec<DeadLetter> {
        dead_letters(&self.kafka.broker(), &self.topic)
            .await
            .unwrap()
    }

    /// Clears up; what a failed test leaves ends with PostgreSQL.
    pub(super) async fn end(self) {
        self.database.remove().await.unwrap();
    }
}

/// The message of a resource whose one string tells which version it is of.
pub(super) fn family(stored: &Stored, value: &str) -> Message {
    stored.message().string("family", value).build()
}

/// Waits until it is so.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let deadline = Instant::now() + LIMIT;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not in {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// A counter of an indexer, such as `messages_discarded_total{reason="superseded"}`.
pub(super) async fn counter(indexer: &Service, name: &str) -> u64 {
    let page = indexer.page("/metrics").await.unwrap();
    let name = format!("stoker_remote_indexer_{name} ");
    let value = page.lines().find_map(|line| line.strip_prefix(&name));
    value
        .unwrap_or_else(|| panic!("no {name} in {page}"))
        .trim()
        .parse()
        .unwrap()
}

/// How many messages were discarded for a reason.
pub(super) async fn discarded(indexer: &Service, reason: &str) -> u64 {
    let name = format!("messages_discarded_total{{reason=\"{reason}\"}}");
    counter(indexer, &name).await
}
