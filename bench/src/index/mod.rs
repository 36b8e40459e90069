//! Parts of `bench-index`: the recorded messages through the indexer, and the same rows into the same tables by other
//! ways.

mod indexer;
mod limits;
mod rows;

use anyhow::Context as _;
use stoker_tests::fhir_database::{FhirDatabase, SchemaType};
use stoker_tests::kafka::Kafka;
use stoker_tests::remote_index::{Captured, create_topic, publish};

pub use indexer::{Indexed, index};
pub use limits::{copy, row_at_a_time};
pub use rows::Filled;

/// The topic of the recorded messages.
const TOPIC: &str = "FHIR_REMOTE_INDEX";

/// The recorded messages in a broker, and the database before them.
#[derive(Debug)]
pub struct Bulk {
    kafka: Kafka,
    server: String,
    captured: Captured,
    /// How many there are.
    pub messages: usize,
}

impl Bulk {
    /// Starts a broker and sends the messages there. `server` is a PostgreSQL on which the benchmark may do
    /// anything.
    pub async fn publish(server: String) -> anyhow::Result<Self> {
        let captured = Captured::bulk()?;
        let messages = captured.messages()?;
        let kafka = Kafka::start()?;
        create_topic(&kafka.broker(), TOPIC).await?;
        publish(&messages, &kafka.broker(), TOPIC).await?;
        Ok(Self {
            kafka,
            server,
            captured,
            messages: messages.len(),
        })
    }

    /// A database as it was before.
    pub async fn database(&self) -> anyhow::Result<FhirDatabase> {
        let database = FhirDatabase::fresh_on(&self.server, SchemaType::Plain).await?;
        self.captured.load_before(&database).await?;
        // What copying the template and loading has written is not to be written in the time that is measured.
        connect(&database)
            .await?
            .batch_execute("CHECKPOINT")
            .await?;
        Ok(database)
    }

    /// All rows of the parameter tables afterwards.
    pub fn expected(&self) -> anyhow::Result<Vec<String>> {
        self.captured.expected()
    }

    /// Messages a second.
    pub fn rate(&self, seconds: f64) -> f64 {
        f64::from(u32::try_from(self.messages).unwrap_or(u32::MAX)) / seconds
    }
}

/// A connection that looks into the server's schema.
async fn connect(database: &FhirDatabase) -> anyhow::Result<tokio_postgres::Client> {
    let config: tokio_postgres::Config = database.url.parse()?;
    let (client, driver) = config
        .connect(tokio_postgres::NoTls)
        .await
        .with_context(|| format!("no PostgreSQL at {}", database.url))?;
    // Whoever uses the client learns of the connection's end.
    tokio::spawn(driver);
    let schema = format!("SET search_path = {}", database.schema);
    client.batch_execute(&schema).await?;
    Ok(client)
}
