//! Messages that can never be indexed: kept as they came, listed once, and sent again once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use remote_indexer::dead_letters::{DeadLetter, DeadLetterError, DeadLetters};
use remote_indexer::{Config, Reason};
use serde_json::{Value, json};
use stoker_tests::kafka::{self, Kafka};
use stoker_tests::remote_index::{Message, create_topic, publish, records_in};
use stoker_tests::stoker::{Run, Stoker, isolated, stoker_bin};
use uuid::Uuid;

mod replay;
mod trouble;

const LIMIT: Duration = Duration::from_mins(1);

/// A topic of its own on a broker that tests share, and a user who lists and replays.
struct Scene {
    kafka: Arc<Kafka>,
    config: Config,
    user: Stoker,
}

impl Scene {
    async fn new() -> Self {
        Self::on(kafka::shared().await.unwrap()).await
    }

    async fn on(kafka: Arc<Kafka>) -> Self {
        let mut config = Config::default();
        config.kafka.brokers = vec![kafka.broker()];
        config.topic.name = format!("letters-{}", Uuid::new_v4().simple());
        config.topic.group.clone_from(&config.topic.name);
        create_topic(&kafka.broker(), &config.topic.name)
            .await
            .unwrap();
        let user = Stoker::new().unwrap();
        let yaml = json!({"remote_indexer": {
            "kafka": {"brokers": config.kafka.brokers},
            "topic": {"name": config.topic.name, "group": config.topic.group},
        }});
        // JSON is YAML.
        std::fs::write(user.home().join("stoker.yaml"), yaml.to_string()).unwrap();
        Self {
            kafka,
            config,
            user,
        }
    }

    async fn send(&self, letters: &[DeadLetter<'_>]) -> Result<(), DeadLetterError> {
        DeadLetters::connect(&self.config)?.send(letters).await
    }

    /// Letters of messages with these offsets, as many as there are.
    async fn send_numbered(&self, offsets: impl Iterator<Item = i64>, reason: Reason) {
        let keys: Vec<(i64, String)> = offsets.map(|n| (n, format!("Patient/{n}"))).collect();
        let letters = keys.iter().map(|(offset, key)| DeadLetter {
            key: Some(key.as_bytes()),
            value: Some(b"{}"),
            offset: *offset,
            reason,
            ..letter()
        });
        self.send(&letters.collect::<Vec<_>>()).await.unwrap();
    }

    async fn dlq(&self, args: &[&str]) -> Run {
        let run = self
            .user
            .args([&["index", "dlq"], args].concat())
            .run()
            .await
            .unwrap();
        assert_eq!(run.code, 0, "{run:#?}");
        run
    }

    async fn listed(&self, args: &[&str]) -> Vec<Value> {
        let run = self.dlq(&[&["list", "--json"], args].concat()).await;
        let lines = run.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What a replay says it did.
    async fn replayed(&self, args: &[&str]) -> Value {
        let run = self.dlq(&[&["replay", "--json"], args].concat()).await;
        serde_json::from_str(&run.stdout).unwrap()
    }

    async fn in_topic(&self) -> Vec<OwnedMessage> {
        records_in(&self.kafka.broker(), &self.config.topic.name)
            .await
            .unwrap()
    }

    async fn in_letters(&self) -> Vec<OwnedMessage> {
        let letters = self.config.topic.dead_letters();
        records_in(&self.kafka.broker(), &letters).await.unwrap()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.kafka.broker());
        client.create().unwrap()
    }
}

fn letter() -> DeadLetter<'static> {
    DeadLetter {
        key: Some(b"Patient/a"),
        value: Some(b"{}"),
        headers: None,
        partition: 3,
        offset: 0,
        time: Some("2026-05-04T09:15:27.123Z".parse::<DateTime<Utc>>().unwrap()),
        reason: Reason::UnknownType,
        detail: "the type has no tables",
    }
}

fn header<'m>(message: &'m OwnedMessage, key: &str) -> Option<&'m [u8]> {
    let headers = message.headers()?;
    headers.iter().find(|header| header.key == key)?.value
}

