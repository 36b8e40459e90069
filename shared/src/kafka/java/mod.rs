//! Properties of Kafka's Java consumer, in the words of this configuration and of librdkafka.
//!
//! Nothing is handed to librdkafka that it does not know: what has no meaning here is named in a note.

use std::collections::BTreeMap;

use super::KafkaConfig;
use crate::properties::Properties;

mod error;
mod jaas;
mod keys;
mod security;

pub use error::JavaError;
use keys::{Key, key};

/// What the properties ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct JavaConsumer {
    /// The brokers, and who we are to them.
    pub kafka: KafkaConfig,
    /// `group.instance.id`.
    pub member: Option<String>,
    /// `max.poll.records`.
    pub most_records: Option<usize>,
    /// Other settings of the consumer, by librdkafka's names.
    pub consumer: BTreeMap<String, String>,
    /// How something is understood that could be understood otherwise.
    pub infos: Vec<String>,
    /// What is given and has no effect.
    pub warnings: Vec<String>,
}

impl JavaConsumer {
    /// Understands a consumer's properties; opens none of the files that they name. A property without a
    /// value is as if it were not there, but `ssl.endpoint.identification.algorithm`.
    pub fn of(properties: &Properties) -> Result<Self, JavaError> {
        let given = Given(properties);
        let mut java = Self {
            kafka: security::understand(&given)?,
            ..Self::default()
        };
        java.kafka.brokers = brokers(&given)?;
        java.member = given.get("group.instance.id").map(str::to_owned);
        java.most_records = given.count("max.poll.records")?;
        for (name, value) in given.iter() {
            if let Key::Number {
                name: ours,
                least,
                most,
            } = key(name)
            {
                let number = java.within(name, value, least, most)?;
                java.set(ours, number.to_string());
            } else if let Key::Word(words) = key(name) {
                java.set(name, one_of(name, value, words)?);
            } else if key(name) == Key::Text {
                java.set(name, value);
            }
        }
        java.in_order();
        java.note(&given);
        Ok(java)
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.consumer.insert(name.to_owned(), value.into());
    }

    /// A number that Java takes and librdkafka does not is the nearest that it takes.
    fn within(&mut self, name: &str, value: &str, least: i64, most: i64) -> Result<i64, JavaError> {
        let number: i64 = value
            .parse()
            .map_err(|_| JavaError::value(name, value, "a whole number"))?;
        let taken = number.clamp(least, most);
        if taken != number {
            self.infos.push(format!("{name}={number}: is {taken} here"));
        }
        Ok(taken)
    }

    /// Of two settings librdkafka refuses those in the wrong order, also where one is its default.
    fn in_order(&mut self) {
        let number = |java: &Self, name: &str| -> Option<i64> {
            java.consumer.get(name).and_then(|text| text.parse().ok())
        };
        let (session, interval) = ("session.timeout.ms", "max.poll.interval.ms");
        match (number(self, session), number(self, interval)) {
            (Some(alive), None) if alive > POLL_INTERVAL_MS => {
                self.set(interval, alive.to_string());
            }
            (alive, Some(longest)) if alive.unwrap_or(SESSION_TIMEOUT_MS) > longest => {
                self.set(session, longest.to_string());
            }
            _ => {}
        }
        let (first, most) = ("reconnect.backoff.ms", "reconnect.backoff.max.ms");
        match (number(self, first), number(self, most)) {
            (None, None) => {}
            (None, Some(longest)) => self.set(first, longest.min(RECONNECT_FIRST_MS).to_string()),
            (Some(shortest), longest) => {
                let longest = longest.unwrap_or(RECONNECT_MOST_MS);
                self.set(most, longest.max(shortest).to_string());
            }
        }
    }

    fn note(&mut self, given: &Given<'_>) {
        let named = |wanted: Key| -> Option<String> {
            let names = given.iter().map(|(name, _)| name);
            let names: Vec<&str> = names.filter(|name| key(name) == wanted).collect();
            (!names.is_empty()).then(|| names.join(", "))
        };
        if let Some(names) = named(Key::Tls) {
            self.infos.push(format!(
                "{names}: no effect here; the newest version of TLS is used that the broker knows, 1.2 or 1.3"
            ));
        }
        if let Some(names) = named(Key::Fixed) {
            self.infos.push(format!(
                "properties of Kafka that are always set by the indexer itself, also in Java: {names}"
            ));
        }
        if let Some(names) = named(Key::Assignor) {
            self.infos.push(format!(
                "{names}: no effect here; partitions are handed over one by one (cooperative-sticky)"
            ));
        }
        if let Some(names) = named(Key::Java) {
            self.infos.push(format!(
                "properties of Kafka that only mean something to Java: {names}"
            ));
        }
        if let Some(names) = named(Key::Unknown) {
            self.warnings.push(format!(
                "properties of Kafka that are not known here and have no effect: {names}"
            ));
        }
    }
}

/// That of the indexer, unless it is given.
const SESSION_TIMEOUT_MS: i64 = 6000;
/// Default of librdkafka, and of Java.
const POLL_INTERVAL_MS: i64 = 300_000;
// Java's defaults.
const RECONNECT_FIRST_MS: i64 = 50;
const RECONNECT_MOST_MS: i64 = 1000;

/// The properties that have a value.
struct Given<'p>(&'p Properties);

impl<'p> Given<'p> {
    fn get(&self, name: &str) -> Option<&'p str> {
        let value = self.0.get(name).map(str::trim);
        value.filter(|value| !value.is_empty())
    }

    /// Whether it is there without a value.
    fn is_empty(&self, name: &str) -> bool {
        self.0
            .get(name)
            .is_some_and(|value| value.trim().is_empty())
    }

    fn iter(&self) -> impl Iterator<Item = (&'p str, &'p str)> {
        let trimmed = self.0.iter().map(|(name, value)| (name, value.trim()));
        trimmed.filter(|(_, value)| !value.is_empty())
    }

    fn count(&self, name: &str) -> Result<Option<usize>, JavaError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.parse() {
            Ok(count) if count > 0 => Ok(Some(count)),
            _ => Err(JavaError::value(name, value, "a whole number of 1 or more")),
        }
    }
}

/// `host:port`, with commas and blanks between them; Java passes over a protocol before one.
fn brokers(given: &Given<'_>) -> Result<Vec<String>, JavaError> {
    let name = "bootstrap.servers";
    let listed = given
        .get(name)
        .unwrap_or_default()
        .split(',')
        .map(str::trim);
    let brokers: Vec<String> = listed
        .filter(|broker| !broker.is_empty())
        .map(|broker| broker.rsplit("://").next().unwrap_or(broker).to_owned())
        .collect();
    if brokers.is_empty() {
        return Err(JavaError::Missing {
            name,
            advice: "give one broker or more, such as broker-0:9093, broker-1:9093",
        });
    }
    for broker in &brokers {
        let port = broker.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            return Err(JavaError::value(name, broker, "host:port"));
        }
    }
    Ok(brokers)
}

/// In lower case, as librdkafka writes them.
fn one_of(name: &str, value: &str, words: &'static [&str]) -> Result<&'static str, JavaError> {
    let found = words.iter().find(|word| word.eq_ignore_ascii_case(value));
    let expected = || format!("one of {}", words.join(", "));
    found
        .copied()
        .ok_or_else(|| JavaError::value(name, value, &expected()))
}

#[cfg(test)]
mod tests;
