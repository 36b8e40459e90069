//! An indexer beside a server that writes the same tables, beside other tenants, and beside other consumers.

use std::time::{Duration, Instant};

use serde_json::json;
use stoker_tests::fhir_database::{FhirTransaction, SchemaType, Stored};
use stoker_tests::remote_index::{MessageBuilder, create_topic, publish, until_all_committed};
use stoker_tests::services::Service;

use super::fixture::value;
use super::scene::{LIMIT, Scene, counter, family, until};

/// The server has added a token and is not done: whoever adds it too waits for the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_server_is_just_adding_holds_up_only_who_needs_it() {
    let scene = Scene::plain().await;
    let _indexer = scene.indexer(&["index.look_again=200ms"]);
    value(&scene.database, "SELECT add_code_system('codes')::bigint").await;
    let mut server = scene.begin().await;
    server.add_token("codes", "held").await.unwrap();
    let needs_it = scene.put("Patient", "needs-it", "hash").await;
    let message = needs_it
        .message()
        .string("family", "waits")
        .token("code", "codes", "held");
    scene.send(&[message.build()]).await;
    let sent = Instant::now();
    for n in 0..10 {
        let other = scene.put("Patient", &format!("p{n}"), "hash").await;
        let message = other.message().string("family", "goes on");
        scene
            .send(&[message.token("code", "codes", &format!("t{n}")).build()])
            .await;
        scene.until_strings(&other, &["goes on"]).await;
    }
    let took = sent.elapsed();
    assert!(took < Duration::from_secs(15), "ten took {took:?}");
    assert!(scene.rows(&needs_it).await.distinct.is_empty());
    server.commit().await.unwrap();
    scene.until_strings(&needs_it, &["waits"]).await;
    scene.until_done().await;
    scene.end().await;
}

/// An index is built on a table without rows: nothing can be copied into it, while what goes into other tables is on its
/// way behind it. All goes on once it is built, over a connection that knows which answer is whose.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_nothing_can_be_added_to_for_a_while_is_waited_for() {
    let scene = Scene::plain().await;
    let indexer = scene.indexer(&["index.look_again=200ms"]);
    let mut other = scene.database.connect().await.unwrap();
    let lock = "BEGIN; LOCK TABLE patient_str_values IN SHARE MODE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let held = scene.put("Patient", "held", "hash").await;
    let message = held.message().string("family", "held");
    scene
        .send(&[message.token("code", "codes", "held").build()])
        .await;
    until("another is in the way", || async {
        counter(&indexer, "retries_total{cause=\"lock_timeout\"}").await > 2
    })
    .await;
    assert!(scene.rows(&held).await.distinct.is_empty());
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    scene.until_strings(&held, &["held"]).await;
    for n in 0..5 {
        let next = scene.put("Patient", &format!("p{n}"), "hash").await;
        scene.send(&[family(&next, "next")]).await;
        scene.until_strings(&next, &["next"]).await;
    }
    scene.until_done().await;
    assert_eq!(scene.dead_letters().await, []);
    scene.end().await;
}

/// The server adds tokens and references in its own order, in one long transaction; indexers add the same ones at the same
/// time. The server never fails for it, and no message is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_adds_the_same_in_another_order_never_fails_for_it() {
    let scene = Scene::plain().await;
    let _indexers = [scene.indexer(&[]), scene.indexer(&["topic.consumers=2"])];
    value(&scene.database, "SELECT add_code_system('codes')::bigint").await;
    let mut all = Vec::new();
    for round in 0..12 {
        let tokens: Vec<String> = (0..12).map(|n| format!("{round}-{n:02}")).collect();
        let mut messages = Vec::new();
        for n in 0..4 {
            let stored = scene.put("Patient", &format!("p{n}-{round}"), "hash").await;
            let message = stored.message().string("family", "here");
            let with_tokens = |message: MessageBuilder, token: &String| {
                message.token("code", "codes", token).reference(
                    "organization",
                    "Organization",
                    token,
                )
            };
            messages.push(tokens.iter().fold(message, with_tokens).build());
            all.push(stored);
        }
        let mut server = FhirTransaction::begin(&scene.database).await.unwrap();
        scene.send(&messages).await;
        for token in tokens.iter().rev() {
            server.add_token("codes", token).await.unwrap();
            server.add_reference("Organization", token).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.commit().await.unwrap();
    }
    scene.until_done().await;
    for stored in &all {
        let rows = scene.rows(stored).await;
        assert_eq!(
            (rows.distinct.len(), rows.duplicates.len()),
            (25, 0),
            "{rows:?}"
        );
    }
    let idents = "SELECT count(*) FROM logical_resource_ident WHERE resource_type_id = 101";
    assert_eq!(value(&scene.database, idents).await, 12 * 12);
    scene.end().await;
}

