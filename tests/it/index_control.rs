//! A remote indexer as people see it: its status, pauses, and what the doctor says of what it uses.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stoker_proto::index::v1::index_service_client::IndexServiceClient;
use stoker_proto::index::v1::{PauseRequest, ResumeRequest, WatchStatusRequest};
use stoker_shared::grpc::{self, Channel, GrpcClientConfig};
use stoker_tests::fhir_database::{FhirDatabase, FhirTransaction, SchemaType};
use stoker_tests::kafka::{self, Kafka};
use stoker_tests::ports::free_port;
use stoker_tests::remote_index::{INSTANCE, create_topic, publish};
use stoker_tests::services::Service;
use stoker_tests::stoker::{Run, Stoker};
use tonic::Code;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_mins(1);

/// A topic, a database, and a user who asks.
struct Scene {
    kafka: std::sync::Arc<Kafka>,
    database: FhirDatabase,
    topic: String,
    user: Stoker,
}

impl Scene {
    async fn new() -> Self {
        stoker_shared::tls::install_crypto_provider();
        let scene = Self {
            kafka: kafka::shared().await.unwrap(),
            database: FhirDatabase::fresh(SchemaType::Plain).await.unwrap(),
            topic: format!("control-{}", Uuid::new_v4().simple()),
            user: Stoker::new().unwrap(),
        };
        create_topic(&scene.kafka.broker(), &scene.topic)
            .await
            .unwrap();
        scene
    }

    fn indexer(&self, consumers: usize) -> Service {
        let settings = [
            format!("kafka.brokers={}", self.kafka.broker()),
            format!("topic.name={}", self.topic),
            format!("topic.group={}", self.topic),
            format!("topic.consumers={consumers}"),
            format!("instance_identifier={INSTANCE}"),
            format!("database.url={}", self.database.url),
        ];
        Service::start("remote-indexer", &settings).unwrap()
    }

    async fn index(&self, service: &Service, args: &[&str]) -> Value {
        let url = service.url();
        let command = [&["index", "--json"], args, &["--server", &url]].concat();
        let run = self.user.args(command).run().await.unwrap();
        assert_eq!(run.code, 0, "{run:#?}");
        let said: Value = serde_json::from_str(&run.stdout).unwrap();
        said[0].clone()
    }

