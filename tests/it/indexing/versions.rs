//! A message is applied when, and only when, the database has the very version it is about.

use std::time::{Duration, Instant};

use serde_json::json;

use super::scene::{Scene, counter, discarded, family, until};

/// So long an indexer waits for the server where a test waits for that.
const PATIENCE: Duration = Duration::from_secs(3);
const MAX_READY_TIME: &str = "index.max_ready_time=3s";
const LOOK_AGAIN: &str = "index.look_again=500ms";

/// The server's normal order: the message is there before the commit. An indexer that compares the other way
/// round drops the update.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_before_the_commit_is_applied_after_it() {
    let scene = Scene::plain().await;
    let indexer = scene.indexer(&[LOOK_AGAIN]);
    let mut transaction = scene.begin().await;
    let created = transaction.put("Patient", "p1", "hash-1").await.unwrap();
    scene.send(&[family(&created, "created")]).await;
    until_waiting(&indexer, 1).await;
    transaction.commit().await.unwrap();
    scene.until_strings(&created, &["created"]).await;

    let mut transaction = scene.begin().await;
    let updated = transaction.put("Patient", "p1", "hash-2").await.unwrap();
    scene.send(&[family(&updated, "updated")]).await;
    until_waiting(&indexer, 1).await;
    assert_eq!(scene.strings(&created).await, ["created"]);
    transaction.commit().await.unwrap();
    scene.until_strings(&updated, &["updated"]).await;
    scene.until_done().await;
    scene.end().await;
}

/// A message about an older version is dropped at once: waiting for a version that is over would stall
/// whatever is behind it for the whole of `max_ready_time`.
#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_version_is_dropped_at_once() {
    let scene = Scene::plain().await;
    let first = scene.put("Patient", "p1", "hash-1").await;
    let second = scene.put("Patient", "p1", "hash-2").await;
    let indexer = scene.indexer(&["index.max_ready_time=10m"]);
    scene
        .send(&[family(&first, "first"), family(&second, "second")])
        .await;
    scene.until_done().await;
    assert_eq!(scene.strings(&second).await, ["second"]);
    assert_eq!(discarded(&indexer, "superseded").await, 1);
    // Also when it comes late.
    scene.send(&[family(&first, "first")]).await;
    scene.until_done().await;
    assert_eq!(scene.strings(&second).await, ["second"]);
    assert_eq!(discarded(&indexer, "superseded").await, 2);
    scene.end().await;
}

