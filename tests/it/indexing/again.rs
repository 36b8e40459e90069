//! However often a message comes, and whatever the server does meanwhile, the tables come out the same.

use std::time::Duration;

use stoker_tests::remote_index::Message;

use super::fixture::value;
use super::scene::{Scene, family};

/// An update whose parameters are the same: the server leaves the old rows and sends a message all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_with_the_same_parameters_doubles_nothing() {
    let scene = Scene::plain().await;
    let _indexer = scene.indexer(&[]);
    let first = scene.put("Patient", "p1", "hash").await;
    scene.send(&[family(&first, "same")]).await;
    scene.until_strings(&first, &["same"]).await;
    let second = scene.put("Patient", "p1", "hash").await;
    assert_eq!(
        scene.strings(&second).await,
        ["same"],
        "the server leaves it"
    );
    scene.send(&[family(&second, "same")]).await;
    scene.until_done().await;
    assert_eq!(scene.strings(&second).await, ["same"]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_many_times_doubles_nothing() {
    let scene = Scene::plain().await;
    let stored = scene.put("Patient", "p1", "hash").await;
    let message = stored.message().string("family", "a").string("given", "b");
    let message =
        message
            .token("gender", "s", "female")
            .reference("organization", "Organization", "o");
    let message = message.build();
    let together: Vec<Message> = vec![message.clone(); 5];
    let _indexer = scene.indexer(&["index.batch_messages=3"]);
    scene.send(&together).await;
    scene.until_done().await;
    scene.send(&[message]).await;
    scene.until_done().await;
    let rows = scene.rows(&stored).await;
    assert_eq!(
        (rows.distinct.len(), rows.duplicates.len()),
        (4, 0),
        "{rows:?}"
    );
    scene.end().await;
}

/// The server deletes a resource's rows and stores its next version while an indexer writes those of the version
/// before: rows of the old version must not stay.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_version_do_not_outlive_it() {
    let scene = Scene::plain().await;
    let _indexers = [scene.indexer(&[]), scene.indexer(&[])];
    let mut last = Vec::new();
    for n in 0..60_u64 {
        let id = format!("p{}", n % 6);
        let mut transaction = scene.begin().await;
        let stored = transaction
            .put("Patient", &id, &format!("hash-{n}"))
            .await
            .unwrap();
        scene.send(&[family(&stored, &format!("value-{n}"))]).await;
        // The indexer meets the version before it in all states.
        tokio::time::sleep(Duration::from_millis(n % 7 * 5)).await;
        transaction.commit().await.unwrap();
        if n >= 54 {
            last.push((stored, format!("value-{n}")));
        }
    }
    scene.until_done().await;
    for (stored, value) in last {
        assert_eq!(scene.strings(&stored).await, [value]);
    }
    assert_eq!(
        value(&scene.database, "SELECT count(*) FROM patient_str_values").await,
        6
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_erased_before_its_message_is_no_error() {
    let scene = Scene::plain().await;
    let erased = scene.put("Patient", "p1", "hash").await;
    let erase = "SELECT erase_resource('Patient', 'p1', 1)";
    assert_eq!(value(&scene.database, erase).await, 1);
    let kept = scene.put("Patient", "p2", "hash").await;
    let indexer = scene.indexer(&["index.max_ready_time=1s"]);
    scene
        .send(&[family(&erased, "x"), family(&kept, "y")])
        .await;
    scene.until_done().await;
    assert_eq!(scene.strings(&kept).await, ["y"]);
    assert!(scene.rows(&erased).await.distinct.is_empty());
    assert_eq!(scene.dead_letters().await, []);
    assert_eq!(indexer.terminate().await.unwrap(), Some(0));
    scene.end().await;
}

/// The server erases while an indexer writes: between the look at a resource and the insert of its rows, which the
/// foreign keys then refuse.
#[tokio::test(flavor = "multi_thread")]
async fn resources_erased_while_they_are_indexed_are_no_error() {
    let scene = Scene::plain().await;
    let indexer = scene.indexer(&["index.max_ready_time=2s", "index.gather=1ms"]);
    indexer.page("/readyz").await.unwrap();
    let mut kept = Vec::new();
    for round in 0..40_u64 {
        let erased = scene
            .put("Patient", "erased", &format!("hash-{round}"))
            .await;
        let stays = scene.put("Patient", &format!("kept-{round}"), "hash").await;
        scene
            .send(&[family(&erased, "gone"), family(&stays, "stays")])
            .await;
        tokio::time::sleep(Duration::from_millis(round % 20)).await;
        let erase = "SELECT erase_resource('Patient', 'erased', 1)";
        assert_eq!(value(&scene.database, erase).await, 1);
        kept.push(stays);
    }
    scene.until_done().await;
    for stored in &kept {
        assert_eq!(scene.strings(stored).await, ["stays"]);
    }
    let rows = value(&scene.database, "SELECT count(*) FROM patient_str_values").await;
    assert_eq!(rows, 40, "nothing of the erased one is left");
    assert_eq!(scene.dead_letters().await, []);
    assert_eq!(indexer.terminate().await.unwrap(), Some(0));
    scene.end().await;
}
