//! Events on a real Kafka: heard by every process, and no harm when Kafka is away.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stoker_proto::events::v1::event::Kind;
use stoker_proto::events::v1::{Event, JobStarted};
use stoker_shared::clock::SystemClock;
use stoker_shared::kafka::{Events, KafkaConfig, Listener};
use stoker_tests::kafka::{self, Kafka};
use stoker_tests::parts;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_mins(1);

fn connect(config: &KafkaConfig, service: &'static str) -> Events {
    Events::connect(config, service, Arc::new(SystemClock)).unwrap()
}

fn config(broker: String) -> KafkaConfig {
    KafkaConfig {
        brokers: vec![broker],
        ..KafkaConfig::default()
    }
}

async fn until_heard(events: &Events, heard: bool) {
    let deadline = Instant::now() + LIMIT;
    while events.are_heard() != heard {
        assert!(Instant::now() < deadline, "still {}", !heard);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn started(job_id: i64) -> Kind {
    Kind::JobStarted(JobStarted { job_id })
}

/// The next event about `job_id`; others are passed over.
async fn next_about(listener: &mut Listener, job_id: i64) -> Event {
    let about = async {
        loop {
            let heard = listener.next().await;
            let event = heard.map(|heard| heard.event.clone()).unwrap_or_default();
            if event.kind == Some(started(job_id)) {
                return event;
            }
        }
    };
    timeout(LIMIT, about).await.unwrap()
}

/// Announces until it is heard: what is announced before a connection stands again may be missed.
async fn announced_and_heard(by: &Events, listener: &mut Listener, job_id: i64) -> Event {
    let announcing = async {
        loop {
            by.announce(&format!("job/{job_id}"), started(job_id));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = announcing => unreachable!("it announces for ever"),
        event = next_about(listener, job_id) => event,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_hears_what_any_announces_also_after_kafka_was_killed() {
    let _turn = parts::turn().await;
    let kafka = Kafka::start().unwrap();
    let config = config(kafka.broker());
    let scanner = connect(&config, "bucket-scanner");
    let worker = connect(&config, "loader-worker");
    until_heard(&scanner, true).await;
    until_heard(&worker, true).await;
    let (mut at_scanner, mut at_worker) = (scanner.listen(), worker.listen());
    let event = announced_and_heard(&scanner, &mut at_worker, 1).await;
    assert_eq!(event.service, "bucket-scanner");
    assert!(!event.event_id.is_empty() && event.time.is_some());
    announced_and_heard(&worker, &mut at_scanner, 2).await;

    kafka.kill().unwrap();
    until_heard(&worker, false).await;
    let asked = Instant::now();
    for _ in 0..50_000 {
        scanner.announce("job/3", started(3));
    }
    let took = asked.elapsed();
    assert!(took < LIMIT / 6, "announcing waits for Kafka: {took:?}");

    kafka.restart().unwrap();
    until_heard(&worker, true).await;
    announced_and_heard(&scanner, &mut at_worker, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_announced_as_soon_as_events_are_heard_is_heard() {
    let kafka = kafka::shared().await.unwrap();
    for topic in 0..10 {
        let config = KafkaConfig {
            events_topic: format!("at-once-{topic}"),
            ..config(kafka.broker())
        };
        let (by, at) = (connect(&config, "scanner"), connect(&config, "worker"));
        let mut listener = at.listen();
        until_heard(&at, true).await;
        // Their keys put them into all partitions, of which none may be the last to be heard.
        let jobs = 0..20;
        for job_id in jobs.clone() {
            by.announce(&format!("job/{job_id}"), started(job_id));
        }
        let mut heard = HashSet::new();
        while heard.len() < jobs.clone().count() {
            let next = timeout(LIMIT, listener.next()).await;
            let next = next.unwrap_or_else(|_| panic!("of {jobs:?}, heard: {heard:?}"));
            if let Some(Kind::JobStarted(JobStarted { job_id })) =
                next.and_then(|h| h.event.kind.clone())
            {
                heard.insert(job_id);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_password_is_let_in_and_a_wrong_one_is_not() {
    let _turn = parts::turn().await;
    let kafka = Kafka::start().unwrap();
    let with_password = |password: &str| KafkaConfig {
        user: Some("app".to_owned()),
        password: Some(password.into()),
        ..config(kafka.sasl_broker())
    };
    let right = connect(&with_password("app-secret"), "right");
    let wrong = connect(&with_password("no"), "wrong");
    until_heard(&right, true).await;
    wrong.announce("job/9", started(9));
    wrong.flush(Duration::from_secs(1)).await;
    assert!(!wrong.are_heard());
    announced_and_heard(&right, &mut right.listen(), 1).await;
}

#[tokio::test]
async fn without_kafka_nothing_is_announced_and_nothing_heard() {
    let events = connect(&KafkaConfig::default(), "alone");
    events.announce("job/1", started(1));
    assert!(!events.are_heard());
    let heard = timeout(Duration::from_millis(50), async {
        events.listen().next().await
    });
    assert!(heard.await.is_err(), "it waits");
}
