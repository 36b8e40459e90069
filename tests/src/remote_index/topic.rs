//! Topics of a test, on a real broker.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::Message;

/// As many as the recorded messages were sent to.
const PARTITIONS: i32 = 8;

/// Longest wait for an answer of the broker.
const ANSWER: Duration = Duration::from_secs(20);

/// Makes a topic of 8 partitions.
pub async fn create_topic(broker: &str, topic: &str) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = client(broker).create()?;
    let wanted = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
    let made = admin.create_topics([&wanted], &AdminOptions::new()).await?;
    for result in made {
        result.map_err(|(name, code)| anyhow::anyhow!("{name} is not made: {code}"))?;
    }
    Ok(())
}

/// Sends the messages in their order; returns when the broker has all of them.
pub async fn publish(messages: &[Message], broker: &str, topic: &str) -> anyhow::Result<()> {
    publish_with(messages, &OwnedHeaders::new(), broker, topic).await
}

/// The same, each with these headers.
pub async fn publish_with(
    messages: &[Message],
    headers: &OwnedHeaders,
    broker: &str,
    topic: &str,
) -> anyhow::Result<()> {
    let producer: FutureProducer = client(broker)
        .set("linger.ms", "5")
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", "1000000")
        // As Kafka's own client, and so the server, does it.
        .set("partitioner", "murmur2_random")
        .create()?;
    let mut sent = Vec::with_capacity(messages.len());
    for message in messages {
        let mut record = FutureRecord::to(topic)
            .key(&message.key)
            .payload(&message.value)
            .headers(headers.clone());
        record.partition = message.partition;
        let sending = producer.send_result(record);
        sent.push(sending.map_err(|(error, _)| error)?);
    }
    for sending in sent {
        sending.await?.map_err(|(error, _)| error)?;
    }
    Ok(())
}

/// How far a consumer group has committed what is in a topic when it is first looked at.
pub struct Committed {
    consumer: BaseConsumer,
    topic: String,
    group: String,
    /// First offset and end of each partition.
    ends: OnceLock<BTreeMap<i32, (i64, i64)>>,
}

impl Committed {
    /// Looks without joining the group.
    pub fn by(broker: &str, topic: &str, group: &str) -> anyhow::Result<Self> {
        Ok(Self {
            consumer: client(broker).set("group.id", group).create()?,
            topic: topic.to_owned(),
            group: group.to_owned(),
            ends: OnceLock::new(),
        })
    }

    /// How many messages are not committed yet. Blocks.
    pub fn behind(&self) -> anyhow::Result<i64> {
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(&self.topic, 0, PARTITIONS - 1);
        let committed = self.consumer.committed_offsets(partitions, ANSWER)?;
        let ends = if let Some(ends) = self.ends.get() {
            ends
        } else {
            let ends = self.read_ends()?;
            self.ends.get_or_init(|| ends)
        };
        let left = committed
            .elements()
            .iter()
            .filter_map(|element| {
                let (first, end) = *ends.get(&element.partition())?;
                match element.offset() {
                    Offset::Offset(offset) => Some(end - offset),
                    _ => Some(end - first),
                }
            })
            .sum();
        Ok(left)
    }

    fn read_ends(&self) -> anyhow::Result<BTreeMap<i32, (i64, i64)>> {
        let mut ends = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let between = self
                .consumer
                .fetch_watermarks(&self.topic, partition, ANSWER)?;
            ends.insert(partition, between);
        }
        Ok(ends)
    }

    fn wait(&self, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            // A broker that has just started, or lost its group's coordinator, refuses for a moment.
            match self.behind() {
                Ok(0) => return Ok(()),
                behind if Instant::now() > deadline => {
                    let Self { topic, group, .. } = self;
                    bail!(
                        "{group} has not committed all of {topic} in {limit:?}; it lacks {behind:?}"
                    );
                }
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

impl fmt::Debug for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committed")
            .field("topic", &self.topic)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// Waits until the group has committed all that is in the topic.
pub async fn until_all_committed(
    broker: &str,
    topic: &str,
    group: &str,
    limit: Duration,
) -> anyhow::Result<()> {
    let committed = Committed::by(broker, topic, group)?;
    tokio::task::spawn_blocking(move || committed.wait(limit)).await?
}

/// A message that could not be indexed, as it lies in the topic for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// As it was.
    pub key: String,
    /// As it was.
    pub value: Vec<u8>,
    /// By name.
    pub headers: BTreeMap<String, String>,
}

/// All dead letters of a topic.
pub async fn dead_letters(broker: &str, topic: &str) -> anyhow::Result<Vec<DeadLetter>> {
    let records = records_in(broker, &format!("{topic}.dlq")).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let letter = |record: &OwnedMessage| DeadLetter {
        key: text(record.key().unwrap_or_default()),
        value: record.payload().unwrap_or_default().to_owned(),
        headers: record
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter())
            .map(|header| {
                (
                    header.key.to_owned(),
                    text(header.value.unwrap_or_default()),
                )
            })
            .collect(),
    };
    Ok(records.iter().map(letter).collect())
}

/// All that is in a topic; nothing where the topic is not there.
pub async fn records_in(broker: &str, topic: &str) -> anyhow::Result<Vec<OwnedMessage>> {
    let consumer: BaseConsumer = client(broker)
        .set("group.id", "stoker-tests-reader")
        .set("enable.auto.commit", "false")
        .set("allow.auto.create.topics", "false")
        .create()?;
    let topic = topic.to_owned();
    tokio::task::spawn_blocking(move || read(&consumer, &topic)).await?
}

fn read(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<Vec<OwnedMessage>> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let partitions = found.map(MetadataTopic::partitions).unwrap_or_default();
    let mut from = TopicPartitionList::new();
    let mut wanted = 0;
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), ANSWER)?;
        from.add_partition_offset(topic, partition.id(), Offset::Offset(low))?;
        wanted += usize::try_from(high - low)?;
    }
    consumer.assign(&from)?;
    let mut records = Vec::with_capacity(wanted);
    while records.len() < wanted {
        let record = consumer
            .poll(ANSWER)
            .context("the broker sends nothing")??;
        records.push(record.detach());
    }
    Ok(records)
}

fn client(broker: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    config
}
