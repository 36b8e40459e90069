//! Letters that are sent again.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn replay_sends_each_once_to_the_partition_of_its_key() {
    let scene = Scene::new().await;
    let messages: Vec<Message> = (0..40)
        .map(|n| Message {
            key: format!("Observation/{n}"),
            partition: None,
            value: format!("{{\"n\": {n}}}"),
        })
        .collect();
    publish(&messages, &scene.kafka.broker(), &scene.config.topic.name)
        .await
        .unwrap();
    let taken = scene.in_topic().await;
    let own = OwnedHeaders::new().insert(Header {
        key: "trace",
        value: Some("1"),
    });
    let letters: Vec<_> = taken
        .iter()
        .map(|message| DeadLetter {
            key: message.key(),
            value: message.payload(),
            headers: Some(&own),
            partition: message.partition(),
            offset: message.offset(),
            ..letter()
        })
        .collect();
    scene.send(&letters).await.unwrap();
    scene.send(&letters[..7]).await.unwrap();

    let dry = scene.replayed(&["--dry-run"]).await;
    assert_eq!(
        (&dry["sent"], &dry["again"]),
        (&json!(40), &json!(7)),
        "{dry}"
    );
    assert_eq!(scene.in_topic().await.len(), 40, "a dry run sends nothing");
    let done = scene.replayed(&[]).await;
    assert_eq!(
        (&done["sent"], &done["again"]),
        (&json!(40), &json!(7)),
        "{done}"
    );

    let all = scene.in_topic().await;
    assert_eq!(all.len(), 80);
    let mut by_key: BTreeMap<&[u8], BTreeSet<(i32, &[u8])>> = BTreeMap::new();
    for message in &all {
        let found = by_key.entry(message.key().unwrap()).or_default();
        found.insert((message.partition(), message.payload().unwrap()));
    }
    assert_eq!(by_key.len(), 40);
    assert!(
        by_key.values().all(|found| found.len() == 1),
        "same partition and value"
    );
    let again = all.iter().filter_map(OwnedMessage::headers);
    let names: Vec<Vec<&str>> = again.map(|h| h.iter().map(|h| h.key).collect()).collect();
    assert_eq!(
        names,
        vec![vec!["trace"]; 40],
        "their own headers and no others"
    );

    assert_eq!(scene.replayed(&[]).await["sent"], 0);
    let listed = scene.listed(&[]).await;
    assert!(listed.iter().all(|l| l["replayed"] == true), "{listed:?}");
    scene.send_numbered(1000..1003, Reason::BadValue).await;
    assert_eq!(scene.replayed(&[]).await["sent"], 3, "new ones only");
    assert_eq!(scene.in_topic().await.len(), 83);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_one_reason_are_sent_without_the_others() {
    let scene = Scene::new().await;
    for n in 0..6 {
        let reason = if n % 2 == 0 {
            Reason::UnknownType
        } else {
            Reason::UnknownTenant
        };
        scene.send_numbered(10 * n..10 * n + 5, reason).await;
    }
    let of_types = scene.replayed(&["--reason", "unknown_type"]).await;
    assert_eq!(
        (&of_types["sent"], &of_types["left"]),
        (&json!(15), &json!(15))
    );
    let again = scene.replayed(&["--reason", "unknown_type"]).await;
    assert_eq!((&again["sent"], &again["left"]), (&json!(0), &json!(15)));
    let replayed = |listed: Vec<Value>| listed.iter().filter(|l| l["replayed"] == true).count();
    assert_eq!(replayed(scene.listed(&[]).await), 15);
    assert_eq!(
        replayed(scene.listed(&["--reason", "unknown_type"]).await),
        15
    );
    assert_eq!(scene.replayed(&[]).await["sent"], 15, "the others");
    assert_eq!(scene.replayed(&[]).await["sent"], 0);
    let keys: BTreeSet<Vec<u8>> = scene
        .in_topic()
        .await
        .iter()
        .map(|m| m.key().unwrap().to_vec())
        .collect();
    assert_eq!(
        (keys.len(), scene.in_topic().await.len()),
        (30, 30),
        "each once"
    );
}

/// Messages that a replay sends before it remembers how far it is.
const BATCH: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_repeats_a_batch_at_most() {
    const LETTERS: usize = 20_000;
    let scene = Scene::new().await;
    for thousand in 0..20 {
        scene
            .send_numbered(1000 * thousand..1000 * (thousand + 1), Reason::UnknownType)
            .await;
    }
    let mut kills = 0;
    for round in 1..=4 {
        let mut command = isolated(&stoker_bin().unwrap(), scene.user.home());
        let mut replay = command.args(["index", "dlq", "replay"]).spawn().unwrap();
        let deadline = Instant::now() + LIMIT;
        while scene.in_topic().await.len() < round * 1500 {
            assert!(Instant::now() < deadline, "nothing is sent");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        replay.kill().unwrap();
        kills += usize::from(!replay.wait().unwrap().success());
    }
    assert!(kills > 0, "none was killed at work");
    let before = scene.in_topic().await.len();
    let rest = scene.replayed(&[]).await["sent"].as_u64().unwrap();
    assert!(rest > 0, "the kills came too late");
    let all = scene.in_topic().await;
    assert_eq!(all.len(), before + usize::try_from(rest).unwrap());
    let keys: BTreeSet<&[u8]> = all.iter().map(|m| m.key().unwrap()).collect();
    assert_eq!(keys.len(), LETTERS, "none is lost");
    let repeated = all.len() - LETTERS;
    assert!(
        repeated <= kills * BATCH,
        "{repeated} repeated after {kills} kills"
    );
    assert_eq!(scene.replayed(&[]).await["sent"], 0);
}