/// Versions of one resource in one batch, the server's last transaction open: the newest that is there is applied.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_versions_in_a_batch_the_newest_that_is_there_is_applied() {
    let scene = Scene::plain().await;
    let first = scene.put("Patient", "p1", "hash-1").await;
    let second = scene.put("Patient", "p1", "hash-2").await;
    let mut open = scene.begin().await;
    let third = open.put("Patient", "p1", "hash-3").await.unwrap();
    let messages = [
        family(&first, "1"),
        family(&second, "2"),
        family(&third, "3"),
    ];
    scene.send(&messages).await;
    let _indexer = scene.indexer(&["index.look_again=100ms"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    // While the server holds the resource's row, nobody writes beside it.
    assert!(scene.strings(&third).await.is_empty() || scene.strings(&third).await == ["2"]);
    open.roll_back().await.unwrap();
    scene.until_strings(&second, &["2"]).await;
    let again = scene.put("Patient", "p1", "hash-4").await;
    assert_eq!(again.version_id, 3);
    scene.send(&[family(&again, "3 of another attempt")]).await;
    scene.until_strings(&again, &["3 of another attempt"]).await;
    scene.until_done().await;
    scene.end().await;
}

/// What came in time until now is written without a look before the transaction; each message is judged all the same.
#[tokio::test(flavor = "multi_thread")]
async fn after_messages_that_were_in_time_early_and_late_ones_are_told_apart() {
    let scene = Scene::plain().await;
    let indexer = scene.indexer(&[LOOK_AGAIN, "index.gather=1s"]);
    let in_time = scene.put("Patient", "in-time", "hash").await;
    scene.send(&[family(&in_time, "in time")]).await;
    scene.until_strings(&in_time, &["in time"]).await;

    let first = scene.put("Patient", "p1", "hash-1").await;
    let second = scene.put("Patient", "p1", "hash-2").await;
    let mut open = scene.begin().await;
    let early = open.put("Patient", "p2", "hash").await.unwrap();
    let late_and_bad = first.message().string(&"n".repeat(300), "x").build();
    let messages = [
        family(&second, "second"),
        family(&first, "first"),
        late_and_bad,
        family(&early, "early"),
        family(&in_time, "in time"),
    ];
    scene.send(&messages).await;
    scene.until_strings(&second, &["second"]).await;
    until_waiting(&indexer, 1).await;
    assert_eq!(discarded(&indexer, "superseded").await, 2);
    open.commit().await.unwrap();
    scene.until_strings(&early, &["early"]).await;
    scene.until_done().await;
    assert_eq!(scene.strings(&in_time).await, ["in time"]);
    assert_eq!(scene.dead_letters().await, []);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_message_of_a_rolled_back_transaction_is_discarded_in_time_and_offsets_go_on() {
    let scene = Scene::plain().await;
    let indexer = scene.indexer(&[MAX_READY_TIME, LOOK_AGAIN]);
    indexer.page("/readyz").await.unwrap();
    let mut transaction = scene.begin().await;
    let stored = transaction.put("Patient", "p1", "hash").await.unwrap();
    transaction.roll_back().await.unwrap();
    let sent = Instant::now();
    scene.send(&[family(&stored, "never")]).await;
    scene.until_done().await;
    let took = sent.elapsed();
    assert!(took >= PATIENCE, "discarded after {took:?}");
    assert!(took < PATIENCE * 3, "discarded after {took:?}");
    assert_eq!(discarded(&indexer, "timed_out").await, 1);
    assert!(scene.rows(&stored).await.distinct.is_empty());
    let log = indexer.log();
    assert!(log.contains("Patient/p1"), "named in {log}");
    scene.end().await;
}

/// Two servers stored the same version; one of them was rolled back. Only the time, or the hash, tells which.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_version_from_another_server_is_dropped() {
    let scene = Scene::plain().await;
    let stored = scene.put("Patient", "p1", "hash").await;
    let other_time = stored
        .message()
        .data("lastUpdated", json!("2026-01-01T00:00:00.000001Z"));
    let other_hash = stored.message().data("parameterHash", json!("other"));
    let indexer = scene.indexer(&[]);
    scene
        .send(&[
            family(&stored, "this"),
            other_time.string("family", "other time").build(),
            other_hash.string("family", "other hash").build(),
        ])
        .await;
    scene.until_done().await;
    assert_eq!(scene.strings(&stored).await, ["this"]);
    assert_eq!(discarded(&indexer, "other_attempt").await, 2);
    scene.end().await;
}

/// A deleted resource has no hash; nothing breaks on that.
#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_was_deleted_meanwhile_keeps_what_it_has() {
    let scene = Scene::plain().await;
    let stored = scene.put("Patient", "p1", "hash").await;
    let mut transaction = scene.begin().await;
    transaction.delete(&stored).await.unwrap();
    transaction.commit().await.unwrap();
    let indexer = scene.indexer(&[]);
    let same_version = stored
        .message()
        .data("versionId", json!(2))
        .string("family", "x")
        .build();
    scene.send(&[family(&stored, "x"), same_version]).await;
    scene.until_done().await;
    assert!(scene.rows(&stored).await.distinct.is_empty());
    assert_eq!(discarded(&indexer, "superseded").await, 1);
    assert_eq!(discarded(&indexer, "other_attempt").await, 1);
    scene.end().await;
}

/// One transaction that stays open holds up its own resource and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_delays_no_other_resource() {
    let scene = Scene::plain().await;
    let look = Duration::from_secs(2);
    let indexer = scene.indexer(&["index.look_again=2s"]);
    let mut open = scene.begin().await;
    let slow = open.put("Patient", "slow", "hash").await.unwrap();
    scene.send(&[family(&slow, "slow")]).await;
    until_waiting(&indexer, 1).await;
    let mut longest = Duration::ZERO;
    for n in 0..20 {
        // Enough that each partition has some behind the one that waits.
        let stored = scene.put("Patient", &format!("p{n}"), "hash").await;
        let sent = Instant::now();
        scene.send(&[family(&stored, "here")]).await;
        scene.until_strings(&stored, &["here"]).await;
        longest = longest.max(sent.elapsed());
    }
    assert!(
        longest < look,
        "one more look is {look:?}, one resource took {longest:?}"
    );
    assert!(scene.rows(&slow).await.distinct.is_empty());
    open.commit().await.unwrap();
    scene.until_strings(&slow, &["slow"]).await;
    scene.until_done().await;
    scene.end().await;
}

/// What waits is not committed: after a crash it comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_outlives_the_process() {
    let scene = Scene::plain().await;
    let mut indexer = scene.indexer(&["topic.member=one", LOOK_AGAIN]);
    let mut open = scene.begin().await;
    let waiting = open.put("Patient", "p1", "hash").await.unwrap();
    scene.send(&[family(&waiting, "waits")]).await;
    until_waiting(&indexer, 1).await;
    let behind = scene.put("Patient", "p2", "hash").await;
    // In the partition of the one that waits.
    let mut message = family(&behind, "passes");
    message.key.clone_from(&family(&waiting, "").key);
    scene.send(&[message]).await;
    scene.until_strings(&behind, &["passes"]).await;
    indexer.kill().unwrap();
    open.commit().await.unwrap();
    indexer.start_again().unwrap();
    scene.until_strings(&waiting, &["waits"]).await;
    scene.until_done().await;
    assert_eq!(scene.strings(&behind).await, ["passes"]);
    scene.end().await;
}

async fn until_waiting(indexer: &stoker_tests::services::Service, messages: u64) {
    until("messages wait", || async {
        counter(indexer, "waiting_messages").await == messages
    })
    .await;
}
