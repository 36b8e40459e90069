//! Whether Kafka can be used as configured, asked once and without joining or making anything.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::{KafkaConfig, KafkaConfigError};

/// librdkafka goes on trying whatever goes wrong; so often it is looked at what did.
const SLICE: Duration = Duration::from_millis(250);

/// What Kafka says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaLook {
    /// Brokers of the cluster.
    pub brokers: usize,
    /// Partitions of the events' topic; none where the topic is not there.
    pub partitions: Option<usize>,
}

/// Why Kafka cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KafkaLookError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] KafkaConfigError),
    /// No broker answers.
    #[error("{brokers}: no broker can be reached ({reason}); check brokers and that Kafka runs")]
    Unreachable {
        /// Those configured.
        brokers: String,
        /// What the library says.
        reason: String,
    },
    /// A broker refuses who we are.
    #[error("{brokers}: the user or password is refused ({reason}); check user, password and sasl")]
    Refused {
        /// Those configured.
        brokers: String,
        /// What the broker says.
        reason: String,
    },
    /// No encrypted connection comes about.
    #[error(
        "{brokers}: the TLS handshake fails ({reason}); check tls, ca_file and the client certificate"
    )]
    Tls {
        /// Those configured.
        brokers: String,
        /// What the library says.
        reason: String,
    },
    /// The user may not use the events' topic.
    #[error("{topic}: the user may not use this topic; grant it READ, WRITE and DESCRIBE")]
    TopicDenied {
        /// The topic.
        topic: String,
    },
}

/// Asks the brokers about themselves and the events' topic, for `limit` at most. Blocks.
pub fn look(config: &KafkaConfig, limit: Duration) -> Result<KafkaLook, KafkaLookError> {
    let consumer: BaseConsumer<Trouble> = config
        .client()?
        // The library wants one; it is not joined.
        .set("group.id", "stoker-look")
        .set("allow.auto.create.topics", "false")
        .create_with_context(Trouble::default())
        .map_err(KafkaConfigError::from)?;
    let topic = &config.events_topic;
    let deadline = Instant::now() + limit;
    loop {
        match consumer.fetch_metadata(Some(topic), SLICE) {
            Ok(metadata) => return seen(&metadata, topic),
            Err(error) => {
                // Errors are told in the course of polling.
                while consumer.poll(Duration::ZERO).is_some() {}
                let trouble = consumer.context();
                let over = Instant::now() >= deadline;
                if let Some(told) = trouble.told(&config.brokers(), &error, over) {
                    return Err(told);
                }
            }
        }
    }
}

fn seen(metadata: &Metadata, topic: &str) -> Result<KafkaLook, KafkaLookError> {
    let found = metadata.topics().iter().find(|t| t.name() == topic);
    let partitions = match found.map(|t| (t.error().map(RDKafkaErrorCode::from), t.partitions())) {
        Some((Some(RDKafkaErrorCode::TopicAuthorizationFailed), _)) => {
            let topic = topic.to_owned();
            return Err(KafkaLookError::TopicDenied { topic });
        }
        Some((None, partitions)) if !partitions.is_empty() => Some(partitions.len()),
        _ => None,
    };
    Ok(KafkaLook {
        brokers: metadata.brokers().len(),
        partitions,
    })
}

/// The last error that says why, and what the library said of it.
#[derive(Debug, Default)]
struct Trouble(Mutex<Option<(RDKafkaErrorCode, String)>>);

impl Trouble {
    /// What to tell: at once where trying on is of no use, else when the time is over.
    fn told(&self, brokers: &str, error: &KafkaError, over: bool) -> Option<KafkaLookError> {
        let last = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let brokers = brokers.to_owned();
        match last {
            Some((code, reason)) if is_about_us(code) => {
                Some(KafkaLookError::Refused { brokers, reason })
            }
            Some((code, reason)) if is_tls(code, &reason) => {
                Some(KafkaLookError::Tls { brokers, reason })
            }
            _ if !over => None,
            Some((_, reason)) => Some(KafkaLookError::Unreachable { brokers, reason }),
            None => Some(KafkaLookError::Unreachable {
                brokers,
                reason: error.to_string(),
            }),
        }
    }
}

fn is_about_us(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed
    )
}

/// That the client's certificate is refused comes after the handshake, as the end of the connection.
fn is_tls(code: RDKafkaErrorCode, reason: &str) -> bool {
    code == RDKafkaErrorCode::SSL || reason.contains("SSL routines::")
}

impl ClientContext for Trouble {
    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // That all brokers are down is said after what is the matter with each.
        if last.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
            *last = Some((code, said(reason)));
        }
    }

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }
}

impl ConsumerContext for Trouble {}

/// Without the library's notes on how long it took, and on what it has passed over.
fn said(reason: &str) -> String {
    let end = reason.rfind(" (after ").unwrap_or(reason.len());
    reason[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_never_comes_is_told_with_its_reason() {
        let config = KafkaConfig {
            // Port 9 is that of the discard protocol, which nobody serves any more.
            brokers: vec!["127.0.0.1:9".to_owned()],
            ..KafkaConfig::default()
        };
        let error = look(&config, Duration::from_secs(5)).unwrap_err();
        assert!(
            matches!(error, KafkaLookError::Unreachable { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
