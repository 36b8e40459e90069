//! A message that can never be indexed becomes a dead letter, and what comes behind it is indexed.

use serde_json::{Value, json};
use stoker_tests::fhir_database::Stored;
use stoker_tests::remote_index::Message;

use super::scene::{Scene, family};

/// Sends the message that `make` makes of a stored resource, and one behind it in the same partition. The first must be
/// a dead letter for `reason`, as it was, and leave no row.
async fn becomes_a_dead_letter(reason: &str, make: impl Fn(&Stored) -> Message) {
    let scene = Scene::plain().await;
    let _indexer = scene.indexer(&[]);
    let bad = scene.put("Patient", "bad", "hash").await;
    let good = scene.put("Patient", "good", "hash").await;
    let mut poison = make(&bad);
    poison.partition = Some(5);
    let mut behind = family(&good, "behind");
    behind.partition = Some(5);
    scene.send(&[poison.clone(), behind]).await;
    scene.until_done().await;
    assert_eq!(scene.strings(&good).await, ["behind"]);
    assert!(scene.rows(&bad).await.distinct.is_empty());
    let letters = scene.dead_letters().await;
    let [letter] = letters.as_slice() else {
        panic!("one letter is expected: {letters:?}")
    };
    assert_eq!(letter.key, poison.key);
    assert_eq!(letter.value, poison.value.as_bytes());
    let headers = [
        "stoker-reason",
        "stoker-topic",
        "stoker-partition",
        "stoker-offset",
    ];
    let headers = headers.map(|name| letter.headers[name].as_str());
    assert_eq!(headers, [reason, &scene.topic, "5", "0"]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_ten_thousand_characters_becomes_a_dead_letter() {
    let long = "x".repeat(10_000);
    becomes_a_dead_letter("value_too_long", |bad| {
        bad.message().token("identifier", "s", &long).build()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_an_unknown_type_becomes_a_dead_letter() {
    becomes_a_dead_letter("unknown_type", |bad| {
        bad.message()
            .data("resourceType", json!("Spaceship"))
            .build()
    })
    .await;
}

/// Whatever stands where a type is expected never becomes SQL.
#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_sql_becomes_a_dead_letter() {
    let sql = "patient_logical_resources; DROP TABLE fhirdata.patient_str_values; --";
    becomes_a_dead_letter("unknown_type", |bad| {
        bad.message().data("resourceType", json!(sql)).build()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_an_abstract_type_becomes_a_dead_letter() {
    becomes_a_dead_letter("unknown_type", |bad| {
        bad.message()
            .data("resourceType", json!("DomainResource"))
            .build()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_to_an_unknown_type_becomes_a_dead_letter() {
    becomes_a_dead_letter("unknown_reference_type", |bad| {
        bad.message()
            .reference("subject", "Spaceship", "s1")
            .build()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_json_becomes_a_dead_letter() {
    becomes_a_dead_letter("bad_json", |bad| {
        let mut message = family(bad, "x");
        message.value.pop();
        message
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_data_becomes_a_dead_letter() {
    becomes_a_dead_letter("missing_field", |bad| bad.message().without_data()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_id_becomes_a_dead_letter() {
    becomes_a_dead_letter("missing_field", |bad| {
        bad.message().data("logicalResourceId", Value::Null).build()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_character_becomes_a_dead_letter() {
    becomes_a_dead_letter("bad_value", |bad| family(bad, "a\0b")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_system_becomes_a_dead_letter() {
    becomes_a_dead_letter("null_value", |bad| {
        let token = json!({"valueCode": "c", "name": "code", "wholeSystem": false});
        bad.message().value("tokenValues", token).build()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_too_long_for_its_column_becomes_a_dead_letter() {
    becomes_a_dead_letter("value_too_long", |bad| {
        let profile = json!({"url": "http://u", "version": "1.2.3-with-a-long-name", "name": "_profile", "wholeSystem": true});
        bad.message().value("profileValues", profile).build()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_version_zero_becomes_a_dead_letter() {
    becomes_a_dead_letter("bad_version", |bad| {
        let message = bad.message().envelope("messageVersion", json!(0));
        message.string("family", "x").build()
    })
    .await;
}

/// Messages of other servers on the same topic, and messages without a value, are no faults.
#[tokio::test(flavor = "multi_thread")]
async fn other_instances_and_empty_messages_are_passed_over() {
    let scene = Scene::plain().await;
    let indexer = scene.indexer(&[]);
    let stored = scene.put("Patient", "p1", "hash").await;
    let other = stored
        .message()
        .envelope("instanceIdentifier", json!("another"));
    let mut null = family(&stored, "x");
    null.value = "null".to_owned();
    let mut empty = null.clone();
    empty.value = String::new();
    scene
        .send(&[other.string("family", "other's").build(), null, empty])
        .await;
    scene.until_done().await;
    assert!(scene.rows(&stored).await.distinct.is_empty());
    assert_eq!(scene.dead_letters().await, []);
    assert_eq!(super::scene::discarded(&indexer, "other_instance").await, 1);
    assert_eq!(super::scene::discarded(&indexer, "empty").await, 2);
    scene.end().await;
}
