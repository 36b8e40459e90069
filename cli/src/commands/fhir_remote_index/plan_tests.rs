use std::collections::BTreeMap;
use std::time::Duration;

use remote_indexer::config::{IndexSettings, SchemaType, TopicSettings};
use stoker_shared::kafka::KafkaConfig;
use tempfile::TempDir;

use super::*;

/// A folder with the files that a command line names.
struct World(TempDir);

const DATABASE: &str = "db.host=db.example.org\ndb.port=5432\ndb.database=fhir\nuser=fhirserver\n\
    password=change-password\ncurrentSchema=FHIRDATA\nssl=true\nsslmode=require\nsslcert=\n\
    sslrootcert=postgres.crt\nsslkey=\n";
const KAFKA: &str = "bootstrap.servers=broker-0:9093, broker-1:9093\n";
const LINE: &str = "--kafka-properties @kafka.properties --database-properties @database.properties \
                    --instance-identifier 5a0c7a1e";

impl World {
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        world.write("database.properties", DATABASE);
        world.write("kafka.properties", KAFKA);
        world.write("stoker.yaml", "");
        world
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    /// `@` stands for the folder.
    fn config(&self, line: &str) -> (anyhow::Result<Config>, Notes) {
        let folder = format!("{}/", self.0.path().display());
        let args = line
            .split_whitespace()
            .map(|word| word.replace('@', &folder));
        let args: Vec<String> = args.collect();
        let global = Global {
            config: Some(self.0.path().join("stoker.yaml")),
            json: false,
            verbose: 0,
            quiet: false,
        };
        let mut notes = Notes::default();
        let config = config(&Given::parse(&args).unwrap(), &global, &mut notes);
        (config, notes)
    }

    fn refusal(&self, line: &str) -> String {
        format!("{:#}", self.config(line).0.unwrap_err())
    }
}

#[test]
fn the_readmes_command_becomes_a_configuration() {
    let world = World::new();
    let (config, notes) = world.config(&format!(
        "{LINE} --db-type postgresql --topic-name INDEX --consumer-count 3 --consumer-group g \
         --max-ready-time-ms 130000"
    ));
    let config = config.unwrap();
    let url = "postgres://fhirserver@db.example.org:5432/fhir?sslmode=require";
    let mut expected = Config {
        kafka: KafkaConfig {
            brokers: vec!["broker-0:9093".to_owned(), "broker-1:9093".to_owned()],
            ..KafkaConfig::default()
        },
        topic: TopicSettings {
            name: "INDEX".to_owned(),
            group: "g".to_owned(),
            consumers: 3,
            ..TopicSettings::default()
        },
        instance_identifier: "5a0c7a1e".to_owned(),
        database: DatabaseSettings {
            url: Some(url.parse().unwrap()),
            password: Some("change-password".into()),
            ..DatabaseSettings::default()
        },
        index: IndexSettings {
            max_ready_time: Duration::from_secs(130),
            ..IndexSettings::default()
        },
        ..Config::default()
    };
    leave_ports(&mut expected);
    assert_eq!(config, expected);
    assert_eq!(config.service.http_listen.port(), 0);
    assert_eq!(config.service.grpc.listen.port(), 0);
    assert_eq!(config.database.schema, "fhirdata");
    assert!(
        notes.warnings().is_empty() && notes.infos().len() == 1,
        "{notes:?}"
    );
    let (config, _) = world.config(LINE);
    assert_eq!(
        config.unwrap().topic,
        TopicSettings::default(),
        "the README's defaults"
    );
}

