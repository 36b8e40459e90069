//! Kafka: reachable, and the topic of events.

use stoker_shared::kafka::{self, KafkaConfig};

use super::Check;
use super::finding::{Finding, LIMIT};
use crate::embedded::unexpected;
use crate::output::one_sentence;

pub(super) fn checks(configured: Vec<(&'static str, KafkaConfig)>, is_sound: bool) -> Vec<Check> {
    if configured.is_empty() {
        let detail = "no brokers are configured, and none are needed";
        let to_do = "for many processes, set kafka.brokers of bucket_scanner and loader_worker";
        let finding = Finding::none("Kafka", is_sound, detail, to_do);
        return vec![Check::known(finding)];
    }
    let configured = configured.into_iter();
    configured
        .map(|(what, config)| Check::new(what, check(what, config)))
        .collect()
}

async fn check(what: &'static str, config: KafkaConfig) -> Vec<Finding> {
    let topic = config.events_topic.clone();
    // It ends by itself within the limit, knowing more of why than that the time is over.
    let look = tokio::task::spawn_blocking(move || kafka::look(&config, LIMIT));
    let finding = match look.await {
        Err(panic) => Finding::error(what, one_sentence(&unexpected(panic))),
        Ok(Err(error)) => Finding::error(what, error),
        Ok(Ok(look)) => {
            let brokers = match look.brokers {
                1 => "1 broker".to_owned(),
                n => format!("{n} brokers"),
            };
            match look.partitions {
                Some(n) => Finding::ok(what, format!("{brokers}, topic {topic} of {n} partitions")),
                None => Finding::warn(
                    what,
                    format!("{brokers}, no topic {topic} yet"),
                    "the first service makes it where it may; else make it and let the user use it",
                ),
            }
        }
    };
    vec![finding]
}