/// Each tenant's messages are held against its own tables, and written there, though ids are the same.
#[tokio::test(flavor = "multi_thread")]
async fn tenants_on_one_topic_have_their_own_schemas() {
    let scene = Scene::plain().await;
    let other = scene
        .database
        .with_schema("ward_b", &["Patient"])
        .await
        .unwrap();
    let tenants = ["tenants.a=fhirdata", "tenants.b=ward_b"];
    let _indexer = scene.indexer(&tenants);
    let of_a = scene.put("Patient", "p1", "hash").await;
    let mut in_b = FhirTransaction::begin(&other).await.unwrap();
    let of_b = in_b.put("Patient", "p1", "hash").await.unwrap();
    in_b.commit().await.unwrap();
    assert_eq!(
        of_a.logical_resource_id, of_b.logical_resource_id,
        "as it happens"
    );
    let message = |stored: &Stored, tenant: &str| {
        let message = stored.message().envelope("tenantId", json!(tenant));
        message.string("family", tenant).build()
    };
    let nobodys = message(&of_a, "c");
    scene
        .send(&[message(&of_a, "a"), message(&of_b, "b"), nobodys.clone()])
        .await;
    scene.until_done().await;
    assert_eq!(scene.strings(&of_a).await, ["a"]);
    let b = Scene {
        database: other,
        kafka: scene.kafka.clone(),
        topic: scene.topic.clone(),
    };
    assert_eq!(b.strings(&of_b).await, ["b"]);
    let letters = scene.dead_letters().await;
    let [letter] = letters.as_slice() else {
        panic!("{letters:?}")
    };
    assert_eq!(letter.headers["stoker-reason"], "unknown_tenant");
    assert_eq!(letter.value, nobodys.value.as_bytes());
    scene.end().await;
}

/// Without a topic and a group of one's own: those of the Java tool's README.
#[tokio::test(flavor = "multi_thread")]
async fn the_topic_and_the_group_have_defaults() {
    let scene = Scene::plain().await;
    let broker = scene.kafka.broker();
    let settings = scene.settings(&[]);
    let settings: Vec<String> = settings
        .into_iter()
        .filter(|s| !s.starts_with("topic."))
        .collect();
    create_topic(&broker, "FHIR_REMOTE_INDEX").await.unwrap();
    let indexer = Service::start("remote-indexer", &settings).unwrap();
    let stored = scene.put("Patient", "p1", "hash").await;
    publish(&[family(&stored, "here")], &broker, "FHIR_REMOTE_INDEX")
        .await
        .unwrap();
    scene.until_strings(&stored, &["here"]).await;
    let committed = until_all_committed(
        &broker,
        "FHIR_REMOTE_INDEX",
        "remote-index-service-cg",
        LIMIT,
    );
    committed.await.unwrap();
    assert_eq!(indexer.terminate().await.unwrap(), Some(0));
    scene.end().await;
}

/// What is done is committed when the process stops or its partitions go, so that nobody does it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stops_has_committed_what_it_did() {
    let scene = Scene::plain().await;
    let indexer = scene.indexer(&[]);
    let mut last = None;
    for n in 0..50 {
        let stored = scene.put("Patient", &format!("p{n}"), "hash").await;
        scene.send(&[family(&stored, "here")]).await;
        last = Some(stored);
    }
    scene.until_strings(&last.unwrap(), &["here"]).await;
    assert_eq!(indexer.terminate().await.unwrap(), Some(0));
    let next = scene.indexer(&[]);
    scene.until_done().await;
    let page = next.page("/metrics").await.unwrap();
    assert!(
        page.contains("stoker_remote_indexer_messages_taken_total 0\n"),
        "{page}"
    );
    scene.end().await;
}

/// The user and password of a broker that asks for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_asks_for_a_password_gets_it() {
    let scene = Scene::of(SchemaType::Plain).await;
    let broker = format!("kafka.brokers={}", scene.kafka.sasl_broker());
    let indexer = scene.indexer(&[&broker, "kafka.user=app", "kafka.password=app-secret"]);
    let stored = scene.put("Patient", "p1", "hash").await;
    scene.send(&[family(&stored, "here")]).await;
    scene.until_strings(&stored, &["here"]).await;
    assert!(!indexer.log().contains("app-secret"));
    scene.end().await;
}

/// The server makes the topic with its first message, and may be started only when the indexer is ready.
#[tokio::test(flavor = "multi_thread")]
async fn an_indexer_is_ready_before_the_server_makes_the_topic() {
    let mut scene = Scene::plain().await;
    scene.topic = format!("{}-to-come", scene.topic);
    let indexer = scene.indexer(&[]);
    indexer.page("/readyz").await.unwrap();
    assert!(
        indexer.log().contains("no such topic yet"),
        "{}",
        indexer.log()
    );

    let stored = scene.put("Patient", "first", "hash").await;
    scene.send(&[family(&stored, "here")]).await;
    scene.until_strings(&stored, &["here"]).await;
    indexer.page("/readyz").await.unwrap();
    scene.end().await;
}
