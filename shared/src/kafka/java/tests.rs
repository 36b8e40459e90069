use std::path::PathBuf;

use super::*;
use crate::kafka::Sasl;

fn properties(text: &str) -> Properties {
    Properties::parse(text.as_bytes()).unwrap()
}

/// With a broker.
fn read(text: &str) -> Result<JavaConsumer, JavaError> {
    let text = format!("bootstrap.servers=b:1\n{text}");
    let read = JavaConsumer::of(&properties(&text))?;
    // Whatever is translated must be known to librdkafka, with a value that it takes.
    let mut client = rdkafka::ClientConfig::new();
    client.set("group.id", "g");
    client.set("session.timeout.ms", SESSION_TIMEOUT_MS.to_string());
    client.extend(read.consumer.clone());
    let consumer: Result<rdkafka::consumer::BaseConsumer, _> = client.create();
    assert!(consumer.is_ok(), "{:?}", consumer.err());
    Ok(read)
}

fn consumer(text: &str) -> BTreeMap<String, String> {
    read(text).unwrap().consumer
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn refusal(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

const PLAIN: &str = "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
                     username=\"token\" password=\"change-password\";\n";

#[test]
fn the_readmes_file_is_understood() {
    let text = format!(
        "bootstrap.servers=broker-0:9093, broker-1:9093,broker-2:9093 ,\n{PLAIN}sasl.mechanism=PLAIN\n\
         security.protocol=SASL_SSL\nssl.protocol=TLSv1.2\nssl.enabled.protocols=TLSv1.2\n\
         ssl.endpoint.identification.algorithm=HTTPS\n"
    );
    let java = JavaConsumer::of(&properties(&text)).unwrap();
    let expected = KafkaConfig {
        brokers: [0, 1, 2].map(|n| format!("broker-{n}:9093")).to_vec(),
        tls: true,
        user: Some("token".to_owned()),
        password: Some("change-password".into()),
        ..KafkaConfig::default()
    };
    assert_eq!(java.kafka, expected);
    assert!(
        java.consumer.is_empty() && java.warnings.is_empty(),
        "{java:?}"
    );
    assert_eq!(java.infos.len(), 1, "{java:?}");
    assert!(java.infos[0].starts_with("ssl.protocol, ssl.enabled.protocols: no effect"));
    assert!(!format!("{java:?}").contains("change-password"));
    assert!(java.kafka.client().is_ok());
}

#[test]
fn brokers_are_needed_and_have_ports() {
    let brokers = |text: &str| {
        let java = JavaConsumer::of(&properties(&format!("bootstrap.servers={text}")));
        java.map(|java| java.kafka.brokers.join(" "))
    };
    assert_eq!(brokers("SASL_SSL://a:1,[::1]:2").unwrap(), "a:1 [::1]:2");
    for (text, expected) in [
        (" , ", "bootstrap.servers is missing"),
        ("a", "bootstrap.servers=a: is not host:port"),
        ("a:1,b:x", "bootstrap.servers=b:x: is not host:port"),
    ] {
        let error = brokers(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn numbers_and_words_get_librdkafkas_names_and_limits() {
    assert_eq!(
        consumer(
            "client.id=fhir\nclient.rack=\nisolation.level=READ_COMMITTED\nsession.timeout.ms=6000\n\
             heartbeat.interval.ms=2000\nmax.poll.interval.ms=2147483647\nfetch.max.wait.ms=250\n\
             fetch.min.bytes=1\nfetch.max.bytes=1024\nmax.partition.fetch.bytes=2097152\n\
             request.timeout.ms=30000\nmetadata.max.age.ms=60000\nreceive.buffer.bytes=-1\n\
             reconnect.backoff.ms=5000\ncheck.crcs=TRUE\n"
        ),
        pairs([
            ("client.id", "fhir"),
            ("isolation.level", "read_committed"),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "2000"),
            ("max.poll.interval.ms", "86400000"),
            ("fetch.wait.max.ms", "250"),
            ("fetch.min.bytes", "1"),
            ("fetch.max.bytes", "1000000"),
            ("max.partition.fetch.bytes", "2097152"),
            ("socket.timeout.ms", "30000"),
            ("topic.metadata.refresh.interval.ms", "60000"),
            ("socket.receive.buffer.bytes", "0"),
            ("reconnect.backoff.ms", "5000"),
            ("reconnect.backoff.max.ms", "5000"),
            ("check.crcs", "true"),
        ])
    );
    let short = consumer("max.poll.interval.ms=3000");
    assert_eq!(short["session.timeout.ms"], "3000");
    let long = consumer("session.timeout.ms=600000");
    assert_eq!(long["max.poll.interval.ms"], "600000");
    let java = read("max.poll.records=200\ngroup.instance.id=host-1").unwrap();
    assert_eq!(
        (java.most_records, java.member.as_deref()),
        (Some(200), Some("host-1"))
    );
    for (text, expected) in [
        ("max.poll.records=0", "is not a whole number of 1 or more"),
        (
            "session.timeout.ms=6s",
            "session.timeout.ms=6s: is not a whole number",
        ),
        (
            "isolation.level=x",
            "one of read_uncommitted, read_committed",
        ),
        ("security.protocol=TLS", "one of plaintext, ssl"),
        (
            "security.protocol=SSL\nssl.endpoint.identification.algorithm=LDAPS",
            "one of https",
        ),
    ] {
        let error = refusal(text);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn every_number_is_taken_at_both_ends() {
    for value in [i64::from(i32::MIN), -1, 0, 1, i64::from(i32::MAX)] {
        for name in [
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "max.poll.interval.ms",
            "fetch.min.bytes",
            "fetch.max.bytes",
            "fetch.max.wait.ms",
            "max.partition.fetch.bytes",
            "reconnect.backoff.ms",
            "reconnect.backoff.max.ms",
            "retry.backoff.ms",
            "retry.backoff.max.ms",
            "request.timeout.ms",
            "metadata.max.age.ms",
            "connections.max.idle.ms",
            "socket.connection.setup.timeout.ms",
            "send.buffer.bytes",
            "receive.buffer.bytes",
        ] {
            let found = consumer(&format!("{name}={value}"));
            assert!(!found.is_empty(), "{name}");
        }
    }
}

#[test]
fn what_has_no_meaning_here_is_named_and_not_passed_on() {
    let java = read(
        "enable.auto.commit=true\nkey.deserializer=org.x.D\ngroup.id=g\nauto.offset.reset=latest\n\
         partition.assignment.strategy=org.apache.kafka.clients.consumer.RangeAssignor\n\
         metrics.num.samples=2\nsasl.login.refresh.window.factor=0.8\nssl.protocol=\n\
         ssl.cipher.suites=TLS_AES_128_GCM_SHA256\nretries=3\nmy.own=1\ninterceptor.classes=org.x.I\n",
    )
    .unwrap();
    assert!(java.consumer.is_empty(), "{java:?}");
    let infos = java.infos.join("\n");
    for expected in [
        "set by the indexer itself, also in Java: enable.auto.commit, key.deserializer, group.id, \
         auto.offset.reset",
        "partition.assignment.strategy: no effect",
        "only mean something to Java: metrics.num.samples, sasl.login.refresh.window.factor",
        "ssl.cipher.suites: no effect",
    ] {
        assert!(infos.contains(expected), "{expected}: {infos}");
    }
    assert_eq!(
        java.warnings,
        [
            "properties of Kafka that are not known here and have no effect: retries, my.own, interceptor.classes"
        ]
    );
}

#[test]
fn users_are_those_of_the_jaas_line() {
    let scram = PLAIN.replace("plain.PlainLoginModule", "scram.ScramLoginModule");
    for (mechanism, line, sasl) in [
        ("PLAIN", PLAIN, Sasl::Plain),
        ("SCRAM-SHA-256", &scram, Sasl::ScramSha256),
        ("SCRAM-SHA-512", &scram, Sasl::ScramSha512),
    ] {
        let text = format!("security.protocol=sasl_plaintext\nsasl.mechanism={mechanism}\n{line}");
        let kafka = read(&text).unwrap().kafka;
        assert_eq!((kafka.sasl, kafka.tls), (sasl, false));
        assert_eq!(kafka.user.as_deref(), Some("token"));
    }
    let kafka = read(&format!("sasl.mechanism=PLAIN\n{PLAIN}"))
        .unwrap()
        .kafka;
    assert_eq!(kafka.user, None, "Java does not look at it either");
    for (mechanism, line, expected) in [
        (
            "",
            PLAIN,
            "sasl.mechanism is missing; Kafka takes that for GSSAPI",
        ),
        (
            "GSSAPI",
            PLAIN,
            "sasl.mechanism=GSSAPI: is not supported; use PLAIN",
        ),
        ("PLAIN", "", "sasl.jaas.config is missing"),
        (
            "PLAIN",
            &scram,
            "ScramLoginModule does not go with sasl.mechanism=PLAIN",
        ),
        (
            "PLAIN",
            "sasl.jaas.config=com.sun.security.auth.module.Krb5LoginModule required;",
            "Krb5LoginModule is not supported",
        ),
        (
            "SCRAM-SHA-256",
            "sasl.jaas.config=a.ScramLoginModule required username=a password=b tokenauth=true;",
            "delegation tokens",
        ),
    ] {
        let error = refusal(&format!(
            "security.protocol=SASL_SSL\nsasl.mechanism={mechanism}\n{line}"
        ));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn stores_and_texts_of_certificates_are_taken() {
    let kafka = |text: &str| {
        read(&format!("security.protocol=SSL\n{text}"))
            .unwrap()
            .kafka
    };
    let files = kafka(
        "ssl.endpoint.identification.algorithm=\nssl.truststore.type=JKS\nssl.truststore.location=t.jks\n\
         ssl.truststore.password=tp\nssl.keystore.location=k.p12\nssl.keystore.password=kp\n\
         ssl.key.password=kp\nssl.keystore.type=PKCS12\n",
    );
    let expected = KafkaConfig {
        brokers: vec!["b:1".to_owned()],
        tls: true,
        check_host_name: false,
        ca_file: Some(PathBuf::from("t.jks")),
        ca_password: Some("tp".into()),
        client_cert_file: Some(PathBuf::from("k.p12")),
        client_key_file: Some(PathBuf::from("k.p12")),
        client_key_password: Some("kp".into()),
        ..KafkaConfig::default()
    };
    assert_eq!(files, expected);
    let block = |kind: &str| format!("-----BEGIN {kind}----- YQ== -----END {kind}-----");
    let texts = kafka(&format!(
        "ssl.truststore.certificates={}\nssl.keystore.certificate.chain={}\nssl.keystore.key={}\n\
         ssl.key.password=kp\n",
        block("CERTIFICATE"),
        block("CERTIFICATE"),
        block("ENCRYPTED PRIVATE KEY")
    ));
    let certificate = "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n";
    assert!(texts.check_host_name);
    assert_eq!(texts.pem.ca.as_deref(), Some(certificate));
    assert_eq!(texts.pem.client_cert.as_deref(), Some(certificate));
    let key = texts.pem.client_key.as_ref().unwrap().expose();
    assert!(
        key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\nYQ==\n"),
        "{key}"
    );
    assert_eq!(texts.client_key_password, Some("kp".into()));
    let none = kafka("ssl.truststore.location=\nssl.keystore.location=\nssl.keystore.key=\n");
    assert_eq!((none.ca_file, none.client_key_file), (None, None));
    let error = refusal("security.protocol=SSL\nssl.keystore.key=geheim");
    assert!(
        error.contains("name a file by ssl.keystore.location"),
        "{error}"
    );
    assert!(!error.contains("geheim"), "{error}");
}