#[test]
fn kafkas_properties_reach_the_service() {
    let world = World::new();
    world.write(
        "kafka.properties",
        &format!(
            "{KAFKA}max.poll.records=200\ngroup.instance.id=host-1\nsession.timeout.ms=9000\n\
             fetch.max.wait.ms=50\ngroup.id=x\nodd=1\n"
        ),
    );
    let (config, notes) = world.config(&format!(
        "-Dfile.encoding=UTF-8 -jar x.jar {LINE} --db-type citus --schema-type DISTRIBUTED"
    ));
    let config = config.unwrap();
    assert_eq!(config.index.batch_messages, 200);
    assert_eq!(config.topic.member.as_deref(), Some("host-1"));
    assert_eq!(config.topic.group, "remote-index-service-cg");
    let expected = [("fetch.wait.max.ms", "50"), ("session.timeout.ms", "9000")];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(config.topic.properties, BTreeMap::from(expected));
    assert!(config.database.citus);
    assert_eq!(config.database.schema_type, SchemaType::Distributed);
    assert!(notes.infos()[1].contains("group.id"), "{notes:?}");
    let warnings = notes.warnings().join("\n");
    for expected in ["no effect: odd", "-Dfile.encoding: has no effect"] {
        assert!(warnings.contains(expected), "{warnings}");
    }
}

#[test]
fn the_file_sets_what_java_has_no_option_for() {
    let world = World::new();
    world.write(
        "stoker.yaml",
        "remote_indexer:\n  service:\n    http_listen: 127.0.0.1:9804\n  index:\n    gather: 7ms\n  \
         kafka:\n    brokers: [other:1]\n  tenants:\n    a: schema_a\n",
    );
    let config = world.config(LINE).0.unwrap();
    assert_eq!(config.service.http_listen.port(), 9804);
    assert_eq!(config.index.gather, Duration::from_millis(7));
    assert_eq!(config.kafka.brokers.len(), 2);
    assert_eq!(config.tenants["a"], "schema_a");
}

#[test]
fn the_trust_store_of_the_jvm_counts_where_kafka_has_none() {
    let world = World::new();
    world.write(
        "trust.pem",
        "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n",
    );
    world.write(
        "kafka.properties",
        &format!("{KAFKA}security.protocol=SSL\n"),
    );
    let line = format!("-Djavax.net.ssl.trustStore=@trust.pem {LINE}");
    let config = world.config(&line).0.unwrap();
    assert_eq!(config.kafka.ca_file, Some(world.0.path().join("trust.pem")));
    world.write(
        "kafka.properties",
        &format!("{KAFKA}security.protocol=SSL\nssl.truststore.location=/no/own.p12\n"),
    );
    let refused = world.refusal(&line);
    assert!(refused.contains("/no/own.p12 cannot be read"), "{refused}");
}

#[test]
fn what_cannot_be_run_is_refused_with_the_way_out() {
    let world = World::new();
    world.write("empty.properties", "");
    world.write(
        "list.properties",
        &DATABASE.replace("FHIRDATA", "fhirdata, public"),
    );
    world.write("none.properties", &DATABASE.replace("FHIRDATA", ""));
    world.write(
        "gssapi.properties",
        &format!("{KAFKA}security.protocol=SASL_SSL\nsasl.mechanism=GSSAPI\n"),
    );
    let id = "--instance-identifier i";
    let kafka = "--kafka-properties @kafka.properties";
    let database = "--database-properties @database.properties";
    for (line, expected) in [
        ("", "--instance-identifier is needed"),
        (id, "--database-properties is needed"),
        (&format!("{id} {database}"), "--kafka-properties is needed"),
        (
            &format!("{id} {kafka} --database-properties @empty.properties"),
            "lack db.host",
        ),
        (
            &format!("{id} {kafka} --database-properties @none.properties"),
            "currentSchema is missing",
        ),
        (
            &format!("{id} {kafka} --database-properties @list.properties"),
            "names several schemas",
        ),
        (
            &format!("{id} {kafka} --database-properties /no.properties"),
            "/no.properties: cannot be read",
        ),
        (
            &format!("{id} {database} --kafka-properties @empty.properties"),
            "bootstrap.servers is missing",
        ),
        (
            &format!("{id} {database} --kafka-properties @gssapi.properties"),
            "--kafka-properties: sasl.mechanism=GSSAPI: is not supported",
        ),
    ] {
        let refused = world.refusal(line);
        assert!(refused.contains(expected), "{line}: {refused}");
        assert!(!refused.contains("change-password"), "{refused}");
    }
}
