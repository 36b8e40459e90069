//! Kafka and the database go away and come back: each is told, and nothing is lost.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use stoker_tests::fhir_database::SchemaType;
use stoker_tests::gate::Gate;
use stoker_tests::kafka::Kafka;
use stoker_tests::locked_user::LockedUser;
use stoker_tests::parts;
use stoker_tests::services::Service;

use super::scene::{Scene, family, until};

/// Long enough that calls fail and are made again.
const AWAY: Duration = Duration::from_secs(4);

async fn is_ready(indexer: &Service) -> bool {
    let url = format!("http://127.0.0.1:{}/readyz", indexer.http_port);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_gone_for_a_while_is_waited_for() {
    let scene = Scene::plain().await;
    let (rest, database) = scene.database.url.rsplit_once('/').unwrap();
    let (user, server) = rest.rsplit_once('@').unwrap();
    let gate = Gate::before(server).await.unwrap();
    let through_gate = format!("database.url={user}@{}/{database}", gate.address());
    let indexer = scene.indexer(&[&through_gate]);
    let before = scene.put("Patient", "before", "hash").await;
    scene.send(&[family(&before, "before")]).await;
    scene.until_strings(&before, &["before"]).await;
    assert!(is_ready(&indexer).await);
    gate.close();
    let during = scene.put("Patient", "during", "hash").await;
    scene.send(&[family(&during, "during")]).await;
    until("not ready", || async { !is_ready(&indexer).await }).await;
    tokio::time::sleep(AWAY).await;
    assert!(scene.rows(&during).await.distinct.is_empty());
    gate.open().await.unwrap();
    scene.until_strings(&during, &["during"]).await;
    scene.until_done().await;
    until("ready", || is_ready(&indexer)).await;
    assert_eq!(scene.dead_letters().await, []);
    assert_eq!(indexer.terminate().await.unwrap(), Some(0));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_is_gone_for_a_while_is_waited_for() {
    let _turn = parts::turn().await;
    let kafka = Arc::new(Kafka::start().unwrap());
    let scene = Scene::on(Arc::clone(&kafka), SchemaType::Plain).await;
    let indexer = scene.indexer(&[]);
    let before = scene.put("Patient", "before", "hash").await;
    scene.send(&[family(&before, "before")]).await;
    scene.until_strings(&before, &["before"]).await;
    kafka.kill().unwrap();
    until("it is told", || async {
        indexer.log().contains("no Kafka broker can be reached")
    })
    .await;
    tokio::time::sleep(AWAY).await;
    kafka.restart().unwrap();
    let after = scene.put("Patient", "after", "hash").await;
    scene.send(&[family(&after, "after")]).await;
    scene.until_strings(&after, &["after"]).await;
    scene.until_done().await;
    assert_eq!(scene.strings(&before).await, ["before"]);
    assert_eq!(indexer.terminate().await.unwrap(), Some(0));
    scene.end().await;
}

/// A Secret's file changes a while after the password.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changes_is_read_from_its_file() {
    let scene = Scene::plain().await;
    let user = LockedUser::new("stoker_indexer", "first").await.unwrap();
    user.trust().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "first").unwrap();
    let indexer = scene.indexer(&[
        &format!("database.url={}", user.url(&scene.database.url)),
        &format!("database.password_file={}", file.display()),
    ]);
    let before = scene.put("Patient", "before", "hash").await;
    scene.send(&[family(&before, "before")]).await;
    scene.until_strings(&before, &["before"]).await;

    user.set_password("second").await.unwrap();
    let during = scene.put("Patient", "during", "hash").await;
    scene.send(&[family(&during, "during")]).await;
    until("not ready", || async { !is_ready(&indexer).await }).await;
    fs::write(&file, "second").unwrap();
    scene.until_strings(&during, &["during"]).await;
    until("ready", || is_ready(&indexer)).await;
    assert_eq!(scene.dead_letters().await, []);
    assert_eq!(indexer.terminate().await.unwrap(), Some(0));
    scene.end().await;
}
