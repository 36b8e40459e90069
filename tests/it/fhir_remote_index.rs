//! `stoker fhir-remote-index`: what the Java tool's README prints, as it is, with a broker that asks for a password
//! and a FHIR server's database, both over TLS.

use std::fs;
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;
use stoker_tests::fhir_database::{FhirDatabase, FhirTransaction, SchemaType, Stored, rows_of};
use stoker_tests::kafka::{Kafka, STORE_PASSWORD};
use stoker_tests::remote_index::{Message, create_topic, publish, until_all_committed};
use stoker_tests::stoker::Stoker;
use stoker_tests::tls_postgres::TlsPostgres;
use stoker_tests::tool::Tool;
use stoker_tests::{keytool, parts, repository};

const LIMIT: Duration = Duration::from_mins(1);
const TOPIC: &str = "FHIR_REMOTE_INDEX";
const GROUP: &str = "remote-index-service-cg";

/// A folder with the files that the command names, and what these lead to.
struct World {
    user: Stoker,
    kafka: Kafka,
    postgres: TlsPostgres,
    database: FhirDatabase,
}

impl World {
    async fn new() -> Self {
        let postgres = TlsPostgres::start().unwrap();
        let server = postgres.url();
        let database = FhirDatabase::fresh_on(&server, SchemaType::Plain);
        let world = Self {
            user: Stoker::new().unwrap(),
            kafka: Kafka::start_encrypted().unwrap(),
            database: database.await.unwrap(),
            postgres,
        };
        create_topic(&world.kafka.broker(), TOPIC).await.unwrap();
        let authority = world.kafka.tls().join("ca.pem");
        let store = world.user.home().join("trust.p12");
        keytool::trust_store(&authority, "PKCS12", STORE_PASSWORD, &store).unwrap();
        world.write("logging.properties", &printed("05-logging.properties"));
        world.write(
            "kafka.properties",
            &world.here(&printed("06-kafka.properties")),
        );
        world.write("database.properties", &world.database_properties());
        world
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.user.home().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.user.home().join(name)).unwrap_or_default()
    }

    /// With the one broker in the place of six.
    fn here(&self, text: &str) -> String {
        let brokers = (0..6).map(|n| format!("broker-{n}:9093"));
        let brokers: Vec<_> = brokers.collect();
        let printed = brokers.join(", ");
        assert!(text.contains(&printed), "{text}");
        let port = self.kafka.sasl_ssl_port();
        text.replace(&printed, &format!("localhost:{port}, localhost:{port}"))
    }

    fn database_properties(&self) -> String {
        let url = Url::parse(&self.database.url).unwrap();
        let mut text = printed("07-database.properties");
        for (from, to) in [
            ("your-db-host", url.host_str().unwrap().to_owned()),
            ("5432", url.port().unwrap().to_string()),
            (
                "your-db-name",
                url.path().trim_start_matches('/').to_owned(),
            ),
            ("user=fhirserver", format!("user={}", url.username())),
        ] {
            assert!(text.contains(from), "{from}: {text}");
            text = text.replace(from, &to);
        }
        text
    }

    /// How many of the indexer's connections are encrypted, and how many are not.
    async fn connections(&self) -> (i64, i64) {
        let query = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl) FROM pg_stat_ssl \
                     JOIN pg_stat_activity USING (pid) WHERE application_name = 'stoker-remote-indexer'";
        let mut connection = self.database.connect().await.unwrap();
        sqlx::query_as(query)
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    fn start(&self, name: &str) -> Tool {
        Tool::start(&self.user, command(), name).unwrap()
    }

    /// A Patient that the server has stored, and the message of it.
    async fn patient(&self, id: &str, family: &str) -> (Stored, Message) {
        let mut transaction = FhirTransaction::begin(&self.database).await.unwrap();
        let stored = transaction.put("Patient", id, "hash").await.unwrap();
        transaction.commit().await.unwrap();
        let instance = Value::from("a-random-uuid-value");
        let message = stored.message().envelope("instanceIdentifier", instance);
        (stored, message.string("family", family).build())
    }

    async fn publish(&self, messages: &[Message]) {
        publish(messages, &self.kafka.broker(), TOPIC)
            .await
            .unwrap();
    }

    async fn until_indexed(&self, tools: &[&Tool]) {
        let broker = self.kafka.broker();
        if let Err(error) = until_all_committed(&broker, TOPIC, GROUP, LIMIT).await {
            let logs: Vec<_> = tools.iter().map(|tool| tool.log()).collect();
            panic!("{error:#}: {}", logs.join("\n"));
        }
    }

    async fn families(&self, stored: &Stored) -> Vec<String> {
        let rows = rows_of(&self.database, stored.logical_resource_id)
            .await
            .unwrap();
        assert!(rows.duplicates.is_empty(), "{rows:?}");
        let rows = rows
            .distinct
            .iter()
            .map(|row| serde_json::from_str::<Value>(row).unwrap());
        rows.filter(|row| row["parameter"] == "family")
            .map(|row| row["str_value"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// The command of the README; the JVM's trust store knows the broker's authority.
fn command() -> Vec<String> {
    let text = printed("04-run.sh").replace("\\\n", " ");
    let line = text.strip_prefix("java ").unwrap();
    let trust = "-Djavax.net.ssl.trustStore=trust.p12";
    let password = format!("-Djavax.net.ssl.trustStorePassword={STORE_PASSWORD}");
    let words = line.split_whitespace().map(|word| word.trim_matches('"'));
    let args = ["fhir-remote-index", trust, &password].into_iter();
    args.chain(words).map(str::to_owned).collect()
}

/// A file or command of the README.
fn printed(name: &str) -> String {
    let folder = repository::root().join("tests/seeds/fhir-remote-index");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Where the log says that the metrics are.
fn metrics_url(log: &str) -> Option<Url> {
    let line = log
        .lines()
        .find(|line| line.contains("health and metrics: "))?;
    let (_, url) = line.split_once("health and metrics: ")?;
    Url::parse(url.split_whitespace().next()?).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_command_indexes_what_the_server_sends() {
    let _turn = parts::turn().await;
    stoker_shared::tls::install_crypto_provider();
    let world = World::new().await;
    let (ann, of_ann) = world.patient("ann", "Núñez").await;
    let (bob, of_bob) = world.patient("bob", "Example").await;
    let other = {
        let stored = world.patient("eve", "Elsewhere").await.0;
        (
            stored.message().string("family", "Elsewhere").build(),
            stored,
        )
    };
    world.publish(&[of_ann.clone(), of_bob, other.0]).await;

    // Two on one host: the Java tool opens no port either.
    let (mut one, mut two) = (world.start("one"), world.start("two"));
    world.until_indexed(&[&one, &two]).await;
    assert_eq!(world.families(&ann).await, ["Núñez"]);
    assert_eq!(world.families(&bob).await, ["Example"]);
    assert!(
        world.families(&other.1).await.is_empty(),
        "another instance's message"
    );
    for tool in [&mut one, &mut two] {
        let served = async |tool: &Tool| metrics_url(&tool.log()).is_some();
        tool.until("its metrics", served).await;
        let url = metrics_url(&tool.log()).unwrap();
        let page = reqwest::get(url).await.unwrap().text().await.unwrap();
        assert!(page.contains("stoker_remote_indexer_"), "{page}");
    }
    let (encrypted, not) = world.connections().await;
    assert!(encrypted > 0 && not == 0, "{encrypted}, {not}");
    let said = one.terminate().await + &two.terminate().await;
    for number in [0, 1] {
        let log = world.read(&format!("remoteindexservice-{number}-0.log"));
        assert!(log.contains("remote-indexer stopped"), "{log}");
        for secret in ["change-password", "Núñez", "Patient/ann"] {
            assert!(
                !log.contains(secret) && !said.contains(secret),
                "{secret}: {said}"
            );
        }
    }
    assert!(
        said.contains("ssl.protocol, ssl.enabled.protocols: no effect"),
        "{said}"
    );

    // What the server's own configuration says of Kafka is taken, too; a message again changes nothing. The
    // database's certificate is for localhost.
    world.write("kafka.properties", &world.here(&connection_properties()));
    let database = world
        .database_properties()
        .replace("=require", "=verify-full");
    let database = database.replace("=127.0.0.1", "=localhost");
    world.write("database.properties", &database);
    let authority = fs::read_to_string(world.postgres.ca_file()).unwrap();
    world.write("postgres.crt", &authority);
    let (ann, again) = world.patient("ann", "Núñez-Example").await;
    world.publish(&[of_ann, again]).await;
    let tool = world.start("again");
    world.until_indexed(&[&tool]).await;
    assert_eq!(world.families(&ann).await, ["Núñez-Example"]);
    tool.terminate().await;
}

/// What `02-fhir-server-config.json`, in which dots stand for some lines, says of Kafka's client.
fn connection_properties() -> String {
    let text = printed("02-fhir-server-config.json");
    let (_, begun) = text.split_once("\"connectionProperties\": ").unwrap();
    let (object, _) = begun.split_once('}').unwrap();
    let object: Value = serde_json::from_str(&format!("{object}}}")).unwrap();
    let pairs = object.as_object().unwrap().iter();
    let pairs = pairs.map(|(key, value)| format!("{key}={}\n", value.as_str().unwrap()));
    pairs.collect()
}

#[tokio::test]
async fn every_option_and_property_of_the_readme_is_known_and_described() {
    let user = Stoker::new().unwrap();
    let page = fs::read_to_string(repository::root().join("docs/fhir-remote-index.md")).unwrap();
    let rows = printed("09-options.md") + &printed("03-properties-options.txt");
    let options = rows
        .split(&[' ', '\n', ';'][..])
        .filter(|word| word.starts_with("--") && !word.contains('|'));
    let options: Vec<_> = options.collect();
    assert!(options.len() >= 11, "{options:?}");
    for option in options {
        assert!(page.contains(&format!("`{option}`")), "{option}");
        let run = user
            .args(["fhir-remote-index", option])
            .run()
            .await
            .unwrap();
        assert_eq!(run.code, 1, "{run:#?}");
        assert!(run.stderr.contains("needs a value"), "{run:#?}");
    }
    let database = printed("08-database-properties.md");
    let keys = database
        .lines()
        .skip(2)
        .filter_map(|row| row.split(" |").next());
    let kafka = printed("06-kafka.properties");
    let of_kafka = kafka.lines().filter_map(|line| line.split('=').next());
    for key in keys.chain(of_kafka) {
        assert!(page.contains(&format!("`{key}`")), "{key}");
    }
}

#[tokio::test]
async fn what_cannot_be_run_is_said_in_a_sentence() {
    let user = Stoker::new().unwrap();
    let write = |name: &str, text: &str| fs::write(user.home().join(name), text).unwrap();
    write("d.properties", &printed("07-database.properties"));
    write(
        "k.properties",
        &printed("06-kafka.properties").replace("PlainLogin", "Krb5Login"),
    );
    write(
        "s.properties",
        "bootstrap.servers=b:1\nsecurity.protocol=SSL\nssl.truststore.location=no.p12\n",
    );
    let files = "--database-properties d.properties --instance-identifier i --kafka-properties";
    for (line, expected) in [
        ("--topic T", "Bad arg: --topic; did you mean --topic-name?"),
        (
            "--topic-name",
            "--topic-name needs a value: the name of a topic",
        ),
        ("--topic-name --help", "--help follows it"),
        ("--db-type derby", "move the FHIR server to PostgreSQL"),
        ("--schema-type SHARDED", "is not supported"),
        ("--instance-identifier i", "--database-properties is needed"),
        (
            &format!("{files} no.properties"),
            "no.properties: cannot be read",
        ),
        (
            &format!("{files} k.properties"),
            "Krb5LoginModule is not supported",
        ),
        (&format!("{files} s.properties"), "no.p12 cannot be read"),
    ] {
        let args = ["fhir-remote-index"]
            .into_iter()
            .chain(line.split_whitespace());
        let run = user.args(args).run().await.unwrap();
        assert_eq!(run.code, 1, "{line}: {run:#?}");
        assert!(run.stderr.contains(expected), "{line}: {run:#?}");
        assert!(!run.stderr.contains("change-password"), "{run:#?}");
    }
    let help = user
        .args(["fhir-remote-index", "--help"])
        .run()
        .await
        .unwrap();
    assert_eq!(help.code, 0, "{help:#?}");
    assert!(
        help.stdout
            .contains("--instance-identifier a-random-uuid-value"),
        "{help:#?}"
    );
}
