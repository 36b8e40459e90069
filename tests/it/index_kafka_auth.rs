//! Kafka with passwords and certificates, as a Java consumer's properties ask for it.

use std::fs;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use stoker_shared::kafka::java::JavaConsumer;
use stoker_shared::kafka::{self, KafkaLookError};
use stoker_shared::properties::Properties;
use stoker_tests::kafka::{Kafka, STORE_PASSWORD};
use stoker_tests::{keytool, parts};

const LIMIT: Duration = Duration::from_secs(30);
const TOPIC: &str = "FHIR_REMOTE_INDEX";
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// A broker with one message, and stores of its certificates.
struct World(Kafka);

impl World {
    fn new() -> Self {
        let kafka = Kafka::start_encrypted().unwrap();
        let tls = kafka.tls();
        for (kind, name) in [("PKCS12", "trust.p12"), ("JKS", "trust.jks")] {
            let authority = tls.join("ca.pem");
            keytool::trust_store(&authority, kind, STORE_PASSWORD, &tls.join(name)).unwrap();
        }
        send_one(&kafka.broker());
        let world = Self(kafka);
        let both = world.read("client.key.pem") + &world.read("client.cert.pem");
        fs::write(tls.join("client.pem"), both).unwrap();
        world
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.tls().join(name)).unwrap()
    }

    /// On one line, as a property has it.
    fn line(&self, name: &str) -> String {
        self.read(name).replace('\n', " ")
    }

    /// `@` stands for the folder of certificates.
    fn java(&self, text: &str) -> JavaConsumer {
        let folder = format!("{}/", self.0.tls().display());
        let text = text.replace('@', &folder);
        JavaConsumer::of(&Properties::parse(text.as_bytes()).unwrap()).unwrap()
    }

    fn look(&self, text: &str) -> Result<usize, KafkaLookError> {
        kafka::look(&self.java(text).kafka, LIMIT).map(|look| look.brokers)
    }

    fn sasl(&self, mechanism: &str, password: &str) -> String {
        let module = if mechanism == "PLAIN" {
            "plain.PlainLoginModule"
        } else {
            "scram.ScramLoginModule"
        };
        format!(
            "bootstrap.servers=localhost:{}\nsecurity.protocol=SASL_SSL\nsasl.mechanism={mechanism}\n\
             sasl.jaas.config=org.apache.kafka.common.security.{module} required username=\"app\" \
             password=\"{password}\";\nssl.protocol=TLSv1.2\nssl.enabled.protocols=TLSv1.2\n",
            self.0.sasl_ssl_port()
        )
    }

    fn mtls(&self, host: &str) -> String {
        let port = self.0.mtls_port();
        format!("bootstrap.servers={host}:{port}\nsecurity.protocol=SSL\n")
    }
}

fn send_one(broker: &str) {
    let mut config = rdkafka::ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", broker).create().unwrap();
    let record = BaseRecord::to(TOPIC).key("Patient/a").payload("{}");
    producer.send(record).unwrap();
    producer.flush(LIMIT).unwrap();
}

/// As the indexer consumes: the message is there, and its offset can be committed.
fn consume(java: &JavaConsumer, group: &str) {
    let mut config = java.kafka.client().unwrap();
    config.extend(java.consumer.clone());
    config.set("group.id", group);
    config.set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) {
            assert_eq!(message.key(), Some(&b"Patient/a"[..]));
            let sync = rdkafka::consumer::CommitMode::Sync;
            return consumer.commit_message(&message, sync).unwrap();
        }
    }
    panic!("{group}: no message in {LIMIT:?}");
}

const TRUST: &str = "ssl.truststore.type=PEM\nssl.truststore.location=@ca.pem\n";

#[tokio::test]
async fn every_way_to_be_let_in_works() {
    let _turn = parts::turn().await;
    let world = World::new();
    let (ca, cert, key) = (
        world.line("ca.pem"),
        world.line("client.cert.pem"),
        world.line("client.key.pem"),
    );
    let store = |kind: &str, name: &str| {
        format!(
            "ssl.truststore.type={kind}\nssl.truststore.location=@{name}\n\
             ssl.truststore.password={STORE_PASSWORD}\n"
        )
    };
    let mut ways = MECHANISMS
        .map(|m| world.sasl(m, "app-secret") + TRUST)
        .to_vec();
    ways.push(world.sasl("PLAIN", "app-secret") + &store("JKS", "trust.jks"));
    let mtls = world.mtls("localhost");
    ways.push(format!(
        "{mtls}{}ssl.keystore.type=PKCS12\nssl.keystore.location=@client.p12\n\
         ssl.keystore.password={STORE_PASSWORD}\nssl.key.password={STORE_PASSWORD}\n",
        store("PKCS12", "trust.p12")
    ));
    ways.push(format!(
        "{mtls}{TRUST}ssl.keystore.type=PEM\nssl.keystore.location=@client.pem\n"
    ));
    ways.push(format!(
        "{mtls}ssl.truststore.certificates={ca}\nssl.keystore.certificate.chain={cert}\n\
         ssl.keystore.key={key}\n"
    ));
    for (way, text) in ways.iter().enumerate() {
        let looked = world.look(text);
        assert!(matches!(looked, Ok(1)), "{way}: {looked:?}");
        consume(&world.java(text), &format!("way-{way}"));
    }
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    let _turn = parts::turn().await;
    let world = World::new();
    for mechanism in MECHANISMS {
        let refused = world.look(&(world.sasl(mechanism, "wrong-one") + TRUST));
        let error = refused.unwrap_err();
        assert!(matches!(error, KafkaLookError::Refused { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains("the user or password is refused"), "{said}");
        assert!(!said.contains("wrong-one"), "{said}");
    }
    let unknown_authority = world.look(&world.sasl("PLAIN", "app-secret")).unwrap_err();
    assert!(
        matches!(unknown_authority, KafkaLookError::Tls { .. }),
        "{unknown_authority}"
    );
    let no_certificate = world.look(&(world.mtls("localhost") + TRUST)).unwrap_err();
    assert!(
        matches!(no_certificate, KafkaLookError::Tls { .. }),
        "{no_certificate}"
    );

    // The broker's certificate does not name the address.
    let with_key = "ssl.keystore.location=@client.pem\n";
    let by_address = world.mtls("127.0.0.1") + TRUST + with_key;
    let other_name = world.look(&by_address).unwrap_err();
    assert!(
        matches!(other_name, KafkaLookError::Tls { .. }),
        "{other_name}"
    );
    let unchecked = by_address + "ssl.endpoint.identification.algorithm=\n";
    let looked = world.look(&unchecked);
    assert!(matches!(looked, Ok(1)), "{looked:?}");

    let wrong = format!(
        "{}ssl.truststore.location=@trust.p12\nssl.truststore.password=wrong-one\n",
        world.mtls("localhost")
    );
    let said = world.look(&wrong).unwrap_err().to_string();
    assert!(
        said.contains("trust.p12: the password does not open"),
        "{said}"
    );
    assert!(!said.contains("wrong-one"), "{said}");
}
