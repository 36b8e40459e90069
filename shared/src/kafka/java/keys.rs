//! Every property of Kafka's Java consumer, as of Kafka 3.9, and what it is here.
//! Ranges are those of librdkafka's CONFIGURATION.md.

/// What a property is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// A whole number, by this name and within these limits.
    Number {
        name: &'static str,
        least: i64,
        most: i64,
    },
    /// One of these words, by the same name.
    Word(&'static [&'static str]),
    /// Any text, by the same name.
    Text,
    /// It is a part of something that is put together elsewhere.
    Part,
    /// Always set by the indexer itself, as the Java tool does.
    Fixed,
    /// How partitions are shared out.
    Assignor,
    /// Versions of TLS.
    Tls,
    /// Means something to Java only.
    Java,
    /// No property of a consumer.
    Unknown,
}

use Key::{Assignor, Fixed, Java, Part, Text, Tls, Unknown, Word};

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
const FIVE_MINUTES_MS: i64 = 300_000;
const I32_MAX: i64 = i32::MAX as i64;

const fn number(name: &'static str, least: i64, most: i64) -> Key {
    Key::Number { name, least, most }
}

const BOOL: Key = Word(&["true", "false"]);

/// What is put together elsewhere: `super::security`, and [`super::JavaConsumer`].
const PARTS: &[&str] = &[
    "bootstrap.servers",
    "group.instance.id",
    "max.poll.records",
    "security.protocol",
    "sasl.mechanism",
    "sasl.jaas.config",
    "ssl.endpoint.identification.algorithm",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.certificates",
    // The kind of a store is seen from its content.
    "ssl.truststore.type",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.type",
    "ssl.key.password",
];

const TRANSLATED: &[(&str, Key)] = &[
    ("client.id", Text),
    ("client.rack", Text),
    (
        "client.dns.lookup",
        Word(&[
            "use_all_dns_ips",
            "resolve_canonical_bootstrap_servers_only",
        ]),
    ),
    ("check.crcs", BOOL),
    ("allow.auto.create.topics", BOOL),
    (
        "isolation.level",
        Word(&["read_uncommitted", "read_committed"]),
    ),
    (
        "session.timeout.ms",
        number("session.timeout.ms", 1, HOUR_MS),
    ),
    (
        "heartbeat.interval.ms",
        number("heartbeat.interval.ms", 1, HOUR_MS),
    ),
    (
        "max.poll.interval.ms",
        number("max.poll.interval.ms", 1, DAY_MS),
    ),
    ("fetch.min.bytes", number("fetch.min.bytes", 1, 100_000_000)),
    // Not below the largest message, which is librdkafka's message.max.bytes.
    (
        "fetch.max.bytes",
        number("fetch.max.bytes", 1_000_000, 2_147_483_135),
    ),
    (
        "fetch.max.wait.ms",
        number("fetch.wait.max.ms", 0, FIVE_MINUTES_MS),
    ),
    (
        "max.partition.fetch.bytes",
        number("max.partition.fetch.bytes", 1, 1_000_000_000),
    ),
    (
        "reconnect.backoff.ms",
        number("reconnect.backoff.ms", 0, HOUR_MS),
    ),
    (
        "reconnect.backoff.max.ms",
        number("reconnect.backoff.max.ms", 0, HOUR_MS),
    ),
    (
        "retry.backoff.ms",
        number("retry.backoff.ms", 1, FIVE_MINUTES_MS),
    ),
    (
        "retry.backoff.max.ms",
        number("retry.backoff.max.ms", 1, FIVE_MINUTES_MS),
    ),
    (
        "request.timeout.ms",
        number("socket.timeout.ms", 10, FIVE_MINUTES_MS),
    ),
    (
        "metadata.max.age.ms",
        number("topic.metadata.refresh.interval.ms", 1, HOUR_MS),
    ),
    // Below 0 Java never closes one; here that is 0.
    (
        "connections.max.idle.ms",
        number("connections.max.idle.ms", 0, I32_MAX),
    ),
    (
        "socket.connection.setup.timeout.ms",
        number("socket.connection.setup.timeout.ms", 1000, I32_MAX),
    ),
    // Below 0 is the system's own size; here that is 0.
    (
        "send.buffer.bytes",
        number("socket.send.buffer.bytes", 0, 100_000_000),
    ),
    (
        "receive.buffer.bytes",
        number("socket.receive.buffer.bytes", 0, 100_000_000),
    ),
    ("partition.assignment.strategy", Assignor),
];

const FIXED: &[&str] = &[
    "enable.auto.commit",
    "auto.commit.interval.ms",
    "key.deserializer",
    "value.deserializer",
    "group.id",
    "auto.offset.reset",
];

/// What begins like this, or is this.
const JAVA_ONLY: &[&str] = &[
    "auto.include.jmx.reporter",
    "default.api.timeout.ms",
    "enable.metrics.push",
    "exclude.internal.topics",
    "group.protocol",
    "group.remote.assignor",
    "metadata.recovery.",
    "metric.reporters",
    "metrics.",
    "sasl.kerberos.",
    "sasl.login.",
    "sasl.oauthbearer.",
    "security.providers",
    "socket.connection.setup.timeout.max.ms",
    "ssl.keymanager.algorithm",
    "ssl.trustmanager.algorithm",
];

const TLS: &[&str] = &[
    "ssl.protocol",
    "ssl.enabled.protocols",
    "ssl.cipher.suites",
    "ssl.provider",
    "ssl.secure.random.implementation",
];

/// What the property of this name is.
pub(super) fn key(name: &str) -> Key {
    if PARTS.contains(&name) {
        return Part;
    }
    if let Some((_, key)) = TRANSLATED.iter().find(|(known, _)| *known == name) {
        return *key;
    }
    let is_java =
        |known: &&&str| name == **known || (known.ends_with('.') && name.starts_with(**known));
    if FIXED.contains(&name) {
        Fixed
    } else if TLS.contains(&name) {
        Tls
    } else if JAVA_ONLY.iter().any(|known| is_java(&known)) {
        Java
    } else {
        Unknown
    }
}