    async fn until(&self, service: &Service, what: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let status = self.index(service, &["status"]).await;
            if what(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{status:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// All partitions are held.
    async fn until_held(&self, service: &Service) -> Value {
        service.listening().await.unwrap();
        let held = |status: &Value| status["partitions"].as_array().unwrap().len() == 8;
        self.until(service, held).await
    }

    /// Stores a patient in a transaction that is left open, and sends its message.
    async fn put(&self, id: &str) -> FhirTransaction {
        let mut transaction = FhirTransaction::begin(&self.database).await.unwrap();
        let stored = transaction.put("Patient", id, "hash").await.unwrap();
        let message = stored.message().string("family", "Chalmers").build();
        publish(&[message], &self.kafka.broker(), &self.topic)
            .await
            .unwrap();
        transaction
    }
}

fn client(service: &Service) -> IndexServiceClient<Channel> {
    let config = GrpcClientConfig::to_port(service.grpc_port);
    IndexServiceClient::new(grpc::connect(&config).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_at_a_pause_is_finished_and_nothing_else_is_taken() {
    let scene = Scene::new().await;
    let indexer = scene.indexer(2);
    let status = scene.until_held(&indexer).await;
    assert_eq!(status["paused"], false, "{status:#}");
    let consumers = status["consumers"].as_array().unwrap();
    assert!(
        consumers
            .iter()
            .all(|c| c["started"] == true && c["trouble"].is_null()),
        "{status:#}"
    );

    let open = scene.put("open").await;
    let waits = |status: &Value| {
        let consumers = status["consumers"].as_array().unwrap().iter();
        consumers
            .filter_map(|c| c["waiting_messages"].as_u64())
            .sum::<u64>()
            == 1
    };
    let waiting = scene.until(&indexer, waits).await;
    assert_eq!(
        (&waiting["lag_messages"], &waiting["applied"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(scene.index(&indexer, &["pause"]).await["paused"], true);
    scene.put("later").await.commit().await.unwrap();
    open.commit().await.unwrap();
    let finished = scene.until(&indexer, |status| status["applied"] == 1).await;
    assert_eq!(
        (&finished["paused"], &finished["taken"]),
        (&json!(true), &json!(1))
    );
    // Kafka tells of ends every few seconds.
    let behind =
        |status: &Value| status["lag_messages"] == 1 && status["lag_seconds"].as_f64() > Some(1.0);
    let paused = scene.until(&indexer, behind).await;
    assert_eq!(
        (&paused["taken"], &paused["applied"]),
        (&json!(1), &json!(1)),
        "{paused:#}"
    );
    let metrics = indexer.page("/metrics").await.unwrap();
    for sample in ["paused 1", "lag_messages_max 1", "messages_applied_total 1"] {
        assert!(
            metrics.contains(&format!("stoker_remote_indexer_{sample}\n")),
            "{sample}: {metrics}"
        );
    }
    assert_eq!(scene.index(&indexer, &["resume"]).await["paused"], false);
    scene
        .until(&indexer, |status| {
            status["applied"] == 2 && status["lag_messages"] == 0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_see_pauses_at_once_and_the_end() {
    let scene = Scene::new().await;
    let indexer = scene.indexer(1);
    scene.until_held(&indexer).await;
    let mut client = client(&indexer);
    let mut watched = client
        .watch_status(WatchStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    let mut next = async || watched.message().await.unwrap().unwrap().status.unwrap();
    assert!(!next().await.paused);
    let began = Instant::now();
    next().await;
    next().await;
    let elapsed = began.elapsed();
    assert!(
        elapsed > Duration::from_millis(1500),
        "a second apart: {elapsed:?}"
    );
    let began = Instant::now();
    for _ in 0..5 {
        client.pause(PauseRequest {}).await.unwrap();
        while !next().await.paused {}
        client.resume(ResumeRequest {}).await.unwrap();
        while next().await.paused {}
    }
    // Ten changes of which each is seen a second after the one before take nine.
    assert!(
        began.elapsed() < Duration::from_secs(7),
        "{:?}",
        began.elapsed()
    );

    let began = Instant::now();
    assert_eq!(indexer.terminate().await.unwrap(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "watchers hold up the end: {:?}",
        began.elapsed()
    );
    let end = loop {
        match watched.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ends without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unavailable, "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_is_told_by_its_consumer() {
    let scene = Scene::new().await;
    let indexer = scene.indexer(1);
    scene.until_held(&indexer).await;
    let broken = format!("ALTER SCHEMA {} RENAME TO elsewhere", scene.database.schema);
    let mut connection = scene.database.connect().await.unwrap();
    let patient = scene.put("p").await;
    sqlx::raw_sql("SELECT 1")
        .execute(&mut connection)
        .await
        .unwrap();
    patient.commit().await.unwrap();
    scene.until(&indexer, |status| status["applied"] == 1).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(broken))
        .execute(&mut connection)
        .await
        .unwrap();
    let mended = format!("ALTER SCHEMA elsewhere RENAME TO {}", scene.database.schema);
    let message = stoker_tests::remote_index::Message {
        key: "Patient/p".to_owned(),
        partition: None,
        value: json!({
            "tenantId": "default", "messageVersion": 1, "instanceIdentifier": INSTANCE,
            "data": {"resourceType": "Patient", "logicalId": "p", "logicalResourceId": 1, "versionId": 1,
                     "parameterHash": "x", "lastUpdated": "2026-05-04T09:15:27Z"},
        })
        .to_string(),
    };
    publish(&[message], &scene.kafka.broker(), &scene.topic)
        .await
        .unwrap();
    let told = |status: &Value| {
        status["consumers"][0]["trouble"]
            .as_str()
            .is_some_and(|t| t.contains("database"))
    };
    scene.until(&indexer, told).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(mended))
        .execute(&mut connection)
        .await
        .unwrap();
    scene
        .until(&indexer, |status| {
            status["consumers"][0]["trouble"].is_null()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_asked_is_named_with_what_to_do() {
    stoker_shared::tls::install_crypto_provider();
    let user = Stoker::new().unwrap();
    let asked = async |url: &str| -> Run {
        let run = user
            .args(["index", "status", "--server", url])
            .run()
            .await
            .unwrap();
        assert_eq!(run.code, 1, "{run:#?}");
        run
    };
    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    let run = asked(&nobody).await;
    assert!(
        run.stderr.contains("check the address and that it runs"),
        "{run:#?}"
    );
    let scanner = Service::start("bucket-scanner", &["ledger=none".to_owned()]).unwrap();
    scanner.page("/readyz").await.unwrap();
    let run = asked(&scanner.url()).await;
    assert!(run.stderr.contains("is no remote indexer"), "{run:#?}");
}

async fn doctor(scene: &Scene, indexer: &Value) -> Vec<Value> {
    let yaml = json!({ "remote_indexer": indexer }).to_string();
    fs::write(scene.user.home().join("stoker.yaml"), yaml).unwrap();
    let run = scene.user.args(["doctor", "--json"]).run().await.unwrap();
    let said: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:#?}"));
    said.as_array().unwrap().clone()
}

fn finding<'f>(findings: &'f [Value], words: &str) -> &'f Value {
    let told = |f: &&Value| f["detail"].as_str().unwrap().contains(words);
    findings
        .iter()
        .find(told)
        .unwrap_or_else(|| panic!("no {words}: {findings:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_looks_at_topics_and_tables() {
    let scene = Scene::new().await;
    let mut config = json!({
        "kafka": {"brokers": [scene.kafka.broker()]}, "topic": {"name": scene.topic},
        "instance_identifier": INSTANCE, "database": {"url": scene.database.url},
    });
    let found = doctor(&scene, &config).await;
    for words in [
        "of 8 partitions",
        ".dlq yet; the first dead letter makes it",
        "PostgreSQL 1",
        "tables of 141 resource types",
    ] {
        assert_eq!(finding(&found, words)["state"], "ok", "{found:#?}");
    }
    config["topic"]["consumers"] = json!(9);
    config["database"]["schema"] = json!("elsewhere");
    let found = doctor(&scene, &config).await;
    assert_eq!(
        finding(&found, "has 8 partitions for 9 consumers")["state"],
        "warn"
    );
    let tables = finding(&found, "no table resource_types");
    assert_eq!(tables["state"], "fail", "{tables:#}");
    assert!(
        tables["to_do"]
            .as_str()
            .unwrap()
            .contains("database.schema"),
        "{tables:#}"
    );
    config["topic"]["name"] = json!("no-such-topic");
    config["database"]["url"] = json!(format!(
        "postgres://nobody@127.0.0.1:{}/x",
        free_port().unwrap()
    ));
    let found = doctor(&scene, &config).await;
    assert_eq!(
        finding(&found, "no topic no-such-topic yet")["state"],
        "warn"
    );
    let database = found.iter().find(|f| f["what"] == "FHIR database").unwrap();
    assert_eq!(database["state"], "fail", "{database:#}");
    assert!(
        database["to_do"]
            .as_str()
            .unwrap()
            .contains("check database.url"),
        "{database:#}"
    );
    let half = json!({"kafka": {"brokers": [scene.kafka.broker()]}});
    let found = doctor(&scene, &half).await;
    assert_eq!(
        finding(
            &found,
            "database.url, instance_identifier of remote_indexer missing"
        )["state"],
        "fail"
    );
    let found = doctor(&scene, &json!({})).await;
    assert_eq!(finding(&found, "not configured")["state"], "skip");
}