/// Of messages without a key, a value, a time; of values that are no text.
fn odd(own: &OwnedHeaders) -> [DeadLetter<'_>; 3] {
    [
        DeadLetter {
            value: Some(b"{\"a\": \xff\x00 }"),
            headers: Some(own),
            ..letter()
        },
        DeadLetter {
            key: None,
            value: Some(b""),
            offset: 1,
            time: None,
            ..letter()
        },
        DeadLetter {
            key: Some(b"\xfe"),
            value: None,
            offset: 2,
            reason: Reason::BadJson,
            ..letter()
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_kept_byte_for_byte() {
    let scene = Scene::new().await;
    let trace = Header {
        key: "trace",
        value: Some(b"\xff\x00".as_slice()),
    };
    let own = OwnedHeaders::new().insert(trace).insert(Header {
        key: "empty",
        value: None::<&[u8]>,
    });
    let letters = odd(&own);
    scene.send(&letters).await.unwrap();
    let kept = scene.in_letters().await;
    assert_eq!(kept.len(), 3);
    for (message, letter) in kept.iter().zip(&letters) {
        assert_eq!(message.key(), letter.key);
        assert_eq!(message.payload(), letter.value);
        let offset = letter.offset.to_string();
        let time: &[u8] = match letter.time {
            Some(_) => b"2026-05-04T09:15:27.123Z",
            None => b"",
        };
        for (key, value) in [
            ("stoker-reason", letter.reason.code().as_bytes()),
            ("stoker-detail", b"the type has no tables"),
            ("stoker-topic", scene.config.topic.name.as_bytes()),
            ("stoker-partition", b"3"),
            ("stoker-offset", offset.as_bytes()),
            ("stoker-time", time),
        ] {
            assert_eq!(header(message, key), Some(value), "{key}");
        }
    }
    assert_eq!(header(&kept[0], "trace"), Some(b"\xff\x00".as_slice()));
    assert_eq!(kept[0].headers().unwrap().get(1).value, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_is_listed_once() {
    let scene = Scene::new().await;
    assert!(scene.listed(&[]).await.is_empty(), "no topic is no letter");
    let own = OwnedHeaders::new();
    scene.send(&odd(&own)).await.unwrap();
    // As of a process that dies before it commits the offset, and takes the messages again.
    scene.send(&odd(&own)).await.unwrap();
    assert_eq!(scene.in_letters().await.len(), 6);

    let listed = scene.listed(&[]).await;
    let offsets = listed.iter().map(|l| l["offset"].as_i64().unwrap());
    assert_eq!(offsets.collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(listed[0]["key"], "Patient/a");
    assert_eq!(listed[0]["time"], "2026-05-04T09:15:27.123Z");
    assert_eq!(listed[0]["replayed"], false);
    assert_eq!(listed[1]["key"], Value::Null);
    assert_eq!(listed[1]["time"], Value::Null);
    let of_json = scene.listed(&["--reason", "bad_json"]).await;
    assert_eq!(of_json, [listed[2].clone()]);
    let text = scene.dlq(&["list"]).await.stdout;
    let first = text.lines().next().unwrap();
    for told in [
        "3/0",
        "2026-05-04T09:15:27.123Z",
        "unknown_type",
        "Patient/a",
        "the type has no tables",
    ] {
        assert!(first.contains(told), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_is_made_to_keep_letters_for_ever() {
    let scene = Scene::new().await;
    scene.send(&[letter()]).await.unwrap();
    let letters = scene.config.topic.dead_letters();
    let asked = [ResourceSpecifier::Topic(&letters)];
    let found = scene
        .admin()
        .describe_configs(&asked, &AdminOptions::new())
        .await
        .unwrap();
    let found = found.into_iter().next().unwrap().unwrap();
    let value = |name| found.get(name).unwrap().value.clone().unwrap();
    assert_eq!(value("retention.ms"), "-1");
    assert_eq!(value("cleanup.policy"), "delete");
}
