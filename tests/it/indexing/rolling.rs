//! A rolling restart of indexers under load, as an upgrade does it: SIGTERM to one after the other.
//! `scripts/test-upgrade.sh` has the first ones be of an earlier build.

use std::time::Duration;

use stoker_tests::fhir_database::Stored;
use stoker_tests::services::Service;
use tokio_util::sync::CancellationToken;

use super::scene::{Scene, counter, family, until};

/// Messages that come together.
const TOGETHER: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn indexers_that_are_restarted_in_turn_lose_and_double_nothing() {
    let scene = Scene::plain().await;
    let mut indexers = [scene.indexer(&[]), scene.indexer(&[])];
    let restarted = CancellationToken::new();
    let restarting = async {
        for indexer in &indexers {
            has_applied(indexer).await;
        }
        for indexer in &mut indexers {
            assert_eq!(indexer.stop().await.unwrap(), Some(0));
            indexer.upgrade().unwrap();
            has_applied(indexer).await;
        }
        restarted.cancel();
    };
    let (all, ()) = tokio::join!(send_until(&scene, &restarted), restarting);

    scene.until_done().await;
    for stored in &all {
        assert_eq!(scene.strings(stored).await, ["here"]);
    }
    assert_eq!(scene.dead_letters().await.len(), 0);
    for indexer in indexers {
        assert_eq!(indexer.terminate().await.unwrap(), Some(0));
    }
    scene.end().await;
}

/// It has partitions, and does what is in them.
async fn has_applied(indexer: &Service) {
    let applied = || async { counter(indexer, "messages_applied_total").await > 0 };
    until("a message is applied", applied).await;
}

/// A FHIR server that does not rest.
async fn send_until(scene: &Scene, end: &CancellationToken) -> Vec<Stored> {
    let mut all = Vec::new();
    while !end.is_cancelled() {
        let mut transaction = scene.begin().await;
        let begun = all.len();
        for n in begun..begun + TOGETHER {
            let put = transaction.put("Patient", &format!("p{n}"), "hash").await;
            all.push(put.unwrap());
        }
        transaction.commit().await.unwrap();
        let messages: Vec<_> = all[begun..].iter().map(|s| family(s, "here")).collect();
        scene.send(&messages).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    all
}
